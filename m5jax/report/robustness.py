"""K3M's tasks on corrupted listings, laid out as in its paper: ours, and below what is printed or drawn there."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from m5jax.k3m_paper import ACCURACY, F1, PAPER, RANK, SOURCES, Line
from m5jax.methods import METHODS, PKG
from m5jax.report import figures
from m5jax.report.figures import Chart
from m5jax.report.html import percent
from m5jax.schemes import SCHEMES

MACRO_F1 = "alignment/macro_f1"  # what the paper's F1 seems to be
TASKS = {
    ACCURACY: ("Item classification", "accuracy"),
    MACRO_F1: ("Product alignment", "macro F1"),
    RANK: ("Multi-modal question answering", "Rank@10"),
}
"""The score of every task."""

BESIDE = {ACCURACY: ACCURACY, MACRO_F1: F1, RANK: RANK}
"""Which of the paper's each stands beside."""

LINES = {"test_only": "test only", "in_training": "train and test"}
OURS = {"test_only": "k0 solid", "in_training": "k0 dashed", "chance": "chance"}
THEIRS = {"k3m": "k0", "vilbert": "k1", "vl_bert": "k2", "lxmert": "k3"}  # dashed without the table
AT = (0.5, 1.0)  # beside the clean score, the ratios of table 2


def view(finding: Mapping[str, Any], _: object) -> dict[str, Any]:
    """What the template draws."""
    scores = [score for score in TASKS if score in finding["chance"]]
    at = [ratio for ratio in AT if ratio in finding["ratios"]]
    return {
        "headline": headline(finding, scores[0]),
        "lines": LINES,
        "columns": [(name, SCHEMES[name].title) for name in finding["schemes"]],
        "at": at,
        "tasks": [_task(finding, score, at) for score in scores],
        "numbers": [(score, finding["chance"].get(score), _rows(finding, score)) for score in _scores(finding)],
        "changed": {name: of["changed"] for name, of in finding["schemes"].items()},
    } | {name: finding[name] for name in ("ratios", "listings", "embedded")}


def headline(finding: Mapping[str, Any], score: str) -> str:
    """What costs most when it befalls every listing, and what of it is won back where training saw it, too."""
    schemes, (task, metric) = finding["schemes"], TASKS[score]
    worst = max(schemes, key=lambda name: schemes[name]["test_only"][score][0] - schemes[name]["test_only"][score][-1])
    clean, *_, last = schemes[worst]["test_only"][score]
    if last >= clean:
        return f"No corruption costs {task.lower()} anything."
    return (
        f"{SCHEMES[worst].title.capitalize()} ({worst}): this costs {task.lower()} most; {metric} falls from"
        f" {percent(clean)} to {percent(last)} with {percent(finding['ratios'][-1])} of the listings corrupted, and to"
        f" {percent(schemes[worst]['in_training'][score][-1])} where it was learned from listings as corrupted."
    )


def _scores(finding: Mapping[str, Any]) -> list[str]:
    return list(next(iter(finding["schemes"].values()))["test_only"])


def _task(finding: Mapping[str, Any], score: str, at: Sequence[float]) -> dict[str, Any]:
    """A task: our curves and the paper's, and either's numbers as table 2 has them."""
    title, metric = TASKS[score]
    paper = PAPER[BESIDE[score]]
    return {
        "title": title,
        "metric": metric,
        "source": SOURCES[BESIDE[score]],
        "reading": _reading(paper),
        "charts": _ours(finding, score),
        "theirs": _theirs(paper, metric),
        "rows": [(LINES[kind], _cells(finding, kind, score, at)) for kind in LINES],
        "paper": [(METHODS[name].title, _printed(paper, name, finding["schemes"], at)) for name in _methods(paper)],
        "chance": finding["chance"][score],
    }


