"""What can be set, with its limits: an ml_collections file becomes one frozen `Config`.

A config file starts from `default()` and changes what differs; the command line overrides any field
(``--config.model.width=256``). Everything else in m5jax sees only the frozen `Config`. Nothing here
imports jax, so a mistake is answered before an accelerator is touched.
"""

import dataclasses
from typing import Any

import ml_collections

from m5jax import questions, settings, sweep_settings
from m5jax.data_settings import Data
from m5jax.errors import ConfigError
from m5jax.inputs import Inputs
from m5jax.leaderboard_settings import Leaderboard
from m5jax.model_checks import check_model
from m5jax.model_settings import Model, Objective
from m5jax.settings import section, setting
from m5jax.sweep_settings import Sweep


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


MODES = ("train", "evaluate", "export", "prepare", "validate", "table", "sweep", "leaderboard", "compare")
STUDIES = ("grid", "sweeps", "losers", "gap", "contradictions", "space", "matching", "answers")
COSTLY = ("robustness",)  # made only where they are asked for
OF_EACH = ("grid", "losers", "gap")  # of every modality alone


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Which scores, and when."""

    every: int = setting(0, "steps between scores during training; 0 = only at the end", low=0)
    batch_size: int = setting(128, "listings per batch, all processes together", low=1)
    ks: tuple[int, ...] = setting((1, 5, 10), "ranks at which retrieval is scored", low=1)
    protocol: str = setting(
        "standard", "definition of the retrieval metrics (docs/evaluation.md)", choices=("standard", "released", "trec")
    )
    retrieval: tuple[str, ...] = setting(
        questions.RETRIEVAL, "retrieval tasks, RELEVANCE:QUERIES:GALLERY; a side is a split, a named set, or a+b"
    )
    classification: str = setting(
        questions.CLASSIFICATION, "TRAIN:TEST, the sets that classifiers learn from and are asked about"
    )
    alone: bool = setting(True, "score every modality alone, too, beside all together")
    neighbours: int = setting(10, "k of the nearest-neighbour classifier", low=1)
    probe: bool = setting(True, "train a linear probe on frozen embeddings at the end")
    cluster: bool = setting(True, "cluster the gallery at the end")
    cluster_seeds: int = setting(3, "seeds of k-means; scores are their mean, beside it the deviation", low=1)
    studies: tuple[str, ...] = setting(
        STUDIES, "what else is found out at the end (docs/evaluation.md)", choices=(*STUDIES, *COSTLY)
    )
    study_listings: int = setting(2000, "listings of a split at most that a study embeds again", low=1)
    map: str = setting("pca", "how the product space becomes a map", choices=("pca", "tsne"))
    sweeps: tuple[str, ...] = setting(
        (),
        "what is made missing or noisy, as in missing_image, noise_image+text, missing_mixed (every modality); empty ="
        " each modality in use, and mixed",
    )
    sweep_ratios: tuple[float, ...] = setting(
        (0.0, 0.2, 0.5, 0.8, 1.0), "shares of the listings that lose it, or show another listing's", low=0.0, high=1.0
    )
    sweep_splits: tuple[str, ...] = setting(
        ("query", "gallery"),
        "where: both, as in a catalogue that is broken as a whole, or one side of the search",
        choices=("query", "gallery"),
    )


@dataclasses.dataclass(frozen=True)
class Export:
    """Embeddings as numpy files."""

    split: str = setting("all", "split to export, or all")
    dtype: str = setting("float32", "numbers of the exported files", choices=("float32", "float16"))
    subset: tuple[str, ...] = setting((), "modalities to fuse; empty = every one in use")
    per_modality: bool = setting(False, "also export one embedding per modality")
    correction: str = setting(
        "none",
        "of the modality gap, fitted on training listings, applied to what is exported and stored beside it",
        choices=("none", "mean_shift", "whitening"),
    )
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
    seeds: int = setting(3, "runs of every row, of seeds 0, 1, ...; a paired t test tells better from chance", low=1)
    finetune_steps: int = setting(80, "steps of fine-tuning after config.steps of pre-training", low=1)
    finetune_learning_rate: float = setting(1e-3, "peak while fine-tuning", low=0.0)


@dataclasses.dataclass(frozen=True)
class Compare:
    """Runs side by side (mode=compare)."""

    runs: tuple[str, ...] = setting((), "folders of two or more scored runs; the others are told from the first")


@dataclasses.dataclass(frozen=True)
class Config:
    """One run."""

    mode: str = setting("train", "what to do", choices=MODES)
    workdir: str = setting("runs/default", "run folder")
    seed: int = setting(0, "a batch and a key are functions of (seed, step)", low=0)
    steps: int = setting(1000, "optimizer steps; 0 = config.epochs says how long", low=0)
    epochs: float = setting(
        0.0, "passes over the training listings of config.data.catalogue, with config.steps=0", low=0.0
    )
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
    sweep: Sweep = section(Sweep)
    leaderboard: Leaderboard = section(Leaderboard)
    compare: Compare = section(Compare)


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
    if inputs.image.classes and inputs.image.source != "features":
        raise ConfigError(
            f"config.inputs.image.classes = {inputs.image.classes} needs config.inputs.image.source='features', not"
            f" {inputs.image.source!r}: no detector has seen pictures that are given as pixels"
        )
    if inputs.audio.frame_dim > inputs.audio.mels:
        raise ConfigError(
            f"config.inputs.audio.coefficients = {inputs.audio.coefficients} must be at most config.inputs.audio.mels ="
            f" {inputs.audio.mels}: a cepstrum has no more"
        )
    if inputs.video.frames * inputs.video.size > MAX_STRIP_PIXELS:
        raise ConfigError(
            f"config.inputs.video.frames = {inputs.video.frames} of size = {inputs.video.size} make a film strip longer"
            f" than the {MAX_STRIP_PIXELS} pixels a JPEG holds"
        )
    check_model(model, config.objective, inputs)
    if bool(config.steps) == bool(config.epochs):
        raise ConfigError(
            f"config.steps = {config.steps} and config.epochs = {config.epochs:g}: one of them says how long to train,"
            " and the other is 0"
        )
    if not inputs.modalities:
        raise ConfigError("config.inputs.modalities is empty: name at least one modality")
    config.data.corruption.check(inputs)
    for text in config.evaluate.retrieval:
        questions.question(text)
    questions.classification(config.evaluate.classification)
    apart = [name for name in OF_EACH if name in config.evaluate.studies and not config.evaluate.alone]
    if apart:
        raise ConfigError(
            f"config.evaluate.studies has {', '.join(apart)}, of every modality alone, and config.evaluate.alone=False:"
            " leave out one of both"
        )
    sweep_settings.check(config.evaluate.sweeps, config.evaluate.sweep_ratios, config.evaluate.sweep_splits, inputs)
    if inputs.text.with_table and ("table" in inputs.modalities or "text" not in inputs.modalities):
        raise ConfigError(
            "config.inputs.text.with_table puts the table into the text: config.inputs.modalities ="
            f" {inputs.modalities} must have text, and not table"
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
    paths = (
        ("config.workdir", config.workdir),
        ("config.data.root", config.data.root),
        ("config.data.vocabulary_file", config.data.vocabulary_file),
        *(("config.data.mix", path) for path, _ in config.data.mixed),
    )
    for name, path in paths:
        if "://" in path:
            raise ConfigError(f"{name} = {path!r} must be a path: mount the storage and give the mount point")
    if len(config.logging.profile) not in (0, 2):
        raise ConfigError(f"config.logging.profile = {config.logging.profile} must be empty or two steps")
    if config.distributed.num_processes > 1 and not config.distributed.coordinator:
        raise ConfigError("config.distributed.num_processes needs config.distributed.coordinator, address:port")
    if config.distributed.process_id >= config.distributed.num_processes:
        raise ConfigError("config.distributed.process_id must be below config.distributed.num_processes")
