"""A retrieval task as its scores need it: whose ids, whose labels, and which gallery row is a query's own."""

import collections
import dataclasses
import functools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from m5jax.evals import protocols, relevance
from m5jax.evals.protocols import TREC


@dataclasses.dataclass(frozen=True)
class Labelling:
    """The labels of a task by name, as whatever scores it needs them.

    Attributes:
      names: the labels, [L].
      finer: bool [L], labels that only raise a grade: they count under graded protocols alone.
      query, gallery: `relevance.LabelSets` of either side.
      others: of listings that are labelled but not in the gallery (see the protocol "released").
    """

    names: np.ndarray
    finer: np.ndarray
    query: relevance.LabelSets
    gallery: relevance.LabelSets
    others: relevance.LabelSets

    @classmethod
    def of(
        cls,
        query: Sequence[Collection[str]],
        gallery: Sequence[Collection[str]],
        others: Sequence[Collection[str]],
        finer: Sequence[Sequence[Collection[str]]] = (),
    ) -> "Labelling":
        """Numbers the labels.

        Args:
          query, gallery, others: the labels of every listing; "" is no label.
          finer: of the same three sides labels that only raise a grade; empty = none. Their names are their own.
        """
        coarse = [query, gallery, others]
        names = [sorted({label for side in sides for row in side for label in row} - {""}) for sides in (coarse, finer)]
        sides = [_Entries(len(side)) for side in coarse]
        for known, start, parts in zip(names, (0, len(names[0])), (coarse, finer), strict=True):
            number = {name: start + place for place, name in enumerate(known)}
            for entries, part in zip(sides, parts, strict=False):
                entries.add(part, number)
        both = np.asarray([*names[0], *names[1]], str)
        return cls(both, np.arange(len(both)) >= len(names[0]), *(entries.sets() for entries in sides))

    def under(self, graded: bool) -> tuple[relevance.Labels, relevance.Labels, relevance.Labels]:
        """The labels of queries, gallery and others as a protocol counts them; arrays where no listing has several."""
        sides = [self._kept(side, graded) for side in (self.query, self.gallery, self.others)]
        if any(side.sizes.max(initial=0) > 1 for side in sides):
            return sides[0], sides[1], sides[2]
        single = [np.append(side.numbers, -1)[np.where(side.sizes > 0, side.starts[:-1], -1)] for side in sides]
        return single[0], single[1], single[2]

    def gallery_names(self, graded: bool) -> list[str]:
        """The labels of every gallery row as a protocol counts them, in one string each, for `protocols.digest`."""
        kept = self._kept(self.gallery, graded)
        known = self.names.tolist()
        names = [known[number] for number in kept.numbers.tolist()]
        return ["\x1e".join(names[start:stop]) for start, stop in zip(kept.starts, kept.starts[1:], strict=False)]

    def _kept(self, side: relevance.LabelSets, graded: bool) -> relevance.LabelSets:
        if graded or not self.finer.any():
            return side
        keep = ~self.finer[side.numbers]
        return relevance.LabelSets(np.append(0, np.cumsum(keep))[side.starts], side.numbers[keep])


class _Entries:
    """The labels of one side while they are numbered: whose, and which."""

    def __init__(self, rows: int):
        self._rows, self._owners, self._numbers = rows, [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]

    def add(self, rows: Sequence[Collection[str]], number: Mapping[str, int]) -> None:
        """Takes in more labels of every listing; one without a number is none."""
        sizes = np.fromiter(map(len, rows), np.int64, len(rows))
        numbers = np.fromiter((number.get(label, -1) for row in rows for label in row), np.int64, sizes.sum())
        self._owners.append(np.repeat(np.arange(len(rows)), sizes)[numbers >= 0])
        self._numbers.append(numbers[numbers >= 0])

    def sets(self) -> relevance.LabelSets:
        """All of them, ascending within a listing and none twice."""
        owners, numbers = np.concatenate(self._owners), np.concatenate(self._numbers)
        width = 1 + numbers.max(initial=0)
        keys = np.unique(owners * width + numbers)
        return relevance.LabelSets(np.searchsorted(keys // width, np.arange(self._rows + 1)), keys % width)


@dataclasses.dataclass(frozen=True)
class Task:
    """Queries, gallery, and what they are to have in common.

    Attributes:
      query_ids, gallery_ids: str, [Q] and [G]; none twice on one side.
      labels: of both sides.
      label: what a label is: "category".
      sets: the names of the two sides, "QUERIES:GALLERY"; empty for those that have none.
      lost: ids of the two sets that became no record.
    """

    query_ids: np.ndarray
    gallery_ids: np.ndarray
    labels: Labelling
    label: str = ""
    sets: str = ""
    lost: int = 0

    @functools.cached_property
    def own(self) -> Int[np.ndarray, "q"]:
        """The gallery row of each query's id, -1 = it is not in the gallery."""
        return own_rows(self.query_ids, self.gallery_ids)

    def under(self, protocol: str) -> dict[str, Any]:
        """What `retrieval.evaluate` needs besides embeddings and ranks."""
        graded = protocol == TREC.name
        query, gallery, others = self.labels.under(graded)
        return {
            "query_labels": query,
            "gallery_labels": gallery,
            "others": others,
            "exclude": self.own,
            "protocol": protocol,
            "label": self.label,
            "gallery_digest": protocols.digest(self.gallery_ids, self.labels.gallery_names(graded)),
        }


def own_rows(query_ids: Sequence[str] | np.ndarray, gallery_ids: Sequence[str] | np.ndarray) -> Int[np.ndarray, "q"]:
    """The gallery row of each query's id, -1 = it is not in the gallery.

    Raises:
      ValueError: an id stands twice on one side: nobody could tell which row is whose.
    """
    places: dict[str, int] = {}
    for side, ids in (("queries", query_ids), ("gallery", gallery_ids)):
        places = {identity: row for row, identity in enumerate(np.asarray(ids).tolist())}
        if len(places) < len(ids):
            twice = collections.Counter(np.asarray(ids).tolist()).most_common(1)[0][0]
            raise ValueError(f"id {twice!r} stands more than once in the {side}: whose is its embedding?")
    return np.asarray([places.get(identity, -1) for identity in np.asarray(query_ids).tolist()], int)
