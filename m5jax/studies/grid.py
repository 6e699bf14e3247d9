"""The subset grid: from every subset of the modalities to every other, from one pass over the listings.

Every modality of a listing is encoded once; its subsets are fused from that (`Model.embed`).
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from m5jax.data.index import Index
from m5jax.embed import Embeddings, concatenate
from m5jax.evals import bootstrap, chance, classification, grid, ranking, relevance, suite
from m5jax.evals.bootstrap import Interval
from m5jax.evals.grid import Grid, Side
from m5jax.evals.protocols import STANDARD, Passport, digest
from m5jax.evals.suite import Split
from m5jax.studies.subject import Embed, Finding, Subject, skipped, some

QUERY, GALLERY, TRAIN = "query", "gallery", "train"
PRODUCT, CONTRASTIVE = "product", "contrastive"
TASKS, ITSELF = ("category", "instance"), "itself"
DIGITS = 5
MISSING = (
    "a query that has no modality of its subset is left out; a gallery row that has none of the gallery's is never"
    " found but stays a positive"
)
ITSELF_RULES = STANDARD.rules | {
    "relevant": "the listing itself, shown by other modalities",
    "self_match": "what is looked for",
    "missing": "a listing that lacks the one subset or the other is neither query nor gallery",
}

Subsets = Mapping[str, tuple[str, ...]]
Table = dict[str, dict[str, float]]
"""By query subset and gallery subset a number; pairs that have none are left out."""


def study(subject: Subject) -> Finding:
    """Scores retrieval between all subsets of the modalities that any query or gallery listing has.

    Of queries, gallery, training and other held-out listings at most `config.evaluate.study_listings` each are drawn,
    and only what is drawn counts as an answer.

    Returns:
      ``modalities``; ``subsets``, their names, "image+text", by size; ``drawn``, by split [listings, of]; ``listings``,
      by split and subset those that have any of it; ``spaces``, by space its tasks, see `_space` (product: the product
      vectors; contrastive: what the contrastive objective compares, where it was trained, single modalities and all
      together); ``classification``, see `_classification`, or None without categories; ``passports`` of all tasks, of
      which ``passport`` is the first.
    """
    config, embedded = subject.config, subject.embedded
    absent = [split for split in (QUERY, GALLERY) if split not in embedded]
    if absent:
        return skipped(f"The catalogue has no split {' and no split '.join(absent)}.")
    rows = {name: some(len(of.index), config.evaluate.study_listings, config.seed) for name, of in embedded.items()}
    asked = [embedded[split].embeddings.valid for split in (QUERY, GALLERY)]
    used = [
        name
        for name in config.inputs.modalities
        if any(valid[name][rows[split]].any() for split, valid in zip((QUERY, GALLERY), asked, strict=True))
    ]
    if len(used) < 2:
        return skipped("Subsets need two modalities, and queries and gallery show fewer.")
    subsets = {
        "+".join(subset): subset for size in range(1, len(used) + 1) for subset in itertools.combinations(used, size)
    }
    drawn = {split: _embed(subject, split, subsets, rows[split], subject.again) for split in embedded}
    spaces = {PRODUCT: _space(subject, drawn[QUERY], drawn[GALLERY], subsets)}
    if not spaces[PRODUCT]:
        return skipped("No query has an answer in the gallery, and no listing of it has two modalities.")
    if subject.aligned is not None and config.model.readout != CONTRASTIVE:
        few = {name: subset for name, subset in subsets.items() if len(subset) in (1, len(used))}
        query, gallery = (_embed(subject, split, few, rows[split], subject.aligned) for split in (QUERY, GALLERY))
        spaces[CONTRASTIVE] = _space(subject, query, gallery, few)
    passports = _passports(subject, drawn[QUERY].index, drawn[GALLERY].index, tuple(spaces[PRODUCT]))
    return {
        "modalities": used,
        "subsets": list(subsets),
        "drawn": {split: [len(of.index), len(embedded[split].index)] for split, of in drawn.items()},
        "listings": {
            split: {name: int(drawn[split].embeddings.valid[name].sum()) for name in subsets}
            for split in (QUERY, GALLERY)
        },
        "spaces": spaces,
        "classification": _classification(subject, drawn, subsets),
        "passports": passports,
        "passport": next(iter(passports.values())),
    }


def _embed(subject: Subject, split: str, subsets: Subsets, rows: np.ndarray, embed: Embed) -> Split:
    """Some listings in every subset, as corrupted as the run sees them."""
    return subject.split(split, subsets, corruption=subject.prepared.corruption, rows=rows, embed=embed)


def _space(subject: Subject, query: Split, gallery: Split, subsets: Subsets) -> dict[str, Any]:
    """The tasks of one space: "category" and "instance", where any query has an answer, and "itself".

    Returns:
      By task ``scores``, by metric a `Table`; ``queries`` scored, a `Table`; ``chance`` of "p@1", for "itself" None: it
      is 1 / queries; and ``gains``, see `_gains`, for "itself" none.
    """
    config, most = subject.config, max(subject.config.evaluate.ks)
    labels = _labels(query.index, gallery.index)
    sides = {QUERY: _side(query.embeddings, subsets), GALLERY: _side(gallery.embeddings, subsets)}
    made = grid.evaluate(sides[QUERY], sides[GALLERY], labels, k=most, protocol=config.evaluate.protocol)
    products = np.where(query.index.instance_ids != "", suite.labels(query.index, "instance"), query.index.ids)
    tasks: dict[str, Any] = {}
    for task, found in made.items():
        if not found.queries.any():
            continue
        positives = relevance.counts(*labels[task])[:, 1]
        level = chance.retrieval(positives[positives > 0], len(gallery.index), (1,))["p@1"]
        tasks[task] = _told(found, round(level, DIGITS), list(subsets))
        tasks[task]["gains"] = _gains(found, sides[QUERY].valid, products, subsets, config.seed)
    apart = np.asarray([[not set(a) & set(b) for b in subsets.values()] for a in subsets.values()])
    found = grid.itself(sides[GALLERY], apart, k=most)
    if found.queries.any():
        tasks[ITSELF] = _told(found, None, list(subsets))
    return tasks


def _labels(query: Index, gallery: Index) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The labels of both sides, by task; only of tasks in which a query has an answer."""
    labels = {}
    for task in TASKS:
        asked, searched = suite.numbered(suite.labels(query, task), suite.labels(gallery, task))
        if np.isin(asked[asked >= 0], searched).any():
            labels[task] = asked, searched
    return labels


