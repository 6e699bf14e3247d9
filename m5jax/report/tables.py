"""Scores as tables and headlines: which numbers are shown, in which words, beside what they would be by chance."""

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from m5jax.data.index import Index
from m5jax.embed import FUSED
from m5jax.evals import chance, suite
from m5jax.evals.suite import Scores

MOST_SOURCES = 20
CONFIDENCE = 1.96  # standard deviations to either side that hold 95 % of a normal distribution

COVERAGE = "share that has any of these modalities"
CLUSTER_SCORES = ("nmi", "ari", "purity")
CLASSIFIED = {
    "accuracy": "share whose category is named rightly",
    "balanced_accuracy": "the same, averaged over categories, rare ones included",
    "macro_f1": "F1 averaged over categories, rare ones included",
    "coverage": COVERAGE,
}
CLUSTERED = {
    "nmi": "information that clusters and categories share",
    "ari": "pairs of listings on which both agree, beyond chance",
    "purity": "share that is of its cluster's commonest category",
    **{f"{name}_std": f"how far {name} differs from seed to seed (standard deviation)" for name in CLUSTER_SCORES},
    "coverage": COVERAGE,
}
COUNTS = {
    "queries": "queries",
    "answerable": "with a right answer in the gallery",
    "gallery": "listings in the gallery",
    "distractors": "of them no answer to any query",
    "train": "listings learned from",
    "test": "listings asked about",
    "unlabelled": "left out for want of a category",
    "listings": "listings clustered",
    "clusters": "clusters",
    "seeds": "times clustered",
}


