"""One record to the arrays of one listing: fixed shapes, right-padded, absent = mask all false.

A listing becomes, for every modality in use (L, K, grid: `token_spec.TokenSpec`):

* kind tokens: ``{"ids": int32 [L], "mask": bool [L]}``;
* kind grid: ``{"values": uint8 or float16 [*grid], "mask": bool [L]}``, and for regions with boxes ``"boxes": float16
  [L, 5]``: x1, y1, x2, y2 and area as shares of the picture, zeros where there is no region;

and in training ``"masked": {"positions": int32 [K], "valid": bool [K]}``, with ``"targets": int32 [K]`` for kind
tokens, whose ids are already corrupted, and ``"hidden": bool [K]`` for kind grid: the valid ones that the model is
not to see. Besides, ``"valid": bool`` is false for a record that could not be read.
Training a classifier, ``"label": int32`` is the class of the listing's category, -1 if it has none.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from m5jax.data import masking, media
from m5jax.data.records import DAMAGED, Record
from m5jax.data.tokenizer import Tokenizer
from m5jax.inputs import Inputs
from m5jax.modalities import NAMES, State
from m5jax.token_spec import TokenSpec, token_specs

Arrays = dict[str, Any]
UNLABELLED = -1


@dataclasses.dataclass(frozen=True)
class Transform:
    """Turns records into arrays; travels to worker processes.

    Attributes:
      inputs: what the model sees of a listing.
      tokenizer: of the catalogue.
      classes: the class of every category path, to train a classifier; None: batches hold no labels.
    """

    inputs: Inputs
    tokenizer: Tokenizer
    classes: Mapping[str, int] | None = None

    @functools.cached_property
    def specs(self) -> dict[str, TokenSpec]:
        """The shape of every modality in use."""
        return token_specs(self.inputs)

    def evaluation(self, record: Record) -> Arrays:
        """The arrays of a record as it is."""
        return self._arrays(record, None)

    def training(self, record: Record, rng: np.random.Generator) -> Arrays:
        """The arrays of a record with random crop, hidden modalities and masked tokens, all drawn from `rng`."""
        arrays = self._arrays(record, rng)
        if self.classes is not None:
            arrays["label"] = np.asarray(self.classes.get(record.category_path, UNLABELLED), np.int32)
        return arrays

    def tokens(self, name: str, record: Record) -> int:
        """How many ids a title or a table has before it is cut to its budget; 0 where there is none."""
        parts = self._serialised(name, record, None)
        return sum(map(len, parts)) if len(parts) > 1 else 0

    def _arrays(self, record: Record, rng: np.random.Generator | None) -> Arrays:
        present = {name for name in NAMES if record.state(name) == State.PRESENT}
        seen = {name for name in self.inputs.modalities if present.intersection(self._of(name))}
        if rng is not None:
            seen = self._hide(seen, rng)
        arrays: Arrays = {"valid": np.asarray(record.id != DAMAGED.id)}
        # As released: what is missing is content all the same. A record that cannot be read is nothing in any case.
        filled = self.inputs.missing == "zeros" and bool(arrays["valid"])
        for name, spec in self.specs.items():
            shown = record if name in seen else DAMAGED
            arrays[name] = (self._text if spec.kind == "tokens" else self._grid)(spec, shown, rng, filled)
        return arrays

    def _of(self, name: str) -> tuple[str, ...]:
        """The modalities of the record that a sequence shows: with `text.with_table` the title's shows two."""
        return ("text", "table") if name == "text" and self.inputs.text.with_table else (name,)

    def _hide(self, present: set[str], rng: np.random.Generator) -> set[str]:
        """Leaves out each present modality with chance `drop_modality`; of those that all would go, any one stays."""
        draws = {name: rng.random() for name in sorted(present)}
        kept = {name for name, draw in draws.items() if draw >= self.inputs.drop_modality}
        return kept or set(sorted(draws, key=draws.__getitem__)[-1:])

    def _text(self, spec: TokenSpec, record: Record, rng: np.random.Generator | None, filled: bool) -> Arrays:
        """Title and description, or the table, as ids; its masking works on pieces, or on whole names and values.

        Where there is nothing, nothing; if `filled`, CLS and SEP.
        """
        parts = self._serialised(spec.name, record, rng)
        parts += [[self.tokenizer.special.sep]] if filled and len(parts) == 1 else []
        ids, mask = self._padded(parts, spec.length)
        if rng is None:
            return {"ids": ids, "mask": mask}
        rate, capacity = self.inputs.mask_rate, spec.masked
        if spec.name == "text" or self.inputs.table.masking == "token":
            ids, masked = masking.mask_language(rng, ids, rate, capacity, self.tokenizer)
        else:
            entities = self._entities(parts, spec.length)
            ids, masked = masking.mask_entities(rng, ids, entities, rate, capacity, self.tokenizer)
        return {"ids": ids, "mask": mask, "masked": masked}

    def _serialised(self, name: str, record: Record, rng: np.random.Generator | None) -> list[list[int]]:
        """What the record says as ids: the one order and the one set of separators for training and for export.

        CLS, then title SEP description SEP, or NAME name VALUE value ... SEP with each name and value a part of its
        own; what is not there leaves nothing, not even its separator.
        """
        special = self.tokenizer.special
        parts = [[special.cls]]
        if name == "text":
            pieces = [part for part in (record.title, record.description) if part]
            parts += [[*self.tokenizer.encode(piece), special.sep] for piece in pieces]
        if "table" in self._of(name):
            parts += self._fields(record, rng)
        return parts

    def _fields(self, record: Record, rng: np.random.Generator | None) -> list[list[int]]:
        """Every name and value of the table as ids behind its marker, and what closes the table; nothing of none."""
        fields = list(record.fields)
        if rng is not None and self.inputs.table.shuffle:
            fields = [fields[i] for i in rng.permutation(len(fields))]
        special = self.tokenizer.special
        before = ([special.name], [special.value]) if self.inputs.table.markers else ([], [])
        parts = []
        for name, value in fields:
            parts += [[*before[0], *self.tokenizer.encode(name)], [*before[1], *self.tokenizer.encode(value)]]
        return [*parts, [special.sep]] if fields else []

    def _padded(self, parts: list[list[int]], length: int) -> tuple[np.ndarray, np.ndarray]:
        """Parts in a row; too long, they are cut behind a piece and closed by a SEP. A lone CLS is nothing: absent."""
        special = self.tokenizer.special
        flat = [token for part in parts for token in part]
        if len(flat) > length:
            flat = flat[: length - 1]
            while flat[-1] in (special.name, special.value, special.sep):  # they announce or close what is cut off
                flat.pop()
            flat.append(special.sep)
        count = len(flat) if len(flat) > 1 else 0
        ids = np.full(length, special.pad, np.int32)
        ids[:count] = flat[:count]
        return ids, np.arange(length) < count

    def _entities(self, parts: list[list[int]], length: int) -> list[np.ndarray]:
        """Positions of every name and value, without the markers before them, as far as they were not cut."""
        marked = int(self.inputs.table.markers)
        ends = np.cumsum([len(part) for part in parts])
        spans = [np.arange(end - len(part) + marked, end) for part, end in zip(parts[1:-1], ends[1:-1], strict=True)]
        pairs = [pair for pair in zip(spans[::2], spans[1::2], strict=True) if all(len(part) for part in pair)]
        return [part for pair in pairs if max(map(max, pair)) < length - 1 for part in pair]

    def _grid(self, spec: TokenSpec, record: Record, rng: np.random.Generator | None, filled: bool) -> Arrays:
        """Pixels, log-mel frames or features in the leading rows of the grid, zeros behind.

        Where there is nothing, nothing; if `filled`, a whole grid of zeros.
        """
        rows = self._rows(spec, record, rng)
        values = np.zeros(spec.grid, spec.dtype)
        count = min(len(rows), spec.grid[0])
        values[:count] = rows[:count, ..., : spec.grid[-1]]
        present = spec.length if filled and not count else spec.present_tokens(count)
        arrays = {"values": values, "mask": np.arange(spec.length) < present}
        if spec.geometry:
            arrays["boxes"] = np.zeros((spec.length, spec.geometry), spec.dtype)
            arrays["boxes"][:count] = rows[:count, spec.grid[-1] :]
        if rng is not None:
            kept = masking.KEPT if spec.name == "image" else 0.0
            rate, capacity = self.inputs.mask_rate, spec.masked
            arrays["masked"] = masking.mask_blocks(rng, np.arange(present), rate, capacity, kept)
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
