"""One record to the arrays of one listing: fixed shapes, right-padded, absent = mask all false.

A listing becomes, for every modality in use (L, K, grid: `token_spec.TokenSpec`):

* kind tokens: ``{"ids": int32 [L], "mask": bool [L]}``; a table that is a graph (`inputs.table.triples`) is whole
  triples with ``"spans": int32 [L]``: 2k + 1 for a piece of the k-th triple's property, 2k + 2 for one of its value,
  0 for special ones; and in training ``"asked"``, the triples that were taken out of it (`triples.arrays`);
* kind grid: ``{"values": [*grid], "mask": bool [L]}``, uint8 pixels, float16 frames, or features as they are stored;
  for int8 features ``"scale": float32 [L]``, which their rows are to be multiplied by; and for regions with boxes
  ``"boxes": float16 [L, 5]``: x1, y1, x2, y2 and area as shares of the picture, ``"classes": float16 [L, C]`` for
  those of which a detector says what they show. All are zeros where there is nothing;

and in training ``"masked": {"positions": int32 [K], "valid": bool [K]}``, with ``"targets": int32 [K]`` for kind
tokens, whose ids are already corrupted, and ``"hidden": bool [K]`` for kind grid: the valid ones that the model is
not to see. Besides, ``"valid": bool`` is false for a record that could not be read.
Training a classifier, ``"label": int32`` is the listing's class, -1 if it has none. Training to match
(`inputs.mismatch`), ``"mismatched": bool`` is true where the picture is that of the next listing of the stream.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image

from m5jax import media
from m5jax.data import batching, feature_rows, masking
from m5jax.data.batching import Arrays
from m5jax.data.records import DAMAGED, Record
from m5jax.data.sequences import Sequences
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
      told: the modalities that have a masked objective: with `inputs.mask_one`, one of them is masked.
    """

    inputs: Inputs
    tokenizer: Tokenizer
    classes: Classes | None = None
    told: tuple[str, ...] = NAMES

    @functools.cached_property
    def specs(self) -> dict[str, TokenSpec]:
        """The shape of every modality in use."""
        return token_specs(self.inputs)

    @functools.cached_property
    def sequences(self) -> Sequences:
        """How text becomes ids."""
        return Sequences(self.inputs, self.tokenizer)

    @functools.cached_property
    def _nothing(self) -> dict[str, dict[str, np.ndarray]]:
        """What `_rows` gives of a grid that is not there."""
        nothing = {}
        for name, spec in self.specs.items():
            if spec.kind == "grid" and getattr(self.inputs, name).source == "features":
                rows = np.zeros(0, feature_rows.dtype(spec.dtype, spec.dim, spec.geometry, spec.classes))
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

    def draft_beside(self, place: tuple[Record, Callable[[], Record]], rng: np.random.Generator) -> Arrays:
        """For training, what `batch` takes of a record whose picture may be that of the one behind it, read if so."""
        record, beside = place
        return self.draft(record, rng, beside)

    def draft(
        self,
        record: Record,
        rng: np.random.Generator | None = None,
        beside: Callable[[], Record] | None = None,
    ) -> Arrays:
        """What `batch` takes of a record: for training with `rng`, otherwise as it is."""
        arrays = self._arrays(record, rng, beside)
        if rng is not None and self.classes is not None:
            arrays["label"] = np.asarray(self.classes.label(record), np.int32)
        return arrays

    def tokens(self, name: str, record: Record) -> int:
        """How many ids a title or a table has before it is cut to its budget; 0 where there is none."""
        parts = self.sequences.parts(name, record, None)
        return sum(map(len, parts)) if len(parts) > 1 else 0

    def _arrays(self, record: Record, rng: np.random.Generator | None, beside: Callable[[], Record] | None) -> Arrays:
        present = {name for name, state in zip(NAMES, record.states, strict=True) if state == State.PRESENT}
        seen = {name for name in self.inputs.modalities if present.intersection(self.sequences.of(name))}
        if rng is not None and self.inputs.drop_modality:
            seen = self._hide(seen, rng)
        rates = dict.fromkeys(self.specs, self.inputs.mask_rate)
        if rng is not None and self.inputs.mask_one:
            rates = dict.fromkeys(self.specs, 0.0) | self._one(seen, rng)
        arrays: Arrays = {"valid": np.asarray(record.id != DAMAGED.id)}
        if rng is not None and self.inputs.mismatch:
            both = {"image", "text"} <= seen
            other = beside() if both and beside is not None and rng.random() < self.inputs.mismatch else record
            arrays["mismatched"] = np.asarray(_shows_another(record, other))
            record = dataclasses.replace(record, image=other.image) if arrays["mismatched"] else record
        # As released: what is missing is content all the same. A record that cannot be read is nothing in any case.
        filled = self.inputs.missing == "zeros" and bool(arrays["valid"])
        for name, spec in self.specs.items():
            shown = record if name in seen else DAMAGED
            if spec.kind == "tokens":
                arrays[name] = self.sequences.arrays(
                    spec, shown, rng, rate=rates[name], alone=seen == {name}, filled=filled
                )
            else:
                arrays[name] = self._grid(spec, shown, rng, rate=rates[name], filled=filled)
        return arrays

    def _one(self, seen: set[str], rng: np.random.Generator) -> dict[str, float]:
        """The share that is masked of one modality, of those that are there and have a masked objective."""
        told = [name for name in self.told if name in seen]
        return {told[int(rng.integers(len(told)))]: self.inputs.mask_rate} if told else {}

    def _hide(self, present: set[str], rng: np.random.Generator) -> set[str]:
        """Leaves out each present modality with chance `drop_modality`; of those that all would go, any one stays."""
        draws = {name: rng.random() for name in sorted(present)}
        kept = {name for name, draw in draws.items() if draw >= self.inputs.drop_modality}
        return kept or set(sorted(draws, key=draws.__getitem__)[-1:])

    def _grid(
        self, spec: TokenSpec, record: Record, rng: np.random.Generator | None, *, rate: float, filled: bool
    ) -> Arrays:
        """Pixels, log-mel frames or features, as many leading rows of the grid as there are.

        Where there is nothing, nothing; if `filled`, `batch` makes it a whole grid of zeros.
        """
        arrays: Arrays = dict(self._rows(spec, record, rng))
        count = len(arrays["values"])
        present = spec.length if filled and not count else spec.present_tokens(count)
        arrays["mask"] = masking.leading(present, spec.length)
        if rng is not None:
            kept = masking.KEPT if spec.name == "image" else 0.0
            arrays["masked"] = masking.mask_blocks(rng, np.arange(present), rate, spec.masked, kept)
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
            return feature_rows.fields(payload[: spec.grid[0]], spec.dim, spec.classes)
        return {"values": payload.reshape(-1, *spec.grid[1:])[: spec.grid[0]]}


def _shows_another(record: Record, other: Record) -> bool:
    """Whether the other record has a picture, and not of the same product."""
    same = other.id == record.id or (other.instance_id and other.instance_id == record.instance_id)
    return not same and other.state("image") == State.PRESENT


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
