"""One record to the arrays of one listing: fixed shapes, right-padded, absent = mask all false.

A listing becomes, for every modality in use (L, K, grid: `token_spec.TokenSpec`):

* kind tokens: ``{"ids": int32 [L], "mask": bool [L]}``;
* kind grid: ``{"values": [*grid], "mask": bool [L]}``, uint8 pixels, float16 frames, or features as they are stored;
  for int8 features ``"scale": float32 [L]``, which their rows are to be multiplied by; and for regions with boxes
  ``"boxes": float16 [L, 5]``: x1, y1, x2, y2 and area as shares of the picture. All are zeros where there is nothing;

and in training ``"masked": {"positions": int32 [K], "valid": bool [K]}``, with ``"targets": int32 [K]`` for kind
tokens, whose ids are already corrupted, and ``"hidden": bool [K]`` for kind grid: the valid ones that the model is
not to see. Besides, ``"valid": bool`` is false for a record that could not be read.
Training a classifier, ``"label": int32`` is the listing's class, -1 if it has none.
"""

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np
from PIL import Image

from m5jax import media
from m5jax.data import batching, feature_rows, masking, pieces
from m5jax.data.batching import Arrays
from m5jax.data.records import DAMAGED, Record
from m5jax.data.tokenizer import Tokenizer
from m5jax.inputs import Inputs
from m5jax.modalities import NAMES, State
from m5jax.token_spec import TokenSpec, token_specs

UNLABELLED = -1
GREY = np.asarray([0.299, 0.587, 0.114], np.float32)  # what red, green and blue give to lightness


@dataclasses.dataclass(frozen=True)
class Classes:
    """What a classifier tells apart: `what` of a listing, "category" or "product", and the class of each by name."""

    what: str
    numbers: Mapping[str, int]

    def label(self, record: Record) -> int:
        """The class of a record, `UNLABELLED` if it has none."""
        return self.numbers.get(record.instance_id if self.what == "product" else record.category_path, UNLABELLED)


