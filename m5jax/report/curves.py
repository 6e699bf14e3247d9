"""How a run went: charts out of its logs."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from m5jax import modalities
from m5jax.report import figures
from m5jax.report.figures import Chart, Curve, Sparkline

TOTAL = {"loss": "weighted sum of the parts"}
PACE = {
    "learning_rate": "",
    "grad_norm": "global norm before clipping",
    "examples_per_s": "listings a second",
}
# Of the columns that are left, those with "/" are parts of an objective and the others objectives of any model.
COUNTERS = {"step", "epoch", "skipped", "skipped_in_a_row", "damaged", "ms_per_step", "data_wait_ms", "mfu"}
UNITS = {
    "contrastive": "nats",
    "matching": "nats",
    "matched": "share of right answers",
    "linked": "share of triples whose value is nearest",
    "link_mrr": "mean reciprocal rank",
} | {
    row.objective: "nats" if row.kind == modalities.TEXT_KIND else "squared error" for row in modalities.TABLE.values()
}


@dataclasses.dataclass(frozen=True)
class Training:
    """What the log of the training steps shows.

    Attributes:
      loss: the total and what it is made of, one chart each; nothing for a run without log.
      pairs: parts of an objective: the contrastive one of every pair of modalities.
      pace: learning rate, gradient, speed.
      skipped, damaged: updates not made because they were not finite, records that could not be read.
    """

    loss: list[Chart]
    pairs: list[Sparkline]
    pace: list[Chart]
    skipped: int
    damaged: int


def training(rows: Sequence[Mapping[str, Any]]) -> Training:
    """The charts of `metrics.jsonl`, one row a logged step."""
    curves = {name: _curve(rows, name) for name in dict.fromkeys(name for row in rows for name in row)}
    objectives = [name for name in curves if name not in COUNTERS | TOTAL.keys() | PACE.keys()]
    parts = {name: UNITS.get(name, "") for name in objectives if "/" not in name}
    last = rows[-1] if rows else {}
    return Training(
        loss=_charts(curves, TOTAL | parts, from_zero=False),
        pairs=figures.sparklines({name.partition("/")[2]: curves[name] for name in objectives if "/" in name}),
        pace=_charts(curves, PACE, from_zero=True),
        skipped=int(last.get("skipped", 0)),
        damaged=int(last.get("damaged", 0)),
    )


def evaluations(rows: Sequence[Mapping[str, Any]], subsets: Sequence[str], ks: Sequence[int]) -> list[Chart]:
    """The retrieval scores of `evaluations.jsonl` over training; nothing if only one step was scored."""
    by_step = {row["step"]: row for row in rows}  # a step that was scored again counts as scored last
    ordered = [by_step[step] for step in sorted(by_step)]
    if len(ordered) < 2:
        return []
    charts = []
    for task, what in (("category", "same category"), ("instance", "same product")):
        for metric in (f"p@{min(ks)}", f"map@{max(ks)}"):
            curves = {subset: _curve(ordered, f"retrieval/{task}/{subset}/{metric}") for subset in subsets}
            charts.append(
                figures.chart(f"{what}: {metric}", curves, unit="from 0 to 1", x_label="step", from_zero=True)
            )
    return [chart for chart in charts if chart]


def _charts(curves: Mapping[str, Curve], units: Mapping[str, str], from_zero: bool) -> list[Chart]:
    """One chart a column, of those that were logged."""
    drawn = (
        figures.chart(name.replace("_", " "), {name: curves[name]}, unit=unit, x_label="step", from_zero=from_zero)
        for name, unit in units.items()
        if name in curves
    )
    return [chart for chart in drawn if chart]


def _curve(rows: Sequence[Mapping[str, Any]], name: str) -> Curve:
    """A column over the steps; NaN, which charts leave out, where a row does not have it."""
    return np.asarray([row["step"] for row in rows], float), np.asarray([row.get(name, np.nan) for row in rows], float)
