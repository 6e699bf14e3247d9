"""A table as a series of runs: every row, for every seed, is a pre-training and then its fine-tuning, both scored.

A run's folder is named after a digest of its settings, so rows, seeds and tables share equal runs, and a series that
was interrupted goes on. A row that fails is reported, and the others go on.
"""

import dataclasses
import json
import pathlib
from typing import Any

import ml_collections

from m5jax import settings
from m5jax.config import Config
from m5jax.errors import SeriesError
from m5jax.series import cells, provenance, runs
from m5jax.series.runs import Result, RunFailed, RunOne
from m5jax.tables import base, layout
from m5jax.tables.layout import FINETUNE, PRETRAIN, Outcome, Row, Table
from m5jax.tables.paper import TABLES


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One seed of one row.

    Attributes:
      row, seed: which.
      stages: the settings of its pre-training and of its fine-tuning, in this order.
    """

    row: Row
    seed: int
    stages: dict[str, Config]


def make(config: Config, run_one: RunOne = runs.run) -> None:
    """Runs what is missing of table `config.table.number` and writes it, in text, Markdown and JSON.

    Args:
      config: the settings that all rows begin with; `config.inputs.modalities` are what the catalogue has, and rows
        that need another are left out.
      run_one: trains and scores one run and leaves its `Result` in its folder.

    Raises:
      ConfigError: the settings of a row contradict each other; nothing was run.
      SeriesError: rows failed; the table holds the others.
      Preempted: asked to stop; the same command goes on.
    """
    runs.check_alone(config)
    table = TABLES[config.table.number]
    outcomes = {row.name: Outcome(skipped=_why_not(config, row)) for row in table.rows}
    attempts = [
        Attempt(row, seed, stages_of(config, row, config.seed + seed))
        for row in table.rows
        if not outcomes[row.name].skipped
        for seed in range(config.table.seeds)
    ]
    results: dict[tuple[str, int], dict[str, Result]] = {}
    for number, attempt in enumerate(attempts, 1):
        print(f"[{number}/{len(attempts)}] {attempt.row.name}, seed {config.seed + attempt.seed}:", flush=True)
        outcome = outcomes[attempt.row.name]
        found = results[attempt.row.name, attempt.seed] = {}
        try:
            for stage, chosen in attempt.stages.items():
                found[stage] = runs.obtain(chosen, stage, run_one)
        except RunFailed as error:
            outcome.failed[attempt.seed] = str(error)
            print(f"  failed: {error}", flush=True)
            continue
        scores = {measure: found[measure.stage].scores.get(measure.score) for measure in layout.measures(table)}
        outcome.values[attempt.seed] = {measure: value for measure, value in scores.items() if value is not None}
    _write(config, table, outcomes, attempts, results)
    failed = [f"{name}, seed {config.seed + seed}" for name, o in outcomes.items() for seed in o.failed]
    if failed:
        raise SeriesError(f"table {table.number}: {len(failed)} of {len(attempts)} runs failed: {'; '.join(failed)}")


def stages_of(config: Config, row: Row, seed: int) -> dict[str, Config]:
    """The settings of a row's pre-training and fine-tuning, each with its folder below `config.workdir`.

    Raises:
      ConfigError: they contradict each other.
    """
    c: Any = ml_collections.ConfigDict(settings.to_dict(config))
    c.mode, c.seed = "train", seed
    c.inputs.record = config.inputs.modalities  # all rows share records, tokenizer and listings
    if row.change is not None:
        row.change(c)
    pretraining = runs.placed(c.to_dict(), config.workdir, PRETRAIN)
    base.finetune(c, pathlib.Path(pretraining.workdir).name)
    finetuning = runs.placed(c.to_dict(), config.workdir, FINETUNE)
    begin = dataclasses.replace(finetuning.initialize, run=pretraining.workdir)
    return {PRETRAIN: pretraining, FINETUNE: dataclasses.replace(finetuning, initialize=begin)}


def _why_not(config: Config, row: Row) -> str:
    """Why a row is not run; empty if it is."""
    if row.change is None:
        return "another method"
    there = set(config.inputs.modalities)
    missing = set(row.needs) - there
    if not missing:  # a change may be impossible without what the row needs
        missing = set(stages_of(config, row, config.seed)[PRETRAIN].inputs.modalities) - there
    return f"config.inputs.modalities has no {', '.join(sorted(missing))}" if missing else ""


def _write(
    config: Config,
    table: Table,
    outcomes: dict[str, Outcome],
    attempts: list[Attempt],
    results: dict[tuple[str, int], dict[str, Result]],
) -> None:
    """The table on the screen, as `table-N.md`, and every number of it as `table-N.json`."""
    made = [result for found in results.values() for result in found.values()]
    title = f"Table {table.number}: {table.title}"
    grid, notes, claims = layout.grid(table, outcomes), _notes(config, table, outcomes, made), []
    if any(outcome.values for outcome in outcomes.values()):
        claims = layout.claims(table, outcomes)
    print("\n".join(["", title, cells.as_text(grid), *notes, "", *claims]), flush=True)

    folder = pathlib.Path(config.workdir)
    folder.mkdir(parents=True, exist_ok=True)
    lists = ["".join(f"- {line}\n" for line in lines) for lines in (notes, claims) if lines]
    page = "\n".join([f"# {title}\n", f"{cells.as_markdown(grid)}\n", *lists])
    (folder / f"table-{table.number}.md").write_text(page, encoding="utf-8")
    whole = {
        "table": table.number,
        "title": table.title,
        **provenance.facts(config, made),
        "rows": [_row_as_json(table, row, outcomes[row.name], attempts, results) for row in table.rows],
        "claims": claims,
        "notes": notes,
    }
    (folder / f"table-{table.number}.json").write_text(
        json.dumps(whole, indent=1, ensure_ascii=False), encoding="utf-8"
    )


def _notes(config: Config, table: Table, outcomes: dict[str, Outcome], made: list[Result]) -> list[str]:
    """What a reader has to know to read the numbers."""
    lines = [
        f"percent; seeds: {config.table.seeds}; ± their standard deviation; protocol {config.evaluate.protocol}; paper:"
        f" M5Product, its subset; here: {provenance.catalogue(config)}, {provenance.length(config)} +"
        f" {config.table.finetune_steps} steps of {config.batch_size}. Compare differences between rows, not the"
        " numbers of one catalogue with another's",
        *table.notes,
    ]
    lines += filter(None, [layout.told_by(table, outcomes)])
    lines += [
        f"not run: {name}: {o.skipped}" for name, o in outcomes.items() if o.skipped not in ("", "another method")
    ]
    lines += [
        f"failed: {name}, seed {config.seed + s}: {why}" for name, o in outcomes.items() for s, why in o.failed.items()
    ]
    return lines + provenance.notes(config, made)


def _row_as_json(
    table: Table,
    row: Row,
    outcome: Outcome,
    attempts: list[Attempt],
    results: dict[tuple[str, int], dict[str, Result]],
) -> dict[str, Any]:
    seeds = []
    for attempt in (attempt for attempt in attempts if attempt.row is row):
        found, values = results[row.name, attempt.seed], outcome.values.get(attempt.seed, {})
        stages = {
            stage: {
                "folder": pathlib.Path(chosen.workdir).name,
                "settings_sha256": settings.digest(chosen),
                "seconds": found[stage].seconds if stage in found else None,
            }
            for stage, chosen in attempt.stages.items()
        }
        columns = {c.title: [values.get(measure) for measure in c.measures] for c in table.columns}
        printed = {measure for c in table.columns for measure in c.measures}
        seed = {
            "seed": attempt.stages[PRETRAIN].seed,
            "scores": columns,
            "compared": {f"{m.stage}/{m.score}": value for m, value in values.items() if m not in printed},
            "failed": outcome.failed.get(attempt.seed),
        }
        seeds.append(seed | stages)
    measured = {
        c.title: [cells.mean_and_spread(v) if (v := list(outcome.of(m).values())) else None for m in c.measures]
        for c in table.columns
    }
    return {
        "row": row.name,
        "paper_percent": row.paper,
        "paper_whole_percent": row.whole,
        "mean_and_spread_percent": measured,
        "skipped": outcome.skipped,
        "seeds": seeds,
    }
