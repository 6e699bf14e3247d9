"""The page of a comparison: runs side by side, with curves in one figure. Imports no jax."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from m5jax.report import figures, html, passports
from m5jax.report.figures import Chart

SENTENCES = {
    "retrieval/category/fused/p@1": "the nearest listing is of the same category",
    "retrieval/instance/fused/p@1": "the nearest listing shows the same product",
    "classification/head/fused/accuracy": "the model's own classifier names the right category",
    "classification/probe/fused/accuracy": "a linear classifier names the right category",
}
TASKS = {"category": "same category", "instance": "same product"}
GROUPINGS = {
    "frequency": "How frequent the category is in training",
    "count": "How many modalities the query has",
    "present": "Which modalities the query has",
    "source": "Source",
    "category": "Category",
}
COLOURS = 9  # CSS classes k0 to k8
MOST_NUMBERS = 200  # of one study


def render(made: Mapping[str, Any], findings: Sequence[Mapping[str, Any]]) -> str:
    """The page of a comparison (`side_by_side.compared`, and the "command"); the runs' `findings` give the curves."""
    heads: dict[str, list[dict[str, Any]]] = {}
    for row in made["scores"]:
        heads.setdefault(row["head"], []).append(row)
    fused = [head for head in heads if head.endswith("/fused") and not head.startswith("source/")]
    page = {
        **made,
        "sentences": _sentences(made),
        "heads": heads,
        "fused": fused,
        "alone": [head for head in heads if head not in fused and not head.startswith("source/")],
        "sources": [head for head in heads if head.startswith("source/")],
        "by_group": _groups(made),
        "sweeps": _sweeps(made, findings),
        "unequal": {
            name: {key: values for key, values in numbers.items() if any(value != values[0] for value in values)}
            for name, numbers in made["studies"].items()
        },
        "refused": {
            name: [(run["name"], reason) for run, reason in zip(made["runs"], why, strict=True) if reason]
            for name, why in made["studies_refused"].items()
        },
        "sheets": [passports.by_rules(held) for held in made["passports"]],
        "most_numbers": MOST_NUMBERS,
    }
    return html.render("compare.html.j2", page)


def _sentences(made: Mapping[str, Any]) -> list[str]:
    """What the first scores come to, run by run."""
    rows = {row["name"]: row for row in made["scores"]}
    found = []
    for name, what in SENTENCES.items():
        for run, value, against in _others(made, rows.get(name)):
            first = rows[name]["values"][0]
            shares = {"first": html.percent(first), "value": html.percent(value)}
            beginning = f"{what[0].upper()}{what[1:]}: {{run}} {shares['value']}, {{base}} {shares['first']}"
            quoted = {"run": run["name"], "base": made["runs"][0]["name"]}
            found.append(html.sentence(f"{beginning}; {_verdict(against)}.", **quoted))
    return found


def _others(made: Mapping[str, Any], row: Mapping[str, Any] | None) -> list[tuple[Any, float, Mapping[str, Any]]]:
    """Run, value and difference of the runs but the first that have one."""
    if row is None:
        return []
    whole = zip(made["runs"], row["values"], row["against"], strict=True)
    return [(run, value, against) for run, value, against in whole if against is not None]


def _verdict(against: Mapping[str, Any]) -> str:
    """Whether a difference means anything, in words."""
    if against["refused"]:
        return f"the two do not compare ({against['refused']})"
    points = f"{100 * against['difference']:+.1f} points"
    if against["told"] is None:
        return f"{points}, not tested"
    between = f"95 % between {100 * against['low']:+.1f} and {100 * against['high']:+.1f}"
    return f"{points}, {'more than chance' if against['told'] else 'which may be chance'} ({between})"


def _groups(made: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Per run but the first, task and grouping, the groups: those told from chance first, by how far they differ."""
    found = []
    for run, rows in zip(made["runs"], made["groups"], strict=True):
        for task, grouping in dict.fromkeys((row["task"], row["grouping"]) for row in rows):
            chosen = [row for row in rows if (row["task"], row["grouping"]) == (task, grouping)]
            if grouping not in ("frequency", "count"):  # which have an order of their own
                chosen.sort(key=lambda row: (not row["told"], -abs(row["difference"])))
            title = f"{GROUPINGS.get(grouping, grouping)}, {TASKS.get(task, task)}"
            found.append({"run": run["name"], "title": title, "rows": chosen})
    return found


def _sweeps(made: Mapping[str, Any], findings: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Per sweep and task, the curves of all runs whose sweeps compare with the first's."""
    why = made["studies_refused"].get("sweeps", [""] * len(findings))
    of = {
        run["name"]: finding["sweeps"]
        for run, finding, reason in zip(made["runs"], findings, why, strict=True)
        if "sweeps" in finding and not reason
    }
    names = dict.fromkeys(name for one in of.values() for name in one["sweeps"])
    scores = dict.fromkeys(score for one in of.values() for line in one["sweeps"].values() for score in line["scores"])
    charts = []
    for name in names:
        for score in (score for score in scores if score.endswith("/p@1")):
            curves = {
                run: (
                    np.asarray(one["ratios"], float),
                    np.asarray(one["sweeps"][name]["scores"][score]["values"], float),
                )
                for run, one in of.items()
                if score in one["sweeps"].get(name, {}).get("scores", {})
            }
            kind, _, what = name.partition("_")
            task = TASKS.get(score.split("/")[1], score)
            title = f"{what} {'missing' if kind == 'missing' else 'from another listing'}: {task}"
            chart = figures.chart(title, curves, unit="p@1", x_label="share of the listings", from_zero=True)
            if chart is not None:
                charts.append(_coloured(chart, list(of)))
    return charts


def _coloured(chart: Chart, runs: Sequence[str]) -> Chart:
    """The chart with a colour of its own for every run."""
    lines = [dataclasses.replace(line, colour=f"k{runs.index(line.name) % COLOURS}") for line in chart.lines]
    return dataclasses.replace(chart, lines=lines)
