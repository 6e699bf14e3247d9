"""Finds whose regions lie where in the M5Product release: one id per value of its LMDB, or per line of its tables.

Only ids and titles are read here; the regions themselves are read again, one picture at a time, when it is prepared.
"""

import dataclasses
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

from m5jax.catalogues.catalogue import Rejection
from m5jax.errors import DataError
from m5jax.media import files, regions
from m5jax.media.files import MediaError, MediaRef
from m5jax.media.pool import Failure, KillablePool
from m5jax.progress import progress

LMDB, TABLES = "features.lmdb", "regions*.tsv"
MAX_ENTRY_BYTES = 20 << 20
KEYS_AT_ONCE, VALUES_AT_ONCE = 100_000, 16

INDEX = "__keys__"  # tensorpack's list of the keys


@dataclasses.dataclass(frozen=True, slots=True)  # there are millions
class Entry:
    """Where the regions of a picture lie.

    Attributes:
      ref: an LMDB's value, or a line of a table.
      title: what stands beside them.
    """

    ref: MediaRef
    title: str


def region_files(root: pathlib.Path) -> list[pathlib.Path]:
    """The files of a release's folder that hold regions: the LMDB first."""
    return [*root.glob(LMDB), *sorted(root.glob(TABLES))]


def find(root: pathlib.Path, processes: KillablePool, quiet: bool) -> tuple[dict[str, Entry], list[Rejection]]:
    """The entries of all pictures by id, in order, and what cannot be used.

    The first entry of an id counts. A line of a table whose id the LMDB has is the same picture, from which the
    release's converter made the value, and is passed over.

    Raises:
      DataError: a file cannot be read at all, so that nobody knows its entries.
    """
    entries: dict[str, Entry] = {}
    rejections: list[Rejection] = []
    for path in region_files(root):
        found = _of_lmdb(root, processes, quiet) if path.name == LMDB else _of_table(root, path.name)
        for identity, entry in found:
            if isinstance(entry, Rejection):
                rejections.append(entry)
            elif identity not in entries:
                entries[identity] = entry
            elif (earlier := entries[identity].ref).path != LMDB or path.name == LMDB:
                detail = f"id {identity!r} has regions in {earlier}"
                rejections.append(Rejection(identity, "duplicate_id", detail, modality="image", file=str(entry.ref)))
    return entries, rejections


def _of_lmdb(root: pathlib.Path, processes: KillablePool, quiet: bool) -> Iterator[tuple[str, Entry | Rejection]]:
    """The values of the LMDB, read in processes that a damaged one may end."""
    keys = _keys_of_lmdb(root, processes)
    groups = [keys[start : start + VALUES_AT_ONCE] for start in range(0, len(keys), VALUES_AT_ONCE)]
    with progress(f"finding regions in {LMDB}", len(keys), "pictures", quiet=quiet) as advance:
        results = processes.map(_identities, [(root, group) for group in groups])
        for group, result in zip(groups, results, strict=True):
            if isinstance(result, Failure):  # one of them is to blame
                singles = processes.map(_identities, [(root, [key]) for key in group])
                result = [single if isinstance(single, Failure) else single[0] for single in singles]
            for key, identity in zip(group, result, strict=True):
                ref = MediaRef(LMDB, key)
                if isinstance(identity, MediaError) and identity.reason == "decoder_missing":
                    raise DataError(f"{root / LMDB}: {identity.detail}")
                if isinstance(identity, (Failure, MediaError)):
                    yield "", _unusable(ref, identity.reason, identity.detail)
                else:
                    yield identity[0], Entry(ref, identity[1])
            advance(len(group))


def _keys_of_lmdb(root: pathlib.Path, processes: KillablePool) -> list[str]:
    """All keys, in order.

    Raises:
      DataError: the LMDB is damaged.
    """
    keys: list[str] = []
    while True:
        try:
            (more,) = processes.map(_some_keys, [(root, keys[-1] if keys else "")])
        except MediaError as error:
            if error.reason == "decoder_missing":
                raise DataError(f"{root / LMDB}: {error.detail}") from error
            raise DataError(f"{root / LMDB} cannot be read, {error}. Copy it anew") from error
        if isinstance(more, Failure):
            raise DataError(f"{root / LMDB} cannot be read, {more.reason}: {more.detail}. Copy it anew")
        if not more:
            return [key for key in keys if key != INDEX]
        keys += more


def _some_keys(task: tuple[pathlib.Path, str]) -> list[str]:
    """The keys behind a given one, a part of them; runs in a process of the pool."""
    root, last = task
    return files.database_keys(files.inside(root, LMDB), last, KEYS_AT_ONCE)


def _identities(task: tuple[pathlib.Path, list[str]]) -> list[tuple[str, str] | MediaError]:
    """Id and title of each value, or why there is none; runs in a process of the pool."""
    root, keys = task
    found: list[tuple[str, str] | MediaError] = []
    for key in keys:
        try:
            found.append(regions.identity(files.read(root, MediaRef(LMDB, key), MAX_ENTRY_BYTES)))
        except MediaError as error:
            found.append(error)
    return found


def _of_table(root: pathlib.Path, name: str) -> Iterator[tuple[str, Entry | Rejection]]:
    """The lines of a table. What is wrong in a line that begins with an id is found when its regions are read."""
    try:
        path = files.inside(root, name)
        for offset, line, length in _lines(path):
            ref = MediaRef(name, f"{offset}:{length}")
            columns = line.rstrip(b"\r\n").split(b"\t")
            if length > MAX_ENTRY_BYTES:
                yield "", _unusable(ref, "row_too_long", f"{length} bytes; the limit is {MAX_ENTRY_BYTES}")
                continue
            try:
                identity = columns[0].decode()
                title = regions.title(columns[-1]).decode() if len(columns) == len(regions.COLUMNS) else ""
            except UnicodeError as error:
                yield "", _unusable(ref, "invalid_utf8", str(error))
                continue
            if identity:
                yield identity, Entry(ref, _unquoted(title))
            else:
                yield "", _unusable(ref, "missing_id", "the first column, the id, is empty")
    except (MediaError, OSError) as error:
        raise DataError(f"{root / name} cannot be read, {error}. Copy it anew") from error


def _lines(path: pathlib.Path) -> Iterable[tuple[int, bytes, int]]:
    """Offset, bytes and length of every line that is not blank; of a longer one than an entry may be, the start."""
    offset = 0
    with path.open("rb") as file:
        while line := file.readline(MAX_ENTRY_BYTES + 1):
            length, rest = len(line), line
            while len(rest) > MAX_ENTRY_BYTES and not rest.endswith(b"\n"):
                rest = file.readline(MAX_ENTRY_BYTES + 1)
                length += len(rest)
            if line.strip():
                yield offset, line, length
            offset += length


def _unquoted(title: str) -> str:
    """The title as the csv module, which reads these tables in the release, takes it."""
    return title[1:-1].replace('""', '"') if len(title) > 1 and title[0] == title[-1] == '"' else title


def _unusable(ref: Any, reason: str, detail: str) -> Rejection:
    return Rejection("", reason, detail, modality="image", file=str(ref))
