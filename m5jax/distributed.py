"""Several processes as one run. The only file that touches jax's multi-process utilities."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from m5jax import config as config_lib
from m5jax import sharding
from m5jax.errors import ConfigError, Preempted


def initialize(settings: config_lib.Distributed) -> None:
    """Joins the other processes, before anything else touches jax; does nothing for a process alone."""
    if not settings.coordinator:
        return
    if settings.coordinator == "auto":
        jax.distributed.initialize(heartbeat_timeout_seconds=settings.heartbeat_s)
        return
    jax.distributed.initialize(
        settings.coordinator,
        settings.num_processes,
        settings.process_id,
        heartbeat_timeout_seconds=settings.heartbeat_s,
    )


def is_lead() -> bool:
    """Whether this process writes what only one may write."""
    return jax.process_index() == 0


def share() -> tuple[int, int]:
    """This process's number and how many there are."""
    return jax.process_index(), jax.process_count()


def device_table() -> str:
    """One line a process: its number, and the devices it brings."""
    lines = []
    for process in range(jax.process_count()):
        devices = [device for device in jax.devices() if device.process_index == process]
        ids = f"{devices[0].id}-{devices[-1].id}" if len(devices) > 1 else f"{devices[0].id}"
        lines.append(f"process {process}: {len(devices)} x {devices[0].device_kind} (device {ids})")
    return "\n".join(lines)


def require_agreement(facts: dict[str, str]) -> None:
    """Stops every process if one was started with other facts: config, code, records.

    Args:
      facts: names and hexadecimal digests.

    Raises:
      ConfigError: naming the facts that differ and on which processes.
    """
    if jax.process_count() == 1:
        return
    mine = np.stack([np.frombuffer(bytes.fromhex(value)[:32].ljust(32, b"\0"), np.uint8) for value in facts.values()])
    everyone = np.asarray(multihost_utils.process_allgather(mine)).reshape(-1, *mine.shape)
    for row, name in enumerate(facts):
        odd = [process for process, seen in enumerate(everyone) if (seen[row] != everyone[0, row]).any()]
        if odd:
            raise ConfigError(f"processes disagree about the {name}: {odd} differ from process 0; start all alike")


def to_devices(local: Any, mesh: jax.sharding.Mesh) -> Any:
    """The global batch [B, ...] on its devices, from this process's part of it [B / P, ...]."""
    place = sharding.batch_sharding(mesh)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(place, x), local)


def to_host(tree: Any) -> Any:
    """Global arrays as whole numpy arrays, on every process."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    return jax.tree.map(np.asarray, multihost_utils.process_allgather(tree, tiled=True))


def from_lead(value: int) -> int:
    """Process 0's value, on every process."""
    if jax.process_count() == 1:
        return value
    return int(multihost_utils.broadcast_one_to_all(np.asarray(value, np.int64)))


def leave(code: int) -> None:
    """Ends this process at once if there are others: jax's orderly shutdown would wait for them, and lose the code."""
    if jax.process_count() > 1 and code != Preempted.exit_code:  # preempted, they all leave together
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def barrier(name: str) -> None:
    """Waits until every process is here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


class Preemption:
    """Notices SIGTERM; with several processes all of them learn of it at the same step."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def _ask(self, *_: Any) -> None:
        self._asked.set()

    def at(self, step: int) -> bool:
        """Whether to save and stop before this step; every process must ask at every step."""
        if jax.process_count() > 1:
            return multihost_utils.reached_preemption_sync_point(step)
        return self._asked.is_set()


@contextlib.contextmanager
def preemption() -> Iterator[Preemption]:
    """Catches SIGTERM while the context lasts (jax's own service does so with several processes)."""
    notice = Preemption()
    alone = jax.process_count() == 1 and threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, notice._ask) if alone else None
    try:
        yield notice
    finally:
        if alone:
            signal.signal(signal.SIGTERM, before)
