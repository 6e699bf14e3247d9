"""K3M's three tasks on frozen product vectors: item classification, product alignment, multi-modal question answering.

Heads are trained on the vectors of one showing of the listings (`learn`), and asked about those of the same or of
another one (`scores`): clean and broken, or broken both. Every model is asked the same.

    asked = items.draw(subject, most)
    clean = tasks.embedded(subject, asked.shown)
    learned = tasks.learn(asked, clean, seed)
    tasks.scores(asked, learned, clean)          # or of vectors of broken listings, rows as in `asked.shown`
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int

from m5jax.data.corruption import Plan
from m5jax.data.prepared import Variants
from m5jax.embed import FUSED
from m5jax.evals import answer_head, answers, classification, matching, pair_head
from m5jax.evals.answer_head import AnswerHead, Asked
from m5jax.evals.pair_head import PairHead, Pairs
from m5jax.studies import knowledge
from m5jax.studies.items import Items, Shown
from m5jax.studies.knowledge import Questions
from m5jax.studies.pairs import TEST, TRAIN, VAL
from m5jax.studies.subject import Subject


@dataclasses.dataclass(frozen=True)
class Vectors:
    """Product vectors of what is shown.

    Attributes:
      vectors: float32 [N, D].
      valid: bool [N], whether the model sees anything of it.
    """

    vectors: np.ndarray
    valid: np.ndarray

    def __len__(self) -> int:
        return len(self.valid)


@dataclasses.dataclass(frozen=True)
class Learned:
    """What was learned from vectors; None where there was nothing to learn from.

    Attributes:
      classes: tells categories.
      cosine: the threshold of cosines.
      pairs, logit: the pair head, and the threshold of its logits.
      answers: the answer head.
    """

    classes: classification.Probe | None
    cosine: float | None
    pairs: PairHead | None
    logit: float | None
    answers: AnswerHead | None


def embedded(subject: Subject, shown: Shown) -> Vectors:
    """The vectors, all modalities in use together, of the listings as the catalogue has them."""
    vectors, valid = [], []
    for split, at in shown.by_split().items():
        plan = Plan({}, {}, shown.hidden[at].tolist())
        listings = Variants.of(subject.prepared, shown.rows[at], plan)
        made = subject.again(listings, split, {FUSED: subject.config.inputs.modalities}, np.arange(len(at)))
        vectors.append(made.vectors[FUSED])
        valid.append(made.valid[FUSED])
    return Vectors(np.concatenate(vectors), np.concatenate(valid))


def learn(items: Items, vectors: Vectors, seed: int) -> Learned:
    """Trains every head, and chooses every threshold, on one showing of the listings.

    Args:
      items: what is asked.
      vectors: of `items.shown`, row by row.
      seed: of the heads.
    """
    classes, pairs, cosine, logit = None, None, None, None
    if items.classification:
        at = items.classification.train
        classes = classification.probe(
            vectors.vectors[at], items.classification.train_labels, valid=vectors.valid[at], seed=seed
        )
    if items.alignment:
        val = items.alignment[VAL]
        cosine = matching.threshold(cosines(vectors, val), val.match)
        pairs = learn_pairs(vectors, items.alignment, seed)
        logit = pairs and matching.threshold(pairs(vectors.vectors, vectors.valid, val), val.match)
    return Learned(classes, cosine, pairs, logit, learn_answers(items, vectors, seed))


def learn_pairs(vectors: Vectors, pairs: Mapping[str, Pairs], seed: int) -> PairHead | None:
    """The pair head of the training pairs; of its parts that counts whose area under validation's ROC is largest."""
    val = pairs[VAL]

    def better(head: PairHead) -> float:
        return matching.told(head(vectors.vectors, vectors.valid, val), val.match, 0.0).get("auc", 0.0)

    return pair_head.train(vectors.vectors, vectors.valid, pairs[TRAIN], better, seed)


