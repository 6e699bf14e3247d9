"""Processes that may crash or hang without taking more than one item along."""

import concurrent.futures
import dataclasses
import itertools
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any

import pebble

from m5jax.errors import DataError

CHUNK = 16  # items that travel to a process together, at first
START_SECONDS = 120.0  # until the first process must be there


@dataclasses.dataclass(frozen=True)
class Failure:
    """What became of an item that yielded no result.

    Attributes:
      reason: "decoder_crashed" or "decoder_timeout".
      detail: how the process ended.
    """

    reason: str
    detail: str


class KillablePool:
    """A context that runs functions over many items in fresh interpreters (spawn, never a fork of threads).

    Args:
      workers: processes; 0 = one a core.
      seconds: limit of one item, and of one chunk of items before it is taken apart.
      initializer, initargs: called once in each process.
    """

    def __init__(self, workers: int, seconds: float, initializer: Callable[..., None], initargs: tuple[Any, ...] = ()):
        self._workers, self._seconds, self._chunk = workers or os.cpu_count() or 1, seconds, CHUNK
        self._started = False
        # One BLAS thread each: a thread's stack counts against the process's memory limit.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        self._pool = pebble.ProcessPool(
            max_workers=self._workers,
            initializer=_begin,
            initargs=(initializer, initargs),
            context=multiprocessing.get_context("spawn"),
        )

    def __enter__(self) -> "KillablePool":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self._pool.stop()
        self._pool.join()

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """Yields `function(item)`, or a `Failure`, for every item, in order.

        Items travel in chunks; a chunk that crashes or takes too long is run again one item at a time, so
        that only the item at fault is lost. At most three chunks per process are read ahead. Exceptions that
        `function` raises are the caller's.

        Args:
          function: importable by name.
          items: picklable.

        Raises:
          DataError: no process starts.
        """
        source = iter(items)
        waiting: deque[tuple[list[Any], Any]] = deque()
        while chunk := list(itertools.islice(source, self._chunk)):
            self._await_start()
            waiting.append((chunk, self._schedule(function, chunk)))
            if len(waiting) >= 3 * self._workers:
                yield from self._results(function, *waiting.popleft())
        while waiting:
            yield from self._results(function, *waiting.popleft())

    def _await_start(self) -> None:
        """Waits, the first time, until a process answers; one that ends at its start would be replaced for ever."""
        if self._started:
            return
        try:
            self._pool.schedule(_answer).result(timeout=START_SECONDS)
        except (concurrent.futures.TimeoutError, concurrent.futures.BrokenExecutor) as error:
            raise DataError(
                "no decoding process could be started. A script that calls m5jax must keep its main"
                ' part behind `if __name__ == "__main__":`, because processes begin by importing it'
            ) from error
        self._started = True

    def _schedule(self, function: Callable[[Any], Any], chunk: list[Any]) -> Any:
        return self._pool.schedule(_run_chunk, args=(function, chunk), timeout=self._seconds)

    def _results(self, function: Callable[[Any], Any], chunk: list[Any], future: Any) -> Iterator[Any]:
        try:
            yield from future.result()
            return
        except concurrent.futures.TimeoutError:
            self._chunk = max(1, self._chunk // 2)  # it may be slow as a whole: the next ones are shorter
        except pebble.ProcessExpired:
            pass
        for single in [self._schedule(function, [item]) for item in chunk]:
            try:
                yield from single.result()
            except concurrent.futures.TimeoutError:
                yield Failure("decoder_timeout", f"not done within {self._seconds:g} s")
            except pebble.ProcessExpired as error:
                yield Failure("decoder_crashed", f"the decoding process ended with exit code {error.exitcode}")


def _begin(initializer: Callable[..., None], initargs: tuple[Any, ...]) -> None:
    """Starts a process that ends with its parent, also while it hangs in an item and the parent is killed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    initializer(*initargs)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _answer() -> bool:
    return True


def _run_chunk(function: Callable[[Any], Any], chunk: list[Any]) -> list[Any]:
    return [function(item) for item in chunk]
