"""The contrastive objective over all pairs of modalities that a listing has."""

import itertools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from m5jax.objectives.numerics import SumCount, masked_sum, normalise

Pairs = dict[tuple[int, int], Float[Array, "b"]]


def contrastive(
    embeddings: Float[Array, "b m d"],
    present: Bool[Array, "b m"],
    temperature: Float[Array, ""],
    logit_scale: Float[Array, "b m m"],
    negatives: str,
) -> Pairs:
    """InfoNCE of every pair i < j, per listing the mean of both directions (SCALE, Eq. 2).

    The negatives of a listing are the listings that have the other modality ("cross_modal", as in the paper's
    equation), and with "simclr" also those that have its own (as released: both modalities of all listings in one
    similarity matrix). What an absent modality's embedding holds adds exactly nothing.

    Args:
      embeddings: not normalised; content of absent modalities is never read.
      present: which modalities each listing has.
      temperature: divides the cosines.
      logit_scale: weights of pair [i, j], i < j, on a listing's logits.
      negatives: "cross_modal" or "simclr".

    Returns:
      per pair the loss of every listing; `pair_total` adds up those that have both.
    """
    unit = normalise(jnp.where(present[..., None], embeddings, 0.0))
    losses = {}
    for i, j in itertools.combinations(range(embeddings.shape[1]), 2):
        scale = logit_scale[:, i, j, None] / temperature
        across = unit[:, i] @ unit[:, j].T
        one, other = (across * scale, present[:, j]), (across.T * scale, present[:, i])
        within_i = within_j = None
        if negatives == "simclr":
            within_i = (unit[:, i] @ unit[:, i].T * scale, present[:, i])
            within_j = (unit[:, j] @ unit[:, j].T * scale, present[:, j])
        losses[i, j] = 0.5 * (_cross_entropy(*one, within_i) + _cross_entropy(*other, within_j))
    return losses


def pair_total(losses: Float[Array, "b"], present: Bool[Array, "b m"], i: int, j: int) -> SumCount:
    """Sum and number over the listings that have both modalities."""
    return masked_sum(losses, present[:, i] & present[:, j])


def _cross_entropy(
    logits: Float[Array, "b b"], candidates: Bool[Array, "b"], more: tuple[Array, Array] | None
) -> Float[Array, "b"]:
    """-log softmax of the diagonal among the candidate columns; a row's own column is always one of them.

    `more` are further logits [B, B] and candidates, without the diagonal: similarities within one modality.
    """
    own = jnp.eye(logits.shape[0], dtype=bool)
    terms = [jnp.where(candidates[None, :] | own, logits, -jnp.inf)]
    if more is not None:
        terms.append(jnp.where(more[1][None, :] & ~own, more[0], -jnp.inf))
    return jax.nn.logsumexp(jnp.concatenate(terms, 1), axis=-1) - jnp.diagonal(logits)
