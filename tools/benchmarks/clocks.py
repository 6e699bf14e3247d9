"""Processor time of this process and of the workers it has started: what a busy machine changes least."""

import dataclasses
import multiprocessing
import os
import pathlib
import statistics
import time
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Reading:
    """Seconds since some beginning: of the wall clock, and of processors in this process and its workers."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> "Reading":
        """The clocks as they are; workers are read from /proc, and not counted where there is none."""
        workers = sum(_of_process(child.pid) for child in multiprocessing.active_children() if child.pid)
        return cls(time.perf_counter(), time.process_time() + workers)

    def __sub__(self, earlier: "Reading") -> "Reading":
        return Reading(self.wall - earlier.wall, self.cpu - earlier.cpu)


def _of_process(number: int) -> float:
    try:
        fields = pathlib.Path(f"/proc/{number}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime (proc(5))


def cpu_per_call(call: Callable[[], object], repeats: int = 5) -> float:
    """Processor seconds of a call in this process: the median of some."""
    call()
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    return statistics.median(taken)
