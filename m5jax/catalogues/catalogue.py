"""The catalogue schema (docs/data.md): what a row may hold, and how rows become listings, none lost and none trusted.

Where rows come from is not its business (`catalogue_files.py`, importers). Every one of them ends as a `Listing` or
as a `Rejection` with a reason; none disappears.
"""

import dataclasses
import datetime
import decimal
import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from m5jax.media.files import MediaRef

SPLITS = ("train", "val", "gallery", "query")
MAX_ROW_BYTES = 1 << 20
MAX_TEXT_CHARS = 1 << 16
MAX_ID_CHARS = 256
MAX_FIELDS = 1024


@dataclasses.dataclass(frozen=True)
class Listing:
    """One product entry. None, and no media, mean absent; an empty text or table means there, with nothing in it.

    Attributes:
      id: unique in the catalogue.
      split: train, val, gallery or query.
      source: which shop or collection it came from; retrieval is scored within a source.
      instance_id: the product it shows; empty if unknown.
      category: path of labels, coarse to fine; empty if unknown.
      title, description: text.
      attributes: (name, value) pairs in the seller's order; names may repeat or be empty.
      images, videos, audios: media, main one first.
      corrupt: of modalities that reading alone found unusable, why.
    """

    id: str
    split: str
    source: str = ""
    instance_id: str = ""
    category: tuple[str, ...] = ()
    title: str | None = None
    description: str | None = None
    attributes: tuple[tuple[str, str], ...] | None = None
    images: tuple[MediaRef, ...] = ()
    videos: tuple[MediaRef, ...] = ()
    audios: tuple[MediaRef, ...] = ()
    corrupt: "tuple[Rejection, ...]" = ()


@dataclasses.dataclass(frozen=True)
class Rejection:
    """Something that could not be used, and why.

    Attributes:
      id: the listing, as far as it is known.
      reason: one word of a fixed vocabulary, to count by.
      detail: what a person needs to find and mend it.
      line: row number in the listing file, from 1; 0 if it is not the row that is at fault.
      modality: the modality that was lost; empty if the whole listing was.
      file: the media file at fault.
      lost: whether something is lost by it; if not, this is a note, which no limit counts.
    """

    id: str
    reason: str
    detail: str
    line: int = 0
    modality: str = ""
    file: str = ""
    lost: bool = True


class RowError(ValueError):
    """A row that is no listing: a reason to count by and a detail to mend it by."""

    def __init__(self, reason: str, detail: str):
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


