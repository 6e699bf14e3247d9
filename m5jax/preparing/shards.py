"""One shard of a prepared folder, made from its part of the plan: the unit of work of every runner.

A shard is a function of the plan and of the media, whoever makes it, wherever and in which order; it is finished
when its note, `parts/SPLIT-NUMBER.json`, says what is in it and the file is still the one it was written of.
"""

import collections
import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from m5jax import media, modalities
from m5jax.catalogues.catalogue import Listing, Rejection
from m5jax.config import Config
from m5jax.data import index, prepared, records, seals
from m5jax.errors import DataError
from m5jax.media import pool
from m5jax.preparing import convert, plan

Key = tuple[str, int]
"""Which shard: its split and its number in it."""


@dataclasses.dataclass(frozen=True)
class Work:
    """What all shards of a preparation have in common; travels to wherever they are made.

    Attributes:
      folder: the prepared folder, which every maker of shards must see under this path.
      root: the catalogue's media, likewise.
      config: how to decode, and within which limits.
      lengths: listings in each shard, by split.
    """

    folder: pathlib.Path
    root: pathlib.Path
    config: Config
    lengths: dict[str, list[int]]

    def path(self, key: Key) -> pathlib.Path:
        """The file of a shard."""
        split, number = key
        return self.folder / records.shard_name(split, number, len(self.lengths[split]))

    def note(self, key: Key) -> pathlib.Path:
        """What is known of a finished shard; its index lies beside it, as Parquet."""
        return self.folder / "parts" / f"{key[0]}-{key[1]:05d}.json"

    def length(self, key: Key) -> int:
        """Listings that a shard is made of."""
        return self.lengths[key[0]][key[1]]


@dataclasses.dataclass(frozen=True)
class Part:
    """What became of the listings of one shard.

    Attributes:
      listings: what it was made of.
      file: the seal of the shard's file.
      content: SHA-256 of its records, the same wherever they lie.
      records: how many.
      states: listings by modality and state.
      rejected, noted: how many of each "listing/reason" or "modality/reason".
      damaged: listings that lost a file, or all they had.
      rejections: one by one, as `catalogue.Rejection` has them.
    """

    listings: int
    file: seals.Seal
    content: str
    records: int
    states: dict[str, dict[str, int]]
    rejected: dict[str, int]
    noted: dict[str, int]
    damaged: int
    rejections: list[dict[str, Any]]


class Runner(Protocol):
    """Makes shards, in any order and anywhere, and gives each as it is finished."""

    def __call__(self, work: Work, keys: list[Key], advance: Callable[[int], None]) -> Iterator[Part]:
        """Calls `advance` with numbers of listings that are done."""
        ...


def run_here(work: Work, keys: list[Key], advance: Callable[[int], None]) -> Iterator[Part]:
    """Makes shards in order, in processes on this machine."""
    with processes(work.config, work.root) as workers:
        for key in keys:
            yield make(work, key, workers, advance)


def processes(config: Config, root: pathlib.Path) -> pool.KillablePool:
    """Processes that decode, with the limits of the configuration."""
    data = config.data
    limits = (int(data.decode_memory_gb * 1e9), tuple(root.glob("*.lmdb")))
    return pool.KillablePool(data.prepare_workers, data.decode_seconds, media.limit_process, limits)


def finished(work: Work, key: Key) -> Part | None:
    """The part that an earlier preparation finished, if its file is still the same."""
    try:
        part = read_part(work, key)
        return part if part.file == seals.seal(work.path(key)) and index_path(work, key).is_file() else None
    except (FileNotFoundError, ValueError, TypeError):
        return None


def read_part(work: Work, key: Key) -> Part:
    """The note of a shard that is finished."""
    return Part(**json.loads(work.note(key).read_text(encoding="utf-8")))


def index_path(work: Work, key: Key) -> pathlib.Path:
    """The rows of a shard for its split's index."""
    return work.note(key).with_suffix(".parquet")


def make(work: Work, key: Key, workers: pool.KillablePool, advance: Callable[[int], None] = lambda n: None) -> Part:
    """Makes one shard from its part of the plan.

    Raises:
      DataError: a decoder is not installed, which is not the fault of the files.
    """
    codec, rows, content = records.RecordCodec(work.config.inputs), [], hashlib.sha256()
    rejections: list[Rejection] = []

    def encoded() -> Iterator[bytes]:
        for conversion in converted(plan.listings(work.folder, *key), work.root, work.config, workers):
            rejections.extend(conversion.rejections)
            for rejection in conversion.rejections:
                if rejection.reason == "decoder_missing":  # not to be kept
                    raise DataError(f"{rejection.detail}, or leave it out of config.inputs.modalities")
            if conversion.record is not None and conversion.fingerprints is not None:
                rows.append(index.index_row(conversion.record, conversion.fingerprints))
                data = codec.encode(conversion.record)
                content.update(hashlib.sha256(data).digest())
                yield data
            advance(1)

    records.write_shard(work.path(key), encoded())
    work.note(key).parent.mkdir(exist_ok=True)
    index.write_index(index_path(work, key), rows)
    counts = {lost: collections.Counter[str]() for lost in (True, False)}
    for rejection in rejections:
        counts[rejection.lost][plan.count_key(vars(rejection))] += 1
    part = Part(
        listings=work.length(key),
        file=seals.seal(work.path(key)),
        content=content.hexdigest(),
        records=len(rows),
        states=count_states(rows),
        rejected=dict(counts[True]),
        noted=dict(counts[False]),
        damaged=len({rejection.id for rejection in rejections if rejection.lost}),
        rejections=[vars(rejection) for rejection in rejections],
    )
    prepared.write_json(work.note(key), dataclasses.asdict(part))
    return part


def converted(
    listings: Iterable[Listing], root: pathlib.Path, config: Config, workers: pool.KillablePool
) -> Iterator[convert.Conversion]:
    """What becomes of listings, in order, in processes that may die."""
    tasks = [convert.Task(listing, root, config.inputs) for listing in listings]
    for task, result in zip(tasks, workers.map(convert.run_task, tasks), strict=True):
        yield _take_apart(task, workers) if isinstance(result, pool.Failure) else result


def _take_apart(task: convert.Task, workers: pool.KillablePool) -> convert.Conversion:
    """Converts a listing that ended its process without the file that is to blame, or without any of its files."""
    probes = [dataclasses.replace(task, only=name) for name in task.media]
    ends = dict(zip(task.media, workers.map(convert.probe, probes), strict=True))
    broken = {name: end for name, end in ends.items() if isinstance(end, pool.Failure)}
    (result,) = workers.map(convert.run_task, [dataclasses.replace(task, broken=broken)])
    if isinstance(result, pool.Failure):
        result = convert.run_task(dataclasses.replace(task, broken=dict.fromkeys(task.media, result)))
    return result


def count_states(rows: Iterable[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Listings by modality and state, of rows of an index."""
    counts = {name: collections.Counter[str]() for name in modalities.NAMES}
    for row in rows:
        for name, state in zip(modalities.NAMES, row["states"], strict=True):
            counts[name][modalities.State(state).name.lower()] += 1
    return {name: dict(count) for name, count in counts.items()}