def _side(embeddings: Embeddings, subsets: Subsets) -> Side:
    return Side.of(embeddings.vectors, embeddings.valid, subsets)


def _told(found: Grid, level: float | None, names: Sequence[str]) -> dict[str, Any]:
    counts = _table(np.where(found.queries > 0, found.queries, np.nan), names)
    return {
        "scores": {metric: _table(values, names) for metric, values in found.scores.items()},
        "queries": {row: {column: int(n) for column, n in of.items()} for row, of in counts.items()},
        "chance": level,
        "gains": [],
    }


def _table(values: np.ndarray, names: Sequence[str]) -> Table:
    table = {
        row: {column: round(float(value), DIGITS) for column, value in zip(names, of, strict=True) if value == value}
        for row, of in zip(names, values, strict=True)
    }
    return {row: of for row, of in table.items() if of}


def _gains(found: Grid, valid: np.ndarray, products: np.ndarray, subsets: Subsets, seed: int) -> list[dict[str, Any]]:
    """What a second modality brings, on the same queries: those that have both, or, where the gallery gets it, all.

    The other side shows everything that it has. Where pairs of modalities were not embedded, nothing.

    Returns:
      ``side`` that is shown more; what is ``given`` and ``added``; ``queries``; "p@1" ``before`` and ``after``; and
      ``between`` what the change lies with 95 % confidence, queries of one product drawn together.
    """
    place = {subset: number for number, subset in enumerate(subsets.values())}
    order, last = list(subsets.values())[-1], len(subsets) - 1
    gains = []
    for side, given, added in itertools.product((QUERY, GALLERY), order, order):
        both = place.get(tuple(name for name in order if name in (given, added)))
        if given == added or both is None:
            continue
        if side == QUERY:
            before, after = found.first[place[given,], last], found.first[both, last]
            rows = valid[place[given,]] & valid[place[added,]]
        else:
            before, after = found.first[last, place[given,]], found.first[last, both]
            rows = np.ones(len(before), bool)
        rows = np.flatnonzero(rows & ~np.isnan(before) & ~np.isnan(after))
        after, before = after[rows].astype(float), before[rows].astype(float)
        change = bootstrap.difference(after, before, products[rows], seed)
        if change is not None:
            gains.append(_gain(side, given, added, before, after, change))
    return gains


