"""One record to the arrays of one listing: fixed shapes, right-padded, absent = mask all false.

A listing becomes, for every modality in use (L, K, grid: `token_spec.TokenSpec`):

* kind tokens: ``{"ids": int32 [L], "mask": bool [L]}``;
* kind grid: ``{"values": uint8 or float16 [*grid], "mask": bool [L]}``, and for regions with boxes ``"boxes": float16
  [L, 5]``: x1, y1, x2, y2 and area as shares of the picture, zeros where there is no region;

and in training ``"masked": {"positions": int32 [K], "valid": bool [K]}``, with ``"targets": int32 [K]`` for kind
tokens, whose ids are already corrupted. Besides, ``"valid": bool`` is false for a record that could not be read.
"""

import dataclasses
import functools
from typing import Any

import numpy as np
from PIL import Image

from m5jax.data import masking, media, tokenizer
from m5jax.data.records import DAMAGED, Record
from m5jax.inputs import Inputs
from m5jax.modalities import State
from m5jax.token_spec import TokenSpec, token_specs

Arrays = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Transform:
    """Turns records into arrays; travels to worker processes."""

    inputs: Inputs
    tokenizer: tokenizer.Tokenizer

    @functools.cached_property
    def specs(self) -> dict[str, TokenSpec]:
        """The shape of every modality in use."""
        return token_specs(self.inputs)

    def evaluation(self, record: Record) -> Arrays:
        """The arrays of a record as it is."""
        return self._arrays(record, None)

    def training(self, record: Record, rng: np.random.Generator) -> Arrays:
        """The arrays of a record with random crop, hidden modalities and masked tokens, all drawn from `rng`."""
        return self._arrays(record, rng)

    def _arrays(self, record: Record, rng: np.random.Generator | None) -> Arrays:
        seen = {name for name in self.inputs.modalities if record.state(name) == State.PRESENT}
        if rng is not None:
            seen = self._hide(seen, rng)
        arrays: Arrays = {"valid": np.asarray(record.id != DAMAGED.id)}
        for name, spec in self.specs.items():
            shown = record if name in seen else DAMAGED
            arrays[name] = (self._text if spec.kind == "tokens" else self._grid)(spec, shown, rng)
        return arrays

    def _hide(self, present: set[str], rng: np.random.Generator) -> set[str]:
        """Leaves out each present modality with chance `drop_modality`; of those that all would go, any one stays."""
        draws = {name: rng.random() for name in sorted(present)}
        kept = {name for name, draw in draws.items() if draw >= self.inputs.drop_modality}
        return kept or set(sorted(draws, key=draws.__getitem__)[-1:])

    def _text(self, spec: TokenSpec, record: Record, rng: np.random.Generator | None) -> Arrays:
        """Title and description, or the table, as ids; its masking works on pieces, or on whole names and values."""
        if spec.name == "text":
            pieces = [part for part in (record.title, record.description) if part]
            parts = [[tokenizer.CLS], *([*self.tokenizer.encode(piece), tokenizer.SEP] for piece in pieces)]
        else:
            fields = list(record.fields)
            if rng is not None and self.inputs.table.shuffle:
                fields = [fields[i] for i in rng.permutation(len(fields))]
            parts = [[tokenizer.CLS]]
            for name, value in fields:
                parts += [
                    [tokenizer.NAME, *self.tokenizer.encode(name)],
                    [tokenizer.VALUE, *self.tokenizer.encode(value)],
                ]
            parts += [[tokenizer.SEP]] if fields else []
        ids, mask = self._padded(parts, spec.length)
        if rng is None:
            return {"ids": ids, "mask": mask}
        rate, capacity = self.inputs.mask_rate, spec.masked
        if spec.name == "text":
            pieces_at = np.flatnonzero(mask & (ids > tokenizer.VALUE))
            ids, masked = masking.mask_language(rng, ids, pieces_at, rate, capacity, self.tokenizer.size)
        else:
            ids, masked = masking.mask_entities(rng, ids, self._entities(parts, spec.length), rate, capacity)
        return {"ids": ids, "mask": mask, "masked": masked}

    @staticmethod
    def _padded(parts: list[list[int]], length: int) -> tuple[np.ndarray, np.ndarray]:
        """Parts in a row, cut so that the closing SEP stays; a lone CLS is nothing, so absent."""
        flat = [token for part in parts for token in part]
        flat = flat if len(flat) <= length else [*flat[: length - 1], tokenizer.SEP]
        count = len(flat) if len(flat) > 1 else 0
        ids = np.full(length, tokenizer.PAD, np.int32)
        ids[:count] = flat[:count]
        return ids, np.arange(length) < count

    @staticmethod
    def _entities(parts: list[list[int]], length: int) -> list[np.ndarray]:
        """Positions of every name and value, without the markers before them, as far as they were not cut."""
        ends = np.cumsum([len(part) for part in parts])
        spans = [np.arange(end - len(part) + 1, end) for part, end in zip(parts[1:-1], ends[1:-1], strict=True)]
        pairs = [pair for pair in zip(spans[::2], spans[1::2], strict=True) if all(len(part) for part in pair)]
        return [part for pair in pairs if max(map(max, pair)) < length - 1 for part in pair]

    def _grid(self, spec: TokenSpec, record: Record, rng: np.random.Generator | None) -> Arrays:
        """Pixels, log-mel frames or features in the leading rows of the grid, zeros behind."""
        rows = self._rows(spec, record, rng)
        values = np.zeros(spec.grid, spec.dtype)
        count = min(len(rows), spec.grid[0])
        values[:count] = rows[:count, ..., : spec.grid[-1]]
        present = spec.present_tokens(count)
        arrays = {"values": values, "mask": np.arange(spec.length) < present}
        if spec.geometry:
            arrays["boxes"] = np.zeros((spec.length, spec.geometry), spec.dtype)
            arrays["boxes"][:count] = rows[:count, spec.grid[-1] :]
        if rng is not None:
            arrays["masked"] = masking.select(rng, np.arange(present), self.inputs.mask_rate, spec.masked)
        return arrays

    def _rows(self, spec: TokenSpec, record: Record, rng: np.random.Generator | None) -> np.ndarray:
        """As many rows of the grid as the record has: [n, *grid[1:]], n = 0 where there is nothing.

        Regions with boxes have them in columns of their own behind the vector: [n, dim + 5].
        """
        payload, row = getattr(record, spec.name), (*spec.grid[1:-1], spec.grid[-1] + spec.geometry)
        if not len(payload):
            return np.zeros((0, *row), spec.dtype)
        if isinstance(payload, np.ndarray):
            return payload.reshape(-1, *row)
        pixels = media.decode_jpeg(payload)
        if spec.name == "video":
            return pixels.reshape(-1, *spec.grid[1:])
        return _crop(pixels, spec.grid[0], self.inputs.image.crop, self.inputs.image.flip, rng)


def _crop(pixels: np.ndarray, size: int, keep: float, flip: bool, rng: np.random.Generator | None) -> np.ndarray:
    """The picture at `size`, uint8 [size, size, 3]; in training a random part of it, mirrored by a coin.

    The part is that of Inception (Szegedy et al., arXiv:1409.4842, section 6), with at least `keep` of the area and
    sides of 3:4 to 4:3, or as far from a square as fits.
    """
    height, width = pixels.shape[:2]
    box = (0.0, 0.0, float(width), float(height))
    mirrored = False
    if rng is not None:
        area = rng.uniform(keep, 1.0)
        stretch = np.log(min(4 / 3, 1 / area))
        ratio = np.exp(rng.uniform(-stretch, stretch))
        w, h = min(1.0, np.sqrt(area * ratio)) * width, min(1.0, np.sqrt(area / ratio)) * height
        left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
        box, mirrored = (left, top, left + w, top + h), flip and rng.random() < 0.5
    resized = np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR, box=box))
    return resized[:, ::-1] if mirrored else resized
