"""The files of one product: what each is, by name and extension, and what the row gets from it."""

import pathlib
from collections.abc import Callable, Iterator
from typing import Any

from importers import links
from m5jax.catalogues import catalogue as schema
from m5jax.catalogues import catalogue_files
from m5jax.catalogues.catalogue import MAX_ROW_BYTES, Rejection, RowError
from m5jax.media import files
from m5jax.media.files import MediaRef

LISTING = "listing.json"
"""A row of the schema, whose paths begin in the product's folder. What it says counts before all else."""


def take(root: pathlib.Path, folder: str, names: list[str], row: dict[str, Any]) -> Iterator[Rejection]:
    """Adds to a row what the files of its folder say; gives those that cannot be used, and a note on the others.

    Args:
      root: the catalogue's folder.
      folder: the product's, below the root.
      names: of the files, main picture first; those in folders named `images` and so on with that name before.
      row: what is known without them; changed in place.

    Raises:
      RowError: `listing.json` cannot be used.
    """
    media = {name: key for name in names if is_text(name) and (key := _key_of(name))}
    for key in links.EXTENSIONS:
        row[key] = [name for name, of in media.items() if of == key]
    left = [name for name in names if name not in media]
    given: dict[str, Any] = {}
    if LISTING in left:
        left.remove(LISTING)
        given = _object(_read(root, folder, LISTING), f"{folder}/{LISTING}")
    row.update({key: value for key, value in given.items() if value is not None or key not in ("id", "source")})
    yield from links.resolve(row, None)
    links.place(row, folder)
    identity = row["id"] if isinstance(row["id"], str) else folder
    corrupt: dict[str, Rejection] = {}
    for name, (key, modality, parse) in _TEXTS.items():
        if name in left and row.get(key) is None:
            left.remove(name)
            try:
                row[key] = parse(_read(root, folder, name), key)
            except RowError as error:
                file = f"{folder}/{name}"
                corrupt[modality] = Rejection(identity, error.reason, error.detail, modality=modality, file=file)
    yield from corrupt.values()
    if left:
        detail = f"nothing that a listing has, or told elsewhere: {', '.join(map(repr, left))[:500]}"
        yield Rejection(identity, "file_not_used", detail, lost=False)


def is_text(name: str) -> bool:
    """Whether a name is Unicode: only then can it be written down."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _key_of(name: str) -> str | None:
    """What key of a row a file belongs to: by its folder, or by its extension."""
    inside = name.partition("/")[0] if "/" in name else None
    return inside or _KEYS.get(pathlib.PurePosixPath(name).suffix.lower())


def _read(root: pathlib.Path, folder: str, name: str) -> bytes:
    """The bytes of a file; none if it is empty.

    Raises:
      RowError: it may not be read, leads out of the root, or is too large.
    """
    try:
        return files.read(root, MediaRef(f"{folder}/{name}"), MAX_ROW_BYTES)
    except files.MediaError as error:
        if error.reason == "empty":
            return b""
        raise RowError(error.reason, error.detail) from error


def _object(data: bytes, name: str) -> dict[str, Any]:
    row = catalogue_files.parse_json(data)
    if isinstance(row, RowError):
        raise RowError(row.reason, f"{name}: {row.detail}")
    return row


def _text(data: bytes, key: str) -> str | None:
    try:
        return schema.text({key: data.decode("utf-8-sig").strip()}, key)
    except UnicodeError as error:
        raise RowError("invalid_utf8", str(error)) from error


def _checked(pairs: Any) -> list[tuple[str, str]] | None:
    """The pairs, so that what is wrong with them is found here: elsewhere it would cost the whole listing."""
    found = schema.attributes(pairs)
    return None if found is None else list(found)


def _json_pairs(data: bytes, key: str) -> list[tuple[str, str]] | None:
    return _checked(catalogue_files.json_value(data) if data.strip() else [])


def _line_pairs(data: bytes, key: str) -> list[tuple[str, str]] | None:
    """Name, tab, value: one pair a line."""
    try:
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeError as error:
        raise RowError("invalid_utf8", str(error)) from error
    pairs = [[cell.strip() for cell in line.split("\t")] for line in lines if line.strip()]
    if ragged := [cells for cells in pairs if len(cells) != 2]:
        raise RowError("ragged_row", f"a line must be name, tab, value; {ragged[0][:3]} has {len(ragged[0])} cells")
    return _checked(pairs)


_KEYS = {f".{extension}": key for key, extensions in links.EXTENSIONS.items() for extension in extensions}
_TEXTS: dict[str, tuple[str, str, Callable[[bytes, str], Any]]] = {
    "title.txt": ("title", "text", _text),
    "description.txt": ("description", "text", _text),
    "attributes.json": ("attributes", "table", _json_pairs),
    "attributes.tsv": ("attributes", "table", _line_pairs),
}
NAMES = frozenset({LISTING, *_TEXTS})
"""Files that are texts and no media."""
