"""A table: CSV, TSV or Parquet with one listing a row, and which column is what."""

import collections
import decimal
import pathlib
from collections.abc import Iterator
from typing import Any

from importers import Options, delimited, links
from importers.imported import Imported, direct_files
from m5jax.catalogues import catalogue_files
from m5jax.catalogues.catalogue import KEYS, Rejection, Row, RowError
from m5jax.errors import ConfigError, DataError

LISTS = ("category", "images", "videos", "audios")  # of several columns and of several parts in a cell
REST = "*"

Columns = dict[str, list[str]]  # by key of the schema


def catalogue(path: pathlib.Path, options: Options) -> Imported:
    """The catalogue in a table.

    Raises:
      ConfigError: a column that is asked for is not there, or there is none for the ids.
      DataError: it is no file, or has no header that can be relied on.
    """
    if not path.is_file():
        raise DataError(f"{path} must be a file: a table in CSV, TSV or Parquet")
    parquet = path.suffix == ".parquet"
    delimiter = delimited.delimiter_of(path, options.delimiter)
    names = _parquet_names(path) if parquet else delimited.header(path, delimiter)
    columns, attributes = _columns(path, names, options), _attributes(path, names, options)
    used = {column for taken in columns.values() for column in taken}
    if REST in attributes:
        attributes = [name for name in names if name and name not in used]
    unused = [name for name in names if name and name not in used.union(attributes)]

    def rows() -> Iterator[tuple[int, Row | Rejection]]:
        cells = (
            catalogue_files.parquet_rows(path, used.union(attributes))
            if parquet
            else delimited.rows(path, delimiter, names, columns["id"][0])
        )
        for line, found in cells:
            try:
                if isinstance(found, RowError):
                    raise found
                row = _row(found, columns, attributes, options)
                yield from ((line, note) for note in links.resolve(row, options.media))
                yield line, row
            except RowError as error:
                yield line, error
        if unused:
            detail = f"of no use: {', '.join(unused)[:500]}. --column KEY=NAME or --attribute NAME takes one in"
            yield 0, Rejection("", "column_not_used", detail, lost=False)

    root = options.media or path.parent
    return Imported("table", path, root, options, rows, lambda: [path], lambda: direct_files(options.media))


def _columns(path: pathlib.Path, names: list[str], options: Options) -> Columns:
    """The columns of every key: those that were named, or else the one that is called like it."""
    columns: Columns = collections.defaultdict(list)
    for key, column in options.columns:
        if key not in KEYS:
            raise ConfigError(f"--column {key}={column}: {key!r} is not one of {', '.join(sorted(KEYS))}")
        if column not in names:
            raise ConfigError(f"--column {key}={column}: {path} has no column {column!r} but {_listed(names)}")
        if columns[key] and key not in LISTS:
            raise ConfigError(f"--column {key}={column}: {key} is one column, and {columns[key][0]!r} has been named")
        columns[key].append(column)
    for key in sorted(KEYS.intersection(names) - columns.keys()):
        columns[key].append(key)
    if "id" not in columns:
        raise ConfigError(f"{path} has no column 'id': name it with --column id=COLUMN. There are {_listed(names)}")
    return columns


def _attributes(path: pathlib.Path, names: list[str], options: Options) -> list[str]:
    for column in options.attributes:
        if column != REST and column not in names:
            raise ConfigError(f"--attribute {column}: {path} has no column {column!r} but {_listed(names)}")
    return list(options.attributes)


def _listed(names: list[str]) -> str:
    shown = ", ".join(filter(None, names))[:500]
    return shown if len(names) > 1 else f"{shown} (--delimiter says what separates columns)"


def _row(cells: dict[str, Any], columns: Columns, attributes: list[str], options: Options) -> dict[str, Any]:
    """The row of the schema; null is absent.

    Raises:
      RowError: the cell of `attributes` is not JSON.
    """
    row: dict[str, Any] = {"source": options.source_name or None}
    for key, taken in columns.items():
        values = [cells[column] for column in taken if cells[column] is not None]
        if key in LISTS:
            separator = ">" if key == "category" else options.separator
            row[key] = [part for value in values for part in _parts(value, separator)]
        elif values:
            row[key] = _json(values[0]) if key == "attributes" else _text(values[0])
    if pairs := [(name, cells[name]) for name in attributes if cells[name] is not None]:
        row["attributes"] = [*(row.get("attributes") or ()), *pairs]
    return row


def _parts(value: Any, separator: str) -> list[Any]:
    """The parts of a cell: of text, what stands between separators; of a list, which Parquet has, its members."""
    if isinstance(value, str):
        return [part.strip() for part in (value.split(separator) if separator else [value]) if part.strip()]
    return value if isinstance(value, list) else [_text(value)]


def _text(value: Any) -> Any:
    """Numbers are read as text."""
    return str(value) if isinstance(value, int | float | decimal.Decimal) and not isinstance(value, bool) else value


def _json(value: Any) -> list[Any]:
    """The pairs in a cell, which is JSON or, in Parquet, a list."""
    pairs = catalogue_files.json_value(value.encode()) if isinstance(value, str) else value
    if not isinstance(pairs, list | dict):
        raise RowError("invalid_field", "attributes must be a list of [name, value] pairs or an object")
    return list(pairs.items()) if isinstance(pairs, dict) else pairs


def _parquet_names(path: pathlib.Path) -> list[str]:
    import pyarrow
    import pyarrow.parquet

    try:
        names = pyarrow.parquet.read_schema(path).names
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}. Write it anew.") from error
    if len(set(names)) < len(names):
        raise DataError(f"{path} has several columns of one name: rename all but one")
    return names
