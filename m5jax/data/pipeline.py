"""Batches as a pure function of (seed, step), the same for any number of loader workers and of processes.

Everything random happens per listing before batching, seeded by its place in the stream; batches are formed
before iteration, so a worker makes whole batches; a process takes every P-th local batch, so the global batch
is the same array in the same order for 1 and for P processes; resuming is slicing.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import grain
import numpy as np
from absl import flags

from m5jax.config import Config
from m5jax.data import tokenizer
from m5jax.data.prepared import Prepared
from m5jax.data.records import DAMAGED, Record, Source
from m5jax.data.transforms import Arrays, Transform

PREFETCH = 4  # batches read ahead per process


@dataclasses.dataclass(frozen=True)
class Share:
    """Which part of every global batch this process makes."""

    index: int = 0
    count: int = 1


ALONE = Share()


def training_batches(
    prepared: Prepared, config: Config, *, start: int = 0, share: Share = ALONE, split: str = "train"
) -> Iterator[Arrays]:
    """Endless training batches from step `start` on; arrays as in `transforms`, with a leading local batch axis.

    Raises:
      DataError: the split has no listing, or with `config.data.complete_only` no complete one.
    """
    classes = {name: i for i, name in enumerate(prepared.classes)} if config.objective.classification else None
    transform = Transform(config.inputs, tokenizer.load(prepared.tokenizer_path), classes)
    source = prepared.records(split)
    if config.data.complete_only:
        source = _Chosen(source, prepared.complete(split))
    batches = (
        grain.MapDataset.source(source)
        .seed(config.seed)
        .shuffle()
        .repeat()
        .random_map(transform.training)
        .batch(config.batch_size // share.count, drop_remainder=True)
    )
    return _iterate(batches[share.index :: share.count][start:], config.data.loader_workers)


def evaluation_batches(
    prepared: Prepared, config: Config, split: str, *, start: int = 0, share: Share = ALONE
) -> Iterator[Arrays]:
    """A split in record order, from batch `start` on, its last batch padded with listings of ``valid`` false."""
    transform = Transform(config.inputs, tokenizer.load(prepared.tokenizer_path))
    source = _Padded(prepared.records(split), config.evaluate.batch_size)
    batches = (
        grain.MapDataset.source(source)
        .map(transform.evaluation)
        .batch(config.evaluate.batch_size // share.count, drop_remainder=True)
    )
    return _iterate(batches[share.index :: share.count][start:], config.data.loader_workers)


class _Chosen:
    """Some of the records, by position."""

    def __init__(self, records: Source, positions: np.ndarray):
        self._records, self._positions = records, positions

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: int) -> Record:
        return self._records[int(self._positions[index])]


class _Padded:
    """Records followed by nothing, up to whole batches."""

    def __init__(self, records: Source, batch_size: int):
        self._records = records
        self._length = -(-len(records) // batch_size) * batch_size

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Any:
        return self._records[index] if index < len(self._records) else DAMAGED


def _iterate(batches: Any, workers: int) -> Iterator[Arrays]:
    if workers and not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # grain's workers read a flag, also where nobody parses flags: notebooks, pytest
    # Threads help only while a worker waits for the disk; more of them fight over the interpreter.
    ahead = grain.ReadOptions(num_threads=2, prefetch_buffer_size=PREFETCH)
    dataset = batches.to_iter_dataset(ahead)
    if workers:
        options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=PREFETCH)
        dataset = dataset.mp_prefetch(options)
    return iter(dataset)
