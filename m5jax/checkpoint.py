"""Checkpoints that are either whole or not used.

Orbax writes the arrays; it does not notice when their bytes change. So every step has a certificate beside
it, ``<step>.json``: the facts of the run and the SHA-256 of every file, written last and read back before
anything is restored. While a step is being written ``<step>.saving`` marks it, so that a half-written step
(deleted) is told from a damaged one (kept, reported, never trained from).
"""

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import jax
import orbax.checkpoint as ocp

from m5jax import distributed, settings
from m5jax.errors import CheckpointError
from m5jax.optim import path_of

log = logging.getLogger(__name__)


Check = Callable[[dict[str, Any]], None]
Tree = dict[str, list]
"""Shape and dtype of every array by its path."""


@dataclasses.dataclass(frozen=True)
class Restored:
    """A state and what was known when it was saved."""

    step: int
    state: Any
    facts: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run folder; read-only where another process may be writing them."""

    def __init__(self, folder: pathlib.Path, keep: int = 3, read_only: bool = False):
        self.folder, self.keep, self._read_only = folder.absolute(), keep, read_only
        self._orbax = ocp.StandardCheckpointer()

    def save(self, step: int, state: Any, facts: dict[str, Any]) -> None:
        """Writes a step and returns once it is verified on disk; then drops what is older than needed.

        Raises:
          OSError: the disk is full or the folder cannot be written; the step does not count as saved.
        """
        marker = self._path(step, ".saving")
        if distributed.is_lead():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._delete(step)
            _write_durably(marker, "")
        distributed.barrier(f"save {step}")
        self._orbax.save(self._path(step), state)
        self._orbax.wait_until_finished()
        if distributed.is_lead():
            certificate = {"facts": facts, "tree": _tree(state), "files": _digests(self._path(step))}
            text = {"certificate": certificate, "sha256": settings.digest(certificate)}
            _write_durably(self._path(step, ".json"), json.dumps(text, indent=1))
            marker.unlink()
            self._retain()
        distributed.barrier(f"saved {step}")

    def restore(self, abstract: Any, check: Check = lambda facts: None) -> Restored | None:
        """The newest step that verifies, placed as `abstract` says; None if the folder has no checkpoint.

        Args:
          abstract: the state as ShapeDtypeStructs with shardings.
          check: called with the step's facts before any array is read; raises if they do not fit.

        Raises:
          CheckpointError: there are checkpoints, but none verifies; or arrays of another shape, dtype or name.
        """
        step = self._agreed_step()
        if step is None:
            return None
        certificate = self._certificate(step)
        check(certificate["facts"])
        _check_tree(certificate["tree"], _tree(abstract), self._path(step))
        state = self._orbax.restore(self._path(step), abstract)
        return Restored(step, state, certificate["facts"])

    def restore_params(self, abstract: Any, check: Check = lambda facts: None) -> Restored:
        """Like `restore`, for the parameters alone: what evaluation and export need.

        Raises:
          CheckpointError: also if there is no checkpoint at all.
        """

        def everything(saved: Tree) -> Any:
            _check_tree(saved, _tree(abstract), self.folder)
            return abstract

        return self.restore_chosen(everything, check)

    def restore_chosen(self, choose: Callable[[Tree], Any], check: Check = lambda facts: None) -> Restored:
        """The parameters of the newest step that verifies, as far as they are asked for.

        Args:
          choose: given what is saved, the parameters to read as ShapeDtypeStructs with shardings.
          check: as for `restore`.

        Raises:
          CheckpointError: there is no checkpoint, or none verifies.
        """
        step = self._agreed_step()
        if step is None:
            raise CheckpointError(f"no checkpoint in {self.folder}: train first, or set config.workdir")
        certificate = self._certificate(step)
        check(certificate["facts"])
        tree = certificate["tree"].items()
        wanted = {"params": choose({path[7:]: leaf for path, leaf in tree if path.startswith("params/")})}
        # What is not wanted is read as placeholders, so it costs neither time nor memory.
        handler = ocp.PyTreeCheckpointer()
        restore_args = ocp.checkpoint_utils.construct_restore_args(wanted)
        state = handler.restore(
            self._path(step), ocp.args.PyTreeRestore(item=wanted, restore_args=restore_args, partial_restore=True)
        )
        return Restored(step, state["params"], certificate["facts"])

    def newest_facts(self) -> tuple[int, dict[str, Any]] | None:
        """The newest step whose certificate can be read, and its facts; the arrays are not looked at."""
        for step in reversed(self.steps()):
            with contextlib.suppress(CheckpointError):
                return step, self._certificate(step)["facts"]
        return None

    def steps(self) -> list[int]:
        """Steps that were saved to their end, oldest first, damaged ones included."""
        names = [path.name for path in self.folder.glob("*")] if self.folder.exists() else []
        found = {int(name.removesuffix(".json")) for name in names if name.removesuffix(".json").isdigit()}
        return sorted(step for step in found if not self._path(step, ".saving").exists())

    def verify(self, step: int) -> str:
        """What is wrong with a step, naming the file; empty if every byte is as it was written."""
        try:
            certificate = self._certificate(step)
        except CheckpointError as error:
            return str(error)
        folder, wanted = self._path(step), certificate["files"]
        found = _digests(folder) if folder.is_dir() else {}
        wrong = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        if not wrong:
            return ""
        states = {
            name: "missing" if name not in found else "not ours" if name not in wanted else "changed" for name in wrong
        }
        return ", ".join(f"{folder.name}/{name} {state}" for name, state in list(states.items())[:5])

    def _agreed_step(self) -> int | None:
        """The newest step that verifies, the same on every process; None if nothing was ever saved."""
        nothing, failed = -1, -2
        step, problem = nothing, "process 0 found no checkpoint that verifies"
        if distributed.is_lead():
            try:
                step = self._newest()
            except CheckpointError as error:
                problem, step = str(error), failed
        step = distributed.from_lead(step)
        if step == failed:
            raise CheckpointError(problem)
        return None if step == nothing else step

    def _newest(self) -> int:
        """As `_agreed_step`, -1 for none. Clears away what never was finished."""
        for marker in () if self._read_only else self.folder.glob("*.saving"):
            self._delete(int(marker.stem))
        steps = self.steps()
        for step in reversed(steps):
            problem = self.verify(step)
            if not problem:
                return step
            log.warning("checkpoint %d is damaged and not used: %s", step, problem)
        if steps:
            raise CheckpointError(
                f"none of the checkpoints {steps} in {self.folder} verifies; nothing was touched. Restore the folder"
                " from a backup, use another config.workdir, or set config.checkpoint.from_scratch=True"
            )
        return -1

    def _certificate(self, step: int) -> dict[str, Any]:
        path = self._path(step, ".json")
        try:
            text = json.loads(path.read_text(encoding="utf-8"))
            certificate = text["certificate"]
            if settings.digest(certificate) == text["sha256"]:
                return certificate
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{path.name} cannot be read ({type(error).__name__})") from error
        raise CheckpointError(f"{path.name} was changed")

    def _retain(self) -> None:
        """Deletes what is older than `keep` steps, as long as two newer ones verify."""
        steps = self.steps()
        old = steps[: -self.keep]
        if old and sum(not self.verify(step) for step in steps[-2:]) == 2:
            for step in old:
                self._delete(step)

    def _delete(self, step: int) -> None:
        shutil.rmtree(self._path(step), ignore_errors=True)
        for leftover in self.folder.glob(f"{step}.orbax-checkpoint-tmp*"):
            shutil.rmtree(leftover, ignore_errors=True)
        self._path(step, ".json").unlink(missing_ok=True)
        self._path(step, ".saving").unlink(missing_ok=True)

    def _path(self, step: int, suffix: str = "") -> pathlib.Path:
        return self.folder / f"{step}{suffix}"


def _tree(state: Any) -> Tree:
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {path_of(keys): [list(leaf.shape), str(leaf.dtype)] for keys, leaf in leaves}


def _check_tree(saved: Tree, wanted: Tree, folder: pathlib.Path) -> None:
    """Orbax casts dtypes without a word; here nothing is converted on the way."""
    differing = [path for path in sorted(saved.keys() | wanted.keys()) if saved.get(path) != wanted.get(path)]
    if differing:
        lines = [
            f"\n  {path}: saved {saved.get(path, 'nothing')}, wanted {wanted.get(path, 'nothing')}"
            for path in differing
        ]
        more = f"\n  and {len(lines) - 10} more" if len(lines) > 10 else ""
        raise CheckpointError(f"{folder} does not fit this configuration:{''.join(lines[:10])}{more}")


def _digests(folder: pathlib.Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _sha256(path) for path in files}


def _sha256(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_durably(path: pathlib.Path, text: str) -> None:
    """Writes, syncs, renames, syncs the folder: after a power loss the file is whole or not there."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
