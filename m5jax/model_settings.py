"""What is trained: the network (section `config.model`) and what it minimises (section `config.objective`).

Nothing here imports jax.
"""

import dataclasses

from m5jax.errors import ConfigError
from m5jax.inputs import Inputs
from m5jax.settings import section, setting
from m5jax.token_spec import token_specs


@dataclasses.dataclass(frozen=True)
class Tower:
    """One stack of transformer blocks."""

    layers: int = setting(2, "blocks", low=1, high=100)
    heads: int = setting(4, "attention heads; divides config.model.width", low=1)
    hidden: int = setting(0, "hidden units of the feed-forward; 0 = four times the width", low=0)
    width: int = setting(0, "size of its states; 0 = config.model.width; SCALE knows one width", low=0)


@dataclasses.dataclass(frozen=True)
class Positions:
    """Rows of the tables of learned positions; 0 = as many as there are tokens. Pretrained tables have their own."""

    text: int = setting(0, "title", low=0)
    table: int = setting(0, "table", low=0)
    image: int = setting(0, "picture; unused where boxes say where a region lies", low=0)
    video: int = setting(0, "clip", low=0)
    audio: int = setting(0, "sound", low=0)
    fusion: int = setting(0, "joint sequence, with blocks=released", low=0)


FAMILIES = (
    "scale",
    "k3m",
    "unimodal",
    "vl_bert",
    "visualbert",
    "uniter",
    "vilbert",
    "lxmert",
    "clip",
    "capture",
)


@dataclasses.dataclass(frozen=True)
class Structure:
    """K3M's structure aggregation: what a listing's triples add to its vector."""

    heads: int = setting(0, "attention heads over the triples; 0 = without, K3M has 8", low=0)
    slope: float = setting(0.01, "of the leaky ReLU in its scores", low=0.0, high=1.0)


@dataclasses.dataclass(frozen=True)
class Model:
    """The network."""

    family: str = setting("scale", "which model (m5jax/models/families.py)", choices=FAMILIES)
    blocks: str = setting(
        "pre_norm",
        "pre_norm: every tower normalises before its sublayers and at its end, the joint transformer tells modalities"
        " apart by a learned state; released: encoders as BERT, joint transformer as CLIP4Clip's, one position a place",
        choices=("pre_norm", "released"),
    )
    width: int = setting(128, "size of a token's state", low=1)
    tokens: Tower = section(Tower)
    grids: Tower = section(Tower)
    fusion: Tower = section(Tower)
    fuse: str = setting(
        "none",
        "initial-interactive fusion, what a modality's encoder says with what the others made of it: the latter alone,"
        " their mean, gates that weigh both, gates that choose one (K3M)",
        choices=("none", "mean", "soft", "hard"),
    )
    fuse_temperature: float = setting(1.0, "of the choice, with fuse=hard", low=1e-3, high=100.0)
    fuse_per: str = setting("dimension", "what a gate is about", choices=("dimension", "token"))
    structure: Structure = section(Structure)
    share: bool = setting(
        False, "as released: the table is read by the text's encoder and head, the clip by the picture's encoder"
    )
    masked_on: str = setting(
        "fusion",
        "what the masked objectives read: the joint transformer's output (the paper), or the encoders' (the release)",
        choices=("fusion", "encoders"),
    )
    stem: str = setting(
        "patch",
        "what turns a raw picture into tokens: one linear map of a patch, or convolutions, which learn from fewer"
        " pictures; with blocks=pre_norm",
        choices=("patch", "convolutions"),
    )
    positions: Positions = section(Positions)
    token_types: int = setting(2, "rows of BERT's table of token types, with blocks=released", low=1)
    projection: int = setting(128, "size of the contrastive embeddings", low=1)
    pool: str = setting(
        "first", "what stands for a sequence of states: its first (SCALE), or their mean", choices=("mean", "first")
    )
    readout: str = setting(
        "fusion",
        "product vector from: the joint transformer's first states (SCALE); the encoders' mean states, alike or weighed"
        " by how far the modalities agree; what the contrastive objective compares, in which a picture finds its title;"
        " the classifier's dense layer (SCALE, fine-tuned); the structure aggregation over the table's triples (K3M)",
        choices=("fusion", "encoders", "agreement", "contrastive", "dense", "structure"),
    )
    dropout: float = setting(0.0, "dropout rate in training", low=0.0, high=0.9)
    remat: str = setting(
        "none",
        "what the backward pass recomputes: nothing, all but matrix products, whole blocks",
        choices=("none", "dots", "full"),
    )
    scan: bool = setting(
        True, "run the blocks of a tower in one scanned loop; off: longer to compile, faster where there are few"
    )


HARMONISED = ("contrastive", "masked")
CLASSES = ("category", "product")


