"""Link prediction: which value has the hidden property of a listing (K3M, its third objective)."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from m5jax.model_settings import Objective
from m5jax.objectives.numerics import SumCount, masked_sum


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


def link_prediction(asked: Asked, objective: Objective) -> dict[str, SumCount]:
    """The objective ("link_prediction"), and how often the true value is nearest ("linked"), over the valid triples.

    The candidates of a triple are the values of the batch but those that are true of it, too.
    """
    batch, count, size = asked.properties.shape
    towards = (asked.items[:, None] + asked.properties).reshape(-1, size)
    values, valid = asked.values.reshape(-1, size), asked.valid.reshape(-1)
    keys, others = asked.key.reshape(-1), asked.others.reshape(batch * count, -1)
    true = (keys[:, None] == keys[None, :]) | (others[:, :, None] == keys[None, None, :]).any(1)
    wrong = ~true & valid[None, :]
    distances = _distances(towards, values)
    own = jnp.diagonal(distances)
    nearest = own <= jnp.where(wrong, distances, jnp.inf).min(-1)
    if objective.link_score == "softmax":
        logits = jnp.where(wrong | jnp.eye(len(keys), dtype=bool), -distances, -jnp.inf)
        losses = jax.nn.logsumexp(logits, -1) + own
    else:
        gaps = jnp.maximum(0.0, objective.link_margin + own[:, None] - distances)
        losses = jnp.where(wrong, gaps, 0.0).sum(-1) / jnp.maximum(wrong.sum(-1), 1)
    return {
        "link_prediction": masked_sum(losses, valid),
        "linked": masked_sum(nearest.astype(jnp.float32), valid),
    }


def _distances(x: Float[Array, "n d"], y: Float[Array, "n d"]) -> Float[Array, "n n"]:
    """Euclidean distances; the gradient of a zero one is zero."""
    square = jnp.square(x[:, None] - y[None, :]).sum(-1)
    there = square > 0
    return jnp.where(there, jnp.sqrt(jnp.where(there, square, 1.0)), 0.0)
