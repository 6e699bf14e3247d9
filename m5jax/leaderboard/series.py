"""The runs of a leaderboard: every method, for every seed, trained and scored in a process and a folder of its own.

What is equal is `methods.EQUAL`, with the records, the listings and their order; the rest is `methods.METHODS`. A run's
folder is named after a digest of its settings, so that a series that was interrupted goes on; a method that diverges or
fails is reported, and the others go on. The table is written anew after every run, the page once.
"""

import dataclasses
import json
import pathlib
from typing import Any

import ml_collections

from m5jax import methods, settings
from m5jax.config import Config
from m5jax.errors import ConfigError, SeriesError
from m5jax.leaderboard import board, text
from m5jax.leaderboard.board import Asked
from m5jax.report import leaderboard as page
from m5jax.run_folder import RunFolder
from m5jax.series import provenance, runs
from m5jax.series.runs import Result, RunFailed, RunOne


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One seed of one method.

    Attributes:
      method: its name in `methods.METHODS`.
      config: its settings.
    """

    method: str
    config: Config

    def __str__(self) -> str:
        return f"{methods.METHODS[self.method].title}, seed {self.config.seed}"


def make(config: Config, run_one: RunOne = runs.run) -> None:
    """Runs what is missing of the leaderboard and writes `leaderboard.json`, `leaderboard.md` and `leaderboard.html`.

    Args:
      config: the settings that all methods begin with; `config.inputs.modalities` are what records hold, and methods
        that see another are left out.
      run_one: trains and scores one run and leaves its `Result` and its studies in its folder.

    Raises:
      ConfigError: the settings of a method contradict each other, or none can be run; nothing was run.
      SeriesError: methods failed; the table holds the others.
      Preempted: asked to stop; the same command goes on.
    """
    runs.check_alone(config)
    attempts = attempts_of(config)
    if not attempts:
        raise ConfigError(f"config.inputs.modalities = {config.inputs.modalities}: none of the methods sees only these")
    made: dict[Attempt, Result] = {}
    failed: dict[Attempt, str] = {}
    whole: dict[str, Any] = {}
    for number, attempt in enumerate(attempts, 1):
        print(f"[{number}/{len(attempts)}] {attempt}:", flush=True)
        try:
            made[attempt] = runs.obtain(attempt.config, folder_name(attempt.method), run_one)
        except RunFailed as error:
            failed[attempt] = str(error)
            print(f"  failed: {error}", flush=True)
        whole = _write(config, attempts, made, failed)
    (pathlib.Path(config.workdir) / "leaderboard.html").write_text(page.render(whole), encoding="utf-8")
    print("\n".join(["", *text.lines(whole)]), flush=True)
    if failed:
        names = "; ".join(map(str, failed))
        raise SeriesError(f"leaderboard: {len(failed)} of {len(attempts)} runs failed: {names}")


def attempts_of(config: Config) -> list[Attempt]:
    """The runs of a leaderboard: all methods with one seed, then with the next, so that a table is soon whole.

    Raises:
      ConfigError: the settings of a method contradict each other.
    """
    chosen = [name for name in config.leaderboard.chosen if not why_not(config, name)]
    seeds = range(config.seed, config.seed + config.leaderboard.seeds)
    return [Attempt(name, settings_of(config, name, seed)) for seed in seeds for name in chosen]


def why_not(config: Config, name: str) -> str:
    """Why a method is not run; empty if it is."""
    missing = [seen for seen in methods.METHODS[name].sees if seen not in config.inputs.modalities]
    return f"config.inputs.modalities has no {', '.join(missing)}" if missing else ""


def settings_of(config: Config, name: str, seed: int) -> Config:
    """The settings of a method's run, with its folder below `config.workdir`.

    Raises:
      ConfigError: they contradict each other.
    """
    c: Any = ml_collections.ConfigDict(settings.to_dict(config))
    methods.at_budget(c, name)
    return runs.placed(c.to_dict() | {"mode": "train", "seed": seed}, config.workdir, folder_name(name))


def folder_name(name: str) -> str:
    """What the folders of a method's runs begin with."""
    return name.replace("+", "-")


def _asked(attempt: Attempt, result: Result) -> Asked:
    """What a run was asked and what it answered."""
    studies = RunFolder(attempt.config.workdir).studies
    found = json.loads(studies.read_text(encoding="utf-8")) if studies.is_file() else {}
    return Asked(attempt.method, attempt.config.seed, result.scores, found, result.cost)


def _write(
    config: Config, attempts: list[Attempt], made: dict[Attempt, Result], failed: dict[Attempt, str]
) -> dict[str, Any]:
    """The table as `leaderboard.json` and `.md`; returns what the first holds."""
    chosen = config.leaderboard.chosen
    asked = [_asked(attempt, result) for attempt, result in made.items()]
    table = board.table(chosen, asked)
    left_out = {methods.METHODS[name].title: why for name in chosen if (why := why_not(config, name))}
    notes = [
        f"percent; seeds: {config.leaderboard.seeds}, ± their standard deviation; {provenance.catalogue(config)},"
        f" {provenance.length(config)} steps of {config.batch_size}, width {config.model.width}; protocol"
        f" {config.evaluate.protocol}",
        "equal for all: records, splits, tokenizer, seeds, listings and their order, and of the settings"
        f" {', '.join(methods.EQUAL)}; a method's own: modalities, streams, objectives, lengths of its sequences",
        *table.pop("notes"),
        *(f"left out: {title}: {why}" for title, why in left_out.items()),
        *(f"failed: {attempt}: {why}" for attempt, why in failed.items()),
        *([f"not yet run: {left}"] if (left := len(attempts) - len(made) - len(failed)) else []),
        *provenance.notes(config, list(made.values())),
    ]
    rows = [
        {
            "method": attempt.method,
            "seed": attempt.config.seed,
            "folder": pathlib.Path(attempt.config.workdir).name,
            "settings_sha256": settings.digest(attempt.config),
            "seconds": made[attempt].seconds if attempt in made else None,
            "failed": failed.get(attempt),
        }
        for attempt in attempts
    ]
    whole = {**table, "notes": notes, "runs": rows, **provenance.facts(config, list(made.values()))}
    folder = pathlib.Path(config.workdir)
    folder.mkdir(parents=True, exist_ok=True)
    as_json = json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / "leaderboard.json").write_text(as_json, encoding="utf-8")
    (folder / "leaderboard.md").write_text(text.markdown(whole), encoding="utf-8")
    return whole
