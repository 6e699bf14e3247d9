"""The M5Product release (Dong et al., arXiv:2109.04275) as a catalogue, in the layout it comes in (docs/data.md).

One JSON object holds title, table and label of every product; regions of pictures lie in an LMDB or in tables of text
(`m5product_regions.py`), features of clips and sounds in one .npy file each; lists of ids name the splits.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from m5jax.data import catalogue, catalogue_files, json_stream, m5product_regions
from m5jax.data.catalogue import Listing, Rejection, RowError
from m5jax.data.m5product_regions import Entry
from m5jax.data.pool import KillablePool
from m5jax.errors import ConfigError, DataError
from m5jax.inputs import Inputs

INFO, LABELS = "id_info_dict.json", "label_list.json"
SPLIT_LISTS = {split: f"{split}_ids.json" for split in ("query", "gallery", "val", "train")}
FOLDERS = {"video": "video_feature", "audio": "audio_feature"}
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


def check(inputs: Inputs) -> None:
    """Whether the settings ask for what the release has.

    Raises:
      ConfigError: naming what to set.
    """
    wanted: dict[str, tuple[str | bool, str | bool]] = {
        f"{name}.source": (getattr(inputs, name).source, "features") for name in ("image", "video", "audio")
    }
    wanted["image.boxes"] = (inputs.image.boxes, True)
    wrong = [
        f"config.inputs.{path}={need}"
        for path, (found, need) in wanted.items()
        if path.partition(".")[0] in inputs.kept and found != need
    ]
    if wrong:
        raise ConfigError(f"the M5Product release holds features instead of media: set {', '.join(wrong)}")


def digest(info: pathlib.Path) -> str:
    """SHA-256 over the JSON files, and over names and sizes of all features."""
    root, total = info.parent, hashlib.sha256()
    for path in (info, root / LABELS, *(root / name for name in SPLIT_LISTS.values())):
        if path.is_file():
            with path.open("rb") as file:
                total.update(f"{path.name}:{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    for path in m5product_regions.region_files(root):
        total.update(f"{path.name}:{path.stat().st_size}\n".encode())
    for folder in FOLDERS.values():
        for name, size in sorted((file.name, file.stat().st_size) for file in _files(root / folder)):
            total.update(f"{folder}/{name}:{size}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def read(info: pathlib.Path, inputs: Inputs, processes: KillablePool, quiet: bool) -> Iterator[Listing | Rejection]:
    """Every product of the JSON object, in order, then pictures of products that it does not have.

    A product without regions is a listing without picture; the release drops it. Notes, rejections with `lost` false,
    come beside listings: for labels that cannot be used, labels and ids that a list does not have.

    Args:
      info: the listing file, as `find` gives it.
      inputs: regions, clips and sounds are looked for if records keep them.
      processes: read the LMDB.
      quiet: show no progress.

    Raises:
      ConfigError: as `check`.
      DataError: a file is damaged, so that nobody knows what it holds.
    """
    check(inputs)
    return _Reading(info, inputs, processes, quiet).rows()


class _Reading:
    """One pass over a release."""

    def __init__(self, info: pathlib.Path, inputs: Inputs, processes: KillablePool, quiet: bool):
        root = info.parent
        self._info = info
        self._labels = set(_ids(root / LABELS)) if (root / LABELS).exists() else None
        self._beside: list[Rejection] = []  # what belongs to no listing of the object
        self._splits = self._split_lists(root)
        self._files = {
            name: {file.name for file in _files(root / folder)}
            for name, folder in FOLDERS.items()
            if name in inputs.kept
        }
        self._entries: dict[str, Entry] = {}
        if "image" in inputs.kept:
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
        for identity, split in self._splits.items():
            if identity not in made:
                detail = f"is in {SPLIT_LISTS[split]} and nowhere else"
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
            "split": self._splits.get(identity, "train") if self._splits else None,
            "images": [{"shard": entry.ref.path, "member": entry.ref.member}] if entry else [],
        }
        for name, there in self._files.items():
            if f"{identity}.npy" in there:
                row[f"{name}s"] = f"{FOLDERS[name]}/{identity}.npy"
        listing, parts, corrupt = catalogue.parse(row), {}, []
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

    def _split_lists(self, root: pathlib.Path) -> dict[str, str]:
        """The split of every id that a list names; the first of `SPLIT_LISTS` counts."""
        splits: dict[str, str] = {}
        for split, name in SPLIT_LISTS.items():
            for identity in _ids(root / name) if (root / name).exists() else ():
                if splits.setdefault(identity, split) != split:
                    detail = f"stands in {SPLIT_LISTS[splits[identity]]}, which counts, and in {name}"
                    known = identity[: catalogue.MAX_ID_CHARS]
                    self._beside.append(Rejection(known, "several_splits", detail, lost=False))
        return splits


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


def _ids(path: pathlib.Path) -> list[str]:
    """The ids, or labels, in a JSON list; of an object, its keys.

    Raises:
      DataError: the file holds anything else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
        if isinstance(values, list | dict) and all(isinstance(value, str | int) for value in values):
            json.dumps(names := [str(value) for value in values], ensure_ascii=False).encode()  # no half characters
            return names
        reason = "it must be a list of ids, or an object with ids as keys"
    except (ValueError, RecursionError, OSError) as error:
        reason = str(error)
    raise DataError(f"{path} cannot be used: {reason}. Mend it or take it away")


def _files(folder: pathlib.Path) -> Iterator[os.DirEntry[str]]:
    """The features in a folder that may be missing."""
    if folder.is_dir():
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if entry.name.endswith(".npy"))
