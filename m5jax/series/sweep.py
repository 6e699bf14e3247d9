"""Missing and noise, at test only and in training, too: several models, each trained clean and on what is broken.

For every model and seed there is one run that trains on the catalogue as it is and, for every sweep and ratio, one
that trains on what the sweep leaves of it; each is asked by `studies.sweeps`, on the same listings, corrupted alike.
A run's folder is named after a digest of its settings, so that a series that was interrupted goes on; a run that fails
is reported, and the others go on.
"""

import dataclasses
import json
import pathlib
from typing import Any

from m5jax import settings, sweep_settings
from m5jax.config import Config
from m5jax.errors import ConfigError, SeriesError
from m5jax.inputs import Corruption
from m5jax.report import sweep_page
from m5jax.run_folder import RunFolder
from m5jax.series import provenance, runs, sweep_curves
from m5jax.series.runs import Result, RunFailed, RunOne

CLEAN, BROKEN = "clean", "broken"  # what a run is trained on; its folder's name begins so


@dataclasses.dataclass(frozen=True)
class Attempt:
    """A run of the series.

    Attributes:
      model: its name.
      seed: of the run.
      trained: the sweep and the ratio that it is trained on; None: the catalogue as it is.
      config: its settings.
    """

    model: str
    seed: int
    trained: tuple[str, float] | None
    config: Config

    def __str__(self) -> str:
        on = f", trained on {self.trained[0]} {self.trained[1]:g}" if self.trained else ""
        return f"{self.model}{on}, seed {self.seed}"


def make(config: Config, run_one: RunOne = runs.run) -> None:
    """Runs what is missing of the series and writes `sweep.json`, `sweep.md` and `sweep.html`.

    Args:
      config: the settings that all models begin with; `config.inputs.modalities` are what records hold and what
        "mixed" means to every model, whichever of them it sees.
      run_one: trains and scores one run and leaves its `Result` and its studies in its folder.

    Raises:
      ConfigError: the settings of a model contradict each other; nothing was run.
      SeriesError: runs failed; what is written holds the others.
      Preempted: asked to stop; the same command goes on.
    """
    runs.check_alone(config)
    attempts = attempts_of(config)
    made: dict[Attempt, Result] = {}
    findings: dict[Attempt, dict[str, Any]] = {}
    failed: dict[Attempt, str] = {}
    for number, attempt in enumerate(attempts, 1):
        print(f"[{number}/{len(attempts)}] {attempt}:", flush=True)
        try:
            made[attempt] = runs.obtain(attempt.config, BROKEN if attempt.trained else CLEAN, run_one)
            findings[attempt] = _finding(attempt.config)
        except RunFailed as error:
            failed[attempt] = str(error)
            print(f"  failed: {error}", flush=True)
    _write(config, attempts, made, findings, failed)
    if failed:
        names = "; ".join(map(str, failed))
        raise SeriesError(f"sweeps: {len(failed)} of {len(attempts)} runs failed: {names}")


def attempts_of(config: Config) -> list[Attempt]:
    """The runs of a series, each once: a model that sees nothing of what is broken is not trained on it again.

    Raises:
      ConfigError: the settings of a model contradict each other, or it is not asked what the others are.
    """
    if config.data.corruption.active(config.inputs):
        raise ConfigError(
            "config.mode='sweep' decides what is corrupted: of config.data.corruption leave all but seed at its default"
        )
    sweeps = config.evaluate.sweeps or sweep_settings.names(config.inputs)
    ratios = [ratio for ratio in sorted(set(config.sweep.training_ratios)) if ratio]
    attempts = []
    for name, changes in sweep_settings.models(config.sweep.models).items():
        for seed in range(config.seed, config.seed + config.sweep.seeds):
            clean = _attempt(config, name, changes, seed, sweeps)
            attempts.append(clean)
            for trained in ((sweep, ratio) for sweep in sweeps for ratio in ratios):
                attempt = _attempt(config, name, changes, seed, sweeps, trained)
                if attempt.config.data.corruption.active(attempt.config.inputs):
                    attempts.append(attempt)
    return attempts