@dataclasses.dataclass(frozen=True)
class Row:
    """Values of one metric, or of one source, by subset of modalities.

    Attributes:
      name: of the metric or source.
      meaning: in plain words, or the counts of a source.
      values: by subset; None where there is no such score.
      chance: what the value would be by chance; None where that is not known.
    """

    name: str
    meaning: str
    values: dict[str, float | None]
    chance: float | None

    @property
    def best(self) -> str:
        """The one subset of the highest value; empty where there is no such, and of a spread or a coverage."""
        if self.name == "coverage" or self.name.endswith("_std"):
            return ""
        known = [value for value in self.values.values() if value is not None]
        winners = [subset for subset, value in self.values.items() if value is not None and value == max(known)]
        return winners[0] if len(winners) == 1 and len(known) > 1 else ""


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows over subsets of modalities.

    Attributes:
      title: what is measured.
      names: how its scores are called in `scores.json`.
      counts: of what it was measured on, fused: (number, of what).
      rows: from 0 to 1, only the Rand index may be below.
    """

    title: str
    names: str
    counts: list[tuple[int, str]]
    rows: list[Row]


@dataclasses.dataclass(frozen=True)
class Headline:
    """One score with its meaning.

    Attributes:
      asked: what it was measured on: queries or listings.
      sentence: what 48 % of them do.
      row: its values and the chance level.
      chance_means: what the chance level is.
      count: how many were asked.
    """

    asked: str
    sentence: str
    row: Row
    chance_means: str
    count: int

    @property
    def value(self) -> float:
        """Of all modalities together."""
        return self.row.values[FUSED] or 0.0

    @property
    def beaten_by(self) -> str:
        """The single modality that does better than all together by more than could be chance; empty if none does."""
        best = self.row.best
        return best if best and (self.row.values[best] or 0.0) > self.interval[1] else ""

    @property
    def interval(self) -> tuple[float, float]:
        """Between which the value lies with 95 % confidence (Wilson, Probable Inference, 1927)."""
        n, p, z2 = self.count, self.value, CONFIDENCE**2
        centre, spread = (p + z2 / (2 * n)) / (1 + z2 / n), math.sqrt(p * (1 - p) * z2 / n + (z2 / (2 * n)) ** 2)
        return max(0.0, centre - spread / (1 + z2 / n)), min(1.0, centre + spread / (1 + z2 / n))


def retrieval_by_chance(
    query: Index, gallery: Index, task: str, ks: Sequence[int], source: str | None = None
) -> Scores:
    """Scores of a task if the gallery came in random order, over all sources or within one; empty if there are none."""
    asked, searched = suite.numbered(suite.labels(query, task), suite.labels(gallery, task))
    if source is not None:
        asked, searched = asked[query.sources == source], searched[gallery.sources == source]
    asked = asked[asked != suite.UNKNOWN]
    in_gallery = np.bincount(searched[searched != suite.UNKNOWN], minlength=asked.max(initial=0) + 1)
    positives = in_gallery[asked]
    positives = positives[positives > 0]
    return chance.retrieval(positives, len(searched), ks) if len(positives) else {}


def classification_by_chance(train: Index, test: Index) -> Scores:
    """Scores of always naming the most frequent category of the training listings; empty without categories."""
    learned, asked = suite.numbered(suite.labels(train, "category"), suite.labels(test, "category"))
    learned, asked = learned[learned != suite.UNKNOWN], asked[asked != suite.UNKNOWN]
    return {"accuracy": chance.most_frequent(learned, asked)} if len(learned) and len(asked) else {}


def score_tables(
    scores: Scores, subsets: Sequence[str], ks: Sequence[int], by_chance: Mapping[str, Scores]
) -> list[Table]:
    """Every table that the scores fill.

    Args:
      scores: flat, all scores of a run.
      subsets: the columns.
      ks: ranks at which retrieval was scored.
      by_chance: per kind of score ("retrieval/category"), the scores by chance.
    """
    tables = [
        ("Retrieval of the same category", "retrieval/category", _retrieval_metrics(ks)),
        ("Retrieval of the same product", "retrieval/instance", _retrieval_metrics(ks)),
        ("Category by the model's own classifier", "classification/head", CLASSIFIED),
        ("Category by nearest neighbours", "classification/knn", CLASSIFIED),
        ("Category by linear probe", "classification/probe", CLASSIFIED),
        ("Clusters against categories", "clustering", CLUSTERED),
    ]
    asked = {name.rsplit("/", 2)[0] for name in scores if name.startswith("retrieval/")}
    for kind in sorted(asked - {kind for _, kind, _ in tables}, reverse=True):
        _, relevance, *sets = kind.split("/", 2)
        title = f"Retrieval by {relevance}, {sets[0].replace(':', ' in ')}" if sets else f"Retrieval by {relevance}"
        tables.insert(2, (title, kind, _retrieval_metrics(ks)))
    found = (_table(*table, scores, subsets, by_chance.get(table[1], {})) for table in tables)
    return [table for table in found if table.rows]


def source_tables(
    scores: Scores, subsets: Sequence[str], ks: Sequence[int], query: Index, gallery: Index, *, by_chance: bool = True
) -> list[Table]:
    """Retrieval within each of the sources with most queries: the first rank, and average precision."""
    sources, tables = sorted(source for source, _ in Counter(query.sources).most_common(MOST_SOURCES)), []
    deep = "map" if any(name.endswith("/map") for name in scores) else f"map@{max(ks)}"
    for task, what in (("category", "category"), ("instance", "product")):
        asked = sources if by_chance else ()
        expected = {source: retrieval_by_chance(query, gallery, task, ks, source) for source in asked}
        for metric in (f"p@{min(ks)}", deep):
            rows = []
            for source in sources:
                prefix = f"source/{source}/retrieval/{task}"
                values = {subset: scores.get(f"{prefix}/{subset}/{metric}") for subset in subsets}
                asked, searched = (scores.get(f"{prefix}/{FUSED}/{count}", 0) for count in ("answerable", "gallery"))
                meaning = f"{asked:,.0f} queries, {searched:,.0f} in the gallery"
                rows.append(Row(source or "(no name)", meaning, values, expected.get(source, {}).get(metric)))
            rows = [row for row in rows if any(value is not None for value in row.values.values())]
            title = f"Same {what} within each source: {metric}"
            tables.append(Table(title, f"source/SOURCE/retrieval/{task}/SUBSET/{metric}", [], rows))
    return [table for table in tables if table.rows]


def headlines(
    scores: Scores, subsets: Sequence[str], ks: Sequence[int], by_chance: Mapping[str, Scores]
) -> list[Headline]:
    """The few scores that say most, as far as they are there."""
    first = min(ks)
    found_at = "nearest to them in the gallery" if first == 1 else f"among the {first} nearest of the gallery"
    retrieved = (f"hit@{first}", "answerable", "a gallery in random order")
    candidates = {
        "retrieval/category": ("queries", f"find their own category {found_at}", *retrieved),
        "retrieval/instance": ("queries", f"find the same product {found_at}", *retrieved),
        "classification/head": (
            "held-out listings",
            "get the right category from the model's own classifier",
            "accuracy",
            "test",
            "always naming the most frequent category",
        ),
        "classification/probe": (
            "held-out listings",
            "get the right category from a linear classifier on their embeddings",
            "accuracy",
            "test",
            "always naming the most frequent category",
        ),
    }
    found = []
    for kind, (asked, sentence, metric, counted, chance_means) in candidates.items():
        values = {subset: scores.get(f"{kind}/{subset}/{metric}") for subset in subsets}
        if values.get(FUSED) is not None:
            row = Row(metric, sentence, values, by_chance.get(kind, {}).get(metric))
            found.append(Headline(asked, sentence, row, chance_means, int(scores[f"{kind}/{FUSED}/{counted}"])))
    return found


def _retrieval_metrics(ks: Sequence[int]) -> dict[str, str]:
    """Metrics and what they mean. At rank 1 the hit rate and average precision are the precision: left out."""
    deep = [k for k in ks if k > 1]
    return (
        {f"p@{k}": f"share of the {k} nearest that are right" if k > 1 else "the nearest is right" for k in ks}
        | {f"hit@{k}": f"any of the {k} nearest is right" for k in deep}
        | {f"recall@{k}": f"share of all right ones found among the {k} nearest" for k in deep}
        | {f"map@{k}": f"average precision among the {k} nearest" for k in deep}
        | {f"ndcg@{k}": f"gain of the {k} nearest, less at later ranks, over the best order's" for k in deep}
        | {"mrr": "1 over the rank of the first right one, or 0"}
        | {"map": "average precision over the whole gallery", "coverage": COVERAGE}
    )


def _table(
    title: str, kind: str, metrics: Mapping[str, str], scores: Scores, subsets: Sequence[str], expected: Scores
) -> Table:
    """The table of one kind of score; a coverage that is 1 everywhere is left out."""
    rows = []
    for metric, meaning in metrics.items():
        values = {subset: scores.get(f"{kind}/{subset}/{metric}") for subset in subsets}
        known = {value for value in values.values() if value is not None}
        if known - ({1.0} if metric == "coverage" else set()):
            rows.append(Row(metric, meaning, values, expected.get(metric)))
    counts = [(int(scores.get(f"{kind}/{FUSED}/{name}", 0)), text) for name, text in COUNTS.items()]
    return Table(title, f"{kind}/SUBSET/METRIC", [pair for pair in counts if pair[0]], rows)
