"""How far a long task is: a bar with rate and time left on a terminal, a line now and then in a log file."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

LINE_EVERY_S = 10.0


@contextlib.contextmanager
def progress(
    task: str, total: int | None, unit: str = "listings", quiet: bool = False
) -> Iterator[Callable[[int], None]]:
    """Shows `task` going on; yields `advance(n)`, to be called as `n` more of `total` are done (None: not known).

    Processes other than the first of a run pass quiet=True.
    """
    if quiet:
        yield lambda n: None
    elif sys.stderr.isatty():
        with _bar(task, total, unit) as advance:
            yield advance
    else:
        yield _lines(task, total, unit)


@contextlib.contextmanager
def _bar(task: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
    import rich.console
    import rich.progress as rp
    import rich.text

    class Rate(rp.ProgressColumn):
        def render(self, task: rp.Task) -> rich.text.Text:
            return rich.text.Text(f"{task.speed:,.0f}/s" if task.speed else "")

    columns = (rp.TextColumn("{task.description}"), rp.BarColumn(), rp.MofNCompleteColumn(), rp.TextColumn(unit))
    console = rich.console.Console(stderr=True)
    with rp.Progress(*columns, Rate(), rp.TimeRemainingColumn(), console=console) as bar:
        row = bar.add_task(task, total=total)
        yield lambda n: bar.advance(row, n)


def _lines(task: str, total: int | None, unit: str) -> Callable[[int], None]:
    start = last = time.monotonic()
    done = 0

    def advance(n: int) -> None:
        nonlocal done, last
        done, now = done + n, time.monotonic()
        if now - last < LINE_EVERY_S and (total is None or done < total):
            return
        last, rate = now, done / max(now - start, 1e-9)
        of = "" if total is None else f" of {total:,}"
        left = f", {duration((total - done) / rate)} left" if total is not None and 0 < done < total else ""
        print(f"{task}: {done:,}{of} {unit}, {rate:,.0f}/s{left}", file=sys.stderr, flush=True)

    return advance


def duration(seconds: float) -> str:
    """Seconds as a person says them: 45 s, 3 min 20 s, 2 h 05 min."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
