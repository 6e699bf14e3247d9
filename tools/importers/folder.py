"""A plain folder: every product is a sub-folder with its files in it (`folder_files.py`).

    shoes/a-1/front.jpg  back.jpg  title.txt  description.txt  attributes.json

Folders above a product are its category, and its path is its id.
"""

import dataclasses
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from importers import Options, folder_files, links
from importers.imported import Imported
from m5jax.catalogues.catalogue import Rejection, Row, RowError
from m5jax.errors import DataError

NOT_OURS = ("__MACOSX", "Thumbs.db", "desktop.ini")


@dataclasses.dataclass
class _Folder:
    """A folder with what lies in it, in the order that people count in.

    Attributes:
      place: its path below the root.
      files: names of what is no folder; of `images` and its like, which are part of a product, with their name before.
      has_folders: whether there are folders in it that are none of these.
      unreadable: why nobody knows what is in it.
    """

    place: tuple[str, ...]
    files: list[str] = dataclasses.field(default_factory=list)
    has_folders: bool = False
    unreadable: str = ""

    @property
    def is_product(self) -> bool:
        """Whether it has files, or else no folders: what is empty is a product with nothing present."""
        return bool(self.place) and bool(self.files or not self.has_folders)


def catalogue(path: pathlib.Path, options: Options) -> Imported:
    """The catalogue in a folder of folders.

    Raises:
      DataError: there is no folder in it.
    """
    if not path.is_dir() or not next(_walk(path)).has_folders:
        raise DataError(f"{path} must be a folder with a sub-folder for every product")

    def rows() -> Iterator[tuple[int, Row | Rejection]]:
        products = (folder for folder in _walk(path) if folder.is_product)
        for line, folder in enumerate(products, start=1):
            yield from ((line, found) for found in _listing(path, folder, options))
        if loose := next(_walk(path)).files:
            detail = f"{len(loose)} lie in no folder of a product: {', '.join(map(repr, loose[:10]))}"
            yield 0, Rejection("", "file_not_used", detail, lost=False)

    def all_files() -> Iterator[pathlib.Path]:
        for folder in _walk(path):
            yield from (path.joinpath(*folder.place, name) for name in folder.files)

    def texts() -> Iterator[pathlib.Path]:  # no link: it might lead outside
        known = (file for file in all_files() if file.name in folder_files.NAMES)
        return (file for file in known if file.is_file() and not file.is_symlink())

    return Imported("folder", path, path, options, rows, texts, all_files)


def _walk(root: pathlib.Path) -> Iterator[_Folder]:
    """Every folder, the root first, in order. Hidden ones and links are not entered."""
    waiting: list[tuple[str, ...]] = [()]
    while waiting:
        folder = _Folder(waiting.pop())
        try:
            folder.files, folders = _entries(root.joinpath(*folder.place))
            media = [name for name in folders if folder.place and name in links.EXTENSIONS]
            inner = [name for name in folders if name not in media]
            folder.has_folders = bool(inner)
            waiting += [(*folder.place, name) for name in reversed(inner)]
            for name in media:
                folder.files += [f"{name}/{inside}" for inside in _entries(root.joinpath(*folder.place, name))[0]]
        except OSError as error:
            folder.unreadable = error.strerror or str(error)
        yield folder


def _entries(folder: pathlib.Path) -> tuple[list[str], list[str]]:
    """The names of what is no folder, links among them, and of folders."""
    names: tuple[list[str], list[str]] = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(".") and entry.name not in NOT_OURS:
                names[entry.is_dir(follow_symlinks=False)].append(entry.name)
    return sorted(names[0], key=_counting), sorted(names[1], key=_counting)


def _counting(name: str) -> list[Any]:
    """Sorts 2.jpg before 10.jpg."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"(\d+)", name))]


def _listing(root: pathlib.Path, folder: _Folder, options: Options) -> Iterator[Row | Rejection]:
    """The row of one product; before it what of its files cannot be used."""
    identity = "/".join(folder.place)
    row: dict[str, Any] = {"id": identity, "source": options.source_name or None, "category": list(folder.place[:-1])}
    try:
        if folder.unreadable:
            raise RowError("unreadable", f"{identity!r}: {folder.unreadable}")
        if not folder_files.is_text(identity):
            raise RowError("invalid_utf8", f"the name of folder {identity!r} is not UTF-8")
        yield from folder_files.take(root, identity, folder.files, row)
        yield row
    except RowError as error:
        yield error
