"""What a model sees of a listing: the modalities in use, and the shape of each.

These settings are the sections `config.inputs` and `config.data.corruption`. Nothing here imports jax.
"""

import dataclasses
from typing import Any

from m5jax import schemes, settings
from m5jax.errors import ConfigError
from m5jax.modalities import NAMES
from m5jax.settings import section, setting

STORED = ("float16", "bfloat16", "int8")
BOX_COLUMNS = 5  # x1, y1, x2, y2 and area, as shares of the picture (Lu et al., ViLBERT, arXiv:1908.02265)


def _stored() -> Any:
    doc = "numbers of a vector in records and batches, with source=features; int8 has a float32 scale a vector"
    return setting("float16", doc, choices=STORED)


@dataclasses.dataclass(frozen=True)
class ImageInput:
    """The main picture."""

    source: str = setting("raw", "pictures, or vectors extracted beforehand", choices=("raw", "features"))
    size: int = setting(64, "side of the square the model sees, pixels", low=8, high=1024)
    patch: int = setting(8, "side of a patch, pixels; divides size", low=1)
    crop: float = setting(0.6, "smallest share of the area a training crop keeps; 1 = no crop", low=0.1, high=1.0)
    flip: bool = setting(True, "mirror half of the training pictures")
    jitter: float = setting(
        0.0, "how far the brightness, contrast and saturation of training pictures move, as a share", low=0.0, high=0.9
    )
    feature_rows: int = setting(36, "vectors per picture, with source=features", low=1)
    feature_dim: int = setting(2048, "numbers per vector, with source=features", low=1)
    stored: str = _stored()
    boxes: bool = setting(
        False,
        "each feature row carries its box: five more columns, x1 y1 x2 y2 and area as shares of the picture; with"
        " source=features",
    )

    classes: int = setting(
        0, "classes of a detector of which each feature row carries the shares, as further columns; 0 = none", low=0
    )

    @property
    def geometry(self) -> int:
        """Columns of a feature row that say where its region lies, behind the vector."""
        return BOX_COLUMNS if self.boxes else 0

    @property
    def stored_size(self) -> int:
        """Side of the square kept in records: an eighth more than the model sees, so that crops are sharp."""
        return self.size + self.size // 8


@dataclasses.dataclass(frozen=True)
class TextInput:
    """Title and description."""

    length: int = setting(32, "tokens of title and description, special tokens included", low=1, high=4096)
    with_table: bool = setting(
        False, "the table follows the title in this one sequence; then table is no modality of its own"
    )


@dataclasses.dataclass(frozen=True)
class TableInput:
    """The attribute table."""

    length: int = setting(48, "tokens of names and values, special tokens included", low=1, high=4096)
    shuffle: bool = setting(
        True, "training reads the rows in random order, so a long table is not always cut at one place"
    )
    markers: bool = setting(
        True, "a special token goes before every name and value; off: their pieces in one row, as SCALE was released"
    )
    masking: str = setting(
        "entity",
        "what its masked objective hides: whole names or values (SCALE), or pieces, or nothing (K3M asks for links)",
        choices=("entity", "token", "none"),
    )
    triples: int = setting(
        0, "names and values told apart as triples of a graph, so many at most (K3M); 0 = one sequence alone", low=0
    )
    asked: int = setting(
        0, "properties hidden in training and asked for, by link prediction; with triples above 0", low=0
    )
    asked_length: int = setting(8, "tokens of an asked property, and of its value", low=1, high=512)


@dataclasses.dataclass(frozen=True)
class VideoInput:
    """The clip."""

    source: str = setting("raw", "clips, or vectors extracted beforehand", choices=("raw", "features"))
    frames: int = setting(8, "frames taken of the clip, evenly over its length", low=1, high=512)
    per_second: float = setting(
        0.0, "take so many frames a second instead, from its start, `frames` at most; 0 = evenly", low=0.0, high=60.0
    )
    size: int = setting(32, "side of a frame, pixels", low=8, high=1024)
    tubelet: int = setting(2, "frames in one token; divides frames", low=1)
    patch: int = setting(16, "side of a tubelet, pixels; divides size", low=1)
    feature_rows: int = setting(12, "vectors per clip, with source=features", low=1)
    feature_dim: int = setting(1024, "numbers per vector, with source=features", low=1)
    stored: str = _stored()


