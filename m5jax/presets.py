"""The settings that make SCALE the paper's, or the release's, and K3M the paper's (docs/scale.md, docs/k3m.md)."""

from typing import Any

TASKS = ("masked_region", "masked_language", "masked_entity", "masked_frame", "masked_audio")


def scale_paper(config: Any) -> None:
    """What the paper means: five encoders, heads after the joint transformer, nothing computed from what is absent.

    The harmony matrix is trained, as its section says, in a form that can be (spec section 3.5, `harmony.free`).
    """
    _recipe(config)
    config.inputs.missing = "masked"
    config.model.share = False
    config.model.masked_on = "fusion"
    config.objective.negatives = "cross_modal"
    config.objective.harmony = "both"
    config.objective.harmony_source = "free"
    config.objective.regression = "normalised"


def scale_released(config: Any) -> None:
    """What the released code computes, its one scrambled mask corrected: a listing never sees its neighbours'."""
    _recipe(config)
    config.inputs.missing = "zeros"
    config.inputs.table.markers = False
    config.inputs.table.shuffle = False
    config.model.share = True
    config.model.masked_on = "encoders"
    config.objective.negatives = "simclr"
    config.objective.harmony = "logits"
    config.objective.harmony_source = "embedding"
    config.objective.regression = "raw"


def k3m_paper(config: Any) -> None:
    """What K3M's paper means (spec section 8.3): image-text co-attention, hard choice between two, eight heads."""
    config.model.family, config.model.blocks = "k3m", "released"
    config.model.pool, config.model.readout, config.model.stem = "mean", "structure", "patch"
    config.model.fuse, config.model.fuse_per = "hard", "dimension"
    _knowledge(config)
    config.inputs.missing = "masked"
    config.inputs.table.masking = "none"
    config.inputs.table.markers = False
    config.objective.harmony = "off"
    for name in ("contrastive", "classification", "matching", "word_region", *TASKS):
        config.objective[name] = 0.0
    config.objective.masked_language = config.objective.masked_region = 1.0


def scale_k3m(config: Any) -> None:
    """SCALE, whatever its other settings, with what K3M adds: gates, structure aggregation, link prediction."""
    config.model.fuse, config.model.fuse_per, config.model.readout = "hard", "dimension", "structure"
    _knowledge(config)


def _knowledge(config: Any) -> None:
    """The table as a graph, two of its properties asked for."""
    config.model.structure.heads = 8
    config.inputs.table.triples, config.inputs.table.asked = 16, 2
    config.objective.link_prediction = 1.0


def k3m_full_size(config: Any) -> None:
    """Widths, depths, lengths and schedule of K3M's release (spec sections 2.2 and 4), but for its tables of 48 pieces.

    Half of the triples of its sample do not fit there; 128 pieces and 32 triples hold all of 19 listings in 20.
    """
    config.model.width, config.model.projection = 768, 768
    for name, layers, heads, hidden, width in (
        ("tokens", 12, 12, 3072, 0),
        ("grids", 6, 8, 1024, 1024),
        ("fusion", 6, 8, 0, 1024),
    ):
        tower = config.model[name]
        tower.layers, tower.heads, tower.hidden, tower.width = layers, heads, hidden, width
    config.model.positions.text = 512  # as many as BERT has
    config.model.dropout = 0.1
    config.inputs.text.length, config.inputs.table.length, config.inputs.table.triples = 36, 128, 32
    config.objective.link_margin = 10.0
    config.data.vocabulary = 21128  # as many pieces as bert-base-chinese
    config.optimizer.learning_rate, config.optimizer.schedule, config.optimizer.warmup = 1e-4, "linear", 0.1
    config.optimizer.b1, config.optimizer.b2, config.optimizer.eps = 0.9, 0.98, 1e-8
    config.optimizer.weight_decay = 0.01
    config.batch_size = 64
    config.steps, config.epochs = 0, 6.0
    config.checkpoint.every = 2000
    config.evaluate.batch_size = 256


def full_size(config: Any) -> None:
    """Widths, depths, lengths and schedule of the paper (spec sections 2.1 and 4): five epochs of M5Product."""
    config.model.width, config.model.projection = 768, 1024
    for name, heads, hidden in (("tokens", 12, 3072), ("grids", 8, 1024), ("fusion", 8, 3072)):
        tower = config.model[name]
        tower.layers, tower.heads, tower.hidden = 6, heads, hidden
    config.model.positions.text = config.model.positions.table = 512  # as many as BERT has
    config.inputs.text.length, config.inputs.table.length = 36, 64
    config.data.vocabulary = 21128  # as many pieces as bert-base-chinese
    config.batch_size = 64
    config.steps = 5 * 4_423_160 // 64
    config.checkpoint.every = 2000
    config.evaluate.batch_size = 256


def embedded_size(config: Any) -> None:
    """Widths, depths and schedule that learn the embedded catalogue in minutes on two cores."""
    config.steps = 500
    config.batch_size = 64
    config.inputs.image.patch = 16
    config.model.fusion.layers = 1
    config.model.scan = False  # two blocks run a fifth faster unrolled
    config.optimizer.learning_rate = 2e-3


def _recipe(config: Any) -> None:
    """What paper and release have in common, as far as one of them says (spec sections 2 and 4)."""
    config.model.blocks = "released"
    config.model.pool = "first"
    config.model.readout = "fusion"
    config.model.dropout = 0.1
    config.objective.temperature = 0.07
    config.objective.learn_temperature = False
    config.objective.harmony_on = ("contrastive", "masked")
    config.objective.harmony_weighting = "released"
    config.objective.harmony_detach = False
    config.objective.contrastive = 1.0
    for task in TASKS:
        config.objective[task] = 1.0
    config.optimizer.learning_rate = 1e-4
    config.optimizer.schedule = "linear"
    config.optimizer.warmup = 0.1
    config.optimizer.b1, config.optimizer.b2, config.optimizer.eps = 0.9, 0.999, 1e-6
    config.optimizer.weight_decay = 0.01
