"""The papers' orders of the methods: what they print, and whether it comes out here.

Numbers of the papers are percent, of catalogues that are not public; only their order is compared.
"""

import dataclasses
import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from m5jax import k3m_paper
from m5jax.leaderboard import columns
from m5jax.leaderboard.columns import COLUMNS
from m5jax.methods import METHODS, PKG
from m5jax.tables.layout import verdict
from m5jax.tables.paper import TABLES

CATEGORY, ACCURACY = "scores/retrieval/category/fused/p@1", "scores/classification/probe/fused/accuracy"
NMI = "scores/clustering/fused/nmi"
ALIGNED, ANSWERED = "studies/matching/all/head/test/macro_f1", "studies/answers/scores/rank@10"
SCALE_NAMES = {
    "Image only": "image_only",
    "BERT (text)": "bert",
    "VL-BERT": "vl_bert",
    "ViLBERT": "vilbert",
    "VisualBERT": "visualbert",
    "CLIP": "clip",
    "UNITER": "uniter",
    "CAPTURE": "capture",
    "SCALE": "scale",
}
"""Rows of the table of SCALE's paper -> our methods."""


@dataclasses.dataclass(frozen=True)
class Printed:
    """A column of a paper.

    Attributes:
      source: where it is printed.
      title: as it is called there.
      key: the column here that asks the same.
      values: per method, percent.
    """

    source: str
    title: str
    key: str
    values: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Claim:
    """A paper says: this method is better than each of the others, in these columns."""

    method: str
    others: tuple[str, ...]
    keys: tuple[str, ...]
    source: str


_SCALE, _K3M = "SCALE, table 5", "K3M, table 2 and figures 3 and 4"
_KNOWING = tuple(f"{name}{PKG}" for name in ("vilbert", "vl_bert", "lxmert"))
_CLEAN = {k3m_paper.ACCURACY: ACCURACY, columns.MACRO_F1: ALIGNED, k3m_paper.RANK: ANSWERED}
_THEIRS = {columns.MACRO_F1: k3m_paper.F1}  # score -> as the paper calls it, where that differs
_DAMAGED = {score: columns.damaged(columns.IN_TRAINING, score) for score in _CLEAN}
_OF_K3M = (*_CLEAN.values(), *_DAMAGED.values())


def _of_scale(title: str, key: str) -> Printed:
    rows = {SCALE_NAMES[row.name]: row.paper[title][0] for row in TABLES[5].rows}
    return Printed(f"{_SCALE}, subset", title, key, rows)


def _of_k3m(score: str) -> tuple[Printed, Printed]:
    """Clean, and the mean over the schemes of the paper, of the methods that it has at every one."""
    theirs = _THEIRS.get(score, score)
    by_scheme = k3m_paper.PAPER[theirs].values()
    names = [name for name in METHODS if all(name in of for of in by_scheme)]
    half, said = columns.DAMAGE_AT, columns.SCORES[score][1].removeprefix("macro ")
    source = f"K3M, {k3m_paper.SOURCES[theirs]}"
    clean = {name: next(iter(by_scheme))[name].values[0] for name in names}
    halves = {name: [of[name].values[of[name].ratios.index(half)] for of in by_scheme] for name in names}
    damaged = {name: round(statistics.fmean(values), 1) for name, values in halves.items()}
    title = f"{said}, mean of {len(by_scheme)} schemes at {half:.0%}"
    return Printed(source, said, _CLEAN[score], clean), Printed(source, title, _DAMAGED[score], damaged)


PRINTED = (
    _of_scale("mAP@1", CATEGORY),
    _of_scale("Acc", ACCURACY),
    _of_scale("NMI", NMI),
    *(column for score in _CLEAN for column in _of_k3m(score)),
)
CLAIMS = (
    Claim("scale", tuple(name for name in SCALE_NAMES.values() if name != "scale"), (CATEGORY, ACCURACY, NMI), _SCALE),
    Claim("k3m", _KNOWING, _OF_K3M, _K3M),
    *(Claim(name, (name.removesuffix(PKG),), _OF_K3M, _K3M) for name in _KNOWING),
)
Cells = Mapping[str, Mapping[str, Mapping[str, Any]]]


def printed(chosen: Sequence[str]) -> list[dict[str, Any]]:
    """The columns of the papers, for the methods that are compared."""
    return [
        {"source": of.source, "title": of.title, "key": of.key, "percent": {n: of.values.get(n) for n in chosen}}
        for of in PRINTED
    ]


def judged(cells: Cells) -> list[dict[str, Any]]:
    """Every claim that runs can judge: "claim", "source", "said" and, by column, the "verdict" and whether it "holds".

    A verdict says the mean difference over seeds, percent, and whether a paired t test tells it from chance
    (`tables.layout.verdict`); a claim holds in a column where the mean difference is above 0.
    """
    found = []
    for claim in CLAIMS:
        for other in claim.others:
            verdicts = {}
            for key in claim.keys:
                differences = _differences(cells.get(key, {}), claim.method, other)
                if differences:
                    holds = sum(differences) > 0
                    verdicts[key] = {"verdict": verdict(differences), "holds": holds}
            if verdicts:
                name = f"{METHODS[claim.method].title} over {METHODS[other].title}"
                held = sum(told["holds"] for told in verdicts.values())
                each = "; ".join(f"{_title(key)} {told['verdict']}" for key, told in verdicts.items())
                said = f"{name} ({claim.source}): in {held} of {len(verdicts)} columns; {each}"
                found.append({"claim": name, "source": claim.source, "verdicts": verdicts, "said": said})
    return found


def orders(cells: Cells) -> list[dict[str, Any]]:
    """Per column of a paper, of how many pairs of methods that it tells apart the order is the same here."""
    found = []
    for of in PRINTED:
        here = {name: cell["mean"] for name, cell in cells.get(of.key, {}).items() if name in of.values}
        pairs = [(a, b) for a, b in itertools.combinations(here, 2) if of.values[a] != of.values[b]]
        same = sum((of.values[a] > of.values[b]) == (here[a] > here[b]) for a, b in pairs)
        if pairs:
            said = (
                f"{of.source}, {of.title}: of {len(pairs)} pairs of methods {same} are in the paper's order here, by"
                f" {_title(of.key)}"
            )
            found.append({"source": of.source, "title": of.title, "same": same, "pairs": len(pairs), "said": said})
    return found


def _title(key: str) -> str:
    """A column as a sentence calls it."""
    column = next(column for column in COLUMNS if column.key == key)
    return f"{column.task}, {column.title}"


def _differences(of: Mapping[str, Mapping[str, Any]], method: str, other: str) -> list[float]:
    """Percent points by which a method is better, seed by seed; only the seeds that both have."""
    here, there = (of.get(name, {"seeds": {}})["seeds"] for name in (method, other))
    return [100 * (here[seed] - there[seed]) for seed in here if seed in there]
