"""What a model sees of a listing: the modalities in use, and the shape of each.

These settings are the section `config.inputs`. Nothing here imports jax.
"""

import dataclasses
from typing import Any

from m5jax import modalities, settings
from m5jax.settings import section, setting


@dataclasses.dataclass(frozen=True)
class ImageInput:
    """The main picture."""

    source: str = setting("raw", "pictures, or vectors extracted beforehand", choices=("raw", "features"))
    size: int = setting(64, "side of the square the model sees, pixels", low=8, high=1024)
    patch: int = setting(8, "side of a patch, pixels; divides size", low=1)
    crop: float = setting(0.6, "smallest share of the area a training crop keeps; 1 = no crop", low=0.1, high=1.0)
    flip: bool = setting(True, "mirror half of the training pictures")
    feature_rows: int = setting(36, "vectors per picture, with source=features", low=1)
    feature_dim: int = setting(2048, "numbers per vector, with source=features", low=1)

    @property
    def stored_size(self) -> int:
        """Side of the square kept in records: an eighth more than the model sees, so that crops are sharp."""
        return self.size + self.size // 8


@dataclasses.dataclass(frozen=True)
class TextInput:
    """Title and description."""

    length: int = setting(32, "tokens of title and description, special tokens included", low=4, high=4096)


@dataclasses.dataclass(frozen=True)
class TableInput:
    """The attribute table."""

    length: int = setting(48, "tokens of names and values, special tokens included", low=4, high=4096)
    shuffle: bool = setting(
        True, "training reads the rows in random order, so a long table is not always cut at one place"
    )


@dataclasses.dataclass(frozen=True)
class VideoInput:
    """The clip."""

    source: str = setting("raw", "clips, or vectors extracted beforehand", choices=("raw", "features"))
    frames: int = setting(8, "frames taken evenly over the clip", low=1, high=512)
    size: int = setting(32, "side of a frame, pixels", low=8, high=1024)
    tubelet: int = setting(2, "frames in one token; divides frames", low=1)
    patch: int = setting(16, "side of a tubelet, pixels; divides size", low=1)
    feature_rows: int = setting(12, "vectors per clip, with source=features", low=1)
    feature_dim: int = setting(1024, "numbers per vector, with source=features", low=1)


@dataclasses.dataclass(frozen=True)
class AudioInput:
    """The sound, as log-mel frames."""

    source: str = setting("raw", "sounds, or vectors extracted beforehand", choices=("raw", "features"))
    sample_rate: int = setting(16000, "samples per second after resampling", low=8000, high=48000)
    window: int = setting(400, "samples in one analysis window", low=64)
    hop: int = setting(160, "samples between windows", low=32)
    mels: int = setting(64, "mel bands", low=8, high=256)
    frames: int = setting(96, "log-mel frames kept from the start of the sound", low=1)
    block: int = setting(8, "frames in one token; divides frames", low=1)
    feature_rows: int = setting(80, "vectors per sound, with source=features", low=1)
    feature_dim: int = setting(751, "numbers per vector, with source=features", low=1)


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What the model sees of a listing; the part that changes stored records is in the preprocessing digest."""

    modalities: tuple[str, ...] = setting(
        modalities.NAMES,
        "modalities in use",
        choices=modalities.NAMES,
    )
    image: ImageInput = section(ImageInput)
    text: TextInput = section(TextInput)
    table: TableInput = section(TableInput)
    video: VideoInput = section(VideoInput)
    audio: AudioInput = section(AudioInput)
    mask_rate: float = setting(0.15, "share of tokens the masked objectives select", low=0.0, high=0.9)
    drop_modality: float = setting(
        0.0, "chance that training hides a present modality (one always stays)", low=0.0, high=0.9
    )


_TRAINING_ONLY = {"crop", "flip", "shuffle", "mask_rate", "drop_modality"}
_MODEL_ONLY = {"patch", "tubelet", "block", "length"}


def recorded(inputs: Inputs) -> dict[str, Any]:
    """The part of the inputs that decides what a prepared record holds."""
    return _without(_in_use(inputs), _TRAINING_ONLY | _MODEL_ONLY)


def preprocessing(inputs: Inputs) -> dict[str, Any]:
    """The part of the inputs that a trained model must meet again: all but what only training draws."""
    return _without(_in_use(inputs), _TRAINING_ONLY)


def _in_use(inputs: Inputs) -> dict[str, Any]:
    values = settings.to_dict(inputs)
    unused = set(modalities.NAMES) - set(inputs.modalities)
    return {name: value for name, value in values.items() if name not in unused}


def _without(values: dict[str, Any], names: set[str]) -> dict[str, Any]:
    kept = {name: value for name, value in values.items() if name not in names}
    return {name: _without(value, names) if isinstance(value, dict) else value for name, value in kept.items()}
