"""Drafts of listings to a batch: every row of a grid is copied once, from the record to its place.

A draft is what `transforms.Transform.draft` makes of a record: its arrays, but those of a grid no longer than what is
there. A batch has them padded by zeros, with a leading batch axis.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from grain.multiprocessing import SharedMemoryArray

from m5jax.token_spec import TokenSpec

Arrays = dict[str, Any]
ROWS = ("values", "boxes", "scale")  # the arrays of a grid that are as long as what is there
SHARED_FROM = 1 << 16  # bytes from which an array travels from a worker in shared memory: a file costs as much


class Batch:
    """The batch function of a pipeline; for grain, which tells it in worker processes to write to shared memory."""

    def __init__(self, specs: Mapping[str, TokenSpec]):
        self._rows = {name: spec.grid[0] for name, spec in specs.items() if spec.kind == "grid"}
        self._shared = False

    def enable_shared_memory_output(self) -> None:
        """Large arrays are shared memory from now on."""
        self._shared = True

    def __call__(self, drafts: Sequence[Arrays]) -> Arrays:
        """The arrays of the drafts, stacked."""
        return {name: self._stacked([draft[name] for draft in drafts], self._rows.get(name)) for name in drafts[0]}

    def _stacked(self, parts: list[Any], rows: int | None) -> Any:
        first = parts[0]
        if not isinstance(first, dict):
            return np.stack(parts)
        stacked = {}
        for name in first:
            of_name = [part[name] for part in parts]
            stacked[name] = self._padded(of_name, rows) if rows and name in ROWS else self._stacked(of_name, None)
        return stacked

    def _padded(self, parts: list[np.ndarray], rows: int) -> np.ndarray:
        """Arrays [n, ...] of the same dtype as one of [B, rows, ...]."""
        shape, dtype = (len(parts), rows, *parts[0].shape[1:]), parts[0].dtype
        shared = self._shared and math.prod(shape) * dtype.itemsize >= SHARED_FROM
        padded = SharedMemoryArray(shape, dtype) if shared else np.empty(shape, dtype)
        for place, part in zip(padded, parts, strict=True):
            place[: len(part)] = part
            place[len(part) :] = 0
        return padded


def alone(draft: Arrays, specs: Mapping[str, TokenSpec]) -> Arrays:
    """The arrays of one draft, without a batch axis."""
    return _first(Batch(specs)([draft]))


def _first(arrays: Any) -> Any:
    return {name: _first(value) for name, value in arrays.items()} if isinstance(arrays, dict) else arrays[0]
