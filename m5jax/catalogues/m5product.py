"""The M5Product release (Dong et al., arXiv:2109.04275) as a catalogue, in the layout it comes in (docs/data.md).

One JSON object holds title, table and label of every product; regions of pictures lie in an LMDB or in tables of text
(`m5product_regions.py`), features of clips and sounds, or media themselves, in one file each (`m5product_folders.py`);
lists of ids name splits and the sets of benchmarks (`m5product_sets.py`).
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterator
from typing import Any

from m5jax.catalogues import (
    catalogue,
    catalogue_files,
    json_stream,
    m5product_folders,
    m5product_regions,
    m5product_sets,
)
from m5jax.catalogues.catalogue import Listing, Member, Rejection, RowError
from m5jax.catalogues.m5product_regions import Entry
from m5jax.errors import DataError
from m5jax.inputs import Inputs
from m5jax.media.pool import KillablePool

INFO, LABELS = "id_info_dict.json", "label_list.json"
BETWEEN_PAIRS, BETWEEN_NAME_AND_VALUE = "#;#", "#:#"


def find(folder: pathlib.Path) -> pathlib.Path | None:
    """The listing file of a release's folder; None if it is another folder.

    Raises:
      DataError: there are regions, but no listing file.
    """
    if (folder / INFO).is_file():
        return folder / INFO
    if not any((folder / name).exists() for name in catalogue_files.LISTING_FILES):
        for path in m5product_regions.region_files(folder):
            raise DataError(
                f"{folder} holds {path.name} of the M5Product release, but no {INFO} with titles and tables"
            )
    return None


def digest(info: pathlib.Path) -> str:
    """SHA-256 over the JSON files, and over names and sizes of all features and media."""
    root, total = info.parent, hashlib.sha256()
    for path in (info, root / LABELS, *m5product_sets.files(root).values()):
        if path.is_file():
            with path.open("rb") as file:
                total.update(f"{path.name}:{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    for path in m5product_regions.region_files(root):
        total.update(f"{path.name}:{path.stat().st_size}\n".encode())
    for place in (*m5product_folders.FEATURES.values(), *m5product_folders.RAW.values()):
        scanned = m5product_folders.scan(root, place)
        for name, size in sorted((file.name, file.stat().st_size) for file in scanned):
            total.update(f"{place.folder}/{name}:{size}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def read(info: pathlib.Path, inputs: Inputs, processes: KillablePool, quiet: bool) -> Iterator[Listing | Rejection]:
    """Every product of the JSON object, in order, then pictures of products that it does not have.

    A product without regions is a listing without picture; the release drops it. Notes, rejections with `lost` false,
    come beside listings: for labels that cannot be used, labels and ids that a list does not have.

    Args:
      info: the listing file, as `find` gives it.
      inputs: pictures, clips and sounds are looked for if records keep them: features or media, as the source says.
      processes: read the LMDB.
      quiet: show no progress.

    Raises:
      ConfigError: as `m5product_folders.check`.
      DataError: a file is damaged, so that nobody knows what it holds.
    """
    m5product_folders.check(inputs, info.parent)
    return _Reading(info, inputs, processes, quiet).rows()


def beside(info: pathlib.Path) -> Iterator[Member]:
    """Which sets of the release's benchmarks, the lists of ids, have which ids.

    Raises:
      DataError: as `m5product_sets.read`.
    """
    return m5product_sets.members(info.parent)


class _Reading:
    """One pass over a release."""

    def __init__(self, info: pathlib.Path, inputs: Inputs, processes: KillablePool, quiet: bool):
        root = info.parent
        self._info = info
        self._labels = set(m5product_sets.entries(root / LABELS)) if (root / LABELS).exists() else None
        self._lists = m5product_sets.read(root)
        self._beside = [*self._lists.notes]  # what belongs to no listing of the object
        self._files = m5product_folders.files(root, inputs)
        self._entries: dict[str, Entry] = {}
        if "image" in inputs.kept and "image" not in self._files:
            self._entries, rejections = m5product_regions.find(root, processes, quiet)
            self._beside += rejections

    def rows(self) -> Iterator[Listing | Rejection]:
        """What `read` gives."""
        made: dict[str, bool] = {}  # every id met: is there a listing of it?
        for line, identity, product, length in self._products():
            notes: list[Rejection] = []
            try:
                if made.setdefault(identity, False):
                    raise RowError("duplicate_id", f"id {identity!r} stands earlier in {INFO}")
                if length > catalogue.MAX_ROW_BYTES:
                    raise RowError("row_too_long", f"{length} characters; the limit is {catalogue.MAX_ROW_BYTES}")
                listing = self._listing(identity, product, self._entries.get(identity), notes)
                made[identity] = True
                self._entries.pop(identity, None)
                if not line:
                    detail = f"has regions, and {INFO} has no entry of it that can be used: title and picture alone"
                    notes.append(Rejection(identity, "not_in_info", detail, lost=False))
                yield from notes
                yield listing
            except RowError as error:
                # Of no half characters: what is written down must be text.
                known = identity[: catalogue.MAX_ID_CHARS].encode("utf-8", "replace").decode()
                yield Rejection(known, error.reason, error.detail, line=line)
        yield from self._beside
        for identity, name in self._lists.decides.items():
            if identity not in made:
                detail = f"is in {name}{m5product_sets.SUFFIX} and in no file of products"
                yield Rejection(identity[: catalogue.MAX_ID_CHARS], "unknown_id", detail, lost=False)

    def _products(self) -> Iterator[tuple[int, str, Any, int]]:
        """The members of the JSON object, with their number and their length; then ids that have regions only."""
        for line, (identity, product, length) in enumerate(json_stream.members(self._info), start=1):
            yield line, identity, product, length
        for identity, entry in list(self._entries.items()):  # those of listings were taken out as they came
            yield 0, identity, {"title": entry.title}, 0

    def _listing(self, identity: str, product: Any, entry: Entry | None, notes: list[Rejection]) -> Listing:
        """One product as a listing; what is left out without loss is added to `notes`.

        A title or a table that cannot be used is corrupt; the rest of the product stays.

        Raises:
          RowError: it is no object, or its id cannot be one.
        """
        if isinstance(product, RowError):
            raise product
        if not isinstance(product, dict):
            raise RowError("not_an_object", f"a product must be one, not {type(product).__name__}")
        row = {
            "id": _whole(identity),
            "split": self._lists.split(identity),
            "instance_id": self._lists.instances.get(identity),
            "images": [{"shard": entry.ref.path, "member": entry.ref.member}] if entry else [],
        }
        corrupt = []
        for name, there in self._files.items():
            try:
                row[f"{name}s"] = there.find(identity, product)
            except RowError as error:
                corrupt.append(Rejection(identity, error.reason, error.detail, modality=name))
        listing, parts = catalogue.parse(row), {}
        for key, modality, part in (("title", "text", _title), ("attributes", "table", _table)):
            try:
                parts[key] = part(product)
            except RowError as error:
                corrupt.append(Rejection(identity, error.reason, error.detail, modality=modality))
        return dataclasses.replace(
            listing, category=self._category(identity, product, notes), **parts, corrupt=tuple(corrupt)
        )

    def _category(self, identity: str, product: dict[str, Any], notes: list[Rejection]) -> tuple[str, ...]:
        """The label of a product, if there is one; what is wrong with it is noted."""
        label = product.get("label")
        try:
            label = catalogue.text({"label": str(label) if isinstance(label, int) else _whole(label)}, "label")
        except RowError as error:
            notes.append(Rejection(identity, error.reason, error.detail, lost=False))
            return ()
        if label and self._labels is not None and label not in self._labels:
            notes.append(Rejection(identity, "unknown_label", f"{label[:80]!r} is not in {LABELS}", lost=False))
        return (label,) if label else ()


def _whole(value: Any) -> Any:
    """The value.

    Raises:
      RowError: half a character is in it, "\\ud83d": nobody could write it.
    """
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeError as error:
        raise RowError("invalid_utf8", str(error)) from error
    return value


def _title(product: dict[str, Any]) -> str | None:
    return catalogue.text({"title": _whole(product.get("title"))}, "title")


def _table(product: dict[str, Any]) -> tuple[tuple[str, str], ...] | None:
    return catalogue.attributes(split_pairs(_whole(product.get("pv"))))


def split_pairs(pv: Any) -> list[tuple[str, str]] | None:
    """The table in ``name#:#value#;#name#:#value``.

    Absent (None) if it is missing or of one character at most: the release writes "-" where a product has none, and
    its loaders take every text of one character for that. Only the first mark inside a pair separates; a pair without
    name keeps its value, one without value stays for the notes; separators with nothing between them are nothing.

    Raises:
      RowError: it is not text.
    """
    if not isinstance(pv, str | None):
        raise RowError("invalid_field", f"pv must be a string or null, not {type(pv).__name__}")
    if pv is None or len(pv) <= 1:
        return None
    pairs = (pair.partition(BETWEEN_NAME_AND_VALUE) for pair in pv.split(BETWEEN_PAIRS))
    return [(name, value) for name, _, value in pairs if name or value]