def learn_answers(items: Items, vectors: Vectors, seed: int) -> AnswerHead | None:
    """The answer head of the training questions; of its parts that counts whose MRR on validation is largest."""
    of = items.answers
    if of is None:
        return None
    train = np.flatnonzero(of.splits == TRAIN)
    question, place = np.nonzero(of.answers[train] >= 0)
    used, answer = np.unique(of.answers[train][question, place], return_inverse=True)
    row = np.full((len(of.values) + 1,), -1)  # of a value among the used; the last is that of "no more"
    row[used] = np.arange(len(used))
    asked = Asked(
        row=items.asked[train][question],
        property=of.properties[train][question],
        answer=answer,
        others=row[np.where(np.arange(knowledge.ANSWERS) == place[:, None], -1, of.answers[train][question])],
    )
    val = of.splits == VAL

    def better(head: AnswerHead) -> float:
        return answers.means(worth(items, of, head, vectors, val)).get("mrr", 0.0)

    bags = of.name_bags.toarray(), of.value_bags[used].toarray()
    return answer_head.train(vectors.vectors, vectors.valid, *bags, asked, better, seed)


def scores(items: Items, learned: Learned, vectors: Vectors) -> dict[str, float]:
    """What was learned, asked about one showing of the listings.

    Returns:
      ``classification/accuracy`` and what else `evals.classification` tells of a probe; ``alignment/cosine/...`` and
      ``alignment/head/...`` as `evals.matching.told`; ``answers/...`` as `evals.answers.values`. What there is nothing
      for is not there.
    """
    found: dict[str, float] = {}
    if learned.classes is not None and items.classification:
        of = items.classification
        named = np.full(len(of.test), classification.NO_ANSWER)
        valid = vectors.valid[of.test]
        if valid.any():
            named[valid] = learned.classes(vectors.vectors[of.test][valid])
        told = classification.named(named, of.test_labels, valid=valid)
        found |= {f"classification/{name}": value for name, value in told.items()}
    if items.alignment:
        test = items.alignment[TEST]
        if learned.cosine is not None:
            told = matching.told(cosines(vectors, test), test.match, learned.cosine)
            found |= {f"alignment/cosine/{name}": value for name, value in told.items()}
        if learned.pairs is not None and learned.logit is not None:
            logits = learned.pairs(vectors.vectors, vectors.valid, test)
            told = matching.told(logits, test.match, learned.logit)
            found |= {f"alignment/head/{name}": value for name, value in told.items()}
    if learned.answers is not None and items.answers is not None:
        told = answers.means(worth(items, items.answers, learned.answers, vectors, items.answers.tested))
        found |= {f"answers/{name}": value for name, value in told.items()}
    return found


def answered(
    items: Items, of: Questions, head: AnswerHead, vectors: Vectors, keep: np.ndarray
) -> tuple[Float[np.ndarray, "q c"], Int[np.ndarray, "q c"]]:
    """Of some of the questions the scores of their candidates, and the ranks of their answers, 0 elsewhere."""
    at, candidates = items.asked[keep], of.candidates[keep]
    properties = of.name_bags[of.properties[keep]]
    made = head(vectors.vectors[at], vectors.valid[at], properties, of.value_bags, candidates)
    return made, answers.ranks(made, candidates >= 0, of.true[keep])


def worth(items: Items, of: Questions, head: AnswerHead, vectors: Vectors, keep: np.ndarray) -> dict[str, np.ndarray]:
    """What each of some of the questions is worth."""
    return answers.values(answered(items, of, head, vectors, keep)[1], vectors.valid[items.asked[keep]])


def cosines(vectors: Vectors, pairs: Pairs) -> Float[np.ndarray, "p"]:
    """float64 [P], of vectors of unit length; -inf where a side has none."""
    left, right = (vectors.vectors[end].astype(np.float64) for end in (pairs.left, pairs.right))
    there = vectors.valid[pairs.left] & vectors.valid[pairs.right]
    return np.where(there, (left * right).sum(axis=1), -np.inf)
