"""Which value answers a question about a listing's property: a small head on frozen product vectors.

Arrays in, scores out; every method is asked by the same head, whatever made its vectors. A listing without a vector is
never trained on, and everything scores -inf as its answer.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from m5jax.evals import heads

HIDDEN, CODE = 64, 64  # hidden units, and numbers that a surface form becomes


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a head that answers questions learns from: a row each of a question and one of its answers.

    Attributes:
      row: int [N], of the listing's vector.
      property: int [N], row of the properties' bags.
      answer: int [N], row of the values' bags.
      others: int [N, R], rows of further answers of the question, -1 = none.
    """

    row: np.ndarray
    property: np.ndarray
    answer: np.ndarray
    others: np.ndarray

    def __len__(self) -> int:
        return len(self.row)


@dataclasses.dataclass(frozen=True)
class AnswerHead:
    """Scores values as answers: the product of MLP([item; e(property)]) and e(value).

    e(text) is a sum of trained vectors of the text's n-grams (`evals.surface.bags`), so a value that training never
    showed has one, and methods without a text encoder are asked like all others. The query's MLP has a hidden layer.
    """

    scale: heads.Scale
    params: heads.Params

    def __call__(
        self,
        vectors: Float[np.ndarray, "q d"],
        valid: Bool[np.ndarray, "q"],
        properties: Float[np.ndarray, "q h"],
        values: Any,
        candidates: Int[np.ndarray, "q c"],
    ) -> Float[np.ndarray, "q c"]:
        """Scores of candidates, float32; -inf where the listing has no vector or there is no candidate.

        Args:
          vectors: of the listings asked about.
          valid: whether there is one.
          properties: bags of the properties, [Q, H], dense or sparse.
          values: bags of the values, [U, H], dense or sparse.
          candidates: rows of the values, -1 = none.
        """
        codes = np.asarray(values @ self.params["grams"], np.float32)
        asked = np.asarray(properties @ self.params["grams"], np.float32)
        queries = np.asarray(_query(self.params, self.scale(vectors), asked))
        scores = np.matmul(codes[candidates], queries[:, :, None])[..., 0]
        return np.where((candidates >= 0) & valid[:, None], scores, -np.inf)


def train(
    vectors: Float[np.ndarray, "n d"],
    valid: Bool[np.ndarray, "n"],
    properties: Float[np.ndarray, "p h"],
    values: Float[np.ndarray, "u h"],
    asked: Asked,
    better: Callable[[AnswerHead], float],
    seed: int,
) -> AnswerHead | None:
    """Trains an answer head: a softmax over values, those that are true as well left out.

    At most `heads.BATCH` values stand in a softmax: the batch's answers, and others by chance. Their logits are lowered
    by the logarithm of how often they are drawn, so that frequent values are not taken for wrong more often than others
    (Bengio and Senecal, Adaptive Importance Sampling to Accelerate Training of a Neural Probabilistic Language Model,
    2008).

    Args:
      vectors: of listings, any length.
      valid: whether a listing has one.
      properties, values: bags of their surface forms.
      asked: questions to learn from; those about a listing without a vector are left out.
      better: how well a head does on questions that it does not learn from; of equal ones the earlier is kept.
      seed: of the first weights, the batches and the values drawn.

    Returns:
      The head; None without two values to choose from.
    """
    rows = np.flatnonzero(valid[asked.row])
    known = np.unique(asked.answer[rows])
    if len(known) < 2:
        return None
    drawn = rows[heads.batches(len(rows), seed)]
    columns, often = _columns(asked.answer[drawn], known, seed)
    named = _distinct(asked.property[drawn])
    scale = heads.Scale.fit(vectors[np.unique(asked.row[rows])])
    steps = {
        "rows": asked.row[drawn],
        "named": named,
        "property": _position(named, asked.property[drawn]),
        "columns": columns,
        "often": often.astype(np.float32),
        "answer": _position(columns, asked.answer[drawn]),
        "others": asked.others[drawn],
    }
    rng, width = np.random.default_rng([seed, 2]), vectors.shape[1]
    params = {
        "grams": heads.normal(rng, (values.shape[1], CODE), CODE**0.5),
        "item": heads.normal(rng, (width, HIDDEN), width),
        "asked": heads.normal(rng, (CODE, HIDDEN), 1),
        "hidden": np.zeros(HIDDEN, np.float32),
        "out": heads.normal(rng, (HIDDEN, CODE), HIDDEN),
        "bias": np.zeros(CODE, np.float32),
    }
    made = _trained(params, scale(vectors), properties, values, steps)
    return max((AnswerHead(scale, params) for params in heads.each(made)), key=better)


