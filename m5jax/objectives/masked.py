"""The masked objectives: what was hidden, predicted from what was not (SCALE, section 3.3)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from m5jax.objectives.numerics import SumCount, masked_sum


def masked_tokens(
    logits: Float[Array, "b k v"],
    targets: Int[Array, "b k"],
    valid: Bool[Array, "b k"],
    logit_scale: Float[Array, "b"],
    loss_scale: Float[Array, "b"],
) -> SumCount:
    """Cross-entropy of the selected pieces; sum over them and their number."""
    scores = jax.nn.log_softmax(logits * logit_scale[:, None, None])
    losses = -jnp.take_along_axis(scores, targets[..., None], -1)[..., 0]
    return masked_sum(losses * loss_scale[:, None], valid)


def masked_blocks(
    predictions: Float[Array, "b k n"],
    targets: Float[Array, "b k n"],
    valid: Bool[Array, "b k"],
    prediction_scale: Float[Array, "b"],
    loss_scale: Float[Array, "b"],
    flat: float,
) -> SumCount:
    """Squared error per number of the selected blocks, each target block at zero mean and unit variance.

    The normalisation (He et al. 2022, section 3) puts pixels, spectra and unit-norm features on one scale:
    raw unit-norm features of 1,024 numbers would weigh a thousandth of a spectrum. `flat` is the variance
    below which a block counts as flat: the noise of a blank corner must not be blown up to unit size.
    """
    targets = jnp.where(valid[..., None], targets, 0.0)
    centred = targets - targets.mean(-1, keepdims=True)
    targets = centred * jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + flat)
    losses = jnp.square(predictions * prediction_scale[:, None, None] - targets).mean(-1)
    return masked_sum(losses * loss_scale[:, None], valid)
