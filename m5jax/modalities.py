"""THE table of the five modalities. Adding a sixth is one row here and one section of `config.Inputs`.

A modality reaches the model as one of two kinds of sequence:

* ``tokens``: ids of a vocabulary (text, table);
* ``grid``: a numeric array ``[rows, ..., channels]`` cut into equal blocks, one token a block. A picture is
  a grid of pixels cut into square patches, a clip a grid of pixels cut into tubelets, a sound a grid of
  log-mel frames cut into groups of frames, and pre-extracted features are a grid of vectors cut one by one.
  Raw media and features therefore share one code path from the record to the loss.

This file knows neither jax nor any file format.
"""

import dataclasses
import enum
import math
from typing import Literal

from m5jax.config import Inputs

TEXT_KIND, GRID_KIND = "tokens", "grid"


class State(enum.IntEnum):
    """What a listing has of a modality. Only PRESENT enters attention and losses; all four are counted."""

    ABSENT = 0  # not in the catalogue
    PRESENT = 1
    EMPTY = 2  # there, but with nothing in it: a blank title, a file of zero bytes
    CORRUPT = 3  # there, but could not be decoded


@dataclasses.dataclass(frozen=True)
class Modality:
    """One row of the table.

    Attributes:
      name: the modality's name everywhere: config, records, batches, parameters, scores.
      kind: "tokens" or "grid".
      field: the key of a catalogue row that holds it (docs/data.md).
      objective: the masked objective of SCALE for it (paper, section 3.3).
      shown_as: how a person sees it in reports.
    """

    name: str
    kind: Literal["tokens", "grid"]
    field: str
    objective: str
    shown_as: str


TABLE = {
    row.name: row
    for row in (
        Modality("image", GRID_KIND, "images", "masked_region", "picture"),
        Modality("text", TEXT_KIND, "title", "masked_language", "title and description"),
        Modality("table", TEXT_KIND, "attributes", "masked_entity", "names and values"),
        Modality("video", GRID_KIND, "videos", "masked_frame", "film strip"),
        Modality("audio", GRID_KIND, "audios", "masked_audio", "spectrogram"),
    )
}
NAMES = tuple(TABLE)


@dataclasses.dataclass(frozen=True)
class TokenSpec:
    """The static shape of one modality in a batch.

    Attributes:
      name: the modality.
      kind: "tokens" or "grid".
      length: L, tokens per listing; for kind "tokens" with its special tokens.
      masked: K, the most tokens of a listing that a masked objective may select.
      grid: ``(rows, ..., channels)`` of the array in a batch; empty for kind "tokens".
      block: size of one token along each axis of `grid` but the last.
      dtype: numpy name of the array's dtype in a batch.
    """

    name: str
    kind: Literal["tokens", "grid"]
    length: int
    masked: int
    grid: tuple[int, ...] = ()
    block: tuple[int, ...] = ()
    dtype: str = "int32"

    @property
    def dim(self) -> int:
        """Numbers in one token of a grid."""
        return math.prod(self.block) * self.grid[-1]

    @property
    def tokens_per_row(self) -> int:
        """Tokens that one block of leading rows yields: what a shorter clip or sound is counted in."""
        return math.prod(n // b for n, b in zip(self.grid[1:-1], self.block[1:], strict=True))

    def present_tokens(self, rows: int) -> int:
        """How many leading tokens `rows` filled rows of the grid make present; a part block counts."""
        return min(self.length, -(-rows // self.block[0]) * self.tokens_per_row)


def _grid_spec(name: str, grid: tuple[int, ...], block: tuple[int, ...], dtype: str, rate: float) -> TokenSpec:
    length = math.prod(n // b for n, b in zip(grid[:-1], block, strict=True))
    return TokenSpec(name, GRID_KIND, length, _capacity(length, rate), grid, block, dtype)


def _capacity(length: int, rate: float) -> int:
    return max(1, round(length * rate))


def token_specs(inputs: Inputs) -> dict[str, TokenSpec]:
    """The shape of every modality in use, in the order of `NAMES`."""
    rate, specs = inputs.mask_rate, {}
    for name in (name for name in NAMES if name in inputs.modalities):
        if TABLE[name].kind == TEXT_KIND:
            length = getattr(inputs, name).length
            # Whole entities are masked in a table: room for one longer than the average share.
            specs[name] = TokenSpec(name, TEXT_KIND, length, _capacity(length, rate) + (name == "table") * 4)
            continue
        media = getattr(inputs, name)
        if media.source == "features":
            specs[name] = _grid_spec(name, (media.feature_rows, media.feature_dim), (1,), "float16", rate)
        elif name == "image":
            specs[name] = _grid_spec(name, (media.size, media.size, 3), (media.patch, media.patch), "uint8", rate)
        elif name == "video":
            grid = (media.frames, media.size, media.size, 3)
            specs[name] = _grid_spec(name, grid, (media.tubelet, media.patch, media.patch), "uint8", rate)
        else:
            specs[name] = _grid_spec(name, (media.frames, media.mels, 1), (media.block, media.mels), "float16", rate)
    return specs
