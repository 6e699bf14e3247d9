"""The objective of fine-tuning: which category a listing has."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from m5jax.objectives.numerics import SumCount, masked_sum


def classification(logits: Float[Array, "b c"], labels: Int[Array, "b"]) -> dict[str, SumCount]:
    """Cross-entropy ("classification") and share of right answers ("accuracy") over the listings with a label >= 0."""
    known = labels >= 0
    own = jnp.where(known, labels, 0)
    scores = jax.nn.log_softmax(logits)
    return {
        "classification": masked_sum(-jnp.take_along_axis(scores, own[:, None], 1)[:, 0], known),
        "accuracy": masked_sum((logits.argmax(-1) == own).astype(jnp.float32), known),
    }
