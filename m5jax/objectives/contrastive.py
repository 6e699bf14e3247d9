"""The contrastive objective over all pairs of modalities that a listing has."""

import itertools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from m5jax.objectives.numerics import SumCount, masked_sum, normalise


def contrastive(
    embeddings: Float[Array, "b m d"],
    present: Bool[Array, "b m"],
    temperature: Float[Array, ""],
    logit_scale: Float[Array, "b m m"],
    loss_scale: Float[Array, "b m m"],
) -> dict[tuple[int, int], SumCount]:
    """Cross-modal InfoNCE of every pair i < j, both directions (SCALE, Eq. 2; negatives: the other listings).

    A listing counts for a pair if it has both modalities; its negatives are the listings that have the other
    one. A listing without either adds exactly nothing, whatever its embeddings hold.

    Args:
      embeddings: not normalised; content of absent modalities is never read.
      present: which modalities each listing has.
      temperature: divides the cosines.
      logit_scale, loss_scale: weights of pair [i, j], i < j, on a listing's logits and on its loss.

    Returns:
      per pair the sum over its listings of the mean of both directions, and the number of listings.
    """
    unit = normalise(jnp.where(present[..., None], embeddings, 0.0))
    totals = {}
    for i, j in itertools.combinations(range(embeddings.shape[1]), 2):
        similarity = unit[:, i] @ unit[:, j].T / temperature
        forward = _cross_entropy(similarity * logit_scale[:, i, j, None], present[:, j])
        backward = _cross_entropy(similarity.T * logit_scale[:, i, j, None], present[:, i])
        losses = 0.5 * (forward + backward) * loss_scale[:, i, j]
        totals[i, j] = masked_sum(losses, present[:, i] & present[:, j])
    return totals


def _cross_entropy(logits: Float[Array, "b b"], candidates: Bool[Array, "b"]) -> Float[Array, "b"]:
    """-log softmax of the diagonal among the candidate columns; a row's own column is always one of them."""
    own = jnp.eye(logits.shape[0], dtype=bool)
    logits = jnp.where(candidates[None, :] | own, logits, -jnp.inf)
    return jax.nn.logsumexp(logits, axis=-1) - jnp.diagonal(logits)
