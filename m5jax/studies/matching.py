"""Product matching: of pairs of listings, which show one product, as far as the catalogue knows."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from m5jax.data.prepared import Prepared
from m5jax.embed import FUSED, subsets
from m5jax.evals import matching, words
from m5jax.evals.matching import Matching
from m5jax.evals.pair_head import Pairs as Ends
from m5jax.evals.protocols import Passport, digest
from m5jax.evals.suite import Split
from m5jax.studies import pairs as pairs_of
from m5jax.studies import tasks
from m5jax.studies.knowledge import TRAIN, VAL
from m5jax.studies.pairs import TEST, Pairs, Places
from m5jax.studies.subject import Finding, Subject, skipped
from m5jax.studies.tasks import Vectors

WORST = 5  # pairs shown of either kind of error
DIGITS = 4
RULES = {
    "score": "cosine of the two listings' vectors, or the logit of a head trained on training pairs",
    "threshold": "pairs are called matches from the score on that gives validation pairs the largest F1",
    "ties": "pairs of equal score are called together; of thresholds that do equally well the highest",
    "missing": "a pair with a side without embedding is never called a match, and stays one that was missed",
}
DRAWN = {
    "catalogue": {"relevant": "pairs that the catalogue says are one product"},
    "products": {
        "relevant": "pairs drawn from the listings of one product; beside each a listing of another product of the"
        " same category, or of the same source",
        "sides": "no product is on two sides: it trains, chooses or is asked about",
    },
}


def study(subject: Subject) -> Finding:
    """Tells matches among pairs by the cosine of their vectors and by a trained head, source by source.

    The pairs are the catalogue's, or drawn from its products (`studies.pairs`), then at most
    `config.evaluate.study_listings` of each side. Thresholds are chosen on the validation pairs; training pairs teach
    the head alone. A pair of which neither side became a record is of no source; the passport counts it as lost.

    Returns:
      ``rule``, "catalogue" or "products", whose the pairs are; ``all``, of all sources together, and ``sources``, one
      each: ``source`` ("" of all); ``pairs`` and ``matches``, by split; ``subsets``, per subset of modalities
      ``threshold`` and, of the validation and of the test pairs, what `evals.matching.told` tells (``val``, ``test``),
      null where validation can choose no threshold; ``best``, the subset of the largest F1 on validation, null without
      any; ``head``, the same as a subset has, of the pair head (`evals.pair_head`) on the vectors of all modalities,
      null also where no training pairs teach it; ``words``, the same, of TF-IDF cosines of title, description and table
      as the catalogue has them, which learn nothing; and the worst errors of the best among the test pairs,
      ``missed`` and ``mistaken``: ``left``, ``right``, ``left_title``, ``right_title``, ``score`` (null without
      embedding).
    """
    index = {name: split.index for name, split in subject.embedded.items()}
    pairs, rule = pairs_of.pairs(subject.prepared, index, subject.config.evaluate.study_listings)
    if not len(pairs):
        return skipped("the catalogue names no pairs of listings, and no product of which it has two to make pairs of")
    placed = pairs.rows(pairs.source != "")
    if not {VAL, TEST} <= set(placed.split):
        counts = ", ".join(f"{count:,} {name}" for name, count in sorted(Counter(placed.split).items()))
        return skipped(f"a threshold needs pairs of the splits {VAL} and {TEST}; there are {counts or 'none'}")
    tested = placed.rows(placed.split == TEST)
    passport = Passport(
        protocol="matching",
        rules=RULES | DRAWN[rule],
        queries=len(tested),
        gallery=len({*tested.left, *tested.right}),
        digest=digest(tested.left + "\x1f" + tested.right, map(str, tested.match)),
        label="product",
        sets=f"{TEST} pairs:their listings",
        lost=len(pairs) - len(placed),
    )
    asked = _Asked(subject, placed)
    names = sorted(set(placed.source))
    sources = [asked.told(name, placed.source == name) for name in names]
    whole = sources[0] if len(names) == 1 else asked.told("", np.ones(len(placed), bool))
    return {"passport": passport.to_dict(), "rule": rule, "all": whole | {"source": ""}, "sources": sources}


class _Asked:
    """The pairs with all that tells them, and who they are."""

    def __init__(self, subject: Subject, pairs: Pairs):
        self._seed, self._pairs, self._embedded = subject.config.seed, pairs, subject.embedded
        wanted = {*pairs.left, *pairs.right}
        everywhere = pairs_of.places({name: split.index for name, split in subject.embedded.items()})
        self._places: Places = {identity: everywhere[identity] for identity in wanted & everywhere.keys()}
        self._vectors, self._ends = _vectors(self._embedded, self._places, pairs, tuple(subsets(subject.config)))
        self._cosines = {name: tasks.cosines(of, self._ends) for name, of in self._vectors.items()}
        self._texts = _texts(subject.prepared, self._places)

    def told(self, source: str, keep: np.ndarray) -> dict[str, Any]:
        """What is found about some of the pairs."""
        pairs = self._pairs.rows(keep)
        val, test = pairs.split == VAL, pairs.split == TEST

        def judged(scores: np.ndarray) -> Matching | None:
            return matching.matching(scores[val], pairs.match[val], scores[test], pairs.match[test])

        scores = {name: of[keep] for name, of in self._cosines.items()}
        found = {name: judged(of) for name, of in scores.items()}
        chosen = {name: of for name, of in found.items() if of is not None}
        best = max(chosen, key=lambda name: chosen[name].chosen["f1"], default=None)
        errors: dict[str, list[dict[str, Any]]] = {"missed": [], "mistaken": []}
        if best is not None:
            called, order = scores[best] >= chosen[best].threshold, np.argsort(scores[best], kind="stable")
            missed, mistaken = (test & pairs.match & ~called)[order], (test & ~pairs.match & called)[order]
            for kind, rows in (("missed", order[missed]), ("mistaken", order[mistaken][::-1])):
                errors[kind] = [self._shown(pairs, row, float(scores[best][row])) for row in rows[:WORST].tolist()]
        logits = self._logits(keep)
        return {
            "source": source,
            "pairs": _counts(pairs.split),
            "matches": _counts(pairs.split[pairs.match]),
            "subsets": {name: _rounded(of) for name, of in found.items()},
            "head": _rounded(None if logits is None else judged(logits)),
            "words": _rounded(judged(self._words(pairs))),
            "best": best,
            **errors,
        }

    def _logits(self, keep: np.ndarray) -> np.ndarray | None:
        """Of some of the pairs, by a head that the training pairs among them taught."""
        vectors, ends, split = self._vectors[FUSED], _rows(self._ends, keep), self._pairs.split[keep]
        sides = {side: _rows(ends, split == side) for side in (TRAIN, VAL)}
        head = tasks.learn_pairs(vectors, sides, self._seed)
        return None if head is None else head(vectors.vectors, vectors.valid, ends)

    def _words(self, pairs: Pairs) -> np.ndarray:
        """The yardstick: how far both sides share words, float64 [N]; -inf where a side has none."""
        texts = {identity: self._texts[identity] for identity in [*pairs.left, *pairs.right] if identity in self._texts}
        rows = {identity: at for at, identity in enumerate(texts)}
        left, right = (np.asarray([rows.get(one, -1) for one in end], np.int64) for end in (pairs.left, pairs.right))
        return words.cosines([*texts.values()], left, right)

    def _shown(self, pairs: Pairs, row: int, score: float) -> dict[str, Any]:
        ids = {"left": str(pairs.left[row]), "right": str(pairs.right[row])}
        titles = {}
        for side, identity in ids.items():
            split, at = self._places.get(identity, ("", 0))
            titles[f"{side}_title"] = str(self._embedded[split].index.titles[at]) if split else ""
        return ids | titles | {"score": round(score, DIGITS) if np.isfinite(score) else None}


def _rows(ends: Ends, keep: np.ndarray) -> Ends:
    return Ends(ends.left[keep], ends.right[keep], ends.match[keep])


def _vectors(
    embedded: Mapping[str, Split], places: Places, pairs: Pairs, names: tuple[str, ...]
) -> tuple[dict[str, Vectors], Ends]:
    """Per subset the vectors of the listings in the pairs, and one that no listing has for those without a record."""
    ids = sorted(places)
    row = {identity: at for at, identity in enumerate(ids)}
    left, right = (np.asarray([row.get(one, len(ids)) for one in end], np.int64) for end in (pairs.left, pairs.right))
    found = {}
    for name in names:
        width = next(iter(embedded.values())).embeddings.vectors[name].shape[1]
        vectors, valid = np.zeros((len(ids) + 1, width), np.float32), np.zeros(len(ids) + 1, bool)
        for split, of in embedded.items():
            there = [at for at, identity in enumerate(ids) if places[identity][0] == split]
            rows = [places[ids[at]][1] for at in there]
            vectors[there], valid[there] = of.embeddings.vectors[name][rows], of.embeddings.valid[name][rows]
        found[name] = Vectors(vectors, valid)
    return found, Ends(left, right, pairs.match)


def _texts(prepared: Prepared, places: Places) -> dict[str, str]:
    """Title, description and table of the listings, as the catalogue has them."""
    return {
        identity: " ".join([record.title, record.description, *map(" ".join, record.fields)])
        for split in sorted({split for split, _ in places.values()})
        for identity, record in zip(prepared.ids(split), prepared.texts(split), strict=True)
        if identity in places
    }


def _counts(splits: np.ndarray) -> dict[str, int]:
    return dict(sorted(Counter(splits.tolist()).items()))


def _rounded(found: Matching | None) -> dict[str, Any] | None:
    if found is None:
        return None
    sides = {VAL: found.chosen, TEST: found.scores}
    told = {side: {name: round(value, DIGITS) for name, value in of.items()} for side, of in sides.items()}
    return {"threshold": round(found.threshold, DIGITS)} | told
