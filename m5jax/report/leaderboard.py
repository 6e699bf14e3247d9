"""The page of a leaderboard: one table of every task, a figure for every scheme of damage, and the papers beside."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from m5jax.methods import PKG
from m5jax.report import figures, html
from m5jax.report.figures import Chart
from m5jax.schemes import SCHEMES

AS_THE_PAPER = ("k3m", "vilbert", "vl_bert", "lxmert", "scale")
MOST_CURVES = 9  # that a figure tells apart


def render(board: Mapping[str, Any]) -> str:
    """The page.

    Args:
      board: what `leaderboard.json` holds.
    """
    return html.render("leaderboard.html.j2", {"board": board, **_view(board)})


def _view(board: Mapping[str, Any]) -> dict[str, Any]:
    every = list(board["columns"])
    first = [key for key, column in board["columns"].items() if column["first"]]
    return {
        "first": (_heads(board, first), _rows(board, first), _levels(board, first)),
        "every": (_heads(board, every), _rows(board, every), _levels(board, every)),
        "damage": [
            (board["said"][line], [(board["said"][score], _charts(board, score, of)) for score, of in scores.items()])
            for line, scores in board["damage"].items()
        ],
    }


def _heads(board: Mapping[str, Any], keys: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Tasks, each with the titles of its columns."""
    heads: dict[str, list[str]] = {}
    for key in keys:
        column = board["columns"][key]
        heads.setdefault(column["task"], []).append(column["title"])
    return list(heads.items())


def _rows(board: Mapping[str, Any], keys: Sequence[str]) -> list[tuple[Mapping[str, Any], list[dict[str, Any] | None]]]:
    """Methods, each with its cells: "mean" and "spread" as text, and whether it is the "best"."""
    rows = []
    for name, method in board["methods"].items():
        found = [board["cells"][key].get(name) for key in keys]
        cells = [
            cell
            and {
                "mean": f"{100 * cell['mean']:.1f}",
                "spread": None if cell["spread"] is None else f"{100 * cell['spread']:.1f}",
                "best": board["best"][key] == name,
            }
            for key, cell in zip(keys, found, strict=True)
        ]
        rows.append((method, cells))
    return rows


def _levels(board: Mapping[str, Any], keys: Sequence[str]) -> list[tuple[str, list[str]]]:
    """What yardsticks get, column by column."""
    return [
        (said, [f"{100 * levels[key]:.1f}" if key in levels else "–" for key in keys])
        for said, levels in board["yardsticks"].items()
    ]


def drawn(methods: Sequence[str]) -> dict[str, str]:
    """The methods that figures show, as K3M's do: by name, how their line looks; dashed without the table."""
    plain = {name: number for number, name in enumerate(AS_THE_PAPER)}
    shown = [name for name in methods if name.removesuffix(PKG) in plain][:MOST_CURVES]
    if not shown:
        return {name: f"k{number} solid" for number, name in enumerate(methods[:MOST_CURVES])}
    looks = {}
    for name in shown:
        number = plain[name.removesuffix(PKG)]
        looks[name] = f"k{number} {'dashed' if f'{name}{PKG}' in shown else 'solid'}"
    return looks


def _charts(board: Mapping[str, Any], score: str, schemes: Mapping[str, Any]) -> list[Chart]:
    """A figure a scheme, all of a score on one scale."""
    looks = drawn(list(board["methods"]))
    means = [cell["mean"] for of in schemes.values() for name in of if name in looks for cell in of[name]]
    charts = []
    for scheme, of in schemes.items():
        titles = {name: board["methods"][name]["title"] for name in looks if name in of}
        curves = {
            title: (np.asarray(board["ratios"]) * 100, np.asarray([cell["mean"] for cell in of[name]]) * 100)
            for name, title in titles.items()
        }
        spreads = {
            title: np.asarray([cell["spread"] for cell in of[name]]) * 100
            for name, title in titles.items()
            if all(cell["spread"] is not None for cell in of[name])
        }
        chart = figures.chart(
            f"{scheme}: {SCHEMES[scheme].title}",
            curves,
            unit=f"{board['said'][score]}, percent",
            x_label="percent of the listings",
            from_zero=True,
            up_to=100 * max(means, default=0.0),
            looks={title: looks[name] for name, title in titles.items()},
            spreads=spreads,
        )
        charts += [chart] if chart else []
    return charts
