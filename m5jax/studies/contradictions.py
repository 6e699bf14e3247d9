"""Contradictions: listings whose picture, title and table do not show one product, and how surely they are found."""

import dataclasses
from typing import Any

import numpy as np

from m5jax.data.index import Index
from m5jax.embed import Embeddings
from m5jax.evals import contradictions, suite
from m5jax.evals.contradictions import Ranking
from m5jax.evals.protocols import Passport, digest
from m5jax.inputs import CLEAN
from m5jax.studies.subject import Finding, Subject, skipped, some

SPLITS = ("gallery", "val", "query", "train")  # the first that the catalogue has is ranked
EXCHANGED = ("image", "text", "table")  # what is planted; every modality in use where none of these is
RATIO = 0.05  # of each
KS = (10, 50, 100)
WORST = 100
QUOTED = 200  # characters of one text of the catalogue
DIGITS = 4
RULES = {
    "score": "evidence, in nats, that two modalities show different products: the listing's contrastive loss in the"
    " pair, compared with what is usual of the pair; of a listing that of its worst pair",
    "relevant": f"a listing in which {', '.join(EXCHANGED)}, each of {RATIO:.0%} of those that have it, is another"
    " listing's; where that one shows the same product or has the same title, it is left out",
    "self_match": "does not arise",
    "ties": "of equal scores the lower row comes first",
    "at_k": "precision@k = exchanged listings among the k most contradictory / k",
    "average_precision": "precision at each exchanged listing, summed, / exchanged listings that could be judged",
    "missing": "a listing that lacks every pair is not ranked",
}


def study(subject: Subject) -> Finding:
    """Ranks listings by how far their modalities contradict each other, and tells how far the ranking can be trusted.

    The ranking needs no label, and compares modalities as the contrastive objective does (`evals.contradictions`). It
    is asked twice of the same listings, at most `config.evaluate.study_listings`: as they are, and with modalities
    exchanged on purpose, which it must find. What the catalogue itself has of contradictions counts against it there.

    Returns:
      ``split``; ``listings`` drawn; ``modalities``; ``judged``, those as they are that have a pair to compare;
      ``planted``, what `_planted` returns; ``worst``, the most contradictory of them as they are, the worst first:
      ``row``, position in the split, ``id``, ``title``, ``pair``, ``odd``, the modality that contradicts all others
      (null where fewer than three can be judged), ``evidence``.
    """
    names = subject.config.inputs.modalities
    if len(names) < 2:
        return skipped("a contradiction needs two modalities, and the model sees one")
    if subject.aligned is None:
        return skipped("the model was not trained to compare modalities (config.objective.contrastive = 0)")
    split = next((name for name in SPLITS if name in subject.embedded), "")
    if not split:
        return skipped("the catalogue has no split to rank")
    rows = some(len(subject.embedded[split].index), subject.config.evaluate.study_listings, subject.config.seed)
    wanted = {name: (name,) for name in names}
    drawn = subject.split(split, wanted, corruption=subject.prepared.corruption, rows=rows, embed=subject.aligned)
    ranking = _ranked(drawn.embeddings, names)
    if not ranking.judged.any():
        return skipped(f"fewer than {contradictions.LEAST} listings of split {split} have two modalities in common")
    passport = Passport(
        "contradictions", RULES, int(ranking.judged.sum()), len(rows), digest(drawn.index.ids, drawn.index.sources)
    )
    return {
        "passport": passport.to_dict(),
        "split": split,
        "listings": len(rows),
        "modalities": list(names),
        "judged": int(ranking.judged.sum()),
        "planted": _planted(subject, split, rows),
        "worst": [_told(ranking, row, rows, drawn.index, names) for row in ranking.order[:WORST]],
    }


def _ranked(embeddings: Embeddings, names: tuple[str, ...]) -> Ranking:
    """The ranking of some listings, its pairs counted in the order of the names."""
    vectors, valid = ({name: of[name] for name in names} for of in (embeddings.vectors, embeddings.valid))
    return contradictions.rank(vectors, valid)


def _told(ranking: Ranking, row: int, rows: np.ndarray, index: Index, names: tuple[str, ...]) -> dict[str, Any]:
    return {
        "row": int(rows[row]),
        "id": index.ids[row],
        "title": index.titles[row][:QUOTED],
        "pair": [names[at] for at in ranking.pair[row]],
        "odd": names[ranking.odd[row]] if ranking.odd[row] >= 0 else None,
        "evidence": round(float(ranking.score[row]), DIGITS),
    }


def _planted(subject: Subject, split: str, rows: np.ndarray) -> dict[str, Any]:
    """The ranking of listings of which some have a modality exchanged for another listing's.

    Donors are of the whole split. One of the same product, or whose title is the same, is no contradiction: a listing
    that has one is left out.

    Returns:
      ``ratio`` and ``exchanged``, the modalities; ``left_out``; and what `contradictions.precision` returns.
    """
    names = subject.config.inputs.modalities
    exchanged = tuple(name for name in EXCHANGED if name in names) or names
    ratios = {f"noise_{name}": RATIO for name in exchanged}
    noise = dataclasses.replace(CLEAN, splits=(split,), seed=subject.config.seed, **ratios)
    drawn = subject.split(split, {name: (name,) for name in names}, corruption=noise, rows=rows, embed=subject.aligned)
    donors = dataclasses.replace(subject.prepared, corruption=noise).corrupted(split).donors
    index = dataclasses.replace(subject.prepared, corruption=CLEAN).index(split)
    products = suite.labels(index, "instance")
    planted, twins = np.zeros((len(rows), len(names)), bool), np.zeros(len(rows), bool)
    for name in exchanged:
        donor = donors[name][rows]
        same = (products[donor] == products[rows]) & (products[rows] != "")
        same |= (index.titles[donor] == index.titles[rows]) & (index.titles[rows] != "")
        planted[:, names.index(name)] = (donor >= 0) & ~same
        twins |= (donor >= 0) & same
    ranking = _ranked(drawn.embeddings.rows(~twins), names)
    found = contradictions.precision(ranking, planted[~twins], KS)
    rounded = {name: round(value, DIGITS) if isinstance(value, float) else value for name, value in found.items()}
    return {"ratio": RATIO, "exchanged": list(exchanged), "left_out": int(twins.sum())} | rounded
