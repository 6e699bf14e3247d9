"""The plan of a preparation: every row read once, and every listing set down in the shard that it will be part of.

It lies on disk (`plan/`, and `plan.json` once it is whole), so that a catalogue need not fit into memory, a
preparation that was killed does not read again, and shards can be made anywhere, by whatever runs the work.
"""

import collections
import contextlib
import dataclasses
import json
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from m5jax.catalogues import catalogue, layouts
from m5jax.catalogues.catalogue import Listing, Pair, Rejection
from m5jax.data import prepared
from m5jax.data.prepared import PAIRS, REJECTIONS, SETS
from m5jax.inputs import Inputs
from m5jax.media.pool import KillablePool
from m5jax.progress import progress

PLAN, FOLDER = "plan.json", "plan"
TABLE_ROWS = 1 << 16  # rows of pairs and sets held at a time
_SCHEMAS = {
    PAIRS: pa.schema([("left", pa.string()), ("right", pa.string()), ("match", pa.bool_()), ("split", pa.string())]),
    SETS: pa.schema([("set", pa.string()), ("id", pa.string())]),
}


@dataclasses.dataclass(frozen=True)
class Plan:
    """What reading a catalogue gave.

    Attributes:
      facts: digest of what decides the records; another one is another plan.
      lengths: listings in each shard, by split.
      rows: rows there were.
      bad_rows: what was lost while reading, rows or parts of unknown rows.
      rejected, noted: how many of each "listing/reason" or "modality/reason".
      unknown: by modality, lost files of which nobody knows the listing.
      beside: pairs and members there were.
    """

    facts: str
    lengths: dict[str, list[int]]
    rows: int
    bad_rows: int
    rejected: dict[str, int]
    noted: dict[str, int]
    unknown: dict[str, int]
    beside: dict[str, int]

    @property
    def listings(self) -> int:
        """Listings in all shards."""
        return sum(map(sum, self.lengths.values()))


def make(
    found: layouts.Catalogue,
    inputs: Inputs,
    folder: pathlib.Path,
    facts: str,
    shard_listings: int,
    processes: KillablePool,
    quiet: bool,
) -> Plan:
    """The plan in a folder, made first if there is none of these facts.

    Raises:
      DataError, ConfigError: as `layouts.Catalogue.read`.
    """
    with contextlib.suppress(FileNotFoundError, ValueError, TypeError, KeyError):
        plan = Plan(**json.loads((folder / PLAN).read_text(encoding="utf-8")))
        if plan.facts == facts:
            return plan
    forget(folder)
    for shard in folder.glob("*.array_record*"):  # of another plan, of which it may have the numbers
        shard.unlink()
    (folder / FOLDER).mkdir(parents=True)
    with (
        progress("reading", None, "rows", quiet=quiet) as advance,
        (folder / FOLDER / REJECTIONS).open("w", encoding="utf-8") as rejections_file,
    ):
        reading = _Reading(folder, shard_listings, rejections_file)
        for row in found.read(inputs, processes, quiet):
            reading.take(row)
            advance(1)
        reading.close()
        beside = _write_beside(folder, found.beside(), reading)
    plan = Plan(
        facts=facts,
        lengths=reading.lengths,
        rows=reading.rows,
        bad_rows=reading.bad_rows,
        rejected=dict(reading.rejected),
        noted=dict(reading.noted),
        unknown=dict(reading.unknown),
        beside=beside,
    )
    prepared.write_json(folder / PLAN, dataclasses.asdict(plan))
    return plan


def forget(folder: pathlib.Path) -> None:
    """Takes a plan away, and what is known of its shards: the next preparation reads and decodes all anew."""
    (folder / PLAN).unlink(missing_ok=True)
    for made in (FOLDER, "parts"):
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder / made)


def listings(folder: pathlib.Path, split: str, number: int) -> list[Listing]:
    """The listings of one shard."""
    with _shard_path(folder, split, number).open(encoding="utf-8") as lines:
        return [catalogue.from_plain(json.loads(line)) for line in lines]


