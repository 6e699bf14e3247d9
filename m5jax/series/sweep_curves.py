"""The curves of a series of sweeps: models beside each other, at test only and in training, too, over seeds."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from m5jax.series import cells

Asked = tuple[str, int, tuple[str, float] | None, Mapping[str, Any]]
"""Model, seed, the sweep and ratio it was trained on if any, and what `studies.sweeps` found."""

TEST_ONLY, IN_TRAINING = "test_only", "in_training"
SAID = {TEST_ONLY: "test only", IN_TRAINING: "in training too"}


def swept(models: Sequence[str], asked: Sequence[Asked]) -> dict[str, Any]:
    """All curves, as `sweep.json` holds them.

    Args:
      models: their names, in order.
      asked: every run that was.

    Returns:
      "chance" and "passports", of the first run; "sweeps", by name, score, model and `TEST_ONLY` or `IN_TRAINING`:
      points by ratio, each with "ratio", "mean", "spread" (over seeds; None of one) and "seeds". At test only, a model
      is trained on the catalogue as it is. In training, too, it is trained at the ratio at which it is asked, so that
      both begin at the same point; a curve without any other point is left out, as of a model that sees nothing of
      what is broken.
    """
    clean = [(model, seed, finding) for model, seed, trained, finding in asked if trained is None]
    broken = {(model, seed, *trained): finding for model, seed, trained, finding in asked if trained is not None}
    first: Mapping[str, Any] = asked[0][3] if asked else {"chance": {}, "passports": {}}
    found: dict[str, Any] = {}
    for model, seed, finding in clean:
        for sweep, line in finding["sweeps"].items():
            for score, curve in line["scores"].items():
                of = found.setdefault(sweep, {}).setdefault(score, {}).setdefault(model, {})
                for ratio, value in zip(finding["ratios"], curve["values"], strict=True):
                    of.setdefault(TEST_ONLY, {}).setdefault(ratio, {})[seed] = value
                of.setdefault(IN_TRAINING, {}).setdefault(0.0, {})[seed] = curve["values"][0]
    for (model, seed, sweep, ratio), finding in broken.items():
        for score, curve in finding["sweeps"][sweep]["scores"].items():
            of = found.setdefault(sweep, {}).setdefault(score, {}).setdefault(model, {})
            of.setdefault(IN_TRAINING, {}).setdefault(ratio, {})[seed] = curve["values"][finding["ratios"].index(ratio)]
    return {
        "models": list(models),
        "chance": first["chance"],
        "passports": first["passports"],
        "sweeps": {
            sweep: {
                score: {model: _points(of[model]) for model in models if model in of} for score, of in by_score.items()
            }
            for sweep, by_score in found.items()
        },
    }


def _points(lines: Mapping[str, Mapping[float, Mapping[int, float]]]) -> dict[str, list[dict[str, Any]]]:
    """Both curves of a model, ratio by ratio."""
    points = {}
    for line, by_ratio in lines.items():
        if line == IN_TRAINING and set(by_ratio) <= {0.0}:
            continue
        points[line] = []
        for ratio, seeds in sorted(by_ratio.items()):
            mean, spread = cells.mean_and_spread(list(seeds.values()))
            points[line].append({"ratio": ratio, "mean": mean, "spread": spread, "seeds": dict(sorted(seeds.items()))})
    return points


def alike(findings: Sequence[Mapping[str, Any]]) -> bool:
    """Whether all were asked the same queries in the same gallery by the same rules, corrupted alike."""
    told = [[finding[name] for name in ("passports", "corrupted", "seed", "listings")] for finding in findings]
    return all(one == told[0] for one in told)


def as_text(made: Mapping[str, Any], notes: Sequence[str]) -> str:
    """All curves for a terminal."""
    tables = (f"\n{sweep}: {score}\n{cells.as_text(grid)}" for sweep, score, grid in _grids(made))
    return "\n".join([*tables, "", *notes])


def as_markdown(made: Mapping[str, Any], notes: Sequence[str]) -> str:
    """All curves as a Markdown page."""
    tables = [f"## {sweep}: {score}\n\n{cells.as_markdown(grid)}\n" for sweep, score, grid in _grids(made)]
    return "\n".join(["# Sweeps\n", *tables, "".join(f"- {line}\n" for line in notes)])


def _grids(made: Mapping[str, Any]) -> Iterator[tuple[str, str, list[list[str]]]]:
    """Per sweep and score a table of cells: a row for every curve, a column for every ratio."""
    for sweep, scores in made["sweeps"].items():
        for score, models in scores.items():
            curves = [(model, line, points) for model, lines in models.items() for line, points in lines.items()]
            ratios = sorted({point["ratio"] for _, _, points in curves for point in points})
            rows = [["", "broken", *(f"{100 * ratio:g} %" for ratio in ratios)]]
            for model, line, points in curves:
                at = {point["ratio"]: _cell(point["mean"], point["spread"]) for point in points}
                rows.append([model, SAID[line], *(at.get(ratio, "-") for ratio in ratios)])
            chance = made["chance"].get(score, math.nan)
            yield sweep, score, [*rows, ["chance", "", *(_cell(chance, None) for _ in ratios)]]


def _cell(mean: float, spread: float | None) -> str:
    return f"{100 * mean:.2f}" if spread is None else f"{100 * mean:.2f}±{100 * spread:.2f}"