@jax.jit
def _trained(
    params: heads.Params,
    vectors: Float[Array, "n d"],
    properties: Float[Array, "p h"],
    values: Float[Array, "u h"],
    steps: dict[str, Array],
) -> heads.Params:
    return heads.trained(lambda params, drawn: loss(params, vectors, properties, values, drawn), params, steps)


def loss(
    params: heads.Params,
    vectors: Float[Array, "n d"],
    properties: Float[Array, "p h"],
    values: Float[Array, "u h"],
    drawn: dict[str, Array],
) -> Float[Array, ""]:
    """Mean cross-entropy of some questions.

    Args:
      params: of the head.
      vectors: scaled.
      properties, values: bags.
      drawn: ``rows`` [B] of the vectors; ``named`` [P], rows of the properties, and ``property`` [B], where among them;
        ``columns`` [C], rows of the values, how ``often`` each is drawn, and ``answer`` [B], where among them;
        ``others`` [B, R], rows of values that are true as well, -1 = none.
    """
    asked = (properties[drawn["named"]] @ params["grams"])[drawn["property"]]
    logits = _query(params, vectors[drawn["rows"]], asked) @ (values[drawn["columns"]] @ params["grams"]).T
    logits -= jnp.log(drawn["often"])
    true = (drawn["columns"][None, :, None] == drawn["others"][:, None, :]).any(-1)
    return optax.softmax_cross_entropy_with_integer_labels(jnp.where(true, -1e9, logits), drawn["answer"]).mean()


@jax.jit
def _query(params: heads.Params, items: Float[Array, "q d"], asked: Float[Array, "q e"]) -> Float[Array, "q e"]:
    hidden = jnp.tanh(items @ params["item"] + asked @ params["asked"] + params["hidden"])
    return hidden @ params["out"] + params["bias"]


def _columns(
    answers: Int[np.ndarray, "s b"], known: Int[np.ndarray, "k"], seed: int
) -> tuple[Int[np.ndarray, "s c"], Float[np.ndarray, "s c"]]:
    """The values in the softmax of every step, the batch's answers among them, and in what share of steps they are."""
    rng, size = np.random.default_rng([seed, 1]), min(heads.BATCH, len(known))
    columns = np.empty((len(answers), size), np.int64)
    for step, row in enumerate(answers):
        there = np.unique(row)
        others = np.setdiff1d(known, there, assume_unique=True)
        columns[step] = np.concatenate([there, rng.permutation(others)[: size - len(there)]])
    counts = np.bincount(columns.ravel(), minlength=known[-1] + 1)
    return columns, counts[columns] / len(answers)


def _distinct(named: Int[np.ndarray, "s b"]) -> Int[np.ndarray, "s c"]:
    """Each row's distinct numbers, the last repeated up to as many as there can be: shapes do not follow the draw."""
    rows, size = [np.unique(row) for row in named], min(heads.BATCH, len(np.unique(named)))
    return np.stack([np.pad(row, (0, size - len(row)), mode="edge") for row in rows])


def _position(columns: Int[np.ndarray, "s c"], wanted: Int[np.ndarray, "s b"]) -> Int[np.ndarray, "s b"]:
    """Where in its row of the columns each number stands; the first place of a repeated one."""
    found = np.empty(wanted.shape, np.int64)
    for step, (row, numbers) in enumerate(zip(columns, wanted, strict=True)):
        order = np.argsort(row, kind="stable")
        found[step] = order[np.searchsorted(row[order], numbers)]
    return found
