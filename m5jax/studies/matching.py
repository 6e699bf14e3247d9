"""Product matching: of pairs of listings, which show one product, as far as the catalogue knows."""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from m5jax.data.prepared import PAIRS, Prepared
from m5jax.embed import subsets
from m5jax.evals import matching, words
from m5jax.evals.matching import Matching
from m5jax.evals.protocols import Passport, digest
from m5jax.evals.suite import Split
from m5jax.studies.subject import Finding, Subject, skipped

VAL, TEST = "val", "test"  # splits of pairs, whatever those of their listings
WORST = 5  # pairs shown of either kind of error
DIGITS = 4
RULES = {
    "score": "cosine of the two listings' vectors",
    "relevant": "pairs that the catalogue says are one product",
    "threshold": "pairs are called matches from the score on that gives validation pairs the largest F1",
    "ties": "pairs of equal score are called together; of thresholds that do equally well the highest",
    "missing": "a pair with a side without embedding is never called a match, and stays one that was missed",
}


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Pairs of listings, row by row.

    Attributes:
      left, right: ids.
      match: bool [N], whether they are one product.
      split: "train", "val" or "test".
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


def study(subject: Subject) -> Finding:
    """Tells matches among the catalogue's pairs by the cosine of their vectors, source by source.

    Thresholds are chosen on the validation pairs, training pairs have no say. A pair of which neither side became a
    record is of no source; the passport counts it as lost.

    Returns:
      ``sources``: per source ``source``; ``pairs`` and ``matches``, by split; ``subsets``, per subset of modalities
      ``threshold`` and, of the validation and of the test pairs, what `evals.matching.told` tells (``val``, ``test``),
      null where validation can choose no threshold; ``best``, the subset of the largest F1 on validation, null without
      any; ``words``, the same as a subset has, of TF-IDF cosines of title, description and table as the catalogue has
      them, which learn nothing; and the worst errors of the best among the test pairs, ``missed`` and ``mistaken``:
      ``left``, ``right``, ``left_title``, ``right_title``, ``score`` (null without embedding).
    """
    if not (subject.prepared.folder / PAIRS).is_file():
        return skipped("the catalogue has no pairs of which it is known whether they are one product")
    table = subject.prepared.beside(PAIRS)
    left, right = (np.asarray(table[name].to_pylist(), object) for name in ("left", "right"))
    places = _places(subject.embedded, {*left, *right})
    source = [_source(subject.embedded, places.get(a) or places.get(b)) for a, b in zip(left, right, strict=True)]
    match, split = np.asarray(table["match"].to_pylist(), bool), np.asarray(table["split"].to_pylist(), object)
    pairs = Pairs(left, right, match, split, np.asarray(source, object))
    placed = pairs.rows(pairs.source != "")
    if not {VAL, TEST} <= set(placed.split):
        counts = ", ".join(f"{count:,} {name}" for name, count in sorted(Counter(placed.split).items()))
        return skipped(f"a threshold needs pairs of the splits {VAL} and {TEST}; there are {counts or 'none'}")
    tested = placed.rows(placed.split == TEST)
    passport = Passport(
        protocol="matching",
        rules=RULES,
        queries=len(tested),
        gallery=len({*tested.left, *tested.right}),
        digest=digest(tested.left + "\x1f" + tested.right, map(str, tested.match)),
        label="product",
        sets=f"{TEST} pairs:their listings",
        lost=len(pairs) - len(placed),
    )
    sources = [_of_source(subject, places, placed.rows(placed.source == name)) for name in sorted(set(placed.source))]
    return {"passport": passport.to_dict(), "sources": sources}


Places = Mapping[str, tuple[str, int]]
"""Where a listing is: id -> split, row."""


def _places(embedded: Mapping[str, Split], wanted: set[str]) -> Places:
    return {
        identity: (name, row)
        for name, split in embedded.items()
        for row, identity in enumerate(split.index.ids)
        if identity in wanted
    }


def _source(embedded: Mapping[str, Split], place: tuple[str, int] | None) -> str:
    return embedded[place[0]].index.sources[place[1]] if place else ""