@dataclasses.dataclass(frozen=True)
class Objective:
    """What is minimised: weights and shape of the objectives. One of weight 0 is not computed."""

    temperature: float = setting(0.07, "initial temperature of the contrastive objective", low=1e-3, high=10.0)
    learn_temperature: bool = setting(True, "train the temperature")
    negatives: str = setting(
        "cross_modal",
        "what a modality of a listing is compared with: the other modality of the other listings (the paper), or both"
        " modalities of them (SimCLR, the release)",
        choices=("cross_modal", "simclr"),
    )
    harmony: str = setting("loss", "where the harmony weights act", choices=("off", "logits", "loss", "both"))
    harmony_on: tuple[str, ...] = setting(HARMONISED, "which objectives they weigh", choices=HARMONISED)
    harmony_source: str = setting(
        "embedding",
        "where they come from: each listing's own embeddings, or a trained matrix for all (docs/scale.md)",
        choices=("embedding", "free"),
    )
    harmony_weighting: str = setting(
        "agreement",
        "how embeddings become weights, where they are the source: as released, which lets a modality that disagrees"
        " weigh most in the masked objectives, or by agreement: what agrees with nothing weighs least",
        choices=("released", "agreement"),
    )
    harmony_detach: bool = setting(True, "no gradient through the harmony weights")
    regression: str = setting(
        "normalised",
        "targets of the masked objectives on grids: blocks at zero mean and unit variance, or as they are (released)",
        choices=("normalised", "raw"),
    )
    contrastive: float = setting(1.0, "weight", low=0.0)
    masked_region: float = setting(1.0, "weight of the masked objective on the picture", low=0.0)
    masked_language: float = setting(1.0, "weight on title and description", low=0.0)
    masked_entity: float = setting(1.0, "weight on names and values of the table", low=0.0)
    masked_frame: float = setting(1.0, "weight on the video", low=0.0)
    masked_audio: float = setting(1.0, "weight on the sound", low=0.0)
    region_target: str = setting(
        "regression",
        "what the masked objective on the picture predicts: the region's numbers, the classes a detector saw in it"
        " (inputs.image.classes), or which region it is among those of the batch (noise-contrastive)",
        choices=("regression", "classes", "nce"),
    )
    matching: float = setting(
        0.0, "weight of telling whether picture and text are of one listing; needs config.inputs.mismatch", low=0.0
    )
    word_region: float = setting(
        0.0, "weight of aligning words and regions by optimal transport (UNITER); needs matching", low=0.0
    )
    link_prediction: float = setting(
        0.0, "weight of telling the value of a property that is hidden (K3M); needs config.inputs.table.asked", low=0.0
    )
    link_score: str = setting(
        "margin",
        "how link prediction is asked: translation distance with a margin, or softmax over the batch's values",
        choices=("margin", "softmax"),
    )
    link_margin: float = setting(1.0, "gap between right and wrong distances, with link_score=margin", low=0.0)
    classification: float = setting(0.0, "weight of telling the class of a listing, for fine-tuning", low=0.0)
    classes: str = setting(
        "category",
        "what the classifier tells apart: categories, or the products that several training listings show",
        choices=CLASSES,
    )


def check_model(model: Model, objective: Objective, inputs: Inputs) -> None:
    """Which settings of network and objectives go together.

    Raises:
      ConfigError: naming those that do not.
    """
    for name in ("tokens", "grids", "fusion"):
        tower = getattr(model, name)
        where, width = (f"{name}.width", tower.width) if tower.width else ("width", model.width)
        if width % tower.heads:
            raise ConfigError(f"config.model.{name}.heads = {tower.heads} must divide config.model.{where} = {width}")
    if model.structure.heads and model.width % model.structure.heads:
        raise ConfigError(
            f"config.model.structure.heads = {model.structure.heads} must divide config.model.width = {model.width}"
        )
    _check_positions(model, inputs)
    _check_stem(model, inputs)
    _check_harmony(objective)
    _check_asked(objective, inputs)
    _check_structure(model, objective, inputs)
    if model.readout == "dense" and not objective.classification:
        raise ConfigError(
            "config.model.readout = 'dense' is a layer of the classifier: set config.objective.classification"
        )


def _check_positions(model: Model, inputs: Inputs) -> None:
    """Every token needs a row of its table; a shared table serves the longer of title and table."""
    needed = {name: spec.sequence for name, spec in token_specs(inputs).items()}
    joint = sum(needed.values())
    if (model.share or model.family == "k3m") and {"text", "table"} <= needed.keys():
        needed["text"] = max(needed["text"], needed["table"])
    for name, tokens in (needed | {"fusion": joint}).items():
        rows = getattr(model.positions, name)
        if 0 < rows < tokens:
            raise ConfigError(f"config.model.positions.{name} = {rows} is less than the {tokens} tokens there are")


