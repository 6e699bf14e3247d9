"""Task functions that crash, hang or misbehave, importable by name in fresh processes."""

import os
import pathlib
import signal
import time
from collections.abc import Iterable, Iterator
from typing import Any

from m5jax.catalogues import m5product_regions
from m5jax.config import Config
from m5jax.data import prepared, records
from m5jax.data.prepared import MANIFEST
from m5jax.media.pool import KillablePool
from m5jax.preparing import convert, plan, preparation, prepare

FOREVER = 3600


def note_process(folder: pathlib.Path) -> None:
    """An initializer that leaves the process's id behind."""
    (folder / str(os.getpid())).touch()


def no_initializer() -> None:
    pass


def square(number: int) -> int:
    return number * number


def square_later(number: int) -> int:
    time.sleep(0.02 * (number % 3 == 0))
    return number * number


def slow_square(number: int) -> int:
    time.sleep(0.03)
    return number * number


def square_or_die(item: int | str) -> int:
    """The square of a number; anything else says how to end."""
    if item == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif item == "exit":
        os._exit(3)
    elif item == "hang":
        time.sleep(FOREVER)
    elif item == "raise":
        raise KeyError("the function's own error")
    elif item == "unpicklable":
        return lambda: 0
    return item * item


def hold_processes(folder: pathlib.Path) -> None:
    """A parent whose pool is busy until somebody kills the parent."""
    with KillablePool(2, FOREVER, note_process, (folder,)) as processes:
        list(processes.map(square_or_die, [1] * 40 + ["hang"]))


_run_task, _probe = convert.run_task, convert.probe


def run_task(task: convert.Task) -> convert.Conversion:
    """`convert.run_task` with decoders that die of files whose names say so, some only of all files together."""
    for name in [name for name in task.media if name not in task.broken]:
        _decode(task, name)
        if "together" in _path(task, name):
            square_or_die("segfault")
    return _run_task(task)


def probe(task: convert.Task) -> None:
    """`convert.probe` with the same decoders."""
    _decode(task, task.only)
    _probe(task)


def _decode(task: convert.Task, name: str) -> None:
    for ending in ("segfault", "hang"):
        if ending in _path(task, name):
            square_or_die(ending)


def _path(task: convert.Task, name: str) -> str:
    return convert.media_refs(task.listing, name, task.inputs)[0][0].path


def prepare_until_killed(config: Config, moment: str) -> None:
    """Prepares, and is killed as a machine that loses power would be: in the middle of something."""
    write_shard, write_json = records.write_shard, prepared.write_json
    parts = 0

    def killed_in_shard(path: pathlib.Path, encoded: Iterable[bytes]) -> None:
        def cut() -> Iterator[bytes]:
            yield next(iter(encoded))
            os.kill(os.getpid(), signal.SIGKILL)

        write_shard(path, cut() if parts == 2 and moment == "in a shard" else encoded)

    def killed_before_json(path: pathlib.Path, value: Any) -> None:
        nonlocal parts
        parts += path.parent.name == "parts"
        whole = {plan.PLAN: "while reading", MANIFEST: "before the manifest"}.get(path.name)
        if whole == moment or (parts == 3 and moment == "after a shard"):
            os.kill(os.getpid(), signal.SIGKILL)
        write_json(path, value)

    records.write_shard, prepared.write_json = killed_in_shard, killed_before_json
    prepare.prepare(config, quiet=True)


def prepare_and_note(config: Config, folder: pathlib.Path) -> None:
    """Prepares, and leaves a note in the folder if there was anything to do."""
    run = preparation.Preparation.run

    def noted(self, facts: dict[str, Any]) -> None:
        note_process(folder)
        time.sleep(1)  # the other process arrives meanwhile
        run(self, facts)

    preparation.Preparation.run = noted
    prepare.prepare(config, quiet=True)


def identities(task: Any) -> Any:
    """Ids of values; one of them ends the process."""
    found = m5product_regions._identities(task)
    if any(title == "segfault" for _, title in found):
        os.kill(os.getpid(), signal.SIGSEGV)
    return found