@dataclasses.dataclass(frozen=True)
class Transform:
    """Turns records into arrays; travels to worker processes.

    Attributes:
      inputs: what the model sees of a listing.
      tokenizer: of the catalogue.
      classes: to train a classifier; None: batches hold no labels.
    """

    inputs: Inputs
    tokenizer: Tokenizer
    classes: Classes | None = None

    @functools.cached_property
    def specs(self) -> dict[str, TokenSpec]:
        """The shape of every modality in use."""
        return token_specs(self.inputs)

    @functools.cached_property
    def _nothing(self) -> dict[str, dict[str, np.ndarray]]:
        """What `_rows` gives of a grid that is not there."""
        nothing = {}
        for name, spec in self.specs.items():
            if spec.kind == "grid" and getattr(self.inputs, name).source == "features":
                rows = np.zeros(0, feature_rows.dtype(spec.dtype, spec.dim, spec.geometry))
                nothing[name] = feature_rows.fields(rows, spec.dim)
            elif spec.kind == "grid":
                nothing[name] = {"values": np.zeros((0, *spec.grid[1:]), spec.dtype)}
        return nothing

    @functools.cached_property
    def batch(self) -> batching.Batch:
        """Drafts to a batch: arrays as of one listing, with a leading batch axis."""
        return batching.Batch(self.specs)

    def evaluation(self, record: Record) -> Arrays:
        """The arrays of a record as it is."""
        return batching.alone(self.draft(record), self.batch)

    def training(self, record: Record, rng: np.random.Generator) -> Arrays:
        """The arrays of a record with random crop, hidden modalities and masked tokens, all drawn from `rng`."""
        return batching.alone(self.draft(record, rng), self.batch)

    def draft(self, record: Record, rng: np.random.Generator | None = None) -> Arrays:
        """What `batch` takes of a record: for training with `rng`, otherwise as it is."""
        arrays = self._arrays(record, rng)
        if rng is not None and self.classes is not None:
            arrays["label"] = np.asarray(self.classes.label(record), np.int32)
        return arrays

    def tokens(self, name: str, record: Record) -> int:
        """How many ids a title or a table has before it is cut to its budget; 0 where there is none."""
        parts = self._serialised(name, record, None)
        return sum(map(len, parts)) if len(parts) > 1 else 0

    def _arrays(self, record: Record, rng: np.random.Generator | None) -> Arrays:
        present = {name for name, state in zip(NAMES, record.states, strict=True) if state == State.PRESENT}
        seen = {name for name in self.inputs.modalities if present.intersection(self._of(name))}
        if rng is not None and self.inputs.drop_modality:
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
            texts = zip((record.title, record.description), pieces.of_text(record, self.tokenizer), strict=True)
            parts += [[*ids, special.sep] for text, ids in texts if text]
        if "table" in self._of(name):
            parts += self._fields(record, rng)
        return parts

    def _fields(self, record: Record, rng: np.random.Generator | None) -> list[list[int]]:
        """Every name and value of the table as ids behind its marker, and what closes the table; nothing of none."""
        fields = pieces.of_table(record, self.tokenizer)
        if rng is not None and self.inputs.table.shuffle:
            fields = [fields[i] for i in rng.permutation(len(fields))]
        special = self.tokenizer.special
        before = ([special.name], [special.value]) if self.inputs.table.markers else ([], [])
        parts = []
        for name, value in fields:
            parts += [[*before[0], *name], [*before[1], *value]]
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
        ids = np.empty(length, np.int32)
        ids.fill(special.pad)
        ids[:count] = flat[:count]
        return ids, masking.leading(count, length)

    def _entities(self, parts: list[list[int]], length: int) -> list[range]:
        """Positions of every name and value, without the markers before them, as far as they were not cut."""
        end, spans, marked = len(parts[0]), [], int(self.inputs.table.markers)
        for part in parts[1:-1]:
            spans.append(range(end + marked, end + len(part)))
            end += len(part)
        pairs = zip(spans[::2], spans[1::2], strict=True)
        return [span for name, value in pairs if name and value and value.stop < length for span in (name, value)]

    def _grid(self, spec: TokenSpec, record: Record, rng: np.random.Generator | None, filled: bool) -> Arrays:
        """Pixels, log-mel frames or features, as many leading rows of the grid as there are.

        Where there is nothing, nothing; if `filled`, `batch` makes it a whole grid of zeros.
        """
        arrays: Arrays = dict(self._rows(spec, record, rng))
        count = len(arrays["values"])
        present = spec.length if filled and not count else spec.present_tokens(count)
        arrays["mask"] = masking.leading(present, spec.length)
        if rng is not None:
            kept = masking.KEPT if spec.name == "image" else 0.0
            rate, capacity = self.inputs.mask_rate, spec.masked
            arrays["masked"] = masking.mask_blocks(rng, np.arange(present), rate, capacity, kept)
        return arrays

    def _rows(self, spec: TokenSpec, record: Record, rng: np.random.Generator | None) -> dict[str, np.ndarray]:
        """What a grid has of the record, `batching.ROWS`: [n, ...], n at most its rows and 0 where there is nothing."""
        payload = getattr(record, spec.name)
        if not len(payload):
            return self._nothing[spec.name]
        if isinstance(payload, bytes):
            pixels = media.decode_jpeg(payload)
            if spec.name == "image":
                image = self.inputs.image
                cropped = _crop(pixels, spec.grid[0], image.crop, image.flip, rng)
                return {"values": _jittered(cropped, image.jitter, rng) if rng is not None else cropped}
            payload = pixels
        elif getattr(self.inputs, spec.name).source == "features":
            return feature_rows.fields(payload[: spec.grid[0]], spec.dim)
        return {"values": payload.reshape(-1, *spec.grid[1:])[: spec.grid[0]]}


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


def _jittered(pixels: np.ndarray, most: float, rng: np.random.Generator) -> np.ndarray:
    """The picture in another light: uint8 [H, W, 3], its brightness, contrast and saturation each times 1 ± `most`.

    As Howard, Some Improvements on Deep Convolutional Neural Network Based Image Classification, arXiv:1312.5402,
    section 2.2; one order for all, and the grey of ITU-R BT.601.
    """
    if not most:
        return pixels
    brightness, contrast, saturation = rng.uniform(1 - most, 1 + most, 3).astype(np.float32)
    lit = pixels.astype(np.float32) * brightness
    mean = (lit @ GREY).mean()
    lit = mean + (lit - mean) * contrast
    grey = (lit @ GREY)[..., None]
    return np.clip(grey + (lit - grey) * saturation, 0, 255).round().astype(np.uint8)
