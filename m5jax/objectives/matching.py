"""Are picture and text of one listing? (BERT's next sentence, for two modalities; Lu et al., ViLBERT, section 2.2.)"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from m5jax.objectives.numerics import SumCount, masked_sum


def matching(logits: Float[Array, "b"], matched: Bool[Array, "b"], both: Bool[Array, "b"]) -> dict[str, SumCount]:
    """Cross-entropy ("matching") and share of right answers ("matched") over the listings that have both."""
    losses = jax.nn.softplus(jnp.where(matched, -logits, logits))
    return {
        "matching": masked_sum(losses, both),
        "matched": masked_sum(((logits > 0) == matched).astype(jnp.float32), both),
    }
