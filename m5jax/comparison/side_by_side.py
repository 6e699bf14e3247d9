"""What scored runs come to side by side: scores and their differences, settings, studies."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from m5jax.comparison import pairs
from m5jax.comparison.comparable import COUNTS, refused, unlike
from m5jax.comparison.runs import ScoredRun
from m5jax.evals.bootstrap import Interval

OWN = ("workdir", "mode", "compare", "distributed", "logging")  # settings in which any two runs may differ


def compared(runs: Sequence[ScoredRun], seed: int) -> dict[str, Any]:
    """Two or more runs side by side, the others against the first; as JSON holds it.

    Args:
      runs: at least two.
      seed: of the bootstrap.

    Returns:
      ``runs``: name, folder, seed and steps of each. ``warnings``: sentences on what does not compare. ``scores``: per
      name in any run the ``values`` (None where a run has none), and ``against``, per run None (the first; a count; a
      value missing) or ``difference`` from the first, ``low`` and ``high`` of its 95 % interval and ``told``, whether
      that leaves out 0 (all three None where queries cannot be paired), and ``refused``, why the two are not
      subtracted, or "". ``groups``: per run, the same for groups of queries (`pairs.by_group`). ``settings``: path ->
      value in each run, where they differ. ``studies``: per study and number the values, None where a run's passport is
      not the first's; ``studies_refused``: per study, for each run why. ``passports`` of each run.
    """
    first = runs[0]
    common = [{}, *(pairs.pairs(first, run) for run in runs[1:])]
    paired = [pairs.differences(pair, seed) for pair in common]
    names = dict.fromkeys(name for run in runs for name in run.scores)
    refusals = [{}, *({name: refused(first, run, name) for name in names} for run in runs[1:])]
    rows = []
    for name in names:
        values = [run.scores.get(name) for run in runs]
        head, _, metric = name.rpartition("/")
        against: list[dict[str, Any] | None] = [None] * len(runs)
        counted = metric in COUNTS
        if not counted and values[0] is not None:
            against[1:] = [
                None if value is None else _against(values[0], value, paired[n].get(name), refusals[n][name])
                for n, value in enumerate(values[1:], 1)
            ]
        told = {"name": name, "head": head, "metric": metric, "count": counted}
        rows.append(told | {"values": values, "against": against})
    numbers, refused_studies = _studies(runs)
    return {
        "runs": [
            {"name": run.name, "folder": run.folder, "seed": run.config.get("seed"), "steps": run.config.get("steps")}
            for run in runs
        ],
        "warnings": _warnings(runs, rows, refused_studies),
        "scores": rows,
        "groups": [pairs.by_group(pair, seed) for pair in common],
        "settings": differing(runs),
        "studies": numbers,
        "studies_refused": refused_studies,
        "passports": [dict(run.passports) for run in runs],
    }


def differing(runs: Sequence[ScoredRun]) -> dict[str, list[Any]]:
    """The settings that are not the same in all runs, as path -> one value a run; None where a run does not know it."""
    flat = [dict(_leaves(run.config, "config")) for run in runs]
    paths = dict.fromkeys(path for settings in flat for path in settings)
    found = {path: [settings.get(path) for settings in flat] for path in paths}
    return {
        path: values
        for path, values in found.items()
        if path.split(".")[1] not in OWN and any(value != values[0] for value in values)
    }


def _against(first: float, value: float, interval: Interval | None, refusal: str) -> dict[str, Any]:
    """What is said of a value beside the first run's."""
    if refusal:
        return {"difference": None, "low": None, "high": None, "told": None, "refused": refusal}
    if interval is None:
        return {"difference": value - first, "low": None, "high": None, "told": None, "refused": ""}
    told = interval.excludes(0.0)
    return {"difference": value - first, "low": interval.low, "high": interval.high, "told": told, "refused": ""}


def _studies(runs: Sequence[ScoredRun]) -> tuple[dict[str, dict[str, list[float | None]]], dict[str, list[str]]]:
    """Per study its numbers in every run, and why a run's are not beside the first's."""
    numbers, refusals = {}, {}
    for name in dict.fromkeys(name for run in runs for name in run.findings):
        findings = [run.findings.get(name, {"skipped": "not asked"}) for run in runs]
        why = [
            finding["skipped"]
            if "skipped" in finding
            else unlike(_first(findings, "passport"), finding.get("passport", {}))
            for finding in findings
        ]
        if any(why):
            refusals[name] = why
        flat = [{} if reason else dict(_numbers(finding)) for reason, finding in zip(why, findings, strict=True)]
        keys = dict.fromkeys(key for values in flat for key in values)
        numbers[name] = {key: [values.get(key) for values in flat] for key in keys}
    return {name: values for name, values in numbers.items() if values}, refusals


def _first(findings: Sequence[Mapping[str, Any]], key: str) -> Mapping[str, Any]:
    """That of the first finding that was not skipped."""
    return next((finding.get(key, {}) for finding in findings if "skipped" not in finding), {})


def _numbers(finding: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of a finding that stand by themselves, by path; lists, its curves and rows, are left out."""
    for path, value in _leaves({key: value for key, value in finding.items() if key != "passport"}, ""):
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield path, value


def _leaves(values: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    """What nested settings or findings hold, by path: settings with dots, findings, which begin at "", with slashes."""
    dot = "." if path.startswith("config") else "/"
    for name, value in values.items():
        where = f"{path}{dot}{name}" if path else name
        if isinstance(value, Mapping):
            yield from _leaves(value, where)
        else:
            yield where, value


def _warnings(
    runs: Sequence[ScoredRun], rows: Sequence[Mapping[str, Any]], refused_studies: Mapping[str, Sequence[str]]
) -> list[str]:
    """What a reader must know before believing a difference."""
    found = []
    for n, run in enumerate(runs[1:], 1):
        reasons = [row["against"][n]["refused"] for row in rows if row["against"][n]]
        if any(reasons):
            most = max(set(filter(None, reasons)), key=lambda reason: (reasons.count(reason), reason))
            found.append(
                f"{run.name}: {sum(map(bool, reasons))} of {len(reasons)} scores do not compare with those of"
                f" {runs[0].name} and are not subtracted ({most})"
            )
        elif reasons and run.scores == runs[0].scores:
            found.append(f"{run.name}: every score is that of {runs[0].name}: is it the same model?")
        lacking = [row["name"] for row in rows if (row["values"][0] is None) != (row["values"][n] is None)]
        if lacking:
            found.append(f"{run.name}: {len(lacking)} scores are not in both this run and {runs[0].name}")
    for name, why in refused_studies.items():
        if not all(why):
            left_out = ", ".join(run.name for run, reason in zip(runs, why, strict=True) if reason)
            found.append(f"study {name}: not side by side for {left_out}")
    return found
