"""What predicts: contrastive projections, and the masked objectives' heads."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from m5jax.config import Model
from m5jax.models.layers import NORM_EPS
from m5jax.token_spec import TokenSpec


def pool(states: Float[Array, "b l d"], mask: Bool[Array, "b l"], how: str) -> Float[Array, "b d"]:
    """One state for a sequence: its first, or the mean of those present; float32, zero where nothing is present."""
    states = states.astype(jnp.float32)
    if how == "first":
        return jnp.where(mask[:, :1], states[:, 0], 0.0)
    present = mask[..., None]
    return jnp.where(present, states, 0.0).sum(1) / jnp.maximum(present.sum(1), 1)


class Pooler(nnx.Module):
    """ReLU(dense(pooled states)): the embedding a modality is compared by (SCALE, spec section 2.2)."""

    def __init__(self, config: Model, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.dense = nnx.Linear(config.width, config.projection, dtype=dtype, rngs=rngs)
        self.how = config.pool

    def __call__(self, states: Float[Array, "b l d"], mask: Bool[Array, "b l"]) -> Float[Array, "b p"]:
        """The embedding, float32, not normalised."""
        return jax.nn.relu(self.dense(pool(states, mask, self.how))).astype(jnp.float32)


class MaskedHead(nnx.Module):
    """Dense, GELU, norm, then the vocabulary (tied) or the numbers of a block."""

    def __init__(self, spec: TokenSpec, vocabulary: int, config: Model, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.dense = nnx.Linear(config.width, config.width, dtype=dtype, rngs=rngs)
        self.norm = nnx.LayerNorm(config.width, epsilon=NORM_EPS, dtype=dtype, rngs=rngs)
        if spec.kind == "tokens":
            self.bias = nnx.Param(jnp.zeros(vocabulary))
        else:
            self.predict = nnx.Linear(config.width, spec.dim, dtype=dtype, rngs=rngs)
        self.kind = spec.kind

    def __call__(self, states: Float[Array, "b k d"], vocabulary: nnx.Embed) -> Float[Array, "b k v"]:
        """Logits over the vocabulary, or block values, float32."""
        states = self.norm(jax.nn.gelu(self.dense(states)))
        if self.kind == "tokens":
            return vocabulary.attend(states).astype(jnp.float32) + self.bias[...]
        return self.predict(states).astype(jnp.float32)
