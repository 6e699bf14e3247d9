"""The table: every method, every task, clean and damaged, as means and spreads over seeds."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from m5jax.leaderboard import claims, columns
from m5jax.leaderboard.columns import COLUMNS
from m5jax.methods import METHODS
from m5jax.series.cells import mean_and_spread

COSTS = ("parameters", "flops", "training_s", "evaluation_s")


@dataclasses.dataclass(frozen=True)
class Asked:
    """A run that came to its end.

    Attributes:
      method: its name in `methods.METHODS`.
      seed: of the run.
      scores, studies: as in `scores.json` and `studies.json`.
      cost: as in `cost.json`.
    """

    method: str
    seed: int
    scores: Mapping[str, float]
    studies: Mapping[str, Any]
    cost: Mapping[str, float]


def table(chosen: Sequence[str], asked: Sequence[Asked]) -> dict[str, Any]:
    """The leaderboard, as `leaderboard.json` holds it.

    Args:
      chosen: names of methods, in order.
      asked: every run that was.

    Returns:
      "methods", by name: "title", "sees" and "cost", the means over seeds, empty for a method without a run;
      "columns", by key: "task", "title", "first"; "cells", by key and method: "mean", "spread" (null of one seed) and
      "seeds"; "best", by key: the method of the largest mean; "yardsticks", "chance" and "untrained", by key; "ratios"
      and "damage", by line, score, scheme and method: a cell per ratio; "said", what lines and scores are called;
      "paper", "claims", "orders" (`leaderboard.claims`); "notes". Columns that no run has are left out.
    """
    runs = {(one.method, one.seed): columns.tree(one.scores, one.studies) for one in asked}
    cells = {column.key: _cells(chosen, runs, column.where) for column in COLUMNS}
    cells = {key: of for key, of in cells.items() if of}
    ratios = next((one.studies["robustness"]["ratios"] for one in asked if _robust(one)), [])
    same = [one for one in asked if _robust(one) and one.studies["robustness"]["ratios"] == ratios]
    return {
        "methods": {name: _method(name, [one for one in asked if one.method == name]) for name in chosen},
        "columns": {
            column.key: {"task": column.task, "title": column.title, "first": column.first}
            for column in COLUMNS
            if column.key in cells
        },
        "cells": cells,
        "best": {key: max(of, key=lambda name: of[name]["mean"]) for key, of in cells.items()},
        "yardsticks": {
            said: {
                key: level for key, where in paths.items() if (level := _level(list(runs.values()), where)) is not None
            }
            for said, paths in {
                "chance": {column.key: column.chance for column in COLUMNS},
                "untrained": {column.key: column.untrained for column in COLUMNS},
            }.items()
        },
        "ratios": ratios,
        "damage": _damage(chosen, same, ratios),
        "said": columns.LINES | {score: ", ".join(said) for score, said in columns.SCORES.items()},
        "paper": claims.printed(chosen),
        "claims": claims.judged(cells),
        "orders": claims.orders(cells),
        "notes": [] if _alike(asked) else ["not all methods were asked the same: do not compare"],
    }


def _cells(chosen: Sequence[str], runs: Mapping[tuple[str, int], Any], where: tuple[str, ...]) -> dict[str, Any]:
    """What the methods got in a column, each that has it."""
    found: dict[str, dict[int, float]] = {}
    for (method, seed), answers in runs.items():
        value = columns.number(answers, where)
        if value is not None:
            found.setdefault(method, {})[seed] = value
    return {name: _cell(found[name]) for name in chosen if name in found}


def _cell(seeds: Mapping[int, float]) -> dict[str, Any]:
    mean, spread = mean_and_spread(list(seeds.values()))
    return {"mean": mean, "spread": spread, "seeds": {str(seed): seeds[seed] for seed in sorted(seeds)}}


def _level(runs: Sequence[Any], where: tuple[str, ...]) -> float | None:
    """The mean over runs of what a yardstick gets; every run of a seed says the same."""
    levels = [level for answers in runs if where and (level := columns.number(answers, where)) is not None]
    return mean_and_spread(levels)[0] if levels else None


def _method(name: str, asked: Sequence[Asked]) -> dict[str, Any]:
    method = METHODS[name]
    cost = {
        what: mean_and_spread(values)[0]
        for what in COSTS
        if (values := [one.cost[what] for one in asked if what in one.cost])
    }
    return {"title": method.title, "sees": list(method.sees), "cost": cost}


def _robust(one: Asked) -> bool:
    return "schemes" in one.studies.get("robustness", {})


def _damage(chosen: Sequence[str], asked: Sequence[Asked], ratios: Sequence[float]) -> dict[str, Any]:
    """The curves under damage."""
    found: dict[str, Any] = {}
    schemes = list(dict.fromkeys(name for one in asked for name in one.studies["robustness"]["schemes"]))
    runs = {(one.method, one.seed): one.studies["robustness"]["schemes"] for one in asked}
    for line in columns.LINES:
        for score in columns.SCORES:
            for scheme in schemes:
                curves: dict[str, dict[int, list[float]]] = {}
                for (method, seed), by_scheme in runs.items():
                    curve = by_scheme.get(scheme, {}).get(line, {}).get(score)
                    if curve and None not in curve:
                        curves.setdefault(method, {})[seed] = curve
                of = {
                    name: [_cell({seed: c[at] for seed, c in curves[name].items()}) for at in range(len(ratios))]
                    for name in chosen
                    if name in curves
                }
                if of:
                    found.setdefault(line, {}).setdefault(score, {})[scheme] = of
    return found


def _alike(asked: Sequence[Asked]) -> bool:
    """Whether all runs of a seed were asked about the same listings, pairs and questions, by the same rules."""
    seen: dict[tuple[int, str], Any] = {}
    for one in asked:
        for study, finding in one.studies.items():
            told = finding.get("passport", finding.get("skipped"))
            if seen.setdefault((one.seed, study), told) != told:
                return False
    return True
