"""Our own layout of a catalogue: a JSONL or Parquet file of rows with media beside it (docs/data.md)."""

import json
import pathlib
from collections.abc import Collection, Iterator
from typing import Any, BinaryIO

from m5jax.catalogues.catalogue import KEYS, MAX_ROW_BYTES, Row, RowError
from m5jax.errors import DataError

LISTING_FILES = ("catalogue.jsonl", "catalogue.parquet", "products.jsonl", "products.parquet")


def find(path: str | pathlib.Path) -> pathlib.Path:
    """The listing file of a catalogue given as a folder or as the file itself.

    Raises:
      DataError: there is no such path, no listing file in it, or more than one.
    """
    path = pathlib.Path(path)
    if path.is_file():
        return path
    if not path.is_dir():
        raise DataError(f"no catalogue at {path}: set config.data.catalogue to a folder or a listing file")
    named = [path / name for name in LISTING_FILES if (path / name).is_file()]
    found = named or sorted(path.glob("*.jsonl")) + sorted(path.glob("*.parquet"))
    if len(found) != 1:
        what = "no listing file" if not found else "several listing files: " + ", ".join(f.name for f in found)
        raise DataError(f"{path} holds {what}; name one of {', '.join(LISTING_FILES)}, or give the file's own path")
    return found[0]


def rows(path: pathlib.Path) -> Iterator[tuple[int, Row]]:
    """Every row of a listing file, in order, with its number from 1; a blank line of JSONL is not a row.

    Raises:
      DataError: a Parquet file is damaged, so that nobody knows its rows.
    """
    return parquet_rows(path, KEYS) if path.suffix == ".parquet" else _jsonl_rows(path)


def _jsonl_rows(path: pathlib.Path) -> Iterator[tuple[int, Row]]:
    with path.open("rb") as file:
        yield from ((number, parse_json(line)) for number, line in enumerate(lines(file), start=1) if line.strip())


def lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file; one that is longer than a row may be is cut, and never held whole."""
    while line := file.readline(MAX_ROW_BYTES + 1):
        yield line
        while len(line) > MAX_ROW_BYTES and not line.endswith(b"\n"):
            line = file.readline(MAX_ROW_BYTES + 1)


def parquet_rows(path: pathlib.Path, wanted: Collection[str]) -> Iterator[tuple[int, Row]]:
    """The rows of a Parquet file, with their numbers from 1, and of their columns those wanted.

    Raises:
      DataError: it is damaged, so that nobody knows its rows.
    """
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path, page_checksum_verification=True)
        columns = [name for name in file.schema_arrow.names if name in wanted]  # others may be of any type and size
        rows = (row for batch in file.iter_batches(batch_size=1024, columns=columns) for row in _batch_rows(batch))
        yield from enumerate(rows, start=1)
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}. Write it anew.") from error


def _batch_rows(batch: Any) -> list[Row]:
    """The rows of a pyarrow RecordBatch; what Python cannot hold, which only shows here, costs its own row."""
    try:
        return batch.to_pylist()
    except (ValueError, OverflowError) as error:  # among them UnicodeDecodeError
        if len(batch) == 1:
            return [RowError("invalid_utf8" if isinstance(error, UnicodeError) else "invalid_field", str(error))]
        return [row for number in range(len(batch)) for row in _batch_rows(batch.slice(number, 1))]


def parse_json(line: bytes) -> Row:
    """One line of JSONL, strictly: an object, as `json_value` reads it."""
    try:
        row = json_value(line)
    except RowError as error:
        return error
    return row if isinstance(row, dict) else RowError("not_an_object", f"a row must be one, not {type(row).__name__}")


def json_value(data: bytes) -> Any:
    """A JSON value, strictly: UTF-8, no NaN, no key twice, no bottomless nesting, no half characters.

    Raises:
      RowError: it is none, or longer than a row may be.
    """
    if len(data) > MAX_ROW_BYTES:
        raise RowError("row_too_long", f"{len(data)} bytes; the limit is {MAX_ROW_BYTES}")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(keys := dict(pairs)) != len(pairs):
            raise RowError("duplicate_key", f"a key stands twice among {[key for key, _ in pairs][:20]}")
        return keys

    def refuse(constant: str) -> Any:
        raise RowError("invalid_json", f"{constant} is not JSON")

    try:
        value = json.loads(data.decode("utf-8-sig"), object_pairs_hook=unique, parse_constant=refuse)
        json.dumps(value, ensure_ascii=False).encode()  # fails on half a character, "\\ud83d": nobody could write it
    except RowError:
        raise
    except UnicodeError as error:
        raise RowError("invalid_utf8", str(error)) from error
    except (ValueError, RecursionError) as error:
        raise RowError("invalid_json", str(error)) from error
    return value