def _attempt(
    config: Config,
    name: str,
    changes: dict[str, str],
    seed: int,
    sweeps: tuple[str, ...],
    trained: tuple[str, float] | None = None,
) -> Attempt:
    """A model as it is trained and asked."""
    values, drawn = settings.to_dict(config), config.data.corruption.seed
    values |= {"mode": "train", "seed": seed}
    values["inputs"]["record"] = config.inputs.modalities  # all models share records, tokenizer and listings
    for path, text in changes.items():
        *sections, field = path.split(".")
        section = values
        for inner in sections:
            section = section.get(inner, {})
        section[field] = settings.parse(Config, path, text)
    corruption = Corruption(seed=drawn)
    values["evaluate"] |= {"studies": ("sweeps",), "sweeps": sweeps}
    if trained:
        corruption = sweep_settings.corruption(*trained, config.inputs, ("train",), drawn)
        values["evaluate"] |= {"sweeps": trained[:1], "sweep_ratios": trained[1:]}
    values["data"]["corruption"] = settings.to_dict(corruption)
    placed = runs.placed(values, config.workdir, BROKEN if trained else CLEAN)
    if set(placed.inputs.kept) != set(config.inputs.kept):
        raise ConfigError(
            f"config.sweep.models: {name!r} sees {', '.join(placed.inputs.modalities)}, of which records hold only"
            f" {', '.join(config.inputs.kept)}: name all that any model sees in config.inputs.modalities"
        )
    return Attempt(name, seed, trained, placed)


def _finding(config: Config) -> dict[str, Any]:
    """What the study of a run found.

    Raises:
      RunFailed: nothing.
    """
    path = RunFolder(config.workdir).studies
    try:
        finding = json.loads(path.read_text(encoding="utf-8"))["sweeps"]
    except (OSError, ValueError, KeyError) as error:
        raise RunFailed(
            f"{path} does not tell of sweeps ({error!r}): delete its folder, and it is made anew"
        ) from error
    if "skipped" in finding:
        raise RunFailed(f"there is nothing to score: {finding['skipped']}")
    return finding


def _write(
    config: Config,
    attempts: list[Attempt],
    made: dict[Attempt, Result],
    findings: dict[Attempt, dict[str, Any]],
    failed: dict[Attempt, str],
) -> None:
    """The curves on the screen and as `sweep.md`, every number as `sweep.json`, and the figure as `sweep.html`."""
    asked = [(attempt.model, attempt.seed, attempt.trained, finding) for attempt, finding in findings.items()]
    swept = sweep_curves.swept(list(sweep_settings.models(config.sweep.models)), asked)
    notes = [
        f"percent; seeds: {config.sweep.seeds}; ± their standard deviation; protocol {config.evaluate.protocol};"
        f" {provenance.catalogue(config)}, {provenance.length(config)} steps of {config.batch_size}",
        *(
            []
            if sweep_curves.alike(list(findings.values()))
            else ["not all models were asked the same: do not compare"]
        ),
        *(f"failed: {attempt}: {why}" for attempt, why in failed.items()),
        *provenance.notes(config, list(made.values())),
    ]
    folder = pathlib.Path(config.workdir)
    folder.mkdir(parents=True, exist_ok=True)
    print(sweep_curves.as_text(swept, notes), flush=True)
    (folder / "sweep.md").write_text(sweep_curves.as_markdown(swept, notes), encoding="utf-8")
    rows = [
        {
            "model": attempt.model,
            "seed": attempt.seed,
            "trained": attempt.trained,
            "folder": pathlib.Path(attempt.config.workdir).name,
            "settings_sha256": settings.digest(attempt.config),
            "seconds": made[attempt].seconds if attempt in made else None,
            "failed": failed.get(attempt),
        }
        for attempt in attempts
    ]
    whole = {**swept, "notes": notes, "runs": rows, **provenance.facts(config, list(made.values()))}
    text = json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / "sweep.json").write_text(text, encoding="utf-8")
    (folder / "sweep.html").write_text(sweep_page.render(whole), encoding="utf-8")
