"""One record to the arrays of one listing: fixed shapes, right-padded, absent = mask all false.

A listing becomes, for every modality in use (L, K, grid: `token_spec.TokenSpec`):

* kind tokens: ``{"ids": int32 [L], "mask": bool [L]}``;
* kind grid: ``{"values": uint8 or float16 [*grid], "mask": bool [L]}``;

and in training ``"masked": {"positions": int32 [K], "valid": bool [K]}``, with ``"targets": int32 [K]`` for kind
tokens, whose ids are already corrupted. Besides, ``"valid": bool`` is false for a record that could not be read.
"""

import dataclasses
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

    @property
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
        """Leaves out each present modality with chance `drop_modality`, but never all of them."""
        kept = {name for name in sorted(present) if rng.random() >= self.inputs.drop_modality}
        return kept or present

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
        rows = self._rows(spec.name, spec, record, rng)
        values = np.zeros(spec.grid, spec.dtype)
        count = 0 if rows is None else min(len(rows), spec.grid[0])
        if rows is not None:
            values[:count] = rows[:count].reshape(-1, *spec.grid[1:])
        present = spec.present_tokens(count)
        arrays = {"values": values, "mask": np.arange(spec.length) < present}
        if rng is not None:
            arrays["masked"] = masking.select(rng, np.arange(present), self.inputs.mask_rate, spec.masked)
        return arrays

    def _rows(self, name: str, spec: TokenSpec, record: Record, rng: np.random.Generator | None) -> np.ndarray | None:
        if record is DAMAGED:
            return None
        payload = getattr(record, name)
        if isinstance(payload, np.ndarray):
            return payload
        pixels = media.decode_jpeg(payload)
        if name == "video":
            return pixels.reshape(-1, *spec.grid[1:])
        return _crop(pixels, spec.grid[0], self.inputs.image.crop, self.inputs.image.flip, rng)


def _crop(pixels: np.ndarray, size: int, keep: float, flip: bool, rng: np.random.Generator | None) -> np.ndarray:
    """The picture at `size`; in training a random part of at least `keep` of its area, mirrored by a coin."""
    height, width = pixels.shape[:2]
    box = (0.0, 0.0, float(width), float(height))
    mirrored = False
    if rng is not None:
        area, ratio = rng.uniform(keep, 1.0), np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3))) if keep < 1 else 1.0
        w, h = min(1.0, np.sqrt(area * ratio)) * width, min(1.0, np.sqrt(area / ratio)) * height
        left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
        box, mirrored = (left, top, left + w, top + h), flip and rng.random() < 0.5
    resized = np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR, box=box))
    return resized[:, ::-1] if mirrored else resized
