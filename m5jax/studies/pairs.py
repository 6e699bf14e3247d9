"""Pairs of listings of which it is known whether they are one product: the catalogue's own, or drawn from its products.

Where a catalogue names no pairs, they follow from the products that several of its listings show, by digests of ids
alone: neither the order of the listings nor a seed changes anything.

* A product is of one side, train, val or test (queries and gallery); one that has listings on several is of one of
  these, drawn by its digest, and its other listings are in no pair.
* Matches: the listings of a product, in the order of their digests, each with the next. So a product of a thousand
  listings gives as many pairs, not half a million.
* As many others: the left listing of a match with the listing of another product that comes after it in its category
  ("hard"); where the category has no other product, in its source.
* Of every side the matches of lowest digest, until they and the others are as many as are wanted.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from m5jax.data.index import Index
from m5jax.data.prepared import PAIRS, Prepared
from m5jax.evals.suite import labels
from m5jax.studies.knowledge import TRAIN, VAL, digest

TEST = "test"
SIDES = {"train": TRAIN, "val": VAL, "query": TEST, "gallery": TEST}
"""Split of the catalogue -> side of what is drawn from it."""

Places = Mapping[str, tuple[str, int]]
"""Where a listing is: id -> split, row."""


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Pairs of listings, row by row.

    Attributes:
      left, right: ids.
      match: bool [N], whether they are one product.
      split: side of the pair, "train", "val" or "test".
      source: of the left listing, or of the right one if the left became no record; "" if neither did.
    """

    left: np.ndarray
    right: np.ndarray
    match: np.ndarray
    split: np.ndarray
    source: np.ndarray

    def __len__(self) -> int:
        return len(self.match)

    def rows(self, keep: np.ndarray) -> "Pairs":
        """The rows where `keep` holds."""
        return Pairs(**{field.name: getattr(self, field.name)[keep] for field in dataclasses.fields(self)})

    def first(self, most: Mapping[str, int]) -> "Pairs":
        """At most so many of each side, those of lowest digest; what is left keeps its order.

        Matches drawn from products are those of lowest digest already, so this one is of another text: otherwise they
        would go before all other pairs.
        """
        ids = zip(self.left, self.right, strict=True)
        order = np.asarray([digest(f"first\x1f{a}\x1f{b}") for a, b in ids], np.uint64)
        kept = [np.zeros(0, np.int64)]
        for side, count in most.items():
            rows = np.flatnonzero(self.split == side)
            kept.append(rows[np.argsort(order[rows], kind="stable")[:count]])
        return self.rows(np.sort(np.concatenate(kept)))


def places(indices: Mapping[str, Index]) -> Places:
    """Where every listing of some splits is."""
    return {identity: (split, row) for split, index in indices.items() for row, identity in enumerate(index.ids)}


def pairs(prepared: Prepared, indices: Mapping[str, Index], most: int) -> tuple[Pairs, str]:
    """The catalogue's pairs, or at most so many of each side drawn from its products; and by which rule."""
    if (prepared.folder / PAIRS).is_file():
        return of_catalogue(prepared, indices), "catalogue"
    return of_products(indices, most), "products"


def of_catalogue(prepared: Prepared, indices: Mapping[str, Index]) -> Pairs:
    """The pairs that the catalogue names."""
    table, where = prepared.beside(PAIRS), places(indices)
    left, right = (np.asarray(table[name].to_pylist(), object) for name in ("left", "right"))
    found = [where.get(a) or where.get(b) for a, b in zip(left, right, strict=True)]
    source = [str(indices[place[0]].sources[place[1]]) if place else "" for place in found]
    match, split = np.asarray(table["match"].to_pylist(), bool), np.asarray(table["split"].to_pylist(), object)
    return Pairs(left, right, match, split, np.asarray(source, object))


@dataclasses.dataclass(frozen=True)
class _Listing:
    id: str
    source: str
    product: str
    category: str
    digest: int


def of_products(indices: Mapping[str, Index], most: int) -> Pairs:
    """Pairs drawn from the products of the catalogue, see the module; at most `most` of each side, none without ids."""
    listings: dict[str, list[_Listing]] = {side: [] for side in dict.fromkeys(SIDES.values())}
    for split in [split for split in SIDES if split in indices]:
        index = indices[split]
        columns = (index.ids, index.sources, labels(index, "instance"), labels(index, "category"))
        for name, source, product, category in zip(*columns, strict=True):
            if product:
                listings[SIDES[split]].append(_Listing(name, source, product, category, digest(name)))
    sides: dict[str, set[str]] = {}
    for side, found in listings.items():
        for listing in found:
            sides.setdefault(listing.product, set()).add(side)
    own = {product: sorted(of)[digest(product) % len(of)] for product, of in sides.items()}
    rows = [
        (*pair, side)
        for side, found in listings.items()
        for pair in _of_side([listing for listing in found if own[listing.product] == side], most)
    ]
    left, right, match, side = zip(*rows, strict=True) if rows else ((), (), (), ())
    texts = ([one.id for one in left], [one.id for one in right], side, [one.source for one in left])
    of_left, of_right, split, source = (np.asarray(of, object) for of in texts)
    return Pairs(of_left, of_right, np.asarray(match, bool), split, source)


def _of_side(listings: Sequence[_Listing], most: int) -> list[tuple[_Listing, _Listing, bool]]:
    """Matches and others of one side."""
    ordered = sorted(listings, key=lambda one: (one.digest, one.id))
    products = _grouped(ordered, "product")
    matches = [pair for of in products.values() for pair in itertools.pairwise(of)]
    matches = sorted(matches, key=lambda pair: (digest(pair[0].id + "\x1f" + pair[1].id), pair[0].id))[: most // 2]
    around = [_grouped(ordered, name) for name in ("category", "source")]
    others = [(left, _other(left, around)) for left, _ in matches]
    return [(*pair, True) for pair in matches] + [(left, other, False) for left, other in others if other]


def _other(left: _Listing, around: Sequence[Mapping[str, list[_Listing]]]) -> _Listing | None:
    """The next listing of another product, going round; of the first of some groupings that has one."""
    for group in around:
        of = group.get(left.category if group is around[0] else left.source, [])
        start = next((at for at, one in enumerate(of) if one is left), -1) + 1
        found = next((one for one in [*of[start:], *of[:start]] if one.product != left.product), None)
        if found:
            return found
    return None


def _grouped(listings: Sequence[_Listing], name: str) -> dict[str, list[_Listing]]:
    """The listings by what is known of them, in order."""
    groups: dict[str, list[_Listing]] = {}
    for listing in listings:
        if key := getattr(listing, name):
            groups.setdefault(key, []).append(listing)
    return groups
