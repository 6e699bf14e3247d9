"""Pair lists for product matching: `records.jsonl`, rows of the schema, and `pairs.csv`: left,right,match,split.

Entity-matching benchmarks come like this: pairs of ids, whether both are one product, and whether a pair trains,
validates or tests.
"""

import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

from importers import Options, delimited, links
from importers.imported import Imported
from m5jax.catalogues import catalogue as schema
from m5jax.catalogues import catalogue_files
from m5jax.catalogues.catalogue import MAX_ID_CHARS, Listing, Pair, Rejection, Row, RowError
from m5jax.errors import DataError

RECORDS, PAIRS = "records.jsonl", "pairs.csv"
SPLITS = {"train": "train", "valid": "val", "val": "val", "test": "test", None: "test"}
MATCHES = {"1": True, "true": True, "0": False, "false": False}


def catalogue(path: pathlib.Path, options: Options) -> Imported:
    """The catalogue in a folder with both files, or in a folder of such folders, whose names come before the ids.

    Raises:
      DataError: there is no such folder, or a list of pairs has no header with left, right and match.
    """
    folders = {"": path} if _is_benchmark(path) else {f"{sub.name}/": sub for sub in _subfolders(path)}
    if not folders:
        raise DataError(f"{path} must be a folder with {RECORDS} and {PAIRS}, or a folder of such folders")
    lists = {prefix: _PairList(folder / PAIRS, options) for prefix, folder in folders.items()}

    def rows() -> Iterator[tuple[int, Row | Rejection]]:
        for prefix, folder in folders.items():
            source = options.source_name or folder.resolve().name
            products = _products(lists[prefix].matched("train"))
            for line, row in catalogue_files.rows(folder / RECORDS):
                if isinstance(row, dict):
                    row = _placed(row, prefix, source, products)
                    yield from ((line, note) for note in links.resolve(row, None))
                    links.place(row, prefix)
                yield line, row

    def extras() -> Iterator[Pair | Rejection]:
        plain = ((line, row) for line, row in rows() if not isinstance(row, Rejection))
        known = {found.id for found in schema.listings(plain) if isinstance(found, Listing)}
        for prefix, pairs in lists.items():
            yield from pairs.read(prefix, known)

    def files() -> list[pathlib.Path]:
        return [folder / name for folder in folders.values() for name in (RECORDS, PAIRS)]

    return Imported("pairs", path, path, options, rows, files, extras=extras)


def _is_benchmark(folder: pathlib.Path) -> bool:
    return all((folder / name).is_file() for name in (RECORDS, PAIRS))


def _subfolders(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(filter(_is_benchmark, folder.iterdir())) if folder.is_dir() else []


def _placed(row: dict[str, Any], prefix: str, source: str, products: dict[str, str]) -> dict[str, Any]:
    """A record with what its folder adds: its source, the product that training pairs say it is, and its name in front.

    It is there to train on: what is tested are pairs, and these have splits of their own.
    """
    row = row | {"source": row.get("source") or source, "split": row.get("split") or "train"}
    if isinstance(row.get("id"), str) and row["id"]:
        if row["id"] in products and not row.get("instance_id"):
            row["instance_id"] = f"{source}:{products[row['id']]}"
        row["id"] = prefix + row["id"]
    return row


def _products(matched: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Of every id in a match, the first in alphabetical order of those that matches lead to from it."""
    products: dict[str, set[str]] = {}
    for left, right in matched:
        joined = products.get(left, {left}) | products.get(right, {right})
        products |= dict.fromkeys(joined, joined)
    return {identity: min(ids) for identity, ids in products.items()}


class _PairList:
    """One list of pairs; its header is checked at once."""

    def __init__(self, path: pathlib.Path, options: Options):
        self._path = path
        self._delimiter = delimited.delimiter_of(path, options.delimiter)
        self._names = delimited.header(path, self._delimiter)
        if missing := {"left", "right", "match"}.difference(self._names):
            raise DataError(f"{path} has no column {', '.join(sorted(missing))} but {', '.join(self._names)}")

    def matched(self, split: str) -> Iterator[tuple[str, str]]:
        """The pairs of a split that are said to match, by their ids as they stand there; of errors `read` tells."""
        for _, cells in delimited.rows(self._path, self._delimiter, self._names, "left"):
            if isinstance(cells, RowError) or not cells["left"] or not cells["right"]:
                continue
            if MATCHES.get((cells["match"] or "").lower()) and SPLITS.get(cells.get("split")) == split:
                yield cells["left"], cells["right"]

    def read(self, prefix: str, known: set[str]) -> Iterator[Pair | Rejection]:
        """Every row as a pair or as a rejection.

        A pair that stands there again comes again, as published, and a note says so: in benchmarks two records may
        have the same text, and to drop one of them would change the score.
        """
        first: dict[tuple[str, str], tuple[int, bool]] = {}
        for line, cells in delimited.rows(self._path, self._delimiter, self._names, "left"):
            name = f"line {line}"
            try:
                if isinstance(cells, RowError):
                    raise cells
                name = f"{cells['left']} {cells['right']}"[:MAX_ID_CHARS]
                pair = _pair(cells, prefix, known)
                key = (min(pair.left, pair.right), max(pair.left, pair.right))
                earlier, match = first.setdefault(key, (line, pair.match))
                if earlier != line:
                    reason = "repeated_pair" if match == pair.match else "contradicted_pair"
                    detail = f"the pair stands in line {earlier} already"
                    yield Rejection(name, reason, detail, line=line, modality="pair", lost=False)
                yield pair
            except RowError as error:
                yield Rejection(name, error.reason, f"{self._path.name}: {error.detail}", line=line, modality="pair")


def _pair(cells: dict[str, str | None], prefix: str, known: set[str]) -> Pair:
    """One row as a pair.

    Raises:
      RowError: it is none.
    """
    left, right = (prefix + (cells[side] or "") for side in ("left", "right"))
    if unknown := [identity for identity in (left, right) if identity not in known]:
        raise RowError("unknown_id", f"{unknown[0][:MAX_ID_CHARS]!r} is no listing of {RECORDS}")
    if left == right:
        raise RowError("same_listing", f"both sides are {left!r}")
    if (match := MATCHES.get((cells["match"] or "").lower())) is None:
        raise RowError("invalid_match", f"match is {cells['match']!r}, not 1 or 0")
    if (split := SPLITS.get(cells.get("split"))) is None:
        raise RowError("invalid_split", f"split {cells['split']!r} is not one of {', '.join(filter(None, SPLITS))}")
    return Pair(left, right, match, split)
