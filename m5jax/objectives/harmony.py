"""SCALE's self-harmonised weights: how far the modalities of one listing agree (paper, section 3.3)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from m5jax.objectives.numerics import normalise


def harmony(embeddings: Float[Array, "b m d"], present: Bool[Array, "b m"]) -> Float[Array, "b m m"]:
    """The matrix S of every listing, computed from its own embeddings as the released code does.

    With c the cosines of the listing's embeddings: r = c * softmax(c), row by row, and S = r with rows of unit
    length. S[i, j], i < j, weighs the contrastive pair; the diagonal weighs the masked objectives. M identical
    embeddings give 1/sqrt(M) everywhere, orthogonal ones the identity. Rows and columns of absent modalities
    are 0 and take no part in the softmax.
    """
    unit = normalise(embeddings)
    cosines = jnp.einsum("bid,bjd->bij", unit, unit)
    both = present[:, :, None] & present[:, None, :]
    # Finite instead of -inf: the softmax of an absent row must have a gradient that can be multiplied by 0.
    shares = jax.nn.softmax(jnp.where(both, cosines, -1e9), axis=-1)
    weighted = jnp.where(both, cosines * shares, 0.0)
    return normalise(weighted)


def agreement_shares(
    embeddings: Float[Array, "b m d"], present: Bool[Array, "b m"], temperature: Float[Array, ""]
) -> Float[Array, "b m"]:
    """How much each modality of a listing says in its product vector: the more, the more the others agree with it.

    The softmax, over the modalities present, of the mean cosine with the others present, at the temperature at
    which the contrastive objective compares cosines. A picture of another product agrees with nothing and says
    little. Ours, after SCALE's idea of weights that the modalities give each other. A single modality has share 1,
    an absent one 0.
    """
    unit = normalise(jnp.where(present[..., None], embeddings, 0.0))
    others = jnp.einsum("bid,bjd->bij", unit, unit) * (1 - jnp.eye(embeddings.shape[1]))
    mean = others.sum(-1) / jnp.maximum(present.sum(-1, keepdims=True) - 1, 1)
    shares = jax.nn.softmax(jnp.where(present, mean / temperature, -1e9), axis=-1)
    return jnp.where(present, shares, 0.0)
