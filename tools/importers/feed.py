"""Product feeds after Google Merchant's specification: TSV (or CSV), RSS 2.0 and Atom.

Source: Merchant Center's product data specification, of which the attributes that describe a product become fields
of its table. Offers (shipping, tax, availability) and links to pages are no part of a listing.
"""

import csv
import itertools
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from importers import Options, delimited, feed_xml, links
from importers.imported import Imported, direct_files
from m5jax.catalogues.catalogue import Rejection, Row, RowError
from m5jax.errors import DataError

TABLE = (
    "brand", "gtin", "mpn", "color", "size", "size_type", "size_system", "material", "pattern", "gender", "age_group",
    "condition", "price", "sale_price", "unit_pricing_measure", "multipack", "is_bundle", "energy_efficiency_class",
    "product_length", "product_width", "product_height", "product_weight", "product_highlight",
)  # fmt: skip
"""Attributes that become fields under their own names; `product_detail` becomes fields under its own."""
READ = frozenset(TABLE) | {
    "id", "title", "description", "summary", "content", "item_group_id", "product_type", "google_product_category",
    "image_link", "additional_image_link", "video_link", "product_detail",
}  # fmt: skip
MAX_UNUSED = 100  # names are a seller's, and held in memory

Item = dict[str, list[feed_xml.Value]]


def catalogue(path: pathlib.Path, options: Options) -> Imported:
    """The catalogue in a feed; whether it is XML, its first character says.

    Raises:
      ConfigError: the delimiter is none.
      DataError: it is XML with a DTD, or no feed.
    """
    items = feed_xml.items if _is_xml(path) else _cells(path, options)

    def rows() -> Iterator[tuple[int, Row | Rejection]]:
        unused: set[str] = set()
        for line, item in items(path):
            if isinstance(item, RowError):
                yield line, item
                continue
            if len(unused) < MAX_UNUSED:
                unused.update(item.keys() - READ)
            row = _row(item, options)
            yield from ((line, note) for note in links.resolve(row, options.media))
            yield line, row
        if unused:
            detail = f"no part of a listing: {', '.join(sorted(unused))[:500]}"
            yield 0, Rejection("", "column_not_used", detail, lost=False)

    root = options.media or path.parent
    return Imported("feed", path, root, options, rows, lambda: [path], lambda: direct_files(options.media))


def _is_xml(path: pathlib.Path) -> bool:
    if not path.is_file():
        raise DataError(f"{path} must be a file: a feed in XML or TSV")
    with path.open("rb") as file:
        start = file.read(1024)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path} is UTF-16: write it as UTF-8")
    return start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<")


def _cells(path: pathlib.Path, options: Options) -> Any:
    """Gives the rows of a TSV as items; the header may write names as people do, "Image link"."""
    delimiter = delimited.delimiter_of(path, options.delimiter)
    names = delimited.header(path, delimiter)
    plain = [re.sub(r"\s+", "_", name.lower().removeprefix("g:")) for name in names]
    if "id" not in plain:
        raise DataError(f"{path} has no column 'id' but {', '.join(names)[:500]}: it is no product feed")

    def read(path: pathlib.Path) -> Iterator[tuple[int, Item | RowError]]:
        for line, cells in delimited.rows(path, delimiter, names, names[plain.index("id")]):
            if isinstance(cells, RowError):
                yield line, cells
                continue
            item: Item = {}
            for name, known in zip(names, plain, strict=True):
                if (value := cells[name]) is not None:
                    item.setdefault(known, []).append(value)
            yield line, item

    return read


def _row(item: Item, options: Options) -> dict[str, Any]:
    """An item as a row of the schema."""

    def texts(name: str) -> list[str]:
        return [value if isinstance(value, str) else " ".join(value.values()) for value in item.get(name, ())]

    def first(*names: str) -> str | None:
        return next(itertools.chain.from_iterable(map(texts, names)), None)

    pairs = [(name, value) for name in TABLE for value in texts(name)]
    pairs += [pair for value in item.get("product_detail", ()) for pair in _details(value)]
    category = first("product_type", "google_product_category")
    return {
        "id": first("id"),
        "source": options.source_name or None,
        "instance_id": first("item_group_id"),
        "category": [label.strip() for label in (category or "").split(">") if label.strip()],
        "title": first("title"),
        "description": first("description", "summary", "content"),
        "attributes": pairs or None,
        "images": [link for name in ("image_link", "additional_image_link") for link in _links(texts(name))],
        "videos": _links(texts("video_link")),
    }


def _links(values: list[str]) -> list[str]:
    """The links in values that may hold several, with commas between them; a comma inside of one stays."""
    return [link for value in values for link in re.split(r",\s*(?=[a-z]+://)", value.strip()) if link]


def _details(value: feed_xml.Value) -> list[tuple[str, str]]:
    """Names and values of `product_detail`: elements of XML, or section:name:value with commas between them."""
    if isinstance(value, dict):
        name, content = value.get("attribute_name", ""), value.get("attribute_value", "")
        return [(name, content)] if name or content else []
    parts = [detail.split(":", 2) for detail in next(csv.reader([" ".join(value.split())]), [])]
    return [(detail[1].strip(), detail[2].strip()) for detail in parts if len(detail) == 3]