def _check_stem(model: Model, inputs: Inputs) -> None:
    """Convolutions halve a picture of pixels, again and again, and every one of them needs channels."""
    patch = inputs.image.patch
    if model.stem == "patch" or "image" not in inputs.modalities:
        return
    if model.blocks == "released" or model.share or inputs.image.source != "raw":
        raise ConfigError(
            "config.model.stem = 'convolutions' needs pixels and an encoder of the picture's own:"
            " config.model.blocks = 'pre_norm', config.model.share=False and config.inputs.image.source = 'raw'"
        )
    if patch & (patch - 1) or patch < 2 or model.width % (patch // 2):
        raise ConfigError(
            f"config.inputs.image.patch = {patch} must be a power of two above 1 with config.model.stem ="
            f" 'convolutions', and half of it divide config.model.width = {model.width}"
        )


def _check_harmony(objective: Objective) -> None:
    """Which switches of the harmony weights go together."""
    name, apply, detached = "config.objective.harmony", objective.harmony, objective.harmony_detach
    if apply == "off":
        return
    if not objective.harmony_on:
        raise ConfigError(f"{name} = {apply!r} needs {name}_on: contrastive, masked, or both; or set {name} = 'off'")
    if objective.harmony_source == "free":
        if detached:
            raise ConfigError(f"{name}_source = 'free' needs {name}_detach=False: without gradient it never changes")
        if apply == "logits":
            raise ConfigError(
                f"{name}_source = 'free' needs {name} = 'loss' or 'both', whose losses its barrier weighs"
            )
        return
    if apply in ("loss", "both") and not detached:
        raise ConfigError(
            f"{name} = {apply!r} needs {name}_detach=True: through weights that scale a loss, it is lowest where the"
            " modalities of a listing agree in nothing"
        )
    if objective.harmony_weighting == "agreement" and apply != "loss":
        raise ConfigError(f"{name}_weighting = 'agreement' needs {name} = 'loss': its weights are shares of the losses")


def _check_asked(objective: Objective, inputs: Inputs) -> None:
    """What objectives need a batch to hold, beside the modalities."""
    pair, table = {"image", "text"} <= {*inputs.modalities}, "table" in inputs.modalities
    told = objective.masked_region > 0 and "image" in inputs.modalities
    needs = (
        ("config.inputs.table.asked", inputs.table.asked, "config.inputs.table.triples above 0", inputs.table.triples),
        (
            "config.objective.link_prediction",
            objective.link_prediction,
            "config.inputs.table.asked above 0, and a table in config.inputs.modalities",
            inputs.table.asked and table,
        ),
        (
            "config.objective.matching",
            objective.matching,
            "config.inputs.mismatch above 0, and image and text in config.inputs.modalities",
            inputs.mismatch and pair,
        ),
        (
            "config.objective.word_region",
            objective.word_region,
            "config.objective.matching above 0",
            objective.matching,
        ),
        (
            "config.objective.region_target",
            objective.region_target,
            "config.inputs.image.classes above 0",
            inputs.image.classes or not told or objective.region_target != "classes",
        ),
    )
    for name, value, needed, there in needs:
        if value and not there:
            raise ConfigError(f"{name} = {value!r} needs {needed}")


def _check_structure(model: Model, objective: Objective, inputs: Inputs) -> None:
    """Where K3M's parts have something to read, and something that trains them."""
    heads, scale = model.structure.heads, model.family == "scale"
    graph = inputs.table.triples > 0 and "table" in inputs.modalities
    if model.family not in ("scale", "k3m") and (heads or model.fuse != "none"):
        raise ConfigError(
            f"config.model.family = {model.family!r} has no structure aggregation and no gates: set"
            " config.model.structure.heads = 0 and config.model.fuse = 'none'"
        )
    if model.readout == "structure" and not heads:
        raise ConfigError("config.model.readout = 'structure' needs config.model.structure.heads above 0")
    if scale and heads and not (graph and objective.link_prediction):
        raise ConfigError(
            f"config.model.structure.heads = {heads} needs config.inputs.table.triples and"
            " config.objective.link_prediction above 0, and a table in config.inputs.modalities: nothing else reads it"
        )
    if scale and objective.link_prediction and not heads:
        raise ConfigError("config.objective.link_prediction needs config.model.structure.heads above 0")
    if inputs.table.asked and inputs.table.asked_length > inputs.table.length:
        raise ConfigError(
            f"config.inputs.table.asked_length = {inputs.table.asked_length} must be at most config.inputs.table.length"
            f" = {inputs.table.length}, whose places it has"
        )
