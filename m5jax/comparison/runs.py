"""What the folder of a scored run holds, as a comparison sees it."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from m5jax.errors import ConfigError, DataError
from m5jax.run_folder import RunFolder


@dataclasses.dataclass(frozen=True)
class ScoredRun:
    """What the folder of a scored run holds; what an older run does not have is empty.

    Attributes:
      name, folder: which.
      config, scores, findings, passports: of `config.json`, `scores.json`, `studies.json` and `passports.json`.
    """

    name: str
    folder: str
    config: Mapping[str, Any]
    scores: Mapping[str, float]
    findings: Mapping[str, Mapping[str, Any]]
    passports: Mapping[str, Mapping[str, Any]]


def read(paths: tuple[str, ...]) -> list[ScoredRun]:
    """What the folders of scored runs hold, named as short as they can be told apart.

    Raises:
      ConfigError, DataError: see `compare.compare`.
    """
    if len(paths) < 2:
        raise ConfigError(
            f"config.compare.runs = {paths} must name the folders of two or more scored runs, for instance"
            " --config.compare.runs=runs/a,runs/b"
        )
    resolved = [pathlib.Path(path).resolve() for path in paths]
    for number, path in enumerate(resolved):
        if path in resolved[:number]:
            raise ConfigError(f"config.compare.runs names {paths[number]} twice: a run compares with others")
        if not RunFolder(path).scores.is_file():
            raise ConfigError(
                f"config.compare.runs: {RunFolder(path).scores} is not there; score the run with"
                f" --config.mode=evaluate --config.workdir={paths[number]}"
            )
    return [_read(RunFolder(path), name) for path, name in zip(resolved, _names(resolved), strict=True)]


def _names(paths: list[pathlib.Path]) -> list[str]:
    """The last parts of the paths, as many as tell them apart."""
    shared = pathlib.Path(os.path.commonpath(paths))
    last = [path.name for path in paths]
    return last if len(set(last)) == len(last) else [str(path.relative_to(shared)) for path in paths]


def _read(folder: RunFolder, name: str) -> ScoredRun:
    config, findings, passports = (_json(path) for path in (folder.config, folder.studies, folder.passports))
    scores = _json(folder.scores)
    for score, value in scores.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise DataError(f"{folder.scores}: {score} is {value!r}, not a number: score the run again")
    return ScoredRun(name, str(folder.path), config, scores, findings, passports)


def _json(path: pathlib.Path) -> dict[str, Any]:
    """A file that holds an object; an older run lacks some, and they read as empty."""
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except (ValueError, OSError) as error:
        raise DataError(f"{path} cannot be read: {error}; score the run again") from error
    if not isinstance(value, dict):
        raise DataError(f"{path} holds {type(value).__name__}, not an object: score the run again")
    return value


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")
