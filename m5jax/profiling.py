"""How fast a run is: step times, the share of the machine it uses, and what it needs of memory."""

import contextlib
import functools
import math
import os
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp


class StepTimer:
    """Wall-clock time since the last log line, and the part of it spent waiting for data."""

    def __init__(self, step: int) -> None:
        self._start, self._waited, self._step = time.perf_counter(), 0.0, step

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the time inside as waiting for data."""
        start = time.perf_counter()
        yield
        self._waited += time.perf_counter() - start

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves the time inside out: evaluation and saving are not steps."""
        start = time.perf_counter()
        yield
        self._start += time.perf_counter() - start

    def read(self, step: int) -> dict[str, float]:
        """Milliseconds per step since the last call, in all and waiting for data, now that `step` is done."""
        now, steps = time.perf_counter(), max(1, step - self._step)
        times = {"ms_per_step": 1e3 * (now - self._start) / steps, "data_wait_ms": 1e3 * self._waited / steps}
        self._start, self._waited, self._step = now, 0.0, step
        return times


@functools.cache
def matmul_ceiling(dtype: str, size: int = 2048, repeats: int = 3) -> float:
    """The best FLOP/s of a [size, size] product on one device of this machine: what utilisation is measured against.

    Measured once a process: several runs of one (sweeps, leaderboards) need not wait for it again.
    """
    x = jnp.ones((size, size), dtype)
    multiply = jax.jit(jnp.dot)
    multiply(x, x).block_until_ready()
    best = math.inf
    for _ in range(repeats):
        start = time.perf_counter()
        multiply(x, x).block_until_ready()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def describe_state(state: Any, places: Any, device: Any) -> str:
    """What the training state takes of a device, before any of it is there, and whether it fits.

    Args:
      state: shapes and dtypes of its arrays.
      places: the sharding of every array.
      device: one of those that hold it.
    """
    arrays = zip(jax.tree.leaves(state), jax.tree.leaves(places), strict=True)
    needed = sum(math.prod(place.shard_shape(a.shape)) * a.dtype.itemsize for a, place in arrays)
    count = sum(leaf.size for leaf in jax.tree.leaves(state["params"]))
    return f"{count:,} parameters; weights and optimizer: {fits(needed, memory_of(device))}"


def describe_step(compiled: Any, forward_flops: float, steps_flops: int, device: Any) -> str:
    """What a compiled step needs, before it runs: FLOPs, bytes per device, and whether they fit.

    Args:
      compiled: the step.
      forward_flops: of one listing.
      steps_flops: a training step's FLOPs over those of the forward pass.
      device: one of those that the step runs on.
    """
    text = f"a step: {steps_flops * forward_flops / 1e9:,.2f} GFLOP per listing"
    memory = compiled.memory_analysis()
    if memory is None:
        return text
    held, temporary = memory.argument_size_in_bytes, memory.temp_size_in_bytes
    text += f"; {_mib(held)} of state and batch and {_mib(temporary)} of temporaries: "
    return text + fits(held + temporary, memory_of(device))


def memory_of(device: Any) -> int | None:
    """Bytes that a device may hold; on a CPU its share of the machine's memory. None where nobody tells."""
    stats = device.memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    if device.platform != "cpu" or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // jax.local_device_count()


def fits(needed: int, limit: int | None) -> str:
    """Whether so many bytes fit, and what to do where they do not."""
    if limit is None:
        return f"needs {_mib(needed)} per device; how much there is cannot be told"
    if needed <= limit:
        return f"fits: {_mib(needed)} of {_mib(limit)} per device"
    return (
        f"DOES NOT FIT: {_mib(needed)} of {_mib(limit)} per device. Set config.accumulate or config.model.remat='full',"
        " less config.batch_size, or shard the weights over more devices with config.mesh.fsdp"
    )


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"


class Trace:
    """A profiler trace of the steps from `first` to `last`, on this process; none if the window is empty."""

    def __init__(self, window: tuple[int, ...], folder: pathlib.Path):
        self._window, self._folder, self._running = window, folder, False

    def at(self, step: int) -> None:
        """To be called before every step."""
        first, last = self._window or (1, 0)
        if not self._running and first <= step <= last:
            jax.profiler.start_trace(str(self._folder))
            self._running = True
        elif self._running and step > last:
            self.close()

    def close(self) -> None:
        """Ends a trace that is running."""
        if self._running:
            jax.profiler.stop_trace()
            self._running, self._window = False, ()
