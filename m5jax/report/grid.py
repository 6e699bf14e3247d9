"""The subset grid as sentences, as small tables of single modalities, and as one picture of every pair of subsets."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from m5jax.report import figures
from m5jax.report.html import percent
from m5jax.report.scored import Scored
from m5jax.studies.subject import Finding

FINDS = {
    "category": "find their own category nearest",
    "instance": "find the same product nearest",
    "itself": "find themselves nearest",
}
ASKED = {
    "category": "Queries that find their own category nearest",
    "instance": "Queries that find the same product nearest",
    "itself": "Listings that find themselves nearest, shown by other modalities",
}
SHORT = {"category": "same category", "instance": "same product", "itself": "the listing itself"}
SPACES = {
    "product": "Among product vectors",
    "contrastive": "Among the vectors that the contrastive objective compares",
}
WORDS = {"image": "picture", "text": "title", "table": "table", "video": "clip", "audio": "sound"}
PRODUCT = "product"
CELL, DOT, AIR, GAP = 14, 9, 8, 4  # of the picture, in units of its viewBox

Cell = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Picture:
    """Every pair of subsets as a square.

    Attributes:
      width, height: of the viewBox.
      dots: x, y and CSS class: which modalities a row or a column stands for.
      cells: "x", "y", "heat" from 0 to 1 or None where nothing was scored, and "says", in words.
      low, high: the values of least and most heat.
    """

    width: int
    height: int
    dots: list[tuple[int, int, str]]
    cells: list[Cell]
    low: float
    high: float


def view(finding: Finding, scored: Scored) -> dict[str, Any]:
    """What the template draws."""
    spaces = [
        {"title": SPACES[space], "tasks": [_task(finding, task, found, space == PRODUCT) for task, found in of.items()]}
        for space, of in finding["spaces"].items()
    ]
    sentences = _sentences(finding)
    return {
        "headline": sentences[0],
        "sentences": sentences,
        "modalities": finding["modalities"],
        "columns": _singles(finding),
        "drawn": finding["drawn"],
        "subsets": finding["subsets"],
        "spaces": spaces,
        "classes": _classes(finding),
        "classified": finding["classification"],
        "cell": CELL,
        "dot": DOT,
    }


def words(subset: str) -> str:
    """A subset as a person says it: "picture and title"."""
    names = [WORDS[name] for name in subset.split("+")]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _singles(finding: Finding) -> list[str]:
    """What the small tables have as rows and columns: every modality alone, and all together."""
    return [*finding["modalities"], finding["subsets"][-1]]


def _value(found: Mapping[str, Any], row: str, column: str) -> float | None:
    return found["scores"]["p@1"].get(row, {}).get(column)


def _by_chance(found: Mapping[str, Any], row: str, column: str) -> float:
    """What a pair of subsets would score by chance: of listings that find themselves, one of all that are searched."""
    return 1 / found["queries"][row][column] if found["chance"] is None else found["chance"]


def _task(finding: Finding, task: str, found: Mapping[str, Any], whole: bool) -> dict[str, Any]:
    """One task: the small table and what a second modality brings; if `whole`, also the picture and every number."""
    names, subsets = _singles(finding), finding["subsets"]
    if task == "itself":  # nothing is apart from all modalities
        names = names[:-1]
    low, high = _ends(found)

    def cell(row: str, column: str) -> Cell:
        value = _value(found, row, column)
        heat = None if value is None else (value - low) / (high - low)
        return {"value": value, "heat": heat, "queries": found["queries"].get(row, {}).get(column, 0)}

    levels = sorted({percent(_by_chance(found, row, column)) for row, of in found["queries"].items() for column in of})
    return {
        "title": ASKED[task],
        "short": SHORT[task],
        "chance": " to ".join({levels[0]: "", levels[-1]: ""}),
        "names": names,
        "small": [(row, [cell(row, column) for column in names]) for row in names],
        "picture": _picture(found, subsets, finding["modalities"]) if whole else None,
        "every": [(row, [_value(found, row, column) for column in subsets]) for row in subsets if whole],
        "gains": _gains(found["gains"], finding["modalities"]),
    }


def _ends(found: Mapping[str, Any]) -> tuple[float, float]:
    """The least and the largest value of a task, a little apart where they are equal."""
    values = [value for of in found["scores"]["p@1"].values() for value in of.values()]
    return min(values), max(*values, min(values) + 1e-6)


def _picture(found: Mapping[str, Any], subsets: Sequence[str], modalities: Sequence[str]) -> Picture:
    """The picture of a task; subsets of one size stand together."""
    places, position, size = [], len(modalities) * DOT + AIR, 1
    for subset in subsets:
        grown = subset.count("+") + 1
        position += GAP * (grown > size)
        size = grown
        places.append(position)
        position += CELL
    low, high = _ends(found)
    dots, cells = [], []
    for subset, place in zip(subsets, places, strict=True):
        for number, name in enumerate(modalities):
            if name in subset.split("+"):
                dots += [(number * DOT, place, figures.COLOURS[name]), (place, number * DOT, figures.COLOURS[name])]
    for row, y in zip(subsets, places, strict=True):
        for column, x in zip(subsets, places, strict=True):
            value = _value(found, row, column)
            heat = None if value is None else (value - low) / (high - low)
            says = f"{row} → {column}: "
            says += "not asked" if value is None else f"{percent(value)} of {found['queries'][row][column]:,}"
            cells.append({"x": x, "y": y, "heat": heat, "says": says})
    return Picture(position, position, dots, cells, low, high)


def _gains(gains: Sequence[Mapping[str, Any]], modalities: Sequence[str]) -> list[tuple[str, list[Any]]]:
    """By side that is shown more: for every modality given (row) and added (column) what it changes."""
    tables = []
    for side in ("query", "gallery"):
        of = {(gain["given"], gain["added"]): gain for gain in gains if gain["side"] == side}
        if of:
            tables.append((side, [(given, [of.get((given, added)) for added in modalities]) for given in modalities]))
    return tables


def _sentences(finding: Finding) -> list[str]:
    """What users look for first: asking with one thing, across modalities, and what one more would bring."""
    tasks = finding["spaces"]["product"]
    said = []
    for task in ("instance", "category"):
        if task in tasks:
            said += _asking(finding, task, tasks[task])
            break
    crossed = [
        (found["scores"]["p@1"][row][column], _by_chance(found, row, column), task, space, row, column)
        for space, of in finding["spaces"].items()
        for task, found in of.items()
        for row in finding["modalities"]
        for column in finding["modalities"]
        if row != column and _value(found, row, column) is not None
    ]
    for task in FINDS:
        best = max((one for one in crossed if one[2] == task), default=None)
        if best is not None:
            value, level, _, space, row, column = best
            said.append(
                f"From one modality to another, a {words(row)} that searches {words(column)}s does best:"
                f" {percent(value)} {FINDS[task]}, {SPACES[space].lower()} (by chance {percent(level)})."
            )
    return said


def _asking(finding: Finding, task: str, found: Mapping[str, Any]) -> list[str]:
    """How well single modalities ask, and what a second one brings where chance does not explain it."""
    everything = finding["subsets"][-1]
    alone = {name: _value(found, name, everything) for name in finding["modalities"]}
    known = {name: value for name, value in alone.items() if value is not None}
    said = []
    if known:
        best = max(known, key=lambda name: known[name])
        said.append(
            f"Shown one thing only, a query is answered best by its {words(best)}: {percent(known[best])} of the"
            f" queries that have one {FINDS[task]}, everything about the listings being searched."
        )
    for side, text in (
        ("query", "A query gains most where its {added} is shown beside its {given}: {before} become {after}."),
        (
            "gallery",
            "What is searched gains most where {added}s are shown beside {given}s: {before} become {after}.",
        ),
    ):
        sure = [gain for gain in found["gains"] if gain["side"] == side and gain["between"][0] > 0]
        if sure:
            most = max(sure, key=lambda gain: gain["after"] - gain["before"])
            shown = {"added": words(most["added"]), "given": words(most["given"])}
            shown |= {when: percent(most[when]) for when in ("before", "after")}
            said.append(text.format(**shown))
        else:
            said.append(f"No second modality of the {side} brings more than chance explains.")
    return said


def _classes(finding: Finding) -> list[dict[str, Any]]:
    """The accuracies of a classifier by what is shown of the listings; singles and all together come first."""
    found = finding["classification"]
    if found is None:
        return []
    first = _singles(finding)
    names = [*first, *(name for name in finding["subsets"] if name not in first)]
    return [
        {
            "name": name,
            "on_all": found["trained_on_all"].get(name),
            "alike": found["trained_alike"].get(name),
            "test": found["test"][name],
        }
        for name in names
        if name in found["trained_on_all"] or name in found["trained_alike"]
    ]
