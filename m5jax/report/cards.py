"""Queries and what they found, as cards a person can look at."""

import dataclasses
from collections import Counter
from collections.abc import Iterable

import numpy as np

from m5jax import modalities
from m5jax.data.index import Index
from m5jax.data.prepared import Prepared
from m5jax.data.records import Record
from m5jax.evals import slices, suite
from m5jax.evals.retrieval import Retrieval
from m5jax.evals.suite import Split
from m5jax.inputs import Inputs
from m5jax.modalities import State
from m5jax.report.pictures import pictures

NEIGHBOURS = 5
FIELDS = 4  # rows of the table that a card quotes
SUBSET = "fused"


@dataclasses.dataclass(frozen=True)
class Card:
    """A listing as a person sees it.

    Attributes:
      id, source, title, category: as in the catalogue.
      fields: the first rows of its table.
      pictures: what can be seen of it: per modality, a data: URI.
      states: per modality in use, what the listing has of it: "present", "absent", "empty" or "corrupt".
      rank: among the neighbours, from 1; 0 for a query.
      right: whether a neighbour is what was asked for; None for a query.
      same_product: whether a neighbour shows the query's product.
      cosine: of a neighbour with the query.
    """

    id: str
    source: str
    title: str
    category: str
    fields: list[tuple[str, str]]
    pictures: dict[str, str]
    states: dict[str, str]
    rank: int = 0
    right: bool | None = None
    same_product: bool = False
    cosine: float = 0.0


@dataclasses.dataclass(frozen=True)
class Answer:
    """A query, its nearest neighbours, and how well it was answered.

    Attributes:
      query: what was asked for.
      neighbours: best first.
      average_precision: at the largest k of the evaluation.
      taken_for: of the other categories among the neighbours the most frequent one, and how many of them have it;
        ("", 0) if there is none.
    """

    query: Card
    neighbours: list[Card]
    average_precision: float
    taken_for: tuple[str, int]


class Answers:
    """The answers to the queries of one task, to choose from; they are drawn when asked for."""

    def __init__(self, prepared: Prepared, query: Split, gallery: Split, task: str, result: Retrieval):
        self._query, self._gallery, self._result, self._inputs = query, gallery, result, prepared.inputs
        self._records = {"query": prepared.records("query"), "gallery": prepared.records("gallery")}
        self._labels = suite.labels(query.index, task), suite.labels(gallery.index, task)
        self._products = suite.labels(query.index, "instance"), suite.labels(gallery.index, "instance")
        self._groups = self._labels[0][result.query_rows]
        self._answered = np.flatnonzero(result.neighbours[:, 0] >= 0)
        asked, searched = (split.embeddings.vectors[SUBSET] for split in (query, gallery))
        ranks = result.neighbours[:, :NEIGHBOURS].T  # of unit vectors the product is the cosine
        self._cosines = np.stack([np.einsum("qd,qd->q", asked[result.query_rows], searched[rows]) for rows in ranks], 1)

    def __len__(self) -> int:
        return len(self._answered)

    def spread(self, count: int) -> list[Answer]:
        """Answers to queries of all sizes of category, large and small; the same ones for the same catalogue."""
        sizes = Counter(self._groups[self._answered])
        by_size = sorted(self._answered.tolist(), key=lambda row: (-sizes[self._groups[row]], self._groups[row], row))
        turns = _one_per_group(by_size, self._groups)[: max(count, len(sizes))]
        chosen = np.linspace(0, len(turns) - 1, min(count, len(turns))).round().astype(int)
        return [self._answer(turns[position]) for position in chosen]

    def extremes(self, best: int, worst: int) -> tuple[list[Answer], list[Answer]]:
        """So many of the best and of the worst answers by average precision; of equals, categories take turns.

        In a category those come first whose nearest neighbour is nearest: surely right, or surely wrong.
        """
        precision, nearest = self._result.average_precision[self._answered], self._cosines[self._answered, 0]
        groups = self._groups[self._answered]
        orders = (self._answered[slices.hardest_first(key, nearest, groups)] for key in (-precision, precision))
        most, least = (order[:count].tolist() for order, count in zip(orders, (best, worst), strict=True))
        return [self._answer(row) for row in most], [self._answer(row) for row in least]

    def _answer(self, row: int) -> Answer:
        asked, found = int(self._result.query_rows[row]), self._result.neighbours[row, :NEIGHBOURS]
        neighbours = []
        for rank, position in enumerate(int(position) for position in found if position >= 0):
            neighbours.append(
                dataclasses.replace(
                    self._card("gallery", self._gallery, position),
                    rank=rank + 1,
                    right=bool(self._labels[1][position] == self._labels[0][asked]),
                    same_product=bool(self._products[0][asked] == self._products[1][position] != ""),
                    cosine=float(self._cosines[row, rank]),
                )
            )
        query = self._card("query", self._query, asked)
        wrong = Counter(card.category for card in neighbours if card.category not in ("", query.category))
        taken_for = wrong.most_common(1)[0] if wrong else ("", 0)
        return Answer(query, neighbours, float(self._result.average_precision[row]), taken_for)

    def _card(self, split: str, of: Split, position: int) -> Card:
        return card(of.index, position, self._records[split][position], self._inputs)


def card(index: Index, position: int, record: Record, inputs: Inputs) -> Card:
    """The card of the listing at a position of an index."""
    states = {name: State(index.states[position][modalities.NAMES.index(name)]) for name in inputs.modalities}
    return Card(
        id=index.ids[position],
        source=index.sources[position],
        title=index.titles[position],
        category=index.categories[position],
        fields=list(record.fields[:FIELDS]),
        pictures=pictures(record, inputs),
        states={name: state.name.lower() for name, state in states.items()},
    )


def _one_per_group(rows: Iterable[int], groups: np.ndarray) -> list[int]:
    """The rows in another order: first the first of every group, then the second ones, and so on."""
    seen: Counter[str] = Counter()
    turns: dict[int, int] = {}
    for row in rows:
        turns[row] = seen[groups[row]]
        seen[groups[row]] += 1
    return sorted(turns, key=turns.__getitem__)
