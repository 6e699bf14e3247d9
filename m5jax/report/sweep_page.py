"""The page of a series of sweeps: one figure a sweep and score, with a line for every model."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from m5jax.report import figures, html
from m5jax.report.figures import Chart
from m5jax.report.sweeps import DRAWN, words

TRAINED = "trained on it"  # behind a model's name: the line of what is broken in training, too


def render(made: Mapping[str, Any]) -> str:
    """The page.

    Args:
      made: what `sweep.json` holds.
    """
    sweeps = [(words(name), name, scores) for name, scores in made["sweeps"].items()]
    values = {
        "made": made,
        "figures": [
            (
                DRAWN[score],
                [chart for said, _, by in sweeps if score in by for chart in _chart(said, score, by[score], made)],
            )
            for score in DRAWN
            if any(score in by for _, _, by in sweeps)
        ],
        "sweeps": sweeps,
        "ratios": {name: _ratios(scores) for _, name, scores in sweeps},
        "trained": TRAINED,
    }
    return html.render("sweep_page.html.j2", values)


def _chart(title: str, score: str, models: Mapping[str, Any], made: Mapping[str, Any]) -> list[Chart]:
    """The figure of a sweep, if there is anything to draw."""
    curves, looks, spreads = {}, {"chance": "chance"}, {}
    for number, name in enumerate(made["models"]):
        for line, points in models.get(name, {}).items():
            trained = line == "in_training"
            shown = f"{name}, {TRAINED}" if trained else name
            curves[shown] = tuple(np.asarray([point[key] for point in points]) * 100 for key in ("ratio", "mean"))
            looks[shown] = f"k{number} {'dashed' if trained else 'solid'}"
            if all(point["spread"] is not None for point in points):
                spreads[shown] = np.asarray([point["spread"] for point in points]) * 100
    ends = np.asarray([0.0, 100.0])
    curves["chance"] = ends, np.full(2, 100 * made["chance"][score])
    chart = figures.chart(
        title,
        curves,
        unit="percent of the queries",
        x_label="percent of the listings",
        from_zero=True,
        looks=looks,
        spreads=spreads,
    )
    return [chart] if chart else []


def _ratios(scores: Mapping[str, Any]) -> list[float]:
    lines = (points for models in scores.values() for lines in models.values() for points in lines.values())
    return sorted({point["ratio"] for points in lines for point in points})
