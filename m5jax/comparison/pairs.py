"""Two runs query by query: differences told from chance by a paired bootstrap (`evals.bootstrap.difference`)."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from m5jax.comparison.comparable import unlike
from m5jax.comparison.runs import ScoredRun
from m5jax.evals import bootstrap

MOST_GROUPS = 40  # of one grouping


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Queries that two runs were both asked in one task.

    Attributes:
      scores: per score "p@1", "map@10" and so on, the first run's values and the second's, float [Q].
      clusters: what tells queries of one product from those of others, int [Q].
      groups: per grouping of the first run, its names and the group each query is of, int [Q], -1 for none.
      of_all: queries the first run was asked, of which these were kept.
    """

    scores: dict[str, tuple[np.ndarray, np.ndarray]]
    clusters: np.ndarray
    groups: dict[str, tuple[list[str], np.ndarray]]
    of_all: int


def pairs(ours: ScoredRun, theirs: ScoredRun) -> dict[str, Pairs]:
    """The common queries by task, from what study "losers" keeps; none where it was not asked or passports differ."""
    first, second = (run.findings.get("losers", {}) for run in (ours, theirs))
    found = {}
    for task, of_first in first.get("tasks", {}).items():
        of_second = second.get("tasks", {}).get(task)
        if of_second is None or first["metric"] != second["metric"]:
            continue
        if unlike(of_first["passport"], of_second["passport"]):
            continue
        a, b = of_first["queries"], of_second["queries"]
        place = {identity: row for row, identity in enumerate(b["id"])}
        rows = [(row, place[identity]) for row, identity in enumerate(a["id"]) if identity in place]
        if not rows:
            continue
        mine, other = np.asarray(rows).T
        values = [
            (name, (_per_query(a, kept)[mine], _per_query(b, kept)[other]))
            for name, kept in (
                (first["metric"], "average_precision"),
                ("p@1", "hit"),
                ("hit@1", "hit"),
                ("mrr", "rank"),
            )
        ]
        groups = {name: (one["names"], np.asarray(one["of"])[mine]) for name, one in a["groups"].items()}
        found[task] = Pairs(dict(values), np.asarray(a["product"])[mine], groups, a["of_all"])
    return found


def _per_query(kept: Mapping[str, Any], what: str) -> np.ndarray:
    """One number a query: its average precision, whether the first rank is right, or 1 over the first right one's."""
    if what == "average_precision":
        return np.asarray(kept[what], float)
    rank = np.asarray(kept["first_hit"], float)
    return (rank == 1).astype(float) if what == "hit" else np.where(rank > 0, 1 / np.maximum(rank, 1), 0.0)


def differences(common: Mapping[str, Pairs], seed: int) -> dict[str, bootstrap.Interval]:
    """Per name of a score, how much better the second run is on the common queries."""
    found = {}
    for task, pair in common.items():
        for score, (first, second) in pair.scores.items():
            interval = bootstrap.difference(second, first, pair.clusters, seed)
            if interval is not None:
                found[f"retrieval/{task}/fused/{score}"] = interval
    return found


def by_group(common: Mapping[str, Pairs], seed: int) -> list[dict[str, Any]]:
    """How much better the second run is on each group of queries, by p@1; of a grouping the largest ones."""
    rows = []
    for task, pair in common.items():
        first, second = pair.scores["p@1"]
        for grouping, (names, of) in pair.groups.items():
            sizes = np.bincount(of[of >= 0], minlength=len(names))
            largest = set(np.argsort(-sizes, kind="stable")[:MOST_GROUPS].tolist())
            for number, name in enumerate(names):
                members = of == number
                if number not in largest or not members.any():
                    continue
                interval = bootstrap.difference(second[members], first[members], pair.clusters[members], seed)
                if interval is not None:
                    rows.append(
                        {"task": task, "grouping": grouping, "name": name, "queries": interval.queries}
                        | {"values": [float(first[members].mean()), float(second[members].mean())]}
                        | {"difference": interval.mean, "low": interval.low, "high": interval.high}
                        | {"told": interval.excludes(0.0)}
                    )
    return rows