Row = dict[str, Any] | RowError
"""A row in the documented schema, or why it is none."""


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two listings of which somebody knows whether they are of one product; a part of a benchmark."""

    left: str
    right: str
    match: bool
    split: str


@dataclasses.dataclass(frozen=True)
class Member:
    """A listing of a named set, beside its one split: query of a benchmark, training part of another."""

    set: str
    id: str


KEYS = frozenset(field.name for field in dataclasses.fields(Listing)) - {"corrupt"}


def listings(rows: Iterable[tuple[int, Row]]) -> Iterator[Listing | Rejection]:
    """Every numbered row, in order, as a listing or as a rejection; of an id the first row that is one stays."""
    seen: set[bytes] = set()
    for line, row in rows:
        try:
            if isinstance(row, RowError):
                raise row
            listing = parse(row)
            # 16 bytes instead of up to 256 characters: a hundred million ids have to fit into memory.
            key = hashlib.blake2b(listing.id.encode(), digest_size=16).digest()
            if key in seen:
                raise RowError("duplicate_id", f"id {listing.id!r} stands on an earlier line")
            seen.add(key)
            yield listing
        except RowError as error:
            known_id = row["id"] if isinstance(row, dict) and isinstance(row.get("id"), str) else ""
            yield Rejection(known_id[:MAX_ID_CHARS], error.reason, error.detail, line=line)


def parse(row: dict[str, Any]) -> Listing:
    """A row as a `Listing`. Keys it does not know are left alone.

    Raises:
      RowError: a field has the wrong type or an impossible value.
    """
    identity = row.get("id")
    if not isinstance(identity, str) or not identity:
        raise RowError("missing_id", "every listing needs an id, a non-empty string")
    if len(identity) > MAX_ID_CHARS or not identity.isprintable():
        raise RowError("invalid_id", f"an id has at most {MAX_ID_CHARS} printable characters")
    source, instance = text(row, "source") or "", text(row, "instance_id") or ""
    split = text(row, "split") or derived_split(identity, instance)
    if split not in SPLITS:
        raise RowError("invalid_split", f"split {split!r} is not one of {', '.join(SPLITS)}")
    return Listing(
        id=identity,
        split=split,
        source=source,
        instance_id=instance,
        category=_category(row.get("category")),
        title=text(row, "title"),
        description=text(row, "description"),
        attributes=attributes(row.get("attributes")),
        images=_media(row, "images"),
        videos=_media(row, "videos"),
        audios=_media(row, "audios"),
    )


def to_plain(listing: Listing) -> dict[str, Any]:
    """The listing as what JSON can hold."""
    parts = {
        name: [vars(part) for part in getattr(listing, name)] for name in ("images", "videos", "audios", "corrupt")
    }
    return vars(listing) | parts


def from_plain(plain: dict[str, Any]) -> Listing:
    """The listing that `to_plain` was given."""
    fields = plain["attributes"]
    values: dict[str, Any] = {
        name: tuple(MediaRef(**ref) for ref in plain[name]) for name in ("images", "videos", "audios")
    }
    values["category"] = tuple(plain["category"])
    values["attributes"] = None if fields is None else tuple((name, value) for name, value in fields)
    values["corrupt"] = tuple(Rejection(**rejection) for rejection in plain["corrupt"])
    return Listing(**plain | values)


def derived_split(identity: str, instance: str) -> str:
    """The split of a listing that names none, from its ids alone: whole products go to train, val, or evaluation.

    Of 100 products about 80 train, 5 validate and 15 evaluate; of the listings that evaluate, a third are queries.
    """
    share = int(hashlib.sha256((instance or identity).encode()).hexdigest()[:8], 16) / 2**32
    if share < 0.85:
        return "train" if share < 0.8 else "val"
    return "query" if int(hashlib.sha256(identity.encode()).hexdigest()[:8], 16) % 3 == 0 else "gallery"


def text(row: dict[str, Any], key: str) -> str | None:
    """The text under a key; None if there is none. Raises RowError."""
    value = row.get(key)
    if not isinstance(value, str | None):
        raise RowError("invalid_field", f"{key} must be a string or null, not {type(value).__name__}")
    return None if value is None else _bounded(value, key)


def _bounded(text: str, key: str) -> str:
    if len(text) > MAX_TEXT_CHARS:
        raise RowError("text_too_long", f"{key} has {len(text)} characters; the limit is {MAX_TEXT_CHARS}")
    return text


def _category(value: Any) -> tuple[str, ...]:
    labels = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise RowError("invalid_field", "category must be a string, a list of strings (coarse to fine), or null")
    return tuple(_bounded(label, "category") for label in labels)


def attributes(value: Any) -> tuple[tuple[str, str], ...] | None:
    """(name, value) pairs, without null values: tables with fixed columns are full of them. Raises RowError."""
    if value is None:
        return None
    pairs = list(value.items()) if isinstance(value, dict) else value
    if isinstance(pairs, list):  # Parquet's own form of a pair is a struct
        pairs = [(p["name"], p["value"]) if isinstance(p, dict) and p.keys() == {"name", "value"} else p for p in pairs]
    if not isinstance(pairs, list) or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise RowError("invalid_field", "attributes must be a list of [name, value] pairs, an object, or null")
    if len(pairs) > MAX_FIELDS:
        raise RowError("too_many_fields", f"{len(pairs)} attributes; the limit is {MAX_FIELDS}")
    return tuple((_scalar(name), _scalar(content)) for name, content in pairs if content is not None)


def _scalar(value: Any) -> str:
    if not isinstance(value, str | int | float | decimal.Decimal | datetime.date):
        raise RowError("invalid_field", f"a name or value of attributes must be a scalar, not {type(value).__name__}")
    return _bounded(str(value), "a name or value of attributes")


def _media(row: dict[str, Any], key: str) -> tuple[MediaRef, ...]:
    value = row.get(key)
    refs = [] if value is None or value == "" else [value] if isinstance(value, (str, dict)) else value
    if not isinstance(refs, list):
        raise RowError("invalid_field", f"{key} must be a list of files")
    return tuple(_media_ref(ref, key) for ref in refs)


def _media_ref(ref: Any, key: str) -> MediaRef:
    ref = {"path": ref} if isinstance(ref, str) else ref
    if not isinstance(ref, dict):
        raise RowError("invalid_field", f"an entry of {key} must be a path, or an object with path or shard and member")
    path, member, digest = ref.get("path") or ref.get("shard"), ref.get("member") or "", ref.get("sha256") or ""
    if not path or not all(isinstance(part, str) for part in (path, member, digest)):
        raise RowError("invalid_field", f"an entry of {key} needs path, or shard and member, as strings")
    if ref.get("shard") and not member:
        raise RowError("invalid_field", f"an entry of {key} names a shard but no member")
    return MediaRef(path, member, digest.lower())
