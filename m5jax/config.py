"""What can be set, with its limits: an ml_collections file becomes one frozen `Config`.

A config file starts from `default()` and changes what differs; the command line overrides any field
(``--config.model.width=256``). Everything else in m5jax sees only the frozen `Config`. Nothing here
imports jax, so a mistake is answered before an accelerator is touched.
"""

import dataclasses
from typing import Any

import ml_collections

from m5jax import settings
from m5jax.errors import ConfigError
from m5jax.inputs import Corruption, Inputs
from m5jax.settings import section, setting


@dataclasses.dataclass(frozen=True)
class Toy:
    """Dials of the embedded catalogue (data/toy.py)."""

    listings: int = setting(2000, "listings", low=20, high=1_000_000)
    categories: int = setting(12, "leaf categories", low=2, high=24)
    variants: int = setting(5, "listings per product, on average", low=1, high=100)
    tail: float = setting(0.7, "long-tail exponent of the category sizes; 0 = all alike", low=0.0, high=3.0)
    missing_image: float = setting(0.05, "share of listings without a picture", low=0.0, high=1.0)
    missing_text: float = setting(0.05, "share without title", low=0.0, high=1.0)
    missing_table: float = setting(0.15, "share without table", low=0.0, high=1.0)
    missing_video: float = setting(0.2, "share without video", low=0.0, high=1.0)
    missing_audio: float = setting(0.2, "share without sound", low=0.0, high=1.0)
    noise_text: float = setting(0.05, "share with another product's title", low=0.0, high=1.0)
    noise_image: float = setting(0.05, "share with another product's picture", low=0.0, high=1.0)
    seed: int = setting(0, "seed of every draw", low=0)


@dataclasses.dataclass(frozen=True)
class Data:
    """Where listings come from and how they become batches."""

    catalogue: str = setting("toy", 'catalogue to train on: a folder or listing file (docs/data.md), or "toy"')
    root: str = setting("data", "folder that keeps toy catalogues and prepared records, each under its digest")
    toy: Toy = section(Toy)
    vocabulary: int = setting(4096, "most pieces of the tokenizer trained on the catalogue", low=300, high=250_000)
    vocabulary_file: str = setting(
        "", "vocab.txt of a BERT, whose pieces and ids are used as they are; empty = train a tokenizer on the catalogue"
    )
    vocabulary_lowercase: bool = setting(True, "text loses case and accents first; off for the vocab.txt of a cased BERT")
    prepare_workers: int = setting(0, "decoding processes; 0 = one a core", low=0, high=512)
    decode_seconds: float = setting(20.0, "time limit for one file, seconds", low=0.1)
    decode_memory_gb: float = setting(2.0, "memory limit of one decoding process, GB", low=0.5)
    shard_listings: int = setting(2048, "listings in one shard of records", low=1)
    max_rejected: float = setting(
        0.1, "stop preparing when more than this share of listings lost a row or a file", low=0.0, high=1.0
    )
    loader_workers: int = setting(0, "processes that build training batches; 0 = a thread", low=0, high=256)
    max_damaged: float = setting(
        0.001, "stop training when more than this share of records cannot be read", low=0.0, high=1.0
    )
    complete_only: bool = setting(
        False, "train only on listings that have every modality in use, with what config.data.corruption left of them"
    )
    corruption: Corruption = section(Corruption)


@dataclasses.dataclass(frozen=True)
class Tower:
    """One stack of transformer blocks."""

    layers: int = setting(2, "blocks", low=1, high=100)
    heads: int = setting(4, "attention heads; divides config.model.width", low=1)
    hidden: int = setting(0, "hidden units of the feed-forward; 0 = four times the width", low=0)


@dataclasses.dataclass(frozen=True)
class Positions:
    """Rows of the tables of learned positions; 0 = as many as there are tokens. Pretrained tables have their own."""

    text: int = setting(0, "title", low=0)
    table: int = setting(0, "table", low=0)
    image: int = setting(0, "picture; unused where boxes say where a region lies", low=0)
    video: int = setting(0, "clip", low=0)
    audio: int = setting(0, "sound", low=0)
    fusion: int = setting(0, "joint sequence, with blocks=released", low=0)


