"""The folder of one run: who holds it, and where everything lies in it."""

import contextlib
import json
import os
import pathlib
import socket
import time
from collections.abc import Iterator, Mapping

import filelock

from m5jax import settings
from m5jax.config import Config
from m5jax.errors import RunFolderError


class RunFolder:
    """Paths of a run, as scripts rely on them."""

    def __init__(self, path: str | pathlib.Path):
        self.path = pathlib.Path(path)
        self.config = self.path / "config.json"
        self.metrics = self.path / "metrics.jsonl"
        self.scores = self.path / "scores.json"
        self.studies = self.path / "studies.json"
        self.passports = self.path / "passports.json"
        self.cost = self.path / "cost.json"
        self.ranks = self.path / "ranks"
        self.evaluations = self.path / "evaluations.jsonl"
        self.report = self.path / "report.html"
        self.validation = self.path / "validation.json"
        self.checkpoints = self.path / "checkpoints"
        self.embeddings = self.path / "embeddings"
        self.tensorboard = self.path / "tensorboard"
        self.profile = self.path / "profile"
        self.damaged = self.path / "damaged_records.jsonl"

    def write_config(self, config: Config) -> None:
        """Records every setting of the run."""
        self.config.write_text(json.dumps(settings.to_dict(config), indent=1), encoding="utf-8")

    def write_cost(self, cost: Mapping[str, float]) -> None:
        """Records what the model and its run cost: parameters, operations, seconds."""
        self.cost.write_text(json.dumps(dict(cost), indent=1, allow_nan=False), encoding="utf-8")


@contextlib.contextmanager
def hold(path: str | pathlib.Path) -> Iterator[RunFolder]:
    """Makes the run folder, checks that it can be written, and keeps other processes out while the context lasts.

    The lock is the kernel's: it ends with its holder, however that ends.

    Raises:
      RunFolderError: the folder is held by another process (naming it) or cannot be written.
    """
    folder = RunFolder(path)
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        probe = folder.path / f".probe-{os.getpid()}"
        probe.write_bytes(b"probe")
        probe.unlink()
    except OSError as error:
        raise RunFolderError(f"config.workdir = {folder.path} cannot be written: {error}") from error
    lock, owner = filelock.FileLock(folder.path / "lock"), folder.path / "owner.json"
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        by = owner.read_text(encoding="utf-8") if owner.exists() else "unknown"
        raise RunFolderError(f"config.workdir = {folder.path} is in use by {by}; wait, or use another folder") from None
    try:
        me = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        owner.write_text(json.dumps(me), encoding="utf-8")
        yield folder
    finally:
        owner.unlink(missing_ok=True)
        lock.release()
