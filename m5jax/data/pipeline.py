"""Batches as a pure function of (seed, step), the same for any number of loader workers and of processes.

Everything random happens per listing before batching, seeded by its place in the stream; batches are formed
before iteration, so a worker makes whole batches; a process takes every P-th local batch, so the global batch
is the same array in the same order for 1 and for P processes; resuming is slicing.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import grain
import numpy as np
from absl import flags

from m5jax.config import Config
from m5jax.data import batching, sampling, tokenizer
from m5jax.data.prepared import Prepared
from m5jax.data.records import DAMAGED, Record, Source
from m5jax.data.tokenizer import Tokenizer
from m5jax.data.transforms import Arrays, Classes, Transform
from m5jax.modalities import TABLE

PREFETCH = 4  # batches read ahead per process


@dataclasses.dataclass(frozen=True)
class Share:
    """Which part of every global batch this process makes."""

    index: int = 0
    count: int = 1


ALONE = Share()


def training_batches(
    prepared: Prepared,
    config: Config,
    *,
    mixed: Sequence[Prepared] = (),
    start: int = 0,
    share: Share = ALONE,
    split: str = "train",
) -> Iterator[Arrays]:
    """Endless training batches from step `start` on; arrays as in `transforms`, with a leading local batch axis.

    Args:
      prepared: config.data.catalogue, which gives tokenizer and classes.
      config: the settings.
      mixed: the catalogues of config.data.mix, in its order.
      start: the first step.
      share: this process's part of every batch.
      split: the listings to train on.

    Raises:
      DataError: the split has no listing, with `config.data.complete_only` no complete one, or with
        `config.data.sampling` none with a class.
    """
    words = tokenizer.load(prepared.tokenizer_path)
    transform = Transform(config.inputs, words, _classes(prepared, config), _told(config))
    streams = [
        _stream(part, config, split, number, transform.tokenizer) for number, part in enumerate((prepared, *mixed))
    ]
    stream = streams[0]
    if mixed:
        weights = [Fraction(1), *(weight for _, weight in config.data.mixed)]
        stream = grain.MapDataset.select_from_datasets(streams, sampling.Mix(weights))
    if config.inputs.mismatch:
        drafts = stream.map_with_index(_Beside(stream)).random_map(transform.draft_beside)
    else:
        drafts = stream.random_map(transform.draft)
    batches = batching.batches(drafts, transform.batch, config.batch_size // share.count)
    return _iterate(batches[share.index :: share.count][start:], config)


def _classes(prepared: Prepared, config: Config) -> Classes | None:
    """What labels are of, to train a classifier."""
    what = config.objective.classes
    names = prepared.products if what == "product" else prepared.classes
    return Classes(what, {name: i for i, name in enumerate(names)}) if config.objective.classification else None


def _told(config: Config) -> tuple[str, ...]:
    """The modalities whose masked objective has a weight, and something to tell."""
    names = (name for name in config.inputs.modalities if getattr(config.objective, TABLE[name].objective))
    return tuple(name for name in names if name != "table" or config.inputs.table.masking != "none")


def epoch(prepared: Prepared, config: Config, split: str = "train") -> Fraction:
    """Listings of a stream in which those of `prepared` are drawn as often as there are such listings.

    Raises:
      DataError: as `training_batches`.
    """
    chosen = _chosen(prepared, config, split)
    return (prepared.length(split) if chosen is None else len(chosen)) * sum(
        (weight for _, weight in config.data.mixed), Fraction(1)
    )


def _stream(prepared: Prepared, config: Config, split: str, number: int, words: Tokenizer) -> grain.MapDataset[Record]:
    """The listings of the number-th catalogue, endless: shuffled anew in every epoch by an index permutation."""
    records, chosen, choice = prepared.records(split, words), _chosen(prepared, config, split), config.data.sampling
    # Catalogues of one length are not to be shuffled alike.
    seed = int(np.random.SeedSequence([config.seed, number]).generate_state(1)[0]) if number else config.seed
    if choice == sampling.UNIFORM:
        stream = grain.MapDataset.source(records if chosen is None else _Chosen(records, chosen))
    else:
        draws = sampling.draws(choice, *prepared.groups(split, sampling.COLUMNS[choice]), seed, chosen)
        stream = grain.MapDataset.range(len(draws)).map_with_index(_Drawn(records, draws))
    return stream.seed(seed).shuffle().repeat()


def _chosen(prepared: Prepared, config: Config, split: str) -> np.ndarray | None:
    """Positions of the listings to train on; None for all."""
    return prepared.complete(split) if config.data.complete_only else None


def evaluation_batches(
    prepared: Prepared,
    config: Config,
    split: str,
    *,
    start: int = 0,
    share: Share = ALONE,
    rows: np.ndarray | None = None,
) -> Iterator[Arrays]:
    """A split in record order, from batch `start` on, its last batch padded with listings of ``valid`` false.

    `rows` are the positions of the listings to read, None = all.
    """
    transform = Transform(config.inputs, tokenizer.load(prepared.tokenizer_path))
    records = prepared.records(split, transform.tokenizer)
    source = _Padded(records if rows is None else _Chosen(records, rows), config.evaluate.batch_size)
    drafts = grain.MapDataset.source(source).map(transform.draft)
    batches = batching.batches(drafts, transform.batch, config.evaluate.batch_size // share.count)
    return _iterate(batches[share.index :: share.count][start:], config)


class _Chosen:
    """Some of the records, by position."""

    def __init__(self, records: Source, positions: np.ndarray):
        self._records, self._positions = records, positions

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: int) -> Record:
        return self._records[int(self._positions[index])]


@dataclasses.dataclass(frozen=True)
class _Drawn:
    """The record that is drawn at a place, for a dataset of places that are told apart by epoch."""

    records: Source
    draws: sampling.Draws

    def __call__(self, place: int, _: Any) -> Record:
        return self.records[self.draws.position(place)]


@dataclasses.dataclass(frozen=True)
class _Beside:
    """A record of the stream with what reads the next one."""

    stream: Any  # whose elements are records, never None

    def __call__(self, place: int, record: Record) -> tuple[Record, Callable[[], Record]]:
        return record, functools.partial(self.stream.__getitem__, place + 1)


class _Padded:
    """Records followed by nothing, up to whole batches."""

    def __init__(self, records: Source, batch_size: int):
        self._records = records
        self._length = -(-len(records) // batch_size) * batch_size

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Any:
        return self._records[index] if index < len(self._records) else DAMAGED


def _iterate(batches: Any, config: Config) -> Iterator[Arrays]:
    workers = config.data.loader_workers
    if workers and not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # grain's workers read a flag, also where nobody parses flags: notebooks, pytest
    # A second thread helps while the first decodes a picture; without pictures they fight over the interpreter, which
    # costs a seventh.
    decoded = any(
        getattr(config.inputs, name).source == "raw" for name in ("image", "video") if name in config.inputs.shown
    )
    ahead = grain.ReadOptions(num_threads=1 + decoded, prefetch_buffer_size=PREFETCH)
    dataset = batches.to_iter_dataset(ahead)
    if workers:
        options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=PREFETCH)
        dataset = dataset.mp_prefetch(options)
    return iter(dataset)