@dataclasses.dataclass(frozen=True)
class Model:
    """The network."""

    family: str = setting("scale", "which model", choices=("scale",))
    blocks: str = setting(
        "pre_norm",
        "pre_norm: every tower normalises before its sublayers and at its end, the joint transformer tells modalities"
        " apart by a learned state; released: encoders as BERT, joint transformer as CLIP4Clip with one position a place",
        choices=("pre_norm", "released"),
    )
    width: int = setting(128, "size of a token's state", low=8)
    tokens: Tower = section(Tower)
    grids: Tower = section(Tower)
    fusion: Tower = section(Tower)
    share: bool = setting(
        False, "as released: the table is read by the text's encoder and head, the clip by the picture's encoder"
    )
    masked_on: str = setting(
        "fusion",
        "what the masked objectives read: the joint transformer's output (the paper), or the encoders' (the release)",
        choices=("fusion", "encoders"),
    )
    positions: Positions = section(Positions)
    projection: int = setting(128, "size of the contrastive embeddings", low=8)
    pool: str = setting(
        "first", "what stands for a sequence of states: its first (SCALE), or their mean", choices=("mean", "first")
    )
    readout: str = setting(
        "fusion",
        "product vector from: the joint transformer's first states (SCALE); the encoders' mean states, alike or weighed"
        " by how far the modalities agree; the classifier's dense layer (SCALE, fine-tuned)",
        choices=("fusion", "encoders", "agreement", "dense"),
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
    harmony: str = setting("logits", "where the harmony weights act", choices=("off", "logits", "loss", "both"))
    harmony_on: tuple[str, ...] = setting(HARMONISED, "which objectives they weigh", choices=HARMONISED)
    harmony_source: str = setting(
        "embedding",
        "where they come from: each listing's own embeddings, or a trained matrix for all (docs/scale.md)",
        choices=("embedding", "free"),
    )
    harmony_weighting: str = setting(
        "released",
        "how embeddings become weights: as released, which lets a modality that disagrees weigh most in the masked"
        " objectives, or by agreement: what agrees with nothing weighs least",
        choices=("released", "agreement"),
    )
    harmony_detach: bool = setting(False, "no gradient through the harmony weights")
    regression: str = setting(
        "normalised",
        "targets of the masked objectives on grids: blocks at zero mean and unit variance, or as they are (the release)",
        choices=("normalised", "raw"),
    )
    contrastive: float = setting(1.0, "weight", low=0.0)
    masked_region: float = setting(1.0, "weight of the masked objective on the picture", low=0.0)
    masked_language: float = setting(1.0, "weight on title and description", low=0.0)
    masked_entity: float = setting(1.0, "weight on names and values of the table", low=0.0)
    masked_frame: float = setting(1.0, "weight on the video", low=0.0)
    masked_audio: float = setting(1.0, "weight on the sound", low=0.0)
    classification: float = setting(0.0, "weight of telling the category, for fine-tuning", low=0.0)


@dataclasses.dataclass(frozen=True)
class Initialize:
    """Whose weights training begins with, at step 0; a run that resumes has its own."""

    run: str = setting("", "run folder whose newest checkpoint gives every weight but the classifier's")
    weights: str = setting("", "released SCALE state dict (.safetensors), or folder of a BERT as Hugging Face has it")


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """AdamW, its schedule, and which parameters it touches."""

    learning_rate: float = setting(1e-3, "peak", low=0.0)
    schedule: str = setting("cosine", "shape after the warm-up", choices=("cosine", "linear", "constant"))
    warmup: float = setting(0.1, "share of the steps that the rate rises", low=0.0, high=1.0)
    final_scale: float = setting(0.0, "rate at the end over the peak", low=0.0, high=1.0)
    b1: float = setting(0.9, "Adam's decay of the mean", low=0.0, high=1.0)
    b2: float = setting(0.98, "Adam's decay of the square", low=0.0, high=1.0)
    eps: float = setting(1e-6, "Adam's epsilon", low=0.0)
    weight_decay: float = setting(0.05, "decoupled decay of matrices", low=0.0)
    decay: str = setting(r".*/kernel", "paths of the parameters that decay (regular expression)")
    freeze: str = setting("", "paths of the parameters that stay as they are (regular expression)")
    clip: float = setting(1.0, "largest global norm of the gradient; 0 = no clipping", low=0.0)


@dataclasses.dataclass(frozen=True)
class Mesh:
    """Devices as data x fsdp x model; -1 takes what is left."""

    data: int = setting(-1, "replicas", low=-1)
    fsdp: int = setting(1, "ways parameters are sharded along their input axis", low=-1)
    model: int = setting(1, "ways heads and hidden units are sharded", low=-1)


@dataclasses.dataclass(frozen=True)
class Distributed:
    """Processes of one run. With everything at its default one process runs alone."""

    coordinator: str = setting("", 'address:port of process 0; "auto" asks the cluster (TPU, SLURM, Kubernetes)')
    num_processes: int = setting(1, "processes in all", low=1)
    process_id: int = setting(0, "this process", low=0)
    heartbeat_s: int = setting(100, "seconds until a dead process is noticed", low=5)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """When the state is saved and how much of it is kept."""

    every: int = setting(200, "steps between checkpoints; the last step is always saved", low=1)
    keep: int = setting(3, "verified checkpoints kept", low=2)
    from_scratch: bool = setting(False, "start anew although the run folder holds checkpoints (they are moved aside)")


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Which scores, and when."""

    every: int = setting(0, "steps between scores during training; 0 = only at the end", low=0)
    batch_size: int = setting(128, "listings per batch, all processes together", low=1)
    ks: tuple[int, ...] = setting((1, 5, 10), "ranks at which retrieval is scored", low=1)
    protocol: str = setting(
        "standard", "definition of the retrieval metrics (evals/retrieval.py)", choices=("standard",)
    )
    neighbours: int = setting(10, "k of the nearest-neighbour classifier", low=1)
    probe: bool = setting(True, "train a linear probe on frozen embeddings at the end")
    cluster: bool = setting(True, "cluster the gallery at the end")


@dataclasses.dataclass(frozen=True)
class Export:
    """Embeddings as numpy files."""

    split: str = setting("all", "split to export, or all")
    dtype: str = setting("float32", "numbers of the exported files", choices=("float32", "float16"))
    subset: tuple[str, ...] = setting((), "modalities to fuse; empty = every one in use")
    per_modality: bool = setting(False, "also export one embedding per modality")
    shard_listings: int = setting(65536, "rows per file", low=1)
    after_training: bool = setting(True, "export when training ends")


@dataclasses.dataclass(frozen=True)
class Logging:
    """What a run tells while it goes on."""

    every: int = setting(20, "steps between log lines", low=1)
    tensorboard: bool = setting(True, "also write TensorBoard files")
    profile: tuple[int, ...] = setting((), "first and last step of a profiler trace; empty = none", low=0)
    hang_s: float = setting(
        600.0, "stop with exit 71 after so long without progress; tripled until the first step is done", low=1.0
    )


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of the SCALE paper as a series of runs (mode=table)."""

    number: int = setting(3, "which one", choices=(3, 4, 5, 6, 7, 8, 10))
    seeds: int = setting(3, "runs of every row, of seeds 0, 1, ...; their spread tells a difference from chance", low=1)
    finetune_steps: int = setting(100, "steps of fine-tuning after config.steps of pre-training", low=1)
    finetune_learning_rate: float = setting(1e-3, "peak while fine-tuning", low=0.0)


@dataclasses.dataclass(frozen=True)
class Config:
    """One run."""

    mode: str = setting("train", "what to do", choices=("train", "evaluate", "export", "prepare", "table"))
    workdir: str = setting("runs/default", "run folder")
    seed: int = setting(0, "a batch and a key are functions of (seed, step)", low=0)
    steps: int = setting(1000, "optimizer steps", low=1)
    batch_size: int = setting(64, "listings per step, all devices and processes together", low=1)
    accumulate: int = setting(1, "micro-batches per step; divides batch_size", low=1)
    precision: str = setting(
        "float32", "dtype of the computation; weights and reductions stay float32", choices=("float32", "bfloat16")
    )
    inputs: Inputs = section(Inputs)
    data: Data = section(Data)
    model: Model = section(Model)
    objective: Objective = section(Objective)
    initialize: Initialize = section(Initialize)
    optimizer: Optimizer = section(Optimizer)
    mesh: Mesh = section(Mesh)
    distributed: Distributed = section(Distributed)
    checkpoint: Checkpoint = section(Checkpoint)
    evaluate: Evaluate = section(Evaluate)
    export: Export = section(Export)
    logging: Logging = section(Logging)
    table: Table = section(Table)


MAX_STRIP_PIXELS = 65_000


def default() -> Any:
    """A mutable copy of the defaults (a locked ConfigDict), for config files to change."""
    return ml_collections.ConfigDict(settings.to_dict(Config())).lock()


def freeze(values: dict[str, Any]) -> Config:
    """Turns nested plain values into a checked `Config`.

    Raises:
      ConfigError: naming the field, the value and what is allowed.
    """
    config = settings.build(Config, values, "config")
    _check_together(config)
    return config


def _check_together(config: Config) -> None:
    """What no field can say alone."""
    inputs, model = config.inputs, config.model
    divides = [
        *(
            (f"config.model.{name}.heads", getattr(model, name).heads, "config.model.width", model.width)
            for name in ("tokens", "grids", "fusion")
        ),
        ("config.accumulate", config.accumulate, "config.batch_size", config.batch_size),
        ("config.inputs.image.patch", inputs.image.patch, "config.inputs.image.size", inputs.image.size),
        ("config.inputs.video.patch", inputs.video.patch, "config.inputs.video.size", inputs.video.size),
        ("config.inputs.video.tubelet", inputs.video.tubelet, "config.inputs.video.frames", inputs.video.frames),
        ("config.inputs.audio.block", inputs.audio.block, "config.inputs.audio.frames", inputs.audio.frames),
    ]
    for part, n, whole, total in divides:
        if total % n:
            raise ConfigError(f"{part} = {n} must divide {whole} = {total}")
    if inputs.image.boxes and inputs.image.source != "features":
        raise ConfigError(
            f"config.inputs.image.boxes=True needs config.inputs.image.source='features', not {inputs.image.source!r}:"
            " pictures have no regions"
        )
    if inputs.video.frames * inputs.video.size > MAX_STRIP_PIXELS:
        raise ConfigError(
            f"config.inputs.video.frames = {inputs.video.frames} of size = {inputs.video.size} make a film strip longer"
            f" than the {MAX_STRIP_PIXELS} pixels a JPEG holds"
        )
    _check_harmony(config.objective)
    if model.readout == "dense" and not config.objective.classification:
        raise ConfigError("config.model.readout = 'dense' is a layer of the classifier: set config.objective.classification")
    if not inputs.modalities:
        raise ConfigError("config.inputs.modalities is empty: name at least one modality")
    config.data.corruption.check(inputs)
    if inputs.text.with_table and ("table" in inputs.modalities or "text" not in inputs.modalities):
        raise ConfigError(
            f"config.inputs.text.with_table puts the table into the text: config.inputs.modalities = {inputs.modalities}"
            " must have text, and not table"
        )
    if config.initialize.run and config.initialize.weights:
        raise ConfigError("config.initialize has both run and weights: training begins with one of them")
    for name in config.export.subset:
        if name not in inputs.modalities:
            raise ConfigError(
                f"config.export.subset names {name!r}, which is not in config.inputs.modalities = {inputs.modalities}"
            )
    if sorted((config.mesh.data, config.mesh.fsdp, config.mesh.model))[1] < 1:
        raise ConfigError("at most one axis of config.mesh may be -1, and none may be 0")
    for name, path in (("config.workdir", config.workdir), ("config.data.root", config.data.root)):
        if "://" in path:
            raise ConfigError(f"{name} = {path!r} must be a path: mount the storage and give the mount point")
    if len(config.logging.profile) not in (0, 2):
        raise ConfigError(f"config.logging.profile = {config.logging.profile} must be empty or two steps")
    if config.distributed.num_processes > 1 and not config.distributed.coordinator:
        raise ConfigError("config.distributed.num_processes needs config.distributed.coordinator, address:port")
    if config.distributed.process_id >= config.distributed.num_processes:
        raise ConfigError("config.distributed.process_id must be below config.distributed.num_processes")


def _check_harmony(objective: Objective) -> None:
    """Which switches of the harmony weights go together."""
    name, apply = "config.objective.harmony", objective.harmony
    if apply == "off":
        return
    if not objective.harmony_on:
        raise ConfigError(f"{name} = {apply!r} needs {name}_on: contrastive, masked, or both; or set {name} = 'off'")
    if objective.harmony_source == "free":
        if objective.harmony_detach:
            raise ConfigError(f"{name}_source = 'free' needs {name}_detach=False: weights without gradient never change")
        if apply == "logits":
            raise ConfigError(f"{name}_source = 'free' needs {name} = 'loss' or 'both': its barrier balances weighed losses")
        if objective.harmony_weighting != "released":
            raise ConfigError(f"{name}_weighting is for weights from embeddings: leave it at 'released' with a free matrix")
    elif apply in ("loss", "both") and not objective.harmony_detach:
        raise ConfigError(
            f"{name} = {apply!r} needs {name}_detach=True: through weights that scale a loss, it is lowest where the"
            " modalities of a listing agree in nothing"
        )
