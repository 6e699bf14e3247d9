"""The sweeps as charts, one a modality, and as tables: what it costs when listings lack it, or show another's."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from m5jax.report import figures
from m5jax.report.figures import Chart
from m5jax.report.html import percent
from m5jax.schemes import SCHEMES

DRAWN = {
    "retrieval/category/p@1": "find their own category nearest",
    "retrieval/instance/p@1": "find the same product nearest",
    "classification/head/accuracy": "get the right category from the model's own classifier",
}
"""The scores that are drawn, as what the queries do; all others are in the table."""

KINDS = {"missing": "missing", "noise": "wrong"}
WORDS = {"image": "pictures", "text": "titles", "table": "tables", "video": "clips", "audio": "sounds"}
LOOKS = {"missing": "k0 solid", "wrong": "k4 dashed", "chance": "chance"}


def view(finding: Mapping[str, Any], _: object) -> dict[str, Any]:
    """What the template draws."""
    scores = [score for score in DRAWN if score in finding["chance"]]
    return {
        "headline": headline(finding, scores[0]),
        "drawn": [(DRAWN[score], _charts(finding, score)) for score in scores],
        "tables": [(score, finding["chance"][score], _rows(finding, score)) for score in finding["chance"]],
        "changed": {words(name): line["changed"] for name, line in finding["sweeps"].items()},
    } | {name: finding[name] for name in ("ratios", "listings", "corrupted")}


def words(sweep: str) -> str:
    """A sweep as a person says it: "missing pictures", "wrong titles and tables", "anything missing"."""
    if sweep in SCHEMES:
        return f"{SCHEMES[sweep].title} ({sweep})"
    kind, _, what = sweep.partition("_")
    return f"{of(what)} {KINDS[kind]}" if what == "mixed" else f"{KINDS[kind]} {of(what)}"


def of(what: str) -> str:
    """What a sweep is about as a person says it."""
    return "anything" if what == "mixed" else " and ".join(WORDS[name] for name in what.split("+"))


def headline(finding: Mapping[str, Any], score: str) -> str:
    """What hurts most of all that befalls some modality, if anything does that chance does not explain."""
    told = {
        name: line["scores"][score]
        for name, line in finding["sweeps"].items()
        if not name.endswith("_mixed") and line["scores"][score].get("lost_between", [1.0])[0] > 0
    }
    if not told:
        return "Nothing that was taken away or put in the wrong place costs more than chance explains."
    worst = max(told, key=lambda name: told[name]["lost"])
    kind, _, what = worst.partition("_")
    values, half, ratio = told[worst]["values"], told[worst]["half_lost_at"], finding["ratios"][-1]
    share = "all" if ratio == 1 else percent(ratio)
    without = finding["sweeps"].get(f"missing_{what}")
    befallen = f"{share} of the listings corrupted" if worst in SCHEMES else f"{share} of them {KINDS[kind]}"
    text = (
        f"{words(worst)[0].upper()}{words(worst)[1:]} hurt most: with {befallen}, {percent(values[-1])} of the"
        f" queries {DRAWN[score]}, instead of {percent(values[0])}"
    )
    if kind == "noise" and without:
        text += f" ({percent(without['scores'][score]['values'][-1])} with as many missing)"
    return text + (f"; half of the gain over chance is lost at {percent(half)}." if half is not None else ".")


def _charts(finding: Mapping[str, Any], score: str) -> list[Chart]:
    """A chart for every modality, and for those that are broken together, on one scale."""
    ratios, curves = 100 * np.asarray(finding["ratios"]), finding["sweeps"]
    lines: dict[str, dict[str, np.ndarray]] = {}
    for name in curves:
        kind, _, what = name.partition("_")
        title, kind = (words(name), SCHEMES[name].kind) if name in SCHEMES else (of(what), kind)
        lines.setdefault(title, {})[KINDS[kind]] = 100 * np.asarray(curves[name]["scores"][score]["values"])
    best = max(values.max() for of_kind in lines.values() for values in of_kind.values())
    chance = {"chance": np.full(len(ratios), 100 * finding["chance"][score])}
    drawn = (
        figures.chart(
            title,
            {name: (ratios, values) for name, values in (of_kind | chance).items()},
            unit="percent of the queries",
            x_label="percent of the listings",
            from_zero=True,
            up_to=best,
            looks=LOOKS,
        )
        for title, of_kind in lines.items()
    )
    return [chart for chart in drawn if chart]


def _rows(finding: Mapping[str, Any], score: str) -> list[dict[str, Any]]:
    """The curves of a score, the one that loses most first."""
    rows = [{"words": words(name), "name": name} | line["scores"][score] for name, line in finding["sweeps"].items()]
    return sorted(rows, key=lambda row: -row["lost"])