def _of_source(subject: Subject, places: Places, pairs: Pairs) -> dict[str, Any]:
    """What is found about the pairs of one source."""
    val, test = pairs.split == VAL, pairs.split == TEST
    scores = {subset: _cosines(subject.embedded, places, subset, pairs) for subset in subsets(subject.config)}
    found = {
        name: matching.matching(of[val], pairs.match[val], of[test], pairs.match[test]) for name, of in scores.items()
    }
    chosen = {name: of for name, of in found.items() if of is not None}
    best = max(chosen, key=lambda name: chosen[name].chosen["f1"], default=None)
    errors: dict[str, list[dict[str, Any]]] = {"missed": [], "mistaken": []}
    if best is not None:
        called, order = scores[best] >= chosen[best].threshold, np.argsort(scores[best], kind="stable")
        missed, mistaken = (test & pairs.match & ~called)[order], (test & ~pairs.match & called)[order]
        for kind, rows in (("missed", order[missed]), ("mistaken", order[mistaken][::-1])):
            errors[kind] = [
                _shown(subject.embedded, places, pairs, row, float(scores[best][row])) for row in rows[:WORST].tolist()
            ]
    return {
        "source": str(pairs.source[0]),
        "pairs": _counts(pairs.split),
        "matches": _counts(pairs.split[pairs.match]),
        "subsets": {name: None if of is None else _rounded(of) for name, of in found.items()},
        "words": _words(subject.prepared, places, pairs),
        "best": best,
        **errors,
    }


def _cosines(embedded: Mapping[str, Split], places: Places, subset: str, pairs: Pairs) -> np.ndarray:
    """float64 [N]; -inf where a side has no embedding."""
    scores = np.full(len(pairs), -np.inf)
    for row, ids in enumerate(zip(pairs.left, pairs.right, strict=True)):
        sides = [places[identity] for identity in ids if identity in places]
        if len(sides) == 2 and all(embedded[split].embeddings.valid[subset][at] for split, at in sides):
            left, right = (embedded[split].embeddings.vectors[subset][at].astype(np.float64) for split, at in sides)
            scores[row] = left @ right
    return scores


def _words(prepared: Prepared, places: Places, pairs: Pairs) -> dict[str, Any] | None:
    """The yardstick: pairs told by the words that both sides share."""
    wanted = {identity for identity in {*pairs.left, *pairs.right} if identity in places}
    splits = {places[identity][0] for identity in wanted}
    texts: list[str] = []
    rows: dict[str, int] = {}
    for split in sorted(splits):
        for identity, record in zip(prepared.ids(split), prepared.texts(split), strict=True):
            if identity in wanted:
                rows[identity] = len(texts)
                texts.append(" ".join([record.title, record.description, *map(" ".join, record.fields)]))
    left, right = (np.asarray([rows.get(of, -1) for of in side], np.int64) for side in (pairs.left, pairs.right))
    scores, val, test = words.cosines(texts, left, right), pairs.split == VAL, pairs.split == TEST
    found = matching.matching(scores[val], pairs.match[val], scores[test], pairs.match[test])
    return None if found is None else _rounded(found)


def _shown(embedded: Mapping[str, Split], places: Places, pairs: Pairs, row: int, score: float) -> dict[str, Any]:
    ids = {"left": str(pairs.left[row]), "right": str(pairs.right[row])}
    titles = {}
    for side, identity in ids.items():
        split, at = places.get(identity, ("", 0))
        titles[f"{side}_title"] = str(embedded[split].index.titles[at]) if split else ""
    return ids | titles | {"score": round(score, DIGITS) if np.isfinite(score) else None}


def _counts(splits: np.ndarray) -> dict[str, int]:
    return dict(sorted(Counter(splits.tolist()).items()))


def _rounded(found: Matching) -> dict[str, Any]:
    sides = {VAL: found.chosen, TEST: found.scores}
    told = {side: {name: round(value, DIGITS) for name, value in of.items()} for side, of in sides.items()}
    return {"threshold": round(found.threshold, DIGITS)} | told