def rejections(folder: pathlib.Path) -> Iterator[dict[str, Any]]:
    """What reading could not use, and its notes."""
    with (folder / FOLDER / REJECTIONS).open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _shard_path(folder: pathlib.Path, split: str, number: int) -> pathlib.Path:
    return folder / FOLDER / f"{split}-{number:05d}.jsonl"


class _Reading:
    """Rows on their way to shards; of every split one shard at most is in memory."""

    def __init__(self, folder: pathlib.Path, shard_listings: int, rejections_file: TextIO):
        self._folder, self._shard_listings, self._rejections = folder, shard_listings, rejections_file
        self._filling: dict[str, list[Listing]] = collections.defaultdict(list)
        self.lengths: dict[str, list[int]] = {}
        self.rows = self.bad_rows = 0
        self.rejected, self.noted, self.unknown = (collections.Counter[str]() for _ in range(3))

    def take(self, row: Listing | Rejection) -> None:
        """A listing goes to the shard of its split that is being filled."""
        if isinstance(row, Rejection):
            self.reject(row)
            self.bad_rows += row.lost
            self.rows += row.lost and not row.modality  # of regions alone the listing comes by itself
            return
        self.rows += 1
        self._filling[row.split].append(row)
        if len(self._filling[row.split]) == self._shard_listings:
            self._write(row.split)

    def reject(self, rejection: Rejection) -> None:
        """Sets down and counts a rejection or a note."""
        self._rejections.write(json.dumps(vars(rejection), ensure_ascii=False) + "\n")
        (self.rejected if rejection.lost else self.noted)[count_key(vars(rejection))] += 1
        if rejection.modality and not rejection.id:
            self.unknown[rejection.modality] += 1

    def close(self) -> None:
        """Writes what has not filled its shard; splits come in the order of `catalogue.SPLITS`."""
        for split in catalogue.SPLITS:
            if self._filling[split]:
                self._write(split)
        self.lengths = {split: self.lengths[split] for split in catalogue.SPLITS if split in self.lengths}

    def _write(self, split: str) -> None:
        filled, lengths = self._filling.pop(split), self.lengths.setdefault(split, [])
        lines = (json.dumps(catalogue.to_plain(listing), ensure_ascii=False) + "\n" for listing in filled)
        _shard_path(self._folder, split, len(lengths)).write_text("".join(lines), encoding="utf-8")
        lengths.append(len(filled))


def count_key(rejection: dict[str, Any]) -> str:
    """What rejections are counted by: what was lost, and why."""
    return f"{rejection['modality'] or 'listing'}/{rejection['reason']}"


def by_reason(counts: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """Of `count_key`'s counts, rows by their reason alone; and files and parts of listings by "modality/reason"."""
    listing = "listing/"
    rows = {key.removeprefix(listing): count for key, count in counts.items() if key.startswith(listing)}
    return rows, {key: count for key, count in counts.items() if not key.startswith(listing)}


def _write_beside(folder: pathlib.Path, entries: Iterator[Any], reading: _Reading) -> dict[str, int]:
    """Pairs and members as Parquet, a part at a time; entries that are neither go to the rejections."""
    counts: dict[str, int] = {}
    with contextlib.ExitStack() as stack:
        writers: dict[str, pq.ParquetWriter] = {}
        held: dict[str, list[dict[str, Any]]] = {PAIRS: [], SETS: []}

        def write(name: str) -> None:
            if name not in writers:
                writer = pq.ParquetWriter(folder / name, _SCHEMAS[name], write_page_checksum=True)
                writers[name] = stack.enter_context(writer)
            writers[name].write_table(pa.Table.from_pylist(held[name], schema=_SCHEMAS[name]))
            held[name].clear()

        for entry in entries:
            if isinstance(entry, Rejection):
                reading.reject(entry)
                continue
            name = PAIRS if isinstance(entry, Pair) else SETS
            held[name].append(vars(entry))
            kind = "pairs" if isinstance(entry, Pair) else entry.set
            counts[kind] = counts.get(kind, 0) + 1
            if len(held[name]) == TABLE_ROWS:
                write(name)
        for name, rows in held.items():
            if rows:
                write(name)
    return counts