def _methods(paper: Mapping[str, Mapping[str, Line]]) -> list[str]:
    """The paper's methods: its own, those that know the table, those that do not."""
    return sorted(paper["TMR"], key=lambda name: (name != "k3m", not name.endswith(PKG), name))


def _cells(finding: Mapping[str, Any], kind: str, score: str, at: Sequence[float]) -> list[str]:
    """The clean score, then those of every scheme at some ratios."""
    places = [finding["ratios"].index(ratio) for ratio in at]
    curves = [of[kind][score] for of in finding["schemes"].values()]
    return [f"{100 * value:.1f}" for value in [curves[0][0], *(curve[place] for curve in curves for place in places)]]


def _printed(paper: Mapping[str, Mapping[str, Line]], method: str, schemes: Any, at: Sequence[float]) -> list[str]:
    """The same of the paper; a scheme that it lacks is a dash."""
    cells = [f"{paper['TMR'][method].values[0]:.1f}"]
    for name in schemes:
        line = paper.get(name, {}).get(method)
        cells += [f"{line.values[line.ratios.index(ratio)]:.1f}" if line else "–" for ratio in at]
    return cells


def _reading(paper: Mapping[str, Mapping[str, Line]]) -> str:
    """How the paper's numbers were got."""
    lines = [line for of in paper.values() for line in of.values()]
    errors = sorted({line.error for line in lines})
    if errors == [0.0]:
        return "as printed"
    unsure = sorted({name for name, of in paper.items() for line in of.values() if line.unsure})
    said = f"read off by us, to between {errors[0]:g} and {errors[-1]:g} points"
    return said + (f"; without the table, {' and '.join(unsure)} with little confidence" if unsure else "")


def _ours(finding: Mapping[str, Any], score: str) -> list[Chart]:
    """A chart a scheme, all on one scale."""
    ratios, schemes = 100 * np.asarray(finding["ratios"]), finding["schemes"]
    best = max(max(of[kind][score]) for of in schemes.values() for kind in LINES)
    level = np.full(len(ratios), 100 * finding["chance"][score])
    charts = (
        _chart(
            name,
            {LINES[kind]: (ratios, 100 * np.asarray(of[kind][score])) for kind in LINES} | {"chance": (ratios, level)},
            {LINES.get(kind, kind): look for kind, look in OURS.items()},
            TASKS[score][1],
            100 * best,
        )
        for name, of in schemes.items()
    )
    return [chart for chart in charts if chart]


def _theirs(paper: Mapping[str, Mapping[str, Line]], metric: str) -> list[Chart]:
    """The paper's figure: a chart a scheme."""
    methods = _methods(paper)
    dashed = {name for name in methods if f"{name}{PKG}" in methods}
    looks = {
        METHODS[name].title: f"{THEIRS[name.removesuffix(PKG)]} {'dashed' if name in dashed else 'solid'}"
        for name in methods
    }
    charts = (
        _chart(
            scheme,
            {
                METHODS[name].title: (100 * np.asarray(line.ratios), np.asarray(line.values))
                for name, line in ((name, paper[scheme][name]) for name in methods)
            },
            looks,
            metric,
            100.0,
        )
        for scheme in SCHEMES
        if scheme in paper
    )
    return [chart for chart in charts if chart]


def _chart(
    scheme: str, curves: Mapping[str, figures.Curve], looks: Mapping[str, str], metric: str, up_to: float
) -> Chart | None:
    return figures.chart(
        f"{scheme}: {SCHEMES[scheme].title}",
        curves,
        unit=f"{metric}, percent",
        x_label="percent of the listings",
        from_zero=True,
        up_to=up_to,
        looks=looks,
    )


def _rows(finding: Mapping[str, Any], score: str) -> list[dict[str, Any]]:
    """Every number of a score: a row for every scheme and line."""
    return [
        {"scheme": name, "line": LINES[kind], "values": of[kind][score], "told": of["told"][kind].get(score)}
        for name, of in finding["schemes"].items()
        for kind in LINES
    ]
