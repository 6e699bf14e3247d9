"""SCALE's self-harmonised weights: how far the modalities of one listing agree (paper, section 3.3).

Every function gives a matrix [B, M, M]: [i, j], i < j, weighs the contrastive pair, the diagonal the masked objectives.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from m5jax.objectives.numerics import EPS, normalise

SHARPNESS = 2.0


def harmony(embeddings: Float[Array, "b m d"], present: Bool[Array, "b m"]) -> Float[Array, "b m m"]:
    """The matrix S of every listing, computed from its own embeddings as the released code does.

    With c the cosines of the listing's embeddings: r = c * softmax(c), row by row, and S = r with rows of unit
    length. M identical embeddings give 1/sqrt(M) everywhere, orthogonal ones the identity. Rows and columns of absent
    modalities are 0 and take no part in the softmax. S is not symmetric.
    """
    unit = normalise(embeddings)
    cosines = jnp.einsum("bid,bjd->bij", unit, unit)
    both = present[:, :, None] & present[:, None, :]
    # Finite instead of -inf: the softmax of an absent row must have a gradient that can be multiplied by 0.
    shares = jax.nn.softmax(jnp.where(both, cosines, -1e9), axis=-1)
    weighted = jnp.where(both, cosines * shares, 0.0)
    return normalise(weighted)


def free(matrix: Float[Array, "m m"], present: Bool[Array, "b m"]) -> Float[Array, "b m m"]:
    """Weights from one trained matrix for all listings: 2 sigmoid(matrix), so 1 at its start of zeros.

    The paper starts S at zero and multiplies losses by S * softmax(S), whose descent is to minus infinity (spec
    section 3.5). A positive, bounded weight together with the `barrier` has a minimum instead.
    """
    both = present[:, :, None] & present[:, None, :]
    return jnp.where(both, 2.0 * jax.nn.sigmoid(matrix), 0.0)


def barrier(weights: Float[Array, "b"]) -> Float[Array, "b"]:
    """-log(weight), to be added to weight * loss: the sum is least at weight = 1 / loss (Kendall et al. 2018).

    So what stays hard to tell, noise above all, ends with little weight, and no weight ends at zero. Nothing is added
    for a weight of 0, that of an absent modality.
    """
    there = weights > 0
    return -jnp.where(there, jnp.log(jnp.where(there, weights, 1.0)), 0.0)


def agreement(embeddings: Float[Array, "b m d"], present: Bool[Array, "b m"]) -> Float[Array, "b m m"]:
    """Weights that grow with agreement, in comparison with the other listings of the batch.

    Released weights reward a modality that disagrees on the diagonal (spec, finding 5), and compare a listing's pairs
    with each other, although title and table always agree more than picture and sound. Here the cosine of a pair is
    compared with the same pair of other listings, z = (c - mean) / deviation. w = 2 sigmoid(SHARPNESS z) is brought
    to mean 1 over the listings that have both: a pair keeps its share of the objective, and within it a listing whose
    modalities agree less than others' gets less. The diagonal is a modality's mean weight with the others present,
    1 where it is alone. Not to be differentiated.
    """
    unit = normalise(jnp.where(present[..., None], embeddings, 0.0))
    cosines = jnp.einsum("bid,bjd->bij", unit, unit)
    both = (present[:, :, None] & present[:, None, :]).astype(cosines.dtype)
    count = jnp.maximum(both.sum(0), 1.0)
    centred = (cosines - (cosines * both).sum(0) / count) * both
    deviation = jnp.sqrt((centred * centred).sum(0) / count + EPS)
    weights = 2.0 * jax.nn.sigmoid(SHARPNESS * centred / deviation) * both
    weights = weights * count / jnp.maximum(weights.sum(0), EPS)
    eye = jnp.eye(present.shape[1])
    others = both * (1 - eye)
    mean = (weights * others).sum(-1) / jnp.maximum(others.sum(-1), 1.0)
    mean = jnp.where(others.sum(-1) > 0, mean, 1.0) * present
    return weights * (1 - eye) + mean[..., None] * eye


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
