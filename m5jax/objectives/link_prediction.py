"""Link prediction: which value has the hidden property of a listing? (K3M, its third objective.)

A triple <item, property, value> is as good as d = |c* + p - v| is small (translation, Bordes et al., TransE, 2013).
What is wrong comes from the batch, all of it and nothing else, so that the objective is a function of the batch: the
other values, and the other items. N triples = B listings times T asked of each, D width.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from m5jax.model_settings import Objective
from m5jax.objectives.numerics import EPS, SumCount, masked_sum


@dataclasses.dataclass(frozen=True)
class Asked:
    """Triples <item, property, ?> of a batch.

    Attributes:
      items: vectors c* of the listings, computed without the triples that are asked for.
      properties, values: vectors of the asked properties and of their true values.
      valid: which triples there are.
      key: tells values apart: equal where two triples have the same value.
      others: keys of the listing's other true values of the property, which are no wrong answers; 0 = none.
    """

    items: Float[Array, "b d"]
    properties: Float[Array, "b t d"]
    values: Float[Array, "b t d"]
    valid: Bool[Array, "b t"]
    key: Int[Array, "b t"]
    others: Int[Array, "b t r"]

    @classmethod
    def of(cls, coupled: dict[str, Array], batch: dict) -> "Asked":
        """From a model's coupled arrays "items", "properties" and "values", and what the batch says beside words."""
        asked = batch["table"]["asked"]
        vectors = (coupled[name] for name in ("items", "properties", "values"))
        return cls(*vectors, *(asked[name] for name in ("valid", "key", "others")))


def link_prediction(asked: Asked, objective: Objective) -> dict[str, SumCount]:
    """The objective, and how well the true value is found, over the valid triples, as (sum, count).

    Candidates of a triple are the distinct values that are asked for in the batch, without those that are true of the
    listing, too ("filtered"). `link_score` = "softmax": cross-entropy of -d over them. "margin": the mean over the
    wrong ones of max(0, margin + d - d_wrong), half of it over wrong values, half over wrong items, the other listings
    that are not asked for this value. A triple without anything wrong to compare with adds nothing.

    Returns:
      "link_prediction"; "linked", the share of triples whose true value is nearer than every wrong one (Rank@1; a tie
      is a miss); "link_mrr", the mean of 1 / rank.
    """
    batch, count, size = asked.properties.shape
    keys, valid = asked.key.reshape(-1), asked.valid.reshape(-1)
    others = asked.others.reshape(batch * count, -1)
    items = jnp.repeat(asked.items, count, 0)
    properties, values = asked.properties.reshape(-1, size), asked.values.reshape(-1, size)
    true = (keys[:, None] == keys[None, :]) | (others[:, :, None] == keys[None, None, :]).any(1)
    wrong = ~true & _first(keys, valid)[None, :]
    distances = _distances(items + properties, values, valid)
    own = _length(items + properties - values)
    # Of the same matrix, so that a value that reads the same is a tie, whatever the rounding.
    ranks = 1 + (wrong & (distances <= jnp.diagonal(distances)[:, None])).sum(-1)
    if objective.link_score == "softmax":
        logits = jnp.where(wrong, -distances, -jnp.inf)
        losses, counts = jax.nn.logsumexp(jnp.concatenate([-own[:, None], logits], 1), -1) + own, wrong.any(-1)
    else:
        asks = (keys[:, None, None] == asked.key) & asked.valid  # whether a listing is asked for this value, too
        wrong_items = ~asks.any(-1) & asked.valid.any(-1)[None, :]
        from_items = _distances(values - properties, asked.items, valid, asked.valid.any(-1))
        kinds = [
            _hinges(own, far, which, objective.link_margin)
            for far, which in ((distances, wrong), (from_items, wrong_items))
        ]
        there = jnp.stack([which.any(-1) for which in (wrong, wrong_items)]).astype(jnp.float32)
        losses, counts = (jnp.stack(kinds) * there).sum(0) / jnp.maximum(there.sum(0), 1.0), there.any(0)
    return {
        "link_prediction": masked_sum(losses, valid & counts),
        "linked": masked_sum((ranks == 1).astype(jnp.float32), valid),
        "link_mrr": masked_sum(1.0 / ranks, valid),
    }


def _hinges(
    own: Float[Array, "n"], far: Float[Array, "n m"], wrong: Bool[Array, "n m"], margin: float
) -> Float[Array, "n"]:
    """The mean over what is wrong of how much is missing to the margin; 0 where nothing is wrong."""
    missing = jnp.where(wrong, jnp.maximum(0.0, margin + own[:, None] - far), 0.0)
    return missing.sum(-1) / jnp.maximum(wrong.sum(-1), 1)


def _first(keys: Int[Array, "n"], valid: Bool[Array, "n"]) -> Bool[Array, "n"]:
    """Every value once: the valid ones that no valid one before has the key of."""
    same = (keys[:, None] == keys[None, :]) & valid[None, :]
    return valid & ~jnp.tril(same, -1).any(-1)


def _length(x: Float[Array, "n d"]) -> Float[Array, "n"]:
    """Euclidean; of next to nothing 0 with zero gradient."""
    return _root(jnp.square(x).sum(-1))


def _distances(
    x: Float[Array, "n d"],
    y: Float[Array, "m d"],
    x_there: Bool[Array, "n"],
    y_there: Bool[Array, "m"] | None = None,
) -> Float[Array, "n m"]:
    """Euclidean distances by one product, |x|^2 + |y|^2 - 2 xy; of what is not there anything finite.

    At full precision, and without what all vectors have in common: differences of large numbers would be rounded.
    """
    y_there = x_there if y_there is None else y_there
    x, y = jnp.where(x_there[:, None], x, 0.0), jnp.where(y_there[:, None], y, 0.0)
    common = y.sum(0) / jnp.maximum(y_there.sum(), 1)
    x, y = (rows - jax.lax.stop_gradient(common) for rows in (x, y))
    products = jnp.matmul(x, y.T, precision="highest")
    return _root(jnp.square(x).sum(-1)[:, None] + jnp.square(y).sum(-1)[None, :] - 2 * products)


def _root(square: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Square root; of next to nothing, and of less by rounding, 0 with zero gradient."""
    there = square > EPS
    return jnp.where(there, jnp.sqrt(jnp.where(there, square, 1.0)), 0.0)
