"""The masked objectives: what was hidden, predicted from what was not (SCALE, section 3.3)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from m5jax.objectives.numerics import SumCount, masked_sum, normalise

FLAT_PIXELS, FLAT = 1e-2, 1e-6

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

    With `flat`, each target block is brought to zero mean and unit variance (`standardised`).
    """
    targets = jnp.where(valid[..., None], targets, 0.0)
    targets = standardised(targets, flat)
    return _per_listing(jnp.square(predictions * prediction_scale[:, None, None] - targets).mean(-1), valid)


def standardised(targets: Float[Array, "*n k"], flat: float | None) -> Float[Array, "*n k"]:
    """Blocks at zero mean and unit variance (He et al. 2022, section 3); as they are with None, as released.

    That puts pixels, spectra and unit-norm features on one scale: raw unit-norm features of 1,024 numbers would weigh a
    thousandth of a spectrum. `flat` is the variance below which a block counts as flat: the noise of a blank corner
    must not be blown up to unit size.
    """
    if flat is None:
        return targets
    centred = targets - targets.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + flat)


def flatness(dtype: str, regression: str) -> float | None:
    """The `flat` of a modality's blocks: by the dtype of its batch arrays and `config.objective.regression`."""
    return None if regression == "raw" else FLAT_PIXELS if dtype == "uint8" else FLAT


def masked_classes(
    logits: Float[Array, "b k c"], shares: Float[Array, "b k c"], valid: Bool[Array, "b k"]
) -> PerListing:
    """KL(shares || predicted) of the selected regions, summed over the classes of a detector (ViLBERT, section 2.2).

    Shares need not add up to one: they are brought there; a region whose detector gave none does not count.
    """
    shares = jnp.where(valid[..., None], shares.astype(jnp.float32), 0.0)
    total = shares.sum(-1, keepdims=True)
    valid = valid & (total[..., 0] > 0)
    shares = shares / jnp.where(total > 0, total, 1.0)
    logs = jnp.where(shares > 0, jnp.log(jnp.where(shares > 0, shares, 1.0)), 0.0)
    return _per_listing((shares * (logs - jax.nn.log_softmax(logits))).sum(-1), valid)


def noise_contrastive(
    predictions: Float[Array, "b k n"],
    targets: Float[Array, "b k n"],
    valid: Bool[Array, "b k"],
    temperature: Float[Array, ""],
) -> SumCount:
    """InfoNCE of every selected block among all that were selected in the batch, by cosines over the temperature.

    K3M's third way to ask for a masked object; the other listings' blocks and the listing's own others are the noise.
    """
    rows = valid.reshape(-1)
    found, wanted = (jnp.where(rows[:, None], x.reshape(len(rows), -1), 0.0) for x in (predictions, targets))
    logits = normalise(found) @ normalise(wanted).T / temperature
    logits = jnp.where(rows[None, :] | jnp.eye(len(rows), dtype=bool), logits, -jnp.inf)
    return masked_sum(jax.nn.logsumexp(logits, -1) - jnp.diagonal(logits), rows)


def _per_listing(losses: Float[Array, "b k"], valid: Bool[Array, "b k"]) -> PerListing:
    return jnp.where(valid, losses, 0.0).sum(-1), valid.sum(-1).astype(jnp.float32)
