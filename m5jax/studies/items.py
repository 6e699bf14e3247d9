"""What K3M's three tasks are about: listings, pairs and questions, drawn once from digests of ids.

So they are the same for every model, seed and however listings are broken on purpose.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from m5jax.data.index import Index
from m5jax.evals import suite
from m5jax.evals.pair_head import Pairs
from m5jax.inputs import CLEAN
from m5jax.studies import knowledge
from m5jax.studies import pairs as pairs_of
from m5jax.studies.knowledge import Questions, digest
from m5jax.studies.pairs import TEST, TRAIN, VAL
from m5jax.studies.subject import Subject

TEACH, CHOOSE, ASK = 1 / 2, 1 / 8, 3 / 8  # of what is drawn for a task


@dataclasses.dataclass(frozen=True)
class Shown:
    """Listings, each once for everything that is hidden of it.

    Attributes:
      splits: names, [N]; those of one split stand together.
      rows: int [N], of the split.
      hidden: the property that the table does not show, "" for none (`data.corruption.Plan.hidden`).
    """

    splits: np.ndarray
    rows: np.ndarray
    hidden: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def by_split(self) -> dict[str, np.ndarray]:
        """Per split where its listings stand."""
        return {split: np.flatnonzero(self.splits == split) for split in dict.fromkeys(self.splits.tolist())}


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Listings whose category is told.

    Attributes:
      train, test: int, into `Shown`.
      train_labels, test_labels: int, categories; -1 = unknown.
    """

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Items:
    """What the three tasks are about. A task that the catalogue has nothing for is None.

    Attributes:
      shown: all that is to be embedded.
      classification: of training listings, and of `suite.HELD_OUT`.
      alignment: per side the pairs, into `shown`.
      answers: the questions.
      asked: int [Q], of every question the row of `shown`.
    """

    shown: Shown
    classification: Labelled | None
    alignment: Mapping[str, Pairs] | None
    answers: Questions | None
    asked: np.ndarray


class _Shows:
    """Collects what is shown."""

    def __init__(self, table: bool):
        self._table = table
        self._rows: dict[tuple[str, int, str], int] = {}

    def add(self, splits: Sequence[str], rows: Sequence[int], hidden: Sequence[str] = ()) -> np.ndarray:
        """The numbers of some listings; what a model without tables cannot see need not be hidden from it."""
        named = hidden if len(hidden) and self._table else [""] * len(rows)
        keys = zip(splits, map(int, rows), named, strict=True)
        return np.asarray([self._rows.setdefault(key, len(self._rows)) for key in keys], np.int64)

    def shown(self) -> tuple[Shown, np.ndarray]:
        """All of them, ordered by split, and the place of every number."""
        keys = list(self._rows)
        order = np.asarray(sorted(range(len(keys)), key=lambda at: keys[at]), np.int64)
        place = np.empty(len(keys), np.int64)
        place[order] = np.arange(len(keys))
        splits, rows, hidden = zip(*keys, strict=True) if keys else ((), (), ())
        arrays = (np.asarray(splits, object), np.asarray(rows, np.int64), np.asarray(hidden, object))
        return Shown(*(array[order] for array in arrays)), place


TASKS = ("classification", "alignment", "answers")


def draw(subject: Subject, most: int, of: Sequence[str] = TASKS) -> Items:
    """Draws what is asked.

    Args:
      subject: the catalogue, and what its model sees.
      most: listings, pairs and questions each: a half teaches, an eighth chooses heads and thresholds, and about the
        rest it is that models are asked; of classification, which chooses nothing, about the other half.
      of: the tasks, of `TASKS`.
    """
    prepared = dataclasses.replace(subject.prepared, corruption=CLEAN)
    indices = {split: prepared.index(split) for split in prepared.splits}
    shows = _Shows("table" in subject.config.inputs.shown)
    labelled = _labelled(indices, shows, most) if "classification" in of else None
    pairs = _aligned(subject, indices, shows, most) if "alignment" in of else None
    questions = knowledge.draw(prepared, _groups(most) if "answers" in of else {})
    asked = shows.add(questions.splits.tolist(), questions.rows.tolist(), questions.hidden)
    shown, place = shows.shown()
    return Items(
        shown,
        labelled and dataclasses.replace(labelled, train=place[labelled.train], test=place[labelled.test]),
        pairs and {side: Pairs(place[found.left], place[found.right], found.match) for side, found in pairs.items()},
        questions if questions.tested.any() else None,
        place[asked],
    )


def _groups(most: int) -> dict[Sequence[str], int]:
    """Splits whose questions teach, choose and are asked, and how many of them at most."""
    return {(TRAIN,): int(TEACH * most), (VAL,): int(CHOOSE * most), ("query", "gallery"): int(ASK * most)}


def _labelled(indices: Mapping[str, Index], shows: _Shows, most: int) -> Labelled | None:
    """Listings with a category, those of lowest digest."""
    sides = []
    for splits in ((TRAIN,), suite.HELD_OUT):
        found = [
            (digest(identity), split, row, label)
            for split in splits
            if split in indices
            for row, (identity, label) in enumerate(
                zip(indices[split].ids, suite.labels(indices[split], "category"), strict=True)
            )
            if label
        ]
        if not found:
            return None
        sides.append(list(zip(*sorted(found)[: most // 2], strict=True)))
    labels = suite.numbered(*(np.asarray(side[3], object) for side in sides))
    train, test = (shows.add(side[1], side[2]) for side in sides)
    return Labelled(train, labels[0], test, labels[1])


def _aligned(subject: Subject, indices: Mapping[str, Index], shows: _Shows, most: int) -> dict[str, Pairs] | None:
    """Pairs of which both sides are records; None without any that could choose a threshold or be asked."""
    found, _ = pairs_of.pairs(subject.prepared, indices, most)
    where = pairs_of.places(indices)
    there = [left in where and right in where for left, right in zip(found.left, found.right, strict=True)]
    found = found.rows(np.asarray(there, bool))
    found = found.first({TRAIN: int(TEACH * most), VAL: int(CHOOSE * most), TEST: int(ASK * most)})
    if not {VAL, TEST} <= set(found.split):
        return None

    def add(ids: np.ndarray) -> np.ndarray:
        return shows.add([where[one][0] for one in ids], [where[one][1] for one in ids])

    sides = {side: found.rows(found.split == side) for side in (TRAIN, VAL, TEST)}
    return {side: Pairs(add(of.left), add(of.right), of.match) for side, of in sides.items()}
