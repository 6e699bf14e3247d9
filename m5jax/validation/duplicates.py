"""The same thing twice: within the catalogue, and in a held-out split and the one that is trained on."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from m5jax.validation.columns import UNKNOWN, Columns
from m5jax.validation.near import MOST, Search

GROUPS, IN_GROUP, PAIRS = 4, 4, 4  # examples: groups, listings of each, pairs of each leak
EDGES = 1 << 22  # near pairs held before they are merged into groups
# Where a twin lets a score lie: of a listing that is scored, in what was learned from; of a query, in what is searched.
CROSSINGS = (("val", "train"), ("gallery", "train"), ("query", "train"), ("query", "gallery"))

KINDS = {
    "listing": "the same title, picture, table, clip and sound, as far as a listing has them",
    "title": "the same title, case and blanks aside",
    "picture": "the same stored picture, or features, byte by byte",
    "near picture": f"difference hashes at most {MOST} of 256 bits apart, whatever the colours; groups are chains",
    "table": "the same rows of the table in any order, case and blanks aside",
    "clip": "the same stored clip",
    "sound": "the same stored sound",
    "product": "the same instance_id",
}
_MODALITY = {"title": "text", "picture": "image", "table": "table", "clip": "video", "sound": "audio"}


@dataclasses.dataclass(frozen=True)
class Leak:
    """Listings of a split that have a twin in another.

    Attributes:
      split, into: where the listings are, and their twins.
      listings: how many, of `asked` that have what is compared.
      examples: pairs of rows, a listing and its twin.
    """

    split: str
    into: str
    listings: int
    asked: int
    examples: list[list[int]]

    @property
    def share(self) -> float:
        """Of the listings asked about."""
        return self.listings / max(self.asked, 1)


@dataclasses.dataclass(frozen=True)
class Repeats:
    """What several listings have in common.

    Attributes:
      kind: of `KINDS`.
      listings: that have it at all.
      repeated: of these, those that share it with another one.
      groups, largest: sets of listings that share it, and the listings of the largest.
      examples: rows of the largest groups.
      leaks: across splits.
      skipped: comparisons left out, of near pictures: above 0 the numbers are lower bounds.
    """

    kind: str
    listings: int
    repeated: int
    groups: int
    largest: int
    examples: list[list[int]]
    leaks: list[Leak]
    skipped: int = 0

    @property
    def meaning(self) -> str:
        """What counts as the same."""
        return KINDS[self.kind]


def find(columns: Columns) -> list[Repeats]:
    """Everything that several listings share, by kind; kinds that no listing has are left out."""
    keys = {kind: columns.content[:, columns.of(name)] for kind, name in _MODALITY.items()}
    keys["listing"] = _whole(columns)
    keys["product"] = (columns.products.codes + 1).astype(np.uint64)
    found = []
    for kind in KINDS:
        if kind == "near picture":
            found.append(_near(columns))
        else:
            found.append(_exact(kind, keys[kind], columns))
    return [repeats for repeats in found if repeats.listings]


def _whole(columns: Columns) -> np.ndarray:
    """One key of all that a listing has; which modalities it has is part of it. 0 where nothing has a key."""
    key = np.zeros(len(columns), np.uint64)
    for content in columns.content.T:
        key = (key ^ content) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(29)
    return np.where(columns.content.any(1), key | np.uint64(1), np.uint64(0))


def _exact(kind: str, keys: np.ndarray, columns: Columns) -> Repeats:
    """Listings of equal keys; 0 is none."""
    rows = np.flatnonzero(keys)
    unique, unit = np.unique(keys[rows], return_inverse=True)
    has = _has(rows, unit, len(unique), columns)
    leaks = [
        _leak(crossing, rows, unit, has[crossing[1]], _same(crossing, rows, unit, has, columns), columns)
        for crossing in _crossings(columns)
    ]
    sizes = np.bincount(unit, minlength=len(unique))
    return Repeats(kind, len(rows), int((sizes[unit] > 1).sum()), *_groups(rows, unit, sizes), leaks)


def _near(columns: Columns) -> Repeats:
    """Listings whose pictures look the same."""
    rows = np.flatnonzero(columns.pictured)
    hashes, unit = _unique(columns.pictures[rows])
    has = _has(rows, unit, len(hashes), columns)
    near, twin = {split: seen.copy() for split, seen in has.items()}, np.zeros(len(hashes), bool)
    pairs: dict[tuple[str, str], list[tuple[int, int]]] = {crossing: [] for crossing in _crossings(columns)}
    search, edges = Search(hashes), _Components(len(hashes))
    for i, j in search.pairs():
        twin[i] = twin[j] = True
        edges.add(i, j)
        for a, b in ((i, j), (j, i)):
            for split, seen in has.items():
                near[split][a[seen[b]]] = True
            for (split, into), kept in pairs.items():
                across = np.flatnonzero(has[split][a] & has[into][b])[: PAIRS - len(kept)]
                kept += zip(a[across].tolist(), b[across].tolist(), strict=True)
    label = edges.labels()
    leaks = []
    for crossing, kept in pairs.items():
        first = {split: _first(rows, unit, len(hashes), columns.rows(split)) for split in crossing}
        examples = [[int(first[crossing[0]][a]), int(first[crossing[1]][b])] for a, b in kept]
        examples = examples or _same(crossing, rows, unit, has, columns)
        leaks.append(_leak(crossing, rows, unit, near[crossing[1]], examples, columns))
    repeated = twin[unit] | (np.bincount(unit, minlength=len(hashes))[unit] > 1)
    groups = _groups(rows, label[unit], np.bincount(label[unit]))
    return Repeats("near picture", len(rows), int(repeated.sum()), *groups, leaks, search.skipped)


class _Components:
    """Groups that grow pair by pair, without keeping the pairs."""

    def __init__(self, count: int):
        self._label, self._held, self._count = np.arange(count), [], 0

    def add(self, i: np.ndarray, j: np.ndarray) -> None:
        """What belongs together."""
        self._held.append((i, j))
        self._count += len(i)
        if self._count >= EDGES:
            self._merge()

    def labels(self) -> np.ndarray:
        """The group of everything: int [count], from 0."""
        self._merge()
        return self._label

    def _merge(self) -> None:
        if not self._held:
            return
        left, right = (self._label[np.concatenate(ends)] for ends in zip(*self._held, strict=True))
        size = len(self._label)
        graph = sparse.coo_matrix((np.ones(len(left), bool), (left, right)), shape=(size, size))
        _, merged = csgraph.connected_components(graph, directed=False)
        self._label = np.unique(merged[self._label], return_inverse=True)[1]
        self._held, self._count = [], 0


def _unique(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different rows, and which of them each row is; as `np.unique(axis=0)`, without its copy of strings."""
    order = np.lexsort(hashes.T)
    ranked = hashes[order]
    new = np.ones(len(hashes), bool)
    new[1:] = (ranked[1:] != ranked[:-1]).any(1)
    unit = np.empty(len(hashes), np.int64)
    unit[order] = np.cumsum(new) - 1
    return ranked[new], unit