@dataclasses.dataclass(frozen=True)
class AudioInput:
    """The sound, as log-mel frames or their cepstrum (media/spectrum.py)."""

    source: str = setting("raw", "sounds, or vectors extracted beforehand", choices=("raw", "features"))
    sample_rate: int = setting(16000, "samples per second after resampling", low=8000, high=48000)
    window: int = setting(400, "samples in one analysis window", low=64)
    hop: int = setting(160, "samples between windows", low=32)
    mels: int = setting(64, "mel bands", low=8, high=256)
    representation: str = setting("log_mel", "a frame is its mel bands, or their cepstrum", choices=("log_mel", "mfcc"))
    coefficients: int = setting(20, "of the cepstrum kept, with representation=mfcc; at most mels", low=1, high=256)
    frames: int = setting(96, "frames kept from the start of the sound", low=1)
    block: int = setting(8, "frames in one token; divides frames", low=1)
    feature_rows: int = setting(80, "vectors per sound, with source=features", low=1)
    feature_dim: int = setting(751, "numbers per vector, with source=features", low=1)
    stored: str = _stored()
    from_video: bool = setting(
        True,
        "a listing that names no sound has that of its clip, if the clip has a sound track; with source=raw of both",
    )

    @property
    def frame_dim(self) -> int:
        """Numbers in a frame of a raw sound."""
        return self.coefficients if self.representation == "mfcc" else self.mels


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What the model sees of a listing; the part that changes stored records is in the preprocessing digest."""

    modalities: tuple[str, ...] = setting(
        NAMES,
        "modalities in use",
        choices=NAMES,
    )
    record: tuple[str, ...] = setting(
        (),
        "modalities that records hold beside those in use: runs that use some of them share records, tokenizer and"
        " listings, so that their scores compare",
        choices=NAMES,
    )
    image: ImageInput = section(ImageInput)
    text: TextInput = section(TextInput)
    table: TableInput = section(TableInput)
    video: VideoInput = section(VideoInput)
    audio: AudioInput = section(AudioInput)
    missing: str = setting(
        "masked",
        "what stands for an absent modality: nothing, masked out everywhere; or zeros taken for content, as released",
        choices=("masked", "zeros"),
    )
    mask_rate: float = setting(0.15, "share of tokens the masked objectives select", low=0.0, high=0.9)
    mask_one: bool = setting(False, "mask in one modality of a listing at a time (UNITER)")
    mismatch: float = setting(
        0.0, "chance that training shows the next listing's picture, for config.objective.matching", low=0.0, high=0.9
    )
    drop_modality: float = setting(
        0.0, "chance that training hides a present modality (one always stays)", low=0.0, high=0.9
    )

    @property
    def shown(self) -> tuple[str, ...]:
        """The modalities that the model sees anything of, in the order of the table."""
        shown = {*self.modalities} | ({"table"} if self.text.with_table else set())
        return tuple(name for name in NAMES if name in shown)

    @property
    def kept(self) -> tuple[str, ...]:
        """The modalities that records hold, in the order of the table."""
        kept = {*self.shown, *self.record}
        return tuple(name for name in NAMES if name in kept)


CORRUPTIONS = ("missing", "noise")
SPLITS = ("train", "val", "gallery", "query")


def _corrupted(doc: str) -> Any:
    return setting(0.0, doc, low=0.0, high=1.0)


@dataclasses.dataclass(frozen=True)
class Corruption:
    """Missing and noisy on purpose (data/corruption.py): shares of the listings that have the modality."""

    missing_image: float = _corrupted("share of the pictures taken away")
    missing_text: float = _corrupted("share of titles and descriptions taken away")
    missing_table: float = _corrupted("share of the tables taken away")
    missing_video: float = _corrupted("share of the clips taken away")
    missing_audio: float = _corrupted("share of the sounds taken away")
    noise_image: float = _corrupted("share of the pictures that are another listing's")
    noise_text: float = _corrupted("share of titles and descriptions that are another listing's")
    noise_table: float = _corrupted("share of the tables that are another listing's")
    noise_video: float = _corrupted("share of the clips that are another listing's")
    noise_audio: float = _corrupted("share of the sounds that are another listing's")
    scheme: str = setting(
        "", "one of K3M's ways to corrupt listings, in place of the above (schemes.py)", choices=("", *schemes.SCHEMES)
    )
    ratio: float = _corrupted("share of the listings that the scheme corrupts")
    splits: tuple[str, ...] = setting(("train",), "which splits it acts on", choices=SPLITS)
    seed: int = setting(0, "which listings they are; the same ones in every run", low=0)
    last_of: str = setting(
        "seen",
        "a listing keeps its last modality: of those that the model sees, or of all that records hold, so that models"
        " of some of these meet one and the same corruption",
        choices=("seen", "recorded"),
    )

    def counted(self, inputs: Inputs) -> tuple[str, ...]:
        """The modalities of which a listing keeps one."""
        return inputs.kept if self.last_of == "recorded" else inputs.shown

    def ratios(self, kind: str) -> dict[str, float]:
        """The ratios above zero of a kind, "missing" or "noise", by modality."""
        ratios = {name: getattr(self, f"{kind}_{name}") for name in NAMES}
        return {name: ratio for name, ratio in ratios.items() if ratio > 0}

    def active(self, inputs: Inputs) -> dict[str, Any]:
        """What of these settings has an effect on what a model sees, for digests; nothing if none has."""
        if self.scheme:
            acts = self.ratio and set(schemes.SCHEMES[self.scheme].modalities) & set(inputs.shown)
            facts = {"scheme": self.scheme, "ratio": self.ratio, "splits": sorted(set(self.splits)), "seed": self.seed}
            return facts if acts else {}
        missing, noise = self.ratios("missing"), self.ratios("noise")
        # What goes missing unseen decides where the last one is that stays.
        counted = self.counted(inputs) if missing.keys() & set(inputs.shown) else ()
        ratios = {f"missing_{name}": ratio for name, ratio in missing.items() if name in counted}
        ratios |= {f"noise_{name}": ratio for name, ratio in noise.items() if name in inputs.shown}
        if not ratios:
            return {}
        rule = {"recorded": list(counted)} if set(counted) - set(inputs.shown) else {}
        return ratios | {"splits": sorted(set(self.splits)), "seed": self.seed} | rule

    def check(self, inputs: Inputs) -> None:
        """Raises ConfigError where a ratio is of a modality that records do not hold, or acts on no split.

        One of a modality that records hold and this model does not see has no effect: a series of runs that use
        some of the modalities each has its ratios in common.
        """
        beside = [f"{kind}_{name}" for kind in CORRUPTIONS for name in self.ratios(kind)]
        schemes.check(self.scheme, self.ratio, inputs.kept, beside, self.splits)
        for kind in CORRUPTIONS:
            for name, ratio in self.ratios(kind).items():
                where = f"config.data.corruption.{kind}_{name} = {ratio:g}"
                if name not in inputs.kept:
                    raise ConfigError(
                        f"{where}, but {name} is neither in config.inputs.modalities = {inputs.modalities} nor in"
                        f" config.inputs.record = {inputs.record}"
                    )
                if not self.splits:
                    raise ConfigError(f"{where}, but config.data.corruption.splits is empty: name a split")


CLEAN = Corruption()

_TRAINING_ONLY = {
    "crop",
    "flip",
    "jitter",
    "shuffle",
    "masking",
    "mask_rate",
    "drop_modality",
    "mask_one",
    "mismatch",
    "asked",
    "asked_length",
}
_MODEL_ONLY = {"patch", "tubelet", "block", "length", "with_table", "markers", "missing", "triples"}
_RECORDS_ONLY = {"record"}


def recorded(inputs: Inputs) -> dict[str, Any]:
    """The part of the inputs that decides what a prepared record holds."""
    return _without(_only(inputs, inputs.kept), _TRAINING_ONLY | _MODEL_ONLY | _RECORDS_ONLY)


def preprocessing(inputs: Inputs) -> dict[str, Any]:
    """The part of the inputs that a trained model must meet again: all but what only training draws."""
    values = _only(inputs, inputs.shown) | {"modalities": inputs.modalities}
    return _without(values, _TRAINING_ONLY | _RECORDS_ONLY)


def _only(inputs: Inputs, names: tuple[str, ...]) -> dict[str, Any]:
    values = settings.to_dict(inputs) | {"modalities": names}
    unused = set(NAMES) - set(names)
    return {name: value for name, value in values.items() if name not in unused}


def _without(values: dict[str, Any], names: set[str]) -> dict[str, Any]:
    kept = {name: value for name, value in values.items() if name not in names}
    return {name: _without(value, names) if isinstance(value, dict) else value for name, value in kept.items()}
