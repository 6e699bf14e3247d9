"""Titles and tables as ids, beside the records: text is tokenised once, not in every epoch.

Two files for a split and a tokenizer, ``pieces-SPLIT-DIGEST.ids`` and ``.ends``: little-endian uint32, the blocks of
all listings in record order, and uint64 [N], where each block ends. A block is the CRC-32 of what follows, the number
of parts, the length of each, and their ids. The parts are title, description, then name and value of every row of the
table. Both files are mapped into memory, so that the workers of a machine share them.
"""

import array
import contextlib
import itertools
import logging
import pathlib
import sys
import zlib
from collections.abc import Callable
from typing import Any

import filelock
import numpy as np

from m5jax.data import unfinished
from m5jax.data.index import Texts
from m5jax.data.records import Record
from m5jax.data.tokenizer import Tokenizer
from m5jax.errors import DataError
from m5jax.progress import progress

_IDS, _ENDS = np.dtype("<u4"), np.dtype("<u8")
log = logging.getLogger(__name__)

Table = list[tuple[list[int], list[int]]]


def of_text(record: Record, tokenizer: Tokenizer) -> list[list[int]]:
    """The ids of title and description, as the record brings them, or made now."""
    if record.text_pieces is not None:
        return record.text_pieces
    return [tokenizer.encode(record.title), tokenizer.encode(record.description)]


def of_table(record: Record, tokenizer: Tokenizer) -> Table:
    """The ids of name and value of every row of the table, as the record brings them, or made now."""
    if record.table_pieces is not None:
        return record.table_pieces
    return [(tokenizer.encode(name), tokenizer.encode(value)) for name, value in record.fields]


class Pieces:
    """The pieces of the listings of a split, by position, for `Records` to give its records.

    Raises:
      DataError: a file is not as long as it has to be.
    """

    def __init__(self, path: pathlib.Path, listings: int):
        self._path, self._listings = path, listings
        self._open()

    def _open(self) -> None:
        ids, ends = _files(self._path)
        # Plain views: slicing a memmap makes a memmap, which takes as long as all the rest.
        self._ids = np.asarray(np.memmap(ids, _IDS, "r")) if ids.stat().st_size else np.zeros(0, _IDS)
        self._ends = np.asarray(np.memmap(ends, _ENDS, "r")) if ends.stat().st_size else np.zeros(0, _ENDS)
        if len(self._ends) != self._listings or (self._listings and self._ends[-1] != len(self._ids)):
            raise DataError(f"{ids} and {ends.name} are not those of {self._listings:,} listings: delete both")

    def __getitem__(self, index: int) -> dict[str, Any]:
        """`text_pieces` and `table_pieces` of a record; nothing, and a warning, where the block is damaged."""
        block = self._ids[int(self._ends[index - 1]) if index else 0 : int(self._ends[index])]
        if len(block) < 2 or zlib.crc32(block[1:].data) != block[0]:
            log.warning("the pieces of record %d in %s are damaged: it is tokenised anew", index, self._path)
            return {}
        _, count, *rest = block.tolist()
        cuts = list(itertools.accumulate(rest[:count], initial=count))
        parts = [rest[start:end] for start, end in itertools.pairwise(cuts)]
        return {"text_pieces": parts[:2], "table_pieces": list(zip(parts[2::2], parts[3::2], strict=True))}

    def __getstate__(self) -> dict[str, Any]:
        return {"_path": self._path, "_listings": self._listings}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()


def find(folder: pathlib.Path, split: str, tokenizer: Tokenizer, records: Texts, quiet: bool = True) -> Pieces | None:
    """The pieces of a split for a tokenizer, made first if need be; None, and a warning, where they cannot be written.

    Args:
      folder: the prepared folder.
      split: the split.
      tokenizer: its own, or that of the catalogue it is mixed with.
      records: of the split, as far as they are text.
      quiet: show no progress while making them.
    """
    path = folder / f"pieces-{split}-{tokenizer.digest[:12]}"
    if not _complete(path):
        try:
            with filelock.FileLock(folder / "pieces.lock"):
                if not _complete(path):
                    with progress(f"tokenising {split}", len(records), quiet=quiet) as advance:
                        _write(path, records, tokenizer, advance)
        except OSError as error:  # a finished folder may be read-only
            log.warning("%s cannot be written (%s): text is tokenised anew in every epoch", path, error)
            return None
    return Pieces(path, len(records))


def _files(path: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    return path.with_name(f"{path.name}.ids"), path.with_name(f"{path.name}.ends")


def _complete(path: pathlib.Path) -> bool:
    return all(file.is_file() for file in _files(path))


def _write(path: pathlib.Path, records: Texts, tokenizer: Tokenizer, advance: Callable[[int], None]) -> None:
    end = 0
    with contextlib.ExitStack() as stack:
        ids, ends = (
            stack.enter_context(stack.enter_context(unfinished.whole(file)).open("wb")) for file in _files(path)
        )
        for record in records:
            block = _block(record, tokenizer)
            ids.write(block)
            end += len(block) // _IDS.itemsize
            ends.write(end.to_bytes(_ENDS.itemsize, "little"))
            advance(1)


def _block(record: Record, tokenizer: Tokenizer) -> bytes:
    parts = of_text(record, tokenizer) + [part for field in of_table(record, tokenizer) for part in field]
    numbers = array.array("I", [len(parts), *map(len, parts), *itertools.chain.from_iterable(parts)])
    if sys.byteorder == "big":
        numbers.byteswap()
    content = numbers.tobytes()
    return zlib.crc32(content).to_bytes(4, "little") + content
