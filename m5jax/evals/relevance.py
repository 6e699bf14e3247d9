"""Who is relevant to whom: listings have labels, one or any number, and those that share one are relevant.

Sees arrays of label numbers only. With one label a listing they are an array of integers, -1 = unknown (the fast
path); with any number, `LabelSets`. The gain of a gallery row for a query is the number of labels they share.
"""

import dataclasses
from collections.abc import Collection, Sequence

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

ENTRIES = 1 << 22  # label entries, or pairs of listings, that are looked at at once


@dataclasses.dataclass(frozen=True)
class LabelSets:
    """Any number of labels for every listing, one listing behind the other.

    Attributes:
      starts: int64 [N + 1], where each listing's labels begin, and where the last one's end.
      numbers: int64 [T], ascending within a listing, none twice.
    """

    starts: np.ndarray
    numbers: np.ndarray

    @classmethod
    def of(cls, sets: Sequence[Collection[int]]) -> "LabelSets":
        """The labels of each listing."""
        ordered = [sorted(set(labels)) for labels in sets]
        starts = np.cumsum([0, *map(len, ordered)])
        return cls(starts, np.fromiter((label for labels in ordered for label in labels), np.int64, starts[-1]))

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def sizes(self) -> Int[np.ndarray, "n"]:
        """How many labels each listing has."""
        return np.diff(self.starts)

    def rows(self, keep: np.ndarray | slice) -> "LabelSets":
        """The listings that `keep` selects."""
        positions = np.arange(len(self))[keep]
        owners, numbers = self.spread(positions)
        return LabelSets(np.searchsorted(owners, np.arange(len(positions) + 1)), numbers)

    def spread(self, positions: Int[np.ndarray, "n"]) -> tuple[Int[np.ndarray, "t"], Int[np.ndarray, "t"]]:
        """Every label of the listings at some positions (-1 = none), in their order: whose of them, and which."""
        sizes = np.append(self.sizes, 0)[positions]
        owners = np.repeat(np.arange(len(positions)), sizes)
        within = np.arange(len(owners)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return owners, self.numbers[self.starts[positions][owners] + within]


Labels = Int[np.ndarray, "n"] | LabelSets


def take(labels: Labels, keep: np.ndarray | slice) -> Labels:
    """The labels of the listings that `keep` selects."""
    return labels.rows(keep) if isinstance(labels, LabelSets) else labels[keep]


def as_sets(labels: Labels) -> LabelSets:
    """The labels as sets; an unknown one is an empty set."""
    if isinstance(labels, LabelSets):
        return labels
    return LabelSets(np.append(0, np.cumsum(labels >= 0)), labels[labels >= 0].astype(np.int64))


def known(labels: Labels) -> np.ndarray:
    """bool [N], whether a listing has any label."""
    return labels.sizes > 0 if isinstance(labels, LabelSets) else labels >= 0


def gains(queries: Labels, gallery: Labels, found: Int[np.ndarray, "q k"]) -> Int[np.ndarray, "q k"]:
    """How many labels each query shares with the gallery rows it found, int32; 0 at row -1 (none)."""
    if isinstance(queries, np.ndarray) and isinstance(gallery, np.ndarray):
        labels = np.append(gallery, -1)[found]  # row -1 meets the -1 appended
        return ((labels == queries[:, None]) & (labels >= 0)).astype(np.int32)
    queries, gallery = as_sets(queries), as_sets(gallery)
    shared, k = np.zeros(found.shape, np.int32), found.shape[1]
    step = max(1, ENTRIES // max(1, k * int(gallery.sizes.max(initial=0))))
    for start in range(0, len(found), step):
        part = found[start : start + step]
        owners, numbers = gallery.spread(part.ravel())
        mine = _contained(owners // max(k, 1), numbers, queries.rows(slice(start, start + step)))
        shared[start : start + step] = np.bincount(owners[mine], minlength=part.size).reshape(part.shape)
    return shared


def _contained(owners: np.ndarray, numbers: np.ndarray, sets: LabelSets) -> np.ndarray:
    """Whether each number is in the set of its owner."""
    width = 1 + max(numbers.max(initial=0), sets.numbers.max(initial=0))
    keys = np.repeat(np.arange(len(sets)), sets.sizes) * width + sets.numbers  # ascending
    return np.isin(owners * width + numbers, keys)


def counts(queries: Labels, gallery: Labels) -> Int[np.ndarray, "q g"]:
    """How many gallery rows share so many labels with each query: column g those of gain g; column 0 is not counted.

    Listings of equal labels are counted once, and their pairs with the gallery `ENTRIES` at a time (one listing's
    pairs at least): memory does not grow with queries times gallery.
    """
    if isinstance(queries, np.ndarray) and isinstance(gallery, np.ndarray):
        classes, compact = np.unique(np.concatenate([queries, gallery]), return_inverse=True)
        sizes = np.bincount(compact[len(queries) :], minlength=len(classes))
        return np.stack([np.zeros(len(queries), int), np.where(queries >= 0, sizes[compact[: len(queries)]], 0)], 1)
    queries, gallery = as_sets(queries), as_sets(gallery)
    kinds: dict[bytes, int] = {}
    parts = np.split(queries.numbers, queries.starts[1:-1]) if len(queries) else []
    kind = np.asarray([kinds.setdefault(part.tobytes(), len(kinds)) for part in parts], int)
    first = np.unique(kind, return_index=True)[1]
    return _counted(queries.rows(first), gallery)[kind]


def _counted(queries: LabelSets, gallery: LabelSets) -> Int[np.ndarray, "q g"]:
    """`counts` of queries that are all different."""
    width = 1 + int(max(queries.numbers.max(initial=0), gallery.numbers.max(initial=0)))
    asked, searched = (
        scipy.sparse.csr_array((np.ones(len(of.numbers), np.int32), of.numbers, of.starts), shape=(len(of), width))
        for of in (queries, gallery)
    )
    searched = searched.T.tocsr()
    pairs = np.append(0, np.cumsum(asked @ np.diff(searched.indptr)))  # at most, up to each query
    most = 1 + int(queries.sizes.max(initial=1))
    total, start = np.zeros((len(queries), most), int), 0
    while start < len(queries):
        stop = max(start + 1, int(np.searchsorted(pairs, pairs[start] + ENTRIES, side="right")) - 1)
        shared = asked[start:stop] @ searched
        owners = np.repeat(np.arange(stop - start), np.diff(shared.indptr))
        flat = np.bincount(owners * most + shared.data, minlength=(stop - start) * most)
        total[start:stop] = flat.reshape(-1, most)
        start = stop
    return total


def distractors(queries: Labels, gallery: Labels) -> int:
    """How many gallery rows share a label with no query."""
    if isinstance(queries, np.ndarray) and isinstance(gallery, np.ndarray):
        return int((~np.isin(gallery, queries[queries >= 0])).sum())
    queries, gallery = as_sets(queries), as_sets(gallery)
    owners, numbers = gallery.spread(np.arange(len(gallery)))
    return len(gallery) - len(np.unique(owners[np.isin(numbers, queries.numbers)]))


def best_gain(counted: Int[np.ndarray, "q g"], k: int | Int[np.ndarray, "q"]) -> Float[np.ndarray, "q"]:
    """The discounted gain of the best order cut at k: every row of gain g is worth g / log2(rank + 1)."""
    depth = np.broadcast_to(k, len(counted))
    discounts = np.append(0, np.cumsum(1 / np.log2(np.arange(2, depth.max(initial=0) + 2))))
    total, start = np.zeros(len(counted)), np.zeros(len(counted), int)
    for gain in range(counted.shape[1] - 1, 0, -1):
        stop = np.minimum(start + counted[:, gain], depth)
        total += gain * (discounts[stop] - discounts[start])
        start = stop
    return total
