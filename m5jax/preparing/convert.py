"""One listing to one record: the pure function that every runner of the preparation calls."""

import contextlib
import dataclasses
import pathlib
import types
from collections.abc import Iterator, Mapping
from typing import Any

from m5jax import media, modalities
from m5jax.catalogues.catalogue import Listing, Rejection
from m5jax.data import fingerprints
from m5jax.data.fingerprints import Fingerprints
from m5jax.data.records import Record
from m5jax.inputs import Inputs
from m5jax.media import files, spectrum
from m5jax.media.files import MediaRef
from m5jax.media.pool import Failure
from m5jax.modalities import State

MAX_BYTES = {"image": 20 << 20, "video": 200 << 20, "audio": 200 << 20}


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What became of a listing.

    Attributes:
      record: None if nothing of the listing is present.
      rejections: what was lost on the way, a modality or the listing itself; and notes of what was only left out.
      fingerprints: of the record; None without one.
    """

    record: Record | None
    rejections: tuple[Rejection, ...]
    fingerprints: Fingerprints | None = None


def convert(
    listing: Listing, root: pathlib.Path, inputs: Inputs, broken: Mapping[str, Failure] = types.MappingProxyType({})
) -> Conversion:
    """The record of a listing.

    Args:
      listing: a row of the catalogue.
      root: the catalogue's folder, which no path may leave.
      inputs: which modalities to keep, and how.
      broken: modalities whose file ends its decoder, and how it did; it is not touched again.
    """
    states, payloads, rejections = dict.fromkeys(modalities.NAMES, State.ABSENT), {}, []
    unusable = {rejection.modality: rejection for rejection in listing.corrupt}
    for name in inputs.kept:
        if name in unusable:
            states[name] = State.CORRUPT
            rejections.append(unusable[name])
            continue
        if modalities.TABLE[name].kind == "tokens":
            states[name], kept, notes = _text(listing) if name == "text" else _table(listing)
            payloads |= kept
            rejections += notes
            continue
        refs, lent = media_refs(listing, name, inputs)
        if not refs or (lent and states["video"] in (State.EMPTY, State.CORRUPT)):  # a broken film is one loss, not two
            continue
        failure: Failure | media.MediaError | None = broken.get(name)
        if failure is None:
            try:
                payloads[name], found = decode(name, refs[0], root, inputs)
                states[name] = State.PRESENT
                rejections += _noted(listing, name, refs[0], payloads[name], found, inputs)
                continue
            except media.MediaError as error:
                failure = error
        if lent and failure.reason == "no_audio":  # a silent film: the listing has no sound, and nothing is broken
            continue
        states[name] = State.EMPTY if failure.reason == "empty" else State.CORRUPT
        rejections.append(Rejection(listing.id, failure.reason, failure.detail, modality=name, file=str(refs[0])))
    if State.PRESENT not in states.values():
        found = ", ".join(f"{name} {state.name.lower()}" for name, state in states.items() if state)
        rejections.append(Rejection(listing.id, "nothing_present", found or "every modality in use is absent"))
        return Conversion(None, tuple(rejections))
    record = Record(
        id=listing.id,
        source=listing.source,
        instance_id=listing.instance_id,
        category=listing.category,
        states=tuple(states.values()),
        **payloads,
    )
    return Conversion(record, tuple(rejections), fingerprints.of(record))


def _noted(listing: Listing, name: str, ref: MediaRef, payload: Any, found: int, inputs: Inputs) -> Iterator[Rejection]:
    """What was left out of a picture's rows, and what they lack; the start of a clip or sound is all that is meant."""
    if name != "image" or inputs.image.source == "raw":
        return
    if found > len(payload):
        detail = f"{found} rows; the first {len(payload)} are kept"
        yield Rejection(listing.id, "too_many_rows", detail, modality=name, file=str(ref), lost=False)
    without = int((payload[:, -inputs.image.classes :] == 0).all(1).sum()) if inputs.image.classes else 0
    if without:
        detail = f"{without} of {len(payload)} rows have no share of any class: no class is asked of them"
        yield Rejection(listing.id, "no_classes", detail, modality=name, file=str(ref), lost=False)