def _gain(side: str, given: str, added: str, before: np.ndarray, after: np.ndarray, change: Interval) -> dict[str, Any]:
    return {
        "side": side,
        "given": given,
        "added": added,
        "queries": len(before),
        "before": round(float(before.mean()), DIGITS),
        "after": round(float(after.mean()), DIGITS),
        "between": [round(change.low, DIGITS), round(change.high, DIGITS)],
    }


def _classification(subject: Subject, drawn: Mapping[str, Split], subsets: Subsets) -> dict[str, Any] | None:
    """Category of the held-out listings by the vote of their nearest training listings, product vectors throughout.

    Returns:
      By subset that the test listings show: accuracy where the training listings show all that they have
      (``trained_on_all``) or the same subset (``trained_alike``), and ``test``, listings scored: those that have any of
      it; ``neighbours`` that vote; ``train``, listings; and ``chance``, the accuracy of always naming the commonest.
      None without categories on both sides.
    """
    held_out = [drawn[split] for split in suite.HELD_OUT if split in drawn]
    if TRAIN not in drawn:
        return None
    train, test = drawn[TRAIN], suite.join([of.index for of in held_out])
    learned, asked = suite.numbered(suite.labels(train.index, "category"), suite.labels(test, "category"))
    if not (learned >= 0).any() or not (asked >= 0).any():
        return None
    made, k = concatenate([of.embeddings for of in held_out]), subject.config.evaluate.neighbours
    accuracy: dict[str, dict[str, float]] = {"trained_on_all": {}, "trained_alike": {}}
    counts, whole = {}, list(subsets)[-1]
    for name in subsets:
        valid = made.valid[name] & (asked >= 0)
        counts[name] = int(valid.sum())
        for how, shown in (("trained_on_all", whole), ("trained_alike", name)):
            scores = classification.nearest_neighbours(
                train.embeddings.vectors[shown],
                learned,
                made.vectors[name][valid],
                asked[valid],
                k,
                train_valid=train.embeddings.valid[shown],
                test_valid=np.ones(counts[name], bool),
            )
            if "accuracy" in scores:
                accuracy[how][name] = round(scores["accuracy"], DIGITS)
    commonest = round(chance.most_frequent(learned[learned >= 0], asked[asked >= 0]), DIGITS)
    return accuracy | {"test": counts, "neighbours": k, "train": len(train.index), "chance": commonest}


def _passports(subject: Subject, query: Index, gallery: Index, tasks: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The passport of every task; the spaces differ in what is compared, not in the rules."""
    rules = ranking.protocol_of(subject.config.evaluate.protocol, (1,))
    passports = {}
    for task in tasks:
        of_itself = task == ITSELF
        passports[task] = Passport(
            protocol=f"{STANDARD.name}, own row" if of_itself else rules.name,
            rules=ITSELF_RULES if of_itself else rules.rules | {"missing": MISSING},
            queries=len(gallery) if of_itself else len(query),
            gallery=len(gallery),
            digest=digest(gallery.ids, gallery.ids if of_itself else suite.labels(gallery, task)),
            label="listing" if of_itself else task,
            sets=f"{GALLERY if of_itself else QUERY}:{GALLERY}",
        ).to_dict()
    return passports
