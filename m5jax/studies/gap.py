"""The modality gap: does a picture find its own title, before and after a correction that can be exported."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from m5jax.embed import Embeddings
from m5jax.evals import correction, gap
from m5jax.evals.correction import Correction
from m5jax.evals.protocols import Passport, digest
from m5jax.studies.subject import Finding, Subject, skipped, some

GALLERY, TRAIN = "gallery", "train"
ALIGNED = "contrastive"  # the readout in which modalities were brought together
KS = (1, 10)
DIGITS = 4
RULES = {
    "score": "cosine",
    "relevant": "the query's own listing, seen by the other modality; a twin of it is not",
    "self_match": "what is looked for",
    "ties": "of equal scores the lower gallery row comes first",
    "at_k": "recall@k = queries whose own listing is among the k nearest / queries",
    "missing": "a listing without one of the two modalities is neither query nor gallery",
}

Pair = tuple[str, str]
Matrix = list[list[float | None]]
"""A number for every ordered pair of modalities: row = asked with, column = searched; null where there is none."""


def study(subject: Subject) -> Finding:
    """Measures the gap between the modalities of the gallery, and what a mean shift and a whitening leave of it.

    Every modality alone, as the configured readout has it and, where the model was trained to compare modalities, as
    the readout "contrastive" has it. Corrections are fitted on training listings, so that nothing that is scored takes
    part; without a training split there are only the numbers of embeddings as they are. At most
    `config.evaluate.study_listings` of the gallery ask and are searched.

    Returns:
      ``modalities``, the order of rows and columns; ``listings`` drawn that have each; ``both``, a `Matrix` of listings
      that have both; ``chance``, by score a `Matrix`; ``readouts``, by name, of which the configured one comes first,
      and there by correction (none, mean_shift, whitening) what `_measured` returns.
    """
    names = subject.config.inputs.modalities
    if len(names) < 2:
        return skipped("a gap lies between two modalities, and the model sees one")
    if GALLERY not in subject.embedded:
        return skipped("the catalogue has no gallery to search")
    whole = subject.embedded[GALLERY]
    rows = some(len(whole.index), subject.config.evaluate.study_listings, subject.config.seed)
    index, valid = whole.index.rows(rows), whole.embeddings.rows(rows).valid
    both = {(a, b): np.flatnonzero(valid[a] & valid[b]) for a in names for b in names if a != b}
    both = {pair: rows for pair, rows in both.items() if len(rows)}
    if not both:
        return skipped("no listing of the gallery has two modalities")
    most = max(map(len, both.values()))
    return {
        "passport": Passport("cross_modal", RULES, most, most, digest(index.ids, index.sources)).to_dict(),
        "modalities": list(names),
        "listings": {name: int(valid[name].sum()) for name in names},
        "both": _matrix(names, {pair: len(rows) for pair, rows in both.items()}),
        "chance": {f"recall@{k}": _matrix(names, {p: k / max(k, len(rows)) for p, rows in both.items()}) for k in KS},
        "readouts": {
            readout: {kind: _measured(names, asked, fitted, both) for kind, fitted in _fitted(names, train).items()}
            for readout, (asked, train) in _embedded(subject, rows).items()
        },
    }


def _embedded(subject: Subject, rows: np.ndarray) -> dict[str, tuple[Embeddings, Embeddings | None]]:
    """By readout the listings of the gallery that ask, and training listings to fit on."""
    readout, seed = subject.config.model.readout, subject.config.seed
    train = subject.embedded[TRAIN].embeddings if TRAIN in subject.embedded else None
    fitted_on = None if train is None else train.rows(some(len(train), correction.FITTED_ON, seed))
    found = {readout: (subject.embedded[GALLERY].embeddings.rows(rows), fitted_on)}
    if subject.aligned is not None and readout != ALIGNED:
        wanted = {name: (name,) for name in subject.config.inputs.modalities}
        same = {"corruption": subject.prepared.corruption, "embed": subject.aligned}
        asked, drawn = subject.split(GALLERY, wanted, rows=rows, **same).embeddings, None
        if train is not None:
            few = some(len(train), subject.config.evaluate.study_listings, seed)
            drawn = subject.split(TRAIN, wanted, rows=few, **same).embeddings
        found[ALIGNED] = (asked, drawn)
    return found


def _fitted(names: tuple[str, ...], train: Embeddings | None) -> dict[str, dict[str, Correction]]:
    """Every correction by modality; that of "none" is of none."""
    found: dict[str, dict[str, Correction]] = {"none": {}}
    if train is not None:
        for kind in correction.KINDS:
            found[kind] = {name: correction.fit(kind, train.vectors[name], train.valid[name]) for name in names}
    return found


def _measured(
    names: tuple[str, ...],
    embeddings: Embeddings,
    fitted: Mapping[str, Correction],
    both: Mapping[Pair, np.ndarray],
) -> dict[str, Any]:
    """What a correction leaves of the gap.

    Returns:
      By modality ``fitted_on``, listings, ``shrinkage`` (`evals.correction`) and ``within`` (`evals.gap`); as a
      `Matrix` each ``gap``, ``own``, ``others`` (`evals.gap.between`), ``recall@1`` and ``recall@10``; ``mean``, of
      either recall over all pairs.
    """

    def corrected(name: str, rows: np.ndarray) -> np.ndarray:
        vectors = embeddings.vectors[name][rows]
        return fitted[name](vectors, np.ones(len(rows), bool)) if fitted else vectors

    found: dict[Pair, dict[str, float]] = {}
    for pair, rows in both.items():
        asked, searched = (corrected(name, rows) for name in pair)
        recalls = gap.recall(asked, searched, np.arange(len(rows)), KS)
        found[pair] = gap.between(asked, searched) | {f"recall@{k}": value for k, value in recalls.items()}
    within = {name: gap.within(corrected(name, np.flatnonzero(embeddings.valid[name]))) for name in names}
    recalled = [f"recall@{k}" for k in KS]
    return {
        "fitted_on": {name: of.listings for name, of in fitted.items()},
        "shrinkage": {name: round(of.shrinkage, DIGITS) for name, of in fitted.items()},
        "within": {name: value if value is None else round(value, DIGITS) for name, value in within.items()},
        "mean": {score: round(float(np.mean([of[score] for of in found.values()])), DIGITS) for score in recalled},
    } | {
        score: _matrix(names, {pair: of[score] for pair, of in found.items() if score in of})
        for score in ("gap", "own", "others", *recalled)
    }


def _matrix(names: tuple[str, ...], values: Mapping[Pair, float]) -> Matrix:
    rounded = {pair: round(value, DIGITS) for pair, value in values.items()}
    return [[rounded.get((row, column)) for column in names] for row in names]
