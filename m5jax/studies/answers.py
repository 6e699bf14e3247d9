"""Multi-modal question answering: what is this listing's value for that property, which the model is not shown?"""

import collections
from collections.abc import Mapping
from typing import Any

import numpy as np

from m5jax.data.index import Index
from m5jax.evals import answers
from m5jax.evals.protocols import Passport, digest
from m5jax.studies import items, tasks
from m5jax.studies.knowledge import CANDIDATES, TRAIN, VAL, Questions
from m5jax.studies.subject import Finding, Subject, skipped

DIGITS = 4
PROPERTIES, EXAMPLES, SAID = 12, 4, 3  # shown: properties, questions at either end, first candidates of these
RULES = {
    "question": "a listing and a property that it has; the model embeds it without that property",
    "relevant": "every value that the listing has for the property, as the catalogue says; case does not count",
    "candidates": f"these, the values of training listings for the property, and of others, up to {CANDIDATES}",
    "score": "a head trained on questions about training listings: item vector and property against value",
    "filtered": "an answer is ranked among the candidates that are wrong; a question is the mean over its answers",
    "ties": "of equal scores the earlier candidate comes first; their order is that of digests",
    "missing": "a listing without embedding answers nothing",
}


def study(subject: Subject) -> Finding:
    """Asks for values that the model is not shown, by the head of `evals.answer_head` on its product vectors.

    At most `config.evaluate.study_listings` questions teach, choose the head and are asked each. After the third task
    of K3M (arXiv:2109.00895, table 2), on a catalogue's own tables (`studies.knowledge`).

    Returns:
      ``questions``, how many of each kind: ``train``, ``val``, ``test``; ``candidates``, the mean number; ``scores``,
      ``prior`` (the candidate that most training listings have for the property comes first) and ``chance``, each of
      `evals.answers.values`; ``coverage``, the share of questions about a listing with an embedding; ``unseen``, of
      questions with an answer that no training listing has for the property: ``questions``, ``scores``;
      ``properties``, those asked most: ``property``, ``questions``, ``values`` (distinct answers), ``scores``,
      ``prior``; ``best`` and ``worst``, a few questions of different listings: ``id``, ``title``, ``property``,
      ``answers``, ``rank`` (of the best of them, null without embedding), ``said``, the candidates that come first.
    """
    asked = items.draw(subject, subject.config.evaluate.study_listings, of=("answers",))
    of = asked.answers
    if of is None or not (of.splits == TRAIN).any():
        return skipped("no table of a training listing, and none of a query or of the gallery, can be asked about")
    vectors = tasks.embedded(subject, asked.shown)
    head = tasks.learn_answers(asked, vectors, subject.config.seed)
    if head is None:
        return skipped("training listings have fewer than two values to choose from")
    test = of.tested
    made, ranks = tasks.answered(asked, of, head, vectors, test)
    valid, often = vectors.valid[asked.asked[test]], of.often[test].astype(np.float64)
    offered, true = of.candidates[test] >= 0, of.true[test]
    values = {
        "scores": answers.values(ranks, valid),
        "prior": answers.values(answers.ranks(often, offered, true), np.ones(len(valid), bool)),
        "chance": answers.chance(offered, true),
    }
    unseen = (true & (often == 0)).any(axis=1)
    index = {split: subject.prepared.index(split) for split in dict.fromkeys(of.splits[test].tolist())}
    return {
        "passport": _passport(of, test, index).to_dict(),
        "questions": {"train": int((of.splits == TRAIN).sum()), "val": int((of.splits == VAL).sum())}
        | {"test": int(test.sum())},
        "candidates": round(float(offered.sum(axis=1).mean()), 1),
        "coverage": round(float(valid.mean()), DIGITS),
        "unseen": {"questions": int(unseen.sum()), "scores": _means(values["scores"], unseen)},
        "properties": _by_property(of, test, values),
        **{name: _means(worth, np.ones(len(valid), bool)) for name, worth in values.items()},
        **_examples(of, np.flatnonzero(test), made, np.where(valid[:, None], ranks, 0), index),
    }


def _means(worth: Mapping[str, np.ndarray], keep: np.ndarray) -> dict[str, float]:
    means = answers.means({name: of[keep] for name, of in worth.items()})
    return {name: round(value, DIGITS) for name, value in means.items()}


def _passport(of: Questions, test: np.ndarray, index: Mapping[str, Index]) -> Passport:
    rows = np.flatnonzero(test).tolist()
    ids = [f"{index[of.splits[row]].ids[of.rows[row]]}\x1f{of.names[of.properties[row]]}" for row in rows]
    told = ["\x1f".join(_texts(of, of.answers[row])) for row in rows]
    return Passport(
        protocol="answers",
        rules=RULES,
        queries=len(rows),
        gallery=len(np.unique(of.candidates[test])) - int((of.candidates[test] < 0).any()),
        digest=digest(ids, told),
        label="value",
        sets=f"questions about {'+'.join(index)}:values",
    )


def _texts(of: Questions, numbers: np.ndarray) -> list[str]:
    return [of.values[number] for number in numbers if number >= 0]


def _by_property(
    of: Questions, test: np.ndarray, values: Mapping[str, Mapping[str, np.ndarray]]
) -> list[dict[str, Any]]:
    """The properties asked most."""
    rows = []
    counts = collections.Counter(of.properties[test].tolist())
    for property, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:PROPERTIES]:
        keep = of.properties[test] == property
        distinct = np.unique(of.answers[test][keep])
        told = {name: _means(values[name], keep) for name in ("scores", "prior")}
        row = {"property": of.names[property], "questions": count, "values": int((distinct >= 0).sum())}
        rows.append(row | told)
    return rows


def _examples(
    of: Questions, test: np.ndarray, made: np.ndarray, ranks: np.ndarray, index: Mapping[str, Index]
) -> dict[str, list[dict[str, Any]]]:
    """Questions answered best and worst, of different listings, at most two of a property."""
    rank = np.where(ranks > 0, ranks, np.iinfo(np.int64).max).min(axis=1)
    first = np.sort(made, axis=1)[:, ::-1]
    lead = np.where(np.isfinite(first[:, 1]), first[:, 0] - first[:, 1], 0.0)
    order = np.lexsort((-lead, rank))  # of equally good ones the surer first
    found: dict[str, list[dict[str, Any]]] = {}
    for kind, rows in (("best", order), ("worst", order[::-1])):
        chosen: dict[tuple[str, int], int] = {}
        asked: collections.Counter[int] = collections.Counter()
        for row in rows.tolist():
            listing, property = (str(of.splits[test[row]]), int(of.rows[test[row]])), int(of.properties[test[row]])
            if len(chosen) < EXAMPLES and listing not in chosen and asked[property] < 2:
                chosen[listing] = row
                asked[property] += 1
        found[kind] = [_shown(of, int(test[row]), made[row], int(rank[row]), index) for row in chosen.values()]
    return found


def _shown(of: Questions, row: int, scores: np.ndarray, rank: int, index: Mapping[str, Index]) -> dict[str, Any]:
    listing, at = index[of.splits[row]], of.rows[row]
    known = bool(np.isfinite(scores).any())
    first = of.candidates[row][np.argsort(-scores, kind="stable")[:SAID]] if known else np.zeros(0, np.int64)
    return {
        "id": str(listing.ids[at]),
        "title": str(listing.titles[at]),
        "property": of.names[of.properties[row]],
        "answers": _texts(of, of.answers[row]),
        "rank": rank if known else None,
        "said": _texts(of, first),
    }