def _crossings(columns: Columns) -> Iterator[tuple[str, str]]:
    return (crossing for crossing in CROSSINGS if {*crossing} <= {*columns.splits})


def _in(rows: np.ndarray, within: slice) -> slice:
    """Which of some ascending rows lie in a split."""
    start, stop = np.searchsorted(rows, (within.start, within.stop))
    return slice(int(start), int(stop))


def _has(rows: np.ndarray, unit: np.ndarray, units: int, columns: Columns) -> dict[str, np.ndarray]:
    """By split, which units it has: bool [units]."""
    has = {split: np.zeros(units, bool) for split in columns.splits}
    for split, seen in has.items():
        seen[unit[_in(rows, columns.rows(split))]] = True
    return has


def _first(rows: np.ndarray, unit: np.ndarray, units: int, within: slice) -> np.ndarray:
    """The first row of a split that shows each unit: int64 [units]; UNKNOWN where none does."""
    first, part = np.full(units, UNKNOWN), _in(rows, within)
    first[unit[part][::-1]] = rows[part][::-1]
    return first


def _same(
    crossing: tuple[str, str], rows: np.ndarray, unit: np.ndarray, has: dict[str, np.ndarray], columns: Columns
) -> list[list[int]]:
    """A few listings with a twin of the same unit, and that twin."""
    split, into = crossing
    part = _in(rows, columns.rows(split))
    leaking = np.flatnonzero(has[into][unit[part]])
    chosen = leaking[np.linspace(0, len(leaking) - 1, min(PAIRS, len(leaking))).astype(int)] + part.start
    first = _first(rows, unit, len(has[into]), columns.rows(into)) if len(chosen) else ()
    return [[int(rows[place]), int(first[unit[place]])] for place in chosen]


def _leak(
    crossing: tuple[str, str],
    rows: np.ndarray,
    unit: np.ndarray,
    seen: np.ndarray,
    examples: list[list[int]],
    columns: Columns,
) -> Leak:
    part = unit[_in(rows, columns.rows(crossing[0]))]
    return Leak(*crossing, int(seen[part].sum()), len(part), examples)


def _groups(rows: np.ndarray, group: np.ndarray, sizes: np.ndarray) -> tuple[int, int, list[list[int]]]:
    """How many groups of several listings there are, the size of the largest, and rows of the largest ones."""
    several = np.flatnonzero(sizes > 1)
    chosen = several[np.argsort(-sizes[several], kind="stable")[:GROUPS]]
    examples = [rows[np.flatnonzero(group == one)[:IN_GROUP]].tolist() for one in chosen]
    return len(several), int(sizes.max(initial=0)), examples
