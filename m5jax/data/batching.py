"""Drafts of listings to a batch: every row of a grid is copied once, from the record to its place.

A draft is what `transforms.Transform.draft` makes of a record: its arrays, but those of a grid no longer than what is
there. A batch has them padded by zeros, with a leading batch axis.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import grain
import numpy as np
from grain.multiprocessing import SharedMemoryArray

from m5jax.token_spec import TokenSpec

Arrays = dict[str, Any]
ROWS = ("values", "boxes", "classes", "scale")  # the arrays of a grid that are as long as what is there


class Batch:
    """Drafts to a batch, one after the other: each is copied while the processor still has its record at hand.

    Of 64 records of 300 KB, read before the first is copied, nothing is left in the caches: that takes twice as long.
    """

    def __init__(self, specs: Mapping[str, TokenSpec]):
        self._rows = {name: spec.grid[0] for name, spec in specs.items() if spec.kind == "grid"}
        self._shared = False

    def share(self) -> None:
        """The arrays of rows are shared memory from now on, written where another process reads them."""
        self._shared = True

    def __call__(self, drafts: Iterable[Arrays], size: int) -> Arrays:
        """The arrays of `size` drafts."""
        batch: Arrays = {}
        for place, draft in enumerate(drafts):
            if not batch:
                batch = {name: self._empty(part, size, self._rows.get(name, 0)) for name, part in draft.items()}
            _put(batch, draft, place)
        return batch

    def _empty(self, part: Any, size: int, rows: int) -> Any:
        if isinstance(part, dict):
            return {
                name: self._array((size, rows), of_name) if rows and name in ROWS else self._empty(of_name, size, 0)
                for name, of_name in part.items()
            }
        return np.empty((size, *part.shape), part.dtype)

    def _array(self, leading: tuple[int, int], part: np.ndarray) -> np.ndarray:
        shape = (*leading, *part.shape[1:])
        return SharedMemoryArray(shape, part.dtype) if self._shared else np.empty(shape, part.dtype)


def _put(batch: Arrays, draft: Arrays, place: int) -> None:
    for name, part in draft.items():
        if isinstance(part, dict):
            _put(batch[name], part, place)
        elif name in ROWS:
            batch[name][place, : len(part)] = part
            batch[name][place, len(part) :] = 0
        else:
            batch[name][place] = part


class Gather:
    """A batch function for grain that is given places in a stream of drafts, and has each made when its turn comes."""

    def __init__(self, drafts: Any, batch: Batch):
        self._drafts, self._batch = drafts, batch

    def __call__(self, places: Sequence[int]) -> Arrays:
        """The batch of the drafts at these places."""
        return self._batch((self._drafts[int(place)] for place in places), len(places))

    def enable_shared_memory_output(self) -> None:
        """Grain calls this in worker processes."""
        self._batch.share()


def batches(drafts: grain.MapDataset[Arrays], batch: Batch, size: int) -> grain.MapDataset[Any]:
    """A stream of drafts in batches of `size`; fewer at its end are left out."""
    places = grain.MapDataset.range(len(drafts))
    return places.batch(size, drop_remainder=True, batch_fn=Gather(drafts, batch))


def alone(draft: Arrays, batch: Batch) -> Arrays:
    """The arrays of one draft, without a batch axis."""
    return _first(batch([draft], 1))


def _first(arrays: Any) -> Any:
    return {name: _first(value) for name, value in arrays.items()} if isinstance(arrays, dict) else arrays[0]
