"""What every method of a leaderboard is asked: the columns of its table, and where a run keeps the answers."""

import dataclasses
import statistics
from collections.abc import Mapping
from typing import Any

from m5jax import k3m_paper

CLEAN, TEST_ONLY, IN_TRAINING = "clean", "test_only", "in_training"
LINES = {
    TEST_ONLY: "only what is asked about is damaged",
    IN_TRAINING: "what the classifiers and heads learn from is damaged alike",
}
"""What the study of robustness damages, by its name there."""

DAMAGE_AT = 0.5  # the share of damaged listings at which the table says one number for all of `SCHEMES`
SCHEMES = tuple(k3m_paper.PAPER[k3m_paper.RANK])  # the paper's seven; of tables there are curves alone
MACRO_F1 = "alignment/macro_f1"  # what the F1 of K3M's paper seems to be; to call every pair a match is 33 %, not 67 %
SCORES = {
    k3m_paper.ACCURACY: ("Item classification", "Accuracy"),
    MACRO_F1: ("Product alignment", "macro F1"),
    k3m_paper.RANK: ("Multi-modal QA", "Rank@10"),
}
"""Task and title of the scores under damage that are shown, of those that the study has."""

_CHANCE = "studies", "robustness", "chance"


@dataclasses.dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
      task, title: what it is called.
      where: the path from `tree` to the number.
      first: whether it is in the one table that has every task; the others are in the tables of their task.
      chance, untrained: the paths to what chance gets, and a yardstick that trains no network: TF-IDF cosines of what
        is written, the most frequent value of the property; empty: a run does not say.
    """

    task: str
    title: str
    where: tuple[str, ...]
    first: bool = False
    chance: tuple[str, ...] = ()
    untrained: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Its name in `leaderboard.json`."""
        return "/".join(self.where)


def _score(task: str, title: str, name: str, first: bool = False) -> Column:
    return Column(task, title, ("scores", name), first)


def _answered(title: str, metric: str, first: bool = False) -> Column:
    where, chance, untrained = (("studies", "answers", kind, metric) for kind in ("scores", "chance", "prior"))
    return Column("Multi-modal QA", title, where, first, chance, untrained)


def _aligned(title: str, metric: str, *told: str, first: bool = False) -> Column:
    where, untrained = (("studies", "matching", "all", *path, "test", metric) for path in (told, ("words",)))
    chance = (*_CHANCE, f"alignment/{metric}") if "f1" in metric else ()
    return Column("Product alignment", title, where, first, chance, untrained)


def _damaged(line: str, said: str) -> tuple[Column, ...]:
    return tuple(
        Column(f"K3M's tasks, {said}", title, ("damaged", line, score), True, (*_CHANCE, score))
        for score, (_, title) in SCORES.items()
    )


def damaged(line: str, score: str) -> str:
    """The key of the column of a score under damage."""
    return "/".join(("damaged", line, score))


_CATEGORY, _PRODUCT = "Same category", "Same product"
_ITEM, _CLUSTERS = "Item classification", "Clusters"
_BY_COSINE = (("F1", "f1"), ("Accuracy", "accuracy"), ("AUC", "auc"))

COLUMNS = (
    _score(_CATEGORY, "P@1", "retrieval/category/fused/p@1", first=True),
    _score(_CATEGORY, "mAP@10", "retrieval/category/fused/map@10"),
    _score(_PRODUCT, "P@1", "retrieval/instance/fused/p@1", first=True),
    _score(_PRODUCT, "mAP@10", "retrieval/instance/fused/map@10"),
    Column(_ITEM, "Accuracy", ("scores", "classification/probe/fused/accuracy"), True, (*_CHANCE, k3m_paper.ACCURACY)),
    _score(_CLUSTERS, "NMI", "clustering/fused/nmi", first=True),
    _score(_CLUSTERS, "Purity", "clustering/fused/purity"),
    _aligned("macro F1", "macro_f1", "head", first=True),
    _aligned("F1", "f1", "head"),
    _aligned("Accuracy", "accuracy", "head"),
    _aligned("AUC", "auc", "head"),
    *(_aligned(f"{title}, cosine", metric, "subsets", "fused") for title, metric in _BY_COSINE),
    _answered("Rank@1", "rank@1", first=True),
    _answered("Rank@3", "rank@3"),
    _answered("Rank@10", "rank@10", first=True),
    _answered("MRR", "mrr"),
    *_damaged(CLEAN, "clean"),
    *_damaged(TEST_ONLY, f"{DAMAGE_AT:.0%} of test damaged"),
    *_damaged(IN_TRAINING, f"{DAMAGE_AT:.0%} of train and test damaged"),
)
"""In the order of the table."""


def tree(scores: Mapping[str, float], studies: Mapping[str, Any]) -> dict[str, Any]:
    """All that a run answered: "scores", "studies" and "damaged", by line the means over `SCHEMES` at `DAMAGE_AT`.

    Beside these "clean", of the same listings and with as few to learn from: the scores of all listings are others.
    """
    return {"scores": scores, "studies": studies, "damaged": _damaged_means(studies.get("robustness", {}))}


def number(answers: Mapping[str, Any], where: tuple[str, ...]) -> float | None:
    """The number at a path; None where the run has none, as of a study that had nothing to work on."""
    for name in where:
        if not isinstance(answers, Mapping) or name not in answers:
            return None
        answers = answers[name]
    return float(answers) if isinstance(answers, (int, float)) else None


def _damaged_means(finding: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    ratios, means = finding.get("ratios", []), {}
    points = {CLEAN: (TEST_ONLY, 0.0), TEST_ONLY: (TEST_ONLY, DAMAGE_AT), IN_TRAINING: (IN_TRAINING, DAMAGE_AT)}
    for name, (line, ratio) in points.items():
        if ratio not in ratios:
            continue
        for score in SCORES:
            curves = [finding["schemes"].get(scheme, {}).get(line, {}).get(score) for scheme in SCHEMES]
            values = [curve[ratios.index(ratio)] for curve in curves if curve]
            if len(values) == len(curves) and None not in values:
                means.setdefault(name, {})[score] = statistics.fmean(values)
    return means
