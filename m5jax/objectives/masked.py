"""The masked objectives: what was hidden, predicted from what was not (SCALE, section 3.3)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

PerListing = tuple[Float[Array, "b"], Float[Array, "b"]]
"""Of every listing the sum of its losses and their number, so that weights of listings can still act on them."""


def masked_tokens(
    logits: Float[Array, "b k v"],
    targets: Int[Array, "b k"],
    valid: Bool[Array, "b k"],
    logit_scale: Float[Array, "b"],
) -> PerListing:
    """Cross-entropy of the selected pieces. `logit_scale` is a listing's inverse temperature."""
    scores = jax.nn.log_softmax(logits * logit_scale[:, None, None])
    return _per_listing(-jnp.take_along_axis(scores, targets[..., None], -1)[..., 0], valid)


def masked_blocks(
    predictions: Float[Array, "b k n"],
    targets: Float[Array, "b k n"],
    valid: Bool[Array, "b k"],
    prediction_scale: Float[Array, "b"],
    flat: float | None,
) -> PerListing:
    """Squared error per number of the selected blocks.

    With `flat`, each target block is brought to zero mean and unit variance (He et al. 2022, section 3), which puts
    pixels, spectra and unit-norm features on one scale: raw unit-norm features of 1,024 numbers would weigh a
    thousandth of a spectrum. `flat` is the variance below which a block counts as flat: the noise of a blank corner
    must not be blown up to unit size. None leaves the targets as they are, as released.
    """
    targets = jnp.where(valid[..., None], targets, 0.0)
    if flat is not None:
        centred = targets - targets.mean(-1, keepdims=True)
        targets = centred * jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + flat)
    return _per_listing(jnp.square(predictions * prediction_scale[:, None, None] - targets).mean(-1), valid)


def _per_listing(losses: Float[Array, "b k"], valid: Bool[Array, "b k"]) -> PerListing:
    return jnp.where(valid, losses, 0.0).sum(-1), valid.sum(-1).astype(jnp.float32)
