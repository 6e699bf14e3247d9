"""The static shape of every modality in a batch, from the settings `config.inputs`."""

import dataclasses
import functools
import math
from typing import Literal

from m5jax.inputs import Inputs
from m5jax.modalities import GRID_KIND, NAMES, TABLE, TEXT_KIND


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
      dtype: numpy name of the array's dtype in a batch; int8 comes with a scale a row.
      geometry: numbers that say where a token lies, beside its values: 5 for regions with boxes, otherwise 0.
      classes: shares of a detector's classes that a token has beside its values; otherwise 0.
      triples: names and values of a table that are told apart as triples, at most; 0 = none.
      asked: of these, hidden and asked for in training.
      asked_length: tokens of an asked name, and of its value.
    """

    name: str
    kind: Literal["tokens", "grid"]
    length: int
    masked: int
    grid: tuple[int, ...] = ()
    block: tuple[int, ...] = ()
    dtype: str = "int32"
    geometry: int = 0
    classes: int = 0
    triples: int = 0
    asked: int = 0
    asked_length: int = 0

    @functools.cached_property
    def dim(self) -> int:
        """Numbers in one token of a grid."""
        return math.prod(self.block) * self.grid[-1]

    @property
    def sequence(self) -> int:
        """Tokens inside the model: a grid has its mean block in front."""
        return self.length + (self.kind == GRID_KIND)

    @functools.cached_property
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
            if name == "table" and inputs.table.triples:
                graph = {key: getattr(inputs.table, key) for key in ("triples", "asked", "asked_length")}
                specs[name] = dataclasses.replace(specs[name], **graph)
            continue
        media = getattr(inputs, name)
        if media.source == "features":
            spec = _grid_spec(name, (media.feature_rows, media.feature_dim), (1,), media.stored, rate)
            specs[name] = spec
            if name == "image":
                specs[name] = dataclasses.replace(spec, geometry=media.geometry, classes=media.classes)
        elif name == "image":
            specs[name] = _grid_spec(name, (media.size, media.size, 3), (media.patch, media.patch), "uint8", rate)
        elif name == "video":
            grid = (media.frames, media.size, media.size, 3)
            specs[name] = _grid_spec(name, grid, (media.tubelet, media.patch, media.patch), "uint8", rate)
        else:
            grid, block = (media.frames, media.frame_dim, 1), (media.block, media.frame_dim)
            specs[name] = _grid_spec(name, grid, block, "float16", rate)
    return specs
