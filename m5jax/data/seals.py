"""Seals of record shards: what tells whether a file is still the one that was prepared.

A record carries a checksum of its own, so bytes that rot are noticed when it is read, and counted. What that does not
show is a shard in another's place: exchanged, cut, or of another preparation. Its size, beginning and end do, in two
small reads: at the beginning lies the first record, at the end where they are and how many. A change that leaves these
alone is only found by reading every byte.
"""

import concurrent.futures
import hashlib
import os
import pathlib
from typing import Any

from m5jax.data import records, tokenizer
from m5jax.data.prepared import MANIFEST, Prepared
from m5jax.errors import DataError
from m5jax.progress import progress

ENDS, WHOLE = "ends", "whole"
END_BYTES = 1 << 16  # the block that closes an ArrayRecord file, and its first records
READERS = 16  # of ends, which wait for the disk

Seal = dict[str, Any]
"""Of a file: its "bytes", the SHA-256 of its "ends" and that of the "whole"."""


def seal(path: pathlib.Path) -> Seal:
    """The seal of a file as it is.

    Raises:
      OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return _ends(path) | {WHOLE: hashlib.file_digest(file, "sha256").hexdigest()}


def verify(prepared: Prepared, how: str, quiet: bool = False) -> None:
    """Compares the shards and the tokenizer of a prepared folder with its manifest.

    Args:
      prepared: the folder.
      how: ENDS or WHOLE, what is read of every shard.
      quiet: show no progress.

    Raises:
      DataError: naming the shards that are missing or not those that were prepared.
    """
    folder, files = prepared.folder, prepared.manifest["shard_files"]
    seals = {records.shard_name(split, i, len(of)): known for split, of in files.items() for i, known in enumerate(of)}
    wrong = {}
    workers = READERS if how == ENDS else os.cpu_count()
    with (
        concurrent.futures.ThreadPoolExecutor(workers) as pool,
        progress("verifying records", len(seals), "shards", quiet or how == ENDS) as advance,
    ):
        problems = pool.map(lambda name: _problem(folder / name, seals[name], how), seals)
        for name, problem in zip(seals, problems, strict=True):
            wrong |= {name: problem} if problem else {}
            advance(1)
    if wrong:
        named = ", ".join(f"{name} ({problem})" for name, problem in list(wrong.items())[:5])
        raise DataError(
            f"{len(wrong)} of {len(seals)} shards in {folder} are not those that were prepared: {named}. Restore them,"
            f" or delete {MANIFEST} there, and preparing the catalogue again makes these shards anew"
        )
    if tokenizer.load(prepared.tokenizer_path).digest != prepared.manifest["tokenizer"]:
        raise DataError(f"{prepared.tokenizer_path} is not the one that was prepared: restore it, or prepare again")


def _problem(path: pathlib.Path, known: Seal, how: str) -> str:
    """What is wrong with a shard; empty if nothing is."""
    try:
        now = _ends(path) if how == ENDS else seal(path)
    except OSError as error:
        return "missing" if isinstance(error, FileNotFoundError) else str(error.strerror)
    if now["bytes"] != known["bytes"]:
        return f"{now['bytes']:,} bytes, not {known['bytes']:,}"
    return "" if all(known[part] == value for part, value in now.items()) else "changed"


def _ends(path: pathlib.Path) -> Seal:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        first = file.read(END_BYTES)
        file.seek(max(size - END_BYTES, 0))
        return {"bytes": size, ENDS: hashlib.sha256(first + file.read(END_BYTES)).hexdigest()}
