"""A table as a series of runs: every row, for every seed, is a pre-training and then its fine-tuning, both scored.

A run's folder is named after a digest of its settings, so rows, seeds and tables share equal runs, and a series that
was interrupted goes on. A row that fails is reported, and the others go on.
"""

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any

import ml_collections

from m5jax import config as config_lib
from m5jax import settings, source
from m5jax.catalogues import layouts
from m5jax.config import Config
from m5jax.data.prepared import MANIFEST, Prepared
from m5jax.errors import ConfigError, DataError, SeriesError
from m5jax.tables import base, layout, runs
from m5jax.tables.layout import FINETUNE, PRETRAIN, Outcome, Row, Table
from m5jax.tables.paper import TABLES
from m5jax.tables.runs import Result, RunFailed

RunOne = Callable[[Config], None]


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
    if config.distributed.num_processes > 1 or config.distributed.coordinator:
        raise ConfigError("config.mode = 'table' runs one process after another: leave config.distributed alone")
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
                found[stage] = _obtain(chosen, stage, run_one)
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
    pretraining = _placed(c, config.workdir, PRETRAIN)
    base.finetune(c, pathlib.Path(pretraining.workdir).name)
    finetuning = _placed(c, config.workdir, FINETUNE)
    begin = dataclasses.replace(finetuning.initialize, run=pretraining.workdir)
    return {PRETRAIN: pretraining, FINETUNE: dataclasses.replace(finetuning, initialize=begin)}


def _placed(c: Any, root: str, stage: str) -> Config:
    """The checked settings, in the folder that their digest names: what differs only in place or table is one run."""
    same = {"workdir": "", "table": settings.to_dict(config_lib.Table())}
    config = config_lib.freeze(c.to_dict() | same)
    return dataclasses.replace(config, workdir=str(pathlib.Path(root) / f"{stage}-{settings.digest(config)[:12]}"))


def _why_not(config: Config, row: Row) -> str:
    """Why a row is not run; empty if it is."""
    if row.change is None:
        return "another method"
    there = set(config.inputs.modalities)
    missing = set(row.needs) - there
    if not missing:  # a change may be impossible without what the row needs
        missing = set(stages_of(config, row, config.seed)[PRETRAIN].inputs.modalities) - there
    return f"config.inputs.modalities has no {', '.join(sorted(missing))}" if missing else ""


def _obtain(config: Config, stage: str, run_one: RunOne) -> Result:
    """The result of a run, which is made unless it is there."""
    folder = pathlib.Path(config.workdir)
    result = runs.read(folder)
    if result is not None:
        print(f"  {stage}: there already, {folder}", flush=True)
        return result
    print(f"  {stage}: {folder}", flush=True)
    run_one(config)
    result = runs.read(folder)
    if result is None:
        raise RunFailed(f"{folder} holds no {runs.RESULT}")
    print(f"  {stage}: done in {result.seconds:.0f} s", flush=True)
    return result


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
    cells, notes, claims = layout.grid(table, outcomes), _notes(config, table, outcomes, made), []
    if any(outcome.values for outcome in outcomes.values()):
        claims = layout.claims(table, outcomes)
    print("\n".join(["", title, layout.as_text(cells), *notes, "", *claims]), flush=True)

    folder = pathlib.Path(config.workdir)
    folder.mkdir(parents=True, exist_ok=True)
    lists = ["".join(f"- {line}\n" for line in lines) for lines in (notes, claims) if lines]
    page = "\n".join([f"# {title}\n", f"{layout.as_markdown(cells)}\n", *lists])
    (folder / f"table-{table.number}.md").write_text(page, encoding="utf-8")
    whole = {
        "table": table.number,
        "title": table.title,
        "settings": settings.to_dict(config),
        "commit": sorted({result.commit for result in made}, key=str),  # null: not known
        "code": sorted({result.code for result in made}),
        "hardware": sorted({result.hardware for result in made}),
        "records": sorted({result.records for result in made}),
        "seconds": round(sum(result.seconds for result in made), 1),
        "rows": [_row_as_json(table, row, outcomes[row.name], attempts, results) for row in table.rows],
        "claims": claims,
        "notes": notes,
    }
    (folder / f"table-{table.number}.json").write_text(
        json.dumps(whole, indent=1, ensure_ascii=False), encoding="utf-8"
    )


def _notes(config: Config, table: Table, outcomes: dict[str, Outcome], made: list[Result]) -> list[str]:
    """What a reader has to know to read the numbers."""
    catalogue = "the embedded catalogue" if config.data.catalogue == "toy" else config.data.catalogue
    lines = [
        f"percent; seeds: {config.table.seeds}; ± their standard deviation; protocol {config.evaluate.protocol}; paper:"
        f" M5Product, its subset; here: {catalogue}, {_length(config)} + {config.table.finetune_steps} steps of"
        f" {config.batch_size}. Compare differences between rows, not the numbers of one catalogue with another's",
        *table.notes,
    ]
    lines += filter(None, [layout.told_by(table, outcomes)])
    lines += [
        f"not run: {name}: {o.skipped}" for name, o in outcomes.items() if o.skipped not in ("", "another method")
    ]
    lines += [
        f"failed: {name}, seed {config.seed + s}: {why}" for name, o in outcomes.items() for s, why in o.failed.items()
    ]
    anew = f"delete {config.workdir} to make them anew"
    for what, seen in (("versions of the code", "code"), ("records", "records"), ("machines", "hardware")):
        if len({getattr(result, seen) for result in made}) > 1:
            lines.append(f"made by runs of different {what}: {anew}")
    now = source.digest()
    commits = {result.commit or "not known" for result in made if result.code != now}
    if commits:
        lines.append(f"made by other code than today's (commit: {', '.join(sorted(commits))}): {anew}")
    embedded = config.data.catalogue == "toy"  # drawn from settings, which name the runs
    if not embedded and {result.records for result in made} - _records_now(config):
        lines.append(f"made from other records than {config.data.root} has of {catalogue} as it is now: {anew}")
    return lines


def _length(config: Config) -> str:
    return str(config.steps) if config.steps else f"{config.epochs:g} epochs"


def _records_now(config: Config) -> set[str]:
    """Digests of the prepared folders that are of the catalogue as it is now; nothing is prepared for that."""
    try:
        now = layouts.find(config.data.catalogue).digest()
    except DataError:
        return set()
    found = set()
    for path in pathlib.Path(config.data.root).glob(f"prepared-*/{MANIFEST}"):
        with contextlib.suppress(DataError):  # a damaged folder has nothing of the catalogue
            manifest = Prepared.open(path.parent, config.inputs).manifest
            if manifest["facts"]["catalogue"] == now:
                found.add(manifest["digest"])
    return found


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
        c.title: [layout.mean_and_spread(v) if (v := list(outcome.of(m).values())) else None for m in c.measures]
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
