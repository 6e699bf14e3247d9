"""One run of a series, in a process of its own: whatever becomes of it, the series goes on.

``python -m m5jax.series.runs FOLDER`` trains and scores what ``FOLDER/settings.json`` says and, last, writes
``FOLDER/result.json``. Nothing outside that process imports jax, so it has the accelerators to itself.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from m5jax import config as config_lib
from m5jax import settings, source
from m5jax.config import Config
from m5jax.errors import ConfigError, M5Error, Preempted

SETTINGS, RESULT, LOG = "settings.json", "result.json", "log.txt"
COMPILED = "compiled"  # below the series' folder: what was compiled for one run serves the others


RunOne = Callable[[Config], None]
"""Trains and scores a run and leaves its `Result` in its folder."""


class RunFailed(Exception):
    """A run came to no result; the message says why."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What a finished run gave.

    Attributes:
      scores: as in `scores.json`.
      seconds: of training and evaluation, start-up left out; of the last attempt, if the run was interrupted.
      hardware: machine and devices.
      records: digest of the prepared records.
      code: digest of the source files that ran.
      commit: theirs, see `source.commit`; None if it is not known.
      cost: parameters, forward operations of a listing ("flops"), "training_s" and "evaluation_s", as in `cost.json`;
        empty of a run that was made before there was one.
    """

    scores: dict[str, float]
    seconds: float
    hardware: str
    records: str
    code: str
    commit: str | None = None
    cost: dict[str, float] = dataclasses.field(default_factory=dict)

    def write(self, folder: str | pathlib.Path) -> None:
        """Leaves the result in a run folder, whole or not at all."""
        path = pathlib.Path(folder) / RESULT
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text(json.dumps(dataclasses.asdict(self), indent=1), encoding="utf-8")
        temporary.rename(path)


def check_alone(config: Config) -> None:
    """Raises ConfigError if the processes of a series would have to be several at once."""
    if config.distributed.num_processes > 1 or config.distributed.coordinator:
        raise ConfigError(
            f"config.mode = {config.mode!r} runs one process after another: leave config.distributed alone"
        )


def placed(values: dict[str, Any], root: str, name: str) -> Config:
    """The checked settings of a run, in the folder that their digest names: equal runs of all series are one run.

    Args:
      values: the settings, nested; those of series themselves are left out of account.
      root: the folder of the series.
      name: what the folder's name begins with.

    Raises:
      ConfigError: they contradict each other.
    """
    of_series = {"table": config_lib.Table(), "sweep": config_lib.Sweep(), "leaderboard": config_lib.Leaderboard()}
    same = {"workdir": ""} | {name: settings.to_dict(section) for name, section in of_series.items()}
    config = config_lib.freeze(values | same)
    return dataclasses.replace(config, workdir=str(pathlib.Path(root) / f"{name}-{settings.digest(config)[:12]}"))


def obtain(config: Config, name: str, run_one: RunOne) -> Result:
    """The result of a run, which is made unless it is there.

    Raises:
      RunFailed: it came to none.
      Preempted: as `run`.
    """
    folder = pathlib.Path(config.workdir)
    result = read(folder)
    if result is not None:
        print(f"  {name}: there already, {folder}", flush=True)
        return result
    print(f"  {name}: {folder}", flush=True)
    run_one(config)
    result = read(folder)
    if result is None:
        raise RunFailed(f"{folder} holds no {RESULT}")
    print(f"  {name}: done in {result.seconds:.0f} s", flush=True)
    return result


def read(folder: str | pathlib.Path) -> Result | None:
    """The result in a run folder; None if the run has not come to its end."""
    path = pathlib.Path(folder) / RESULT
    try:
        return Result(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise RunFailed(f"{path} is damaged ({error}): delete it, and the run is scored again") from error


def run(config: Config) -> None:
    """Runs until there is a result in `config.workdir`.

    Raises:
      RunFailed: the process ended without one; the reason is the last line of its log.
      Preempted: this process was asked to stop; the run has saved its state.
    """
    folder = pathlib.Path(config.workdir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SETTINGS).write_text(json.dumps(settings.to_dict(config), indent=1), encoding="utf-8")
    environment = {"JAX_COMPILATION_CACHE_DIR": str(folder.parent / COMPILED)} | os.environ
    command = [sys.executable, "-m", "m5jax.series.runs", str(folder)]
    with (folder / LOG).open("w", encoding="utf-8") as log:
        child = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)  # noqa: S603
        with _passing_on(child) as asked:
            code = child.wait()
    if asked or code == Preempted.exit_code:
        raise Preempted(f"asked to stop in {folder}; the same command goes on from there")
    if code:
        raise RunFailed(f"exit code {code}, {_last_line(folder / LOG)} ({folder / LOG})")


@contextlib.contextmanager
def _passing_on(child: subprocess.Popen) -> Iterator[list[int]]:
    """Passes SIGTERM on to the child, and lets no child outlive the context; yields the signals passed on."""
    asked: list[int] = []

    def terminate(number: int, _: object) -> None:
        asked.append(number)
        child.terminate()

    listening = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, terminate) if listening else None
    try:
        yield asked
    finally:
        if child.poll() is None:
            child.terminate()
            child.wait()
        if listening:
            signal.signal(signal.SIGTERM, before)


def _last_line(log: pathlib.Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    named = [line for line in lines if "Error" in line.split(":")[0]]  # the last error, not what is printed below it
    return (named or lines or ["nothing in its log"])[-1].strip()[:500]


def _train(folder: pathlib.Path) -> None:
    """Trains and scores, in this process."""
    started, code, commit = time.monotonic(), source.digest(), source.commit()  # before files change below the run
    config = config_lib.freeze(json.loads((folder / SETTINGS).read_text(encoding="utf-8")))
    from m5jax import distributed
    from m5jax.preparing.prepare import prepare
    from m5jax.run_folder import RunFolder
    from m5jax.train import train

    train(config)
    paths = RunFolder(folder)
    Result(
        scores=json.loads(paths.scores.read_text(encoding="utf-8")),
        seconds=round(time.monotonic() - started, 1),
        hardware=f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {distributed.device_table()}",
        records=prepare(config, quiet=True).manifest["digest"],
        code=code,
        commit=commit,
        cost=json.loads(paths.cost.read_text(encoding="utf-8")),
    ).write(folder)


def main(argv: list[str]) -> int:
    """Runs one folder and returns its exit code."""
    try:
        _train(pathlib.Path(argv[1]))
    except M5Error as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