def media_refs(listing: Listing, name: str, inputs: Inputs) -> tuple[tuple[MediaRef, ...], bool]:
    """The files of a medium; and whether they are lent: a listing without a sound of its own has its film's."""
    refs: tuple[MediaRef, ...] = getattr(listing, modalities.TABLE[name].field)
    chosen, raw = inputs.audio, inputs.audio.source == inputs.video.source == "raw"
    if name == "audio" and not refs and chosen.from_video and raw:
        return listing.videos, True
    return refs, False


def decode(name: str, ref: MediaRef, root: pathlib.Path, inputs: Inputs) -> tuple[Any, int]:
    """One media file as a record keeps it, our own JPEG, frames of sound, or features; and the rows of features it has.

    Raises:
      media.MediaError: with the reason it cannot be used.
    """
    try:
        return _payload(name, files.read(root, ref, MAX_BYTES[name]), getattr(inputs, name))
    except MemoryError as error:  # outside the decoders' boundary: reading the bytes, encoding what was in them
        raise media.MediaError("too_large", "takes more memory than a decoding process may use") from error


def _payload(name: str, data: bytes, chosen: Any) -> tuple[Any, int]:
    """What a record keeps of a file's bytes, and the rows of features in them; `chosen` are the modality's settings."""
    if chosen.source == "features":
        beside = (chosen.geometry, chosen.classes) if name == "image" else ()
        return media.decode_features(data, chosen.feature_dim, chosen.feature_rows, *beside)
    if name == "image":
        return media.encode_jpeg(media.decode_image(data, chosen.stored_size)), 0
    if name == "video":
        frames = media.decode_video(data, chosen.frames, chosen.size, chosen.per_second)
        return media.encode_jpeg(frames.reshape(-1, chosen.size, 3)), 0
    seconds = (chosen.window + (chosen.frames - 1) * chosen.hop) / chosen.sample_rate
    samples = media.decode_audio(data, chosen.sample_rate, seconds)
    analysis = (chosen.sample_rate, chosen.window, chosen.hop, chosen.mels)
    if chosen.representation == "mfcc":
        return spectrum.mfcc(samples, *analysis, chosen.coefficients), 0
    return spectrum.log_mel(samples, *analysis), 0


def _text(listing: Listing) -> tuple[State, dict[str, Any], list[Rejection]]:
    parts = {"title": listing.title, "description": listing.description}
    if all(part is None for part in parts.values()):
        return State.ABSENT, {}, []
    parts = {key: _content(part or "") for key, part in parts.items()}
    return (State.PRESENT if any(parts.values()) else State.EMPTY), parts, []


def _table(listing: Listing) -> tuple[State, dict[str, Any], list[Rejection]]:
    """State and fields; a name without value says nothing, and is noted. A value without name stays."""
    if listing.attributes is None:
        return State.ABSENT, {}, []
    pairs = [(_content(name), _content(value)) for name, value in listing.attributes]
    fields, valueless = tuple(pair for pair in pairs if pair[1]), [name for name, value in pairs if name and not value]
    notes = []
    if valueless:
        detail = f"{len(valueless)} left out: " + ", ".join(name[:40] for name in valueless[:8])
        notes.append(Rejection(listing.id, "field_without_value", detail, modality="table", lost=False))
    return (State.PRESENT if fields else State.EMPTY), {"fields": fields}, notes


def _content(text: str) -> str:
    """The text without blanks around it; empty if nothing in it can be seen (zero-width and control characters)."""
    text = text.strip()
    return text if any(character.isprintable() and not character.isspace() for character in text) else ""


@dataclasses.dataclass(frozen=True)
class Task:
    """One call of `convert`, or of one decoder alone, as it travels to a decoding process."""

    listing: Listing
    root: pathlib.Path
    inputs: Inputs
    only: str = ""
    broken: Mapping[str, Failure] = dataclasses.field(default_factory=dict)

    @property
    def media(self) -> list[str]:
        """The media of this listing that this run decodes."""
        grids = (name for name in self.inputs.kept if modalities.TABLE[name].kind == modalities.GRID_KIND)
        return [name for name in grids if media_refs(self.listing, name, self.inputs)[0]]


def run_task(task: Task) -> Conversion:
    """Converts the listing of a task."""
    return convert(task.listing, task.root, task.inputs, task.broken)


def probe(task: Task) -> None:
    """Decodes the one file a task is about and keeps nothing: does the decoder live through it?"""
    refs, _ = media_refs(task.listing, task.only, task.inputs)
    with contextlib.suppress(media.MediaError):  # a decoder that says no has lived
        decode(task.only, refs[0], task.root, task.inputs)
