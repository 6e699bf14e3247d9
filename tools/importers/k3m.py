"""The K3M raw format: an item a line, of five cells between tabs: id, title, URL of a picture, knowledge, category.

Source: Zhu et al., Knowledge Perceived Multi-modal Pretraining in E-commerce, 2021, and the sample released with its
code, `raw_multidata_of_product_preatrain.small_train`. Knowledge is `property#:#value#;#property#:#value`: triples
of which the item is the head, and a table to us; properties repeat, and both stay as they are. The sample's URLs
have their prefix twice, which is undone.
"""

import itertools
import pathlib
from collections.abc import Iterator
from typing import Any

from importers import Options, links
from importers.imported import Imported, direct_files
from m5jax.catalogues import catalogue_files, m5product
from m5jax.catalogues.catalogue import MAX_ROW_BYTES, Rejection, Row, RowError
from m5jax.errors import DataError

PATTERN = "raw_multidata_of_product_preatrain.*"
CELLS = ("id", "title", "image", "knowledge", "category")


def catalogue(path: pathlib.Path, options: Options) -> Imported:
    """The catalogue in one raw file, or in the raw files of a folder.

    Raises:
      DataError: the folder has none.
    """
    files = sorted(path.glob(PATTERN)) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path} has no file {PATTERN}: give the path of the raw file itself")

    def rows() -> Iterator[tuple[int, Row | Rejection]]:
        for number, line in enumerate(itertools.chain.from_iterable(map(_lines, files)), start=1):
            try:
                row = _row(line, options)
                yield from ((number, note) for note in links.resolve(row, options.media))
                yield number, row
            except RowError as error:
                yield number, error

    root = options.media or files[0].parent
    return Imported("k3m", path, root, options, rows, lambda: files, lambda: direct_files(options.media))


def _lines(path: pathlib.Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from (line for line in catalogue_files.lines(file) if line.strip())


def _row(line: bytes, options: Options) -> dict[str, Any]:
    """An item as a row of the schema; an empty cell is absent.

    Raises:
      RowError: it is no item.
    """
    if len(line) > MAX_ROW_BYTES:
        raise RowError("row_too_long", f"a line is longer than {MAX_ROW_BYTES} bytes")
    try:
        cells = line.decode("utf-8-sig").rstrip("\r\n").split("\t")
    except UnicodeError as error:
        raise RowError("invalid_utf8", str(error)) from error
    if len(cells) != len(CELLS):
        raise RowError("ragged_row", f"{len(cells)} cells between tabs; an item has {len(CELLS)}: {', '.join(CELLS)}")
    if b"\0" in line:
        raise RowError("invalid_field", "there is a NUL in it")
    identity, title, image, knowledge, category = cells
    return {
        "id": identity,
        "source": options.source_name or "k3m",
        "title": title or None,
        "images": [_undoubled(image)] if image else [],
        "attributes": m5product.split_pairs(knowledge),
        "category": category or None,
    }


def _undoubled(url: str) -> str:
    """A URL without the first of two equal beginnings."""
    second = url.find("http", 1)
    return url[second:] if second > 0 and url.startswith(url[:second], second) else url
