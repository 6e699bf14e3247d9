"""Ends a run that stands still: a process that is alive but stuck would block all others for ever."""

import contextlib
import faulthandler
import os
import threading
import time
from collections.abc import Iterator

from m5jax.errors import HangError

STDERR = 2  # the descriptor: neither a captured nor a replaced stream may swallow this
GRACE = 1.5  # the interpreter's own timer fires this much later, in case our thread cannot run at all


class Watchdog:
    """Waits for `beat()`, to be called from the loop itself: a side thread would beat while the loop hangs."""

    def __init__(self, limit_s: float, first: float):
        self._limit_s, self._allowed_s = limit_s, limit_s * first
        self._last, self._doing, self._stop = time.monotonic(), "starting", threading.Event()
        self._arm()

    def beat(self, doing: str, factor: float = 1.0) -> None:
        """Progress was made; `doing` comes next and may take `factor` times the limit."""
        self._last, self._doing, self._allowed_s = time.monotonic(), doing, self._limit_s * factor
        self._arm()

    def _arm(self) -> None:
        faulthandler.dump_traceback_later(GRACE * self._allowed_s, exit=True, file=STDERR)

    def watch(self) -> None:
        """The thread: ends the process when a beat stays out."""
        while not self._stop.wait(min(1.0, self._limit_s / 4)):
            if time.monotonic() - self._last > self._allowed_s:
                message = f"no progress for {self._allowed_s:.0f} s while {self._doing}; stacks of all threads follow"
                os.write(STDERR, f"{message}\n".encode())
                faulthandler.dump_traceback(file=STDERR)
                os._exit(HangError.exit_code)  # nothing gentler ends a thread stuck in a collective

    def stop(self) -> None:
        """Ends the watch."""
        self._stop.set()
        faulthandler.cancel_dump_traceback_later()


@contextlib.contextmanager
def watchdog(limit_s: float, first: float = 3.0) -> Iterator[Watchdog]:
    """Watches while the context lasts; the first beat may take `first` times the limit: it compiles."""
    dog = Watchdog(limit_s, first)
    thread = threading.Thread(target=dog.watch, name="watchdog", daemon=True)
    thread.start()
    try:
        yield dog
    finally:
        dog.stop()
        thread.join()
