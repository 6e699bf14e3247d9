"""What predicts: contrastive projections, and the masked objectives' heads."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Key

from m5jax.model_settings import Model, Objective
from m5jax.models.layers import Layout, dropout, encoder_layout, gelu, linear, norm
from m5jax.token_spec import TokenSpec

MAX_LOG_SCALE = math.log(100.0)  # as CLIP (Radford et al. 2021, section 2.5): sharper logits are unstable


class Comparing(nnx.Module):
    """What a network that compares embeddings has: the temperature of the contrastive objective, trained if `used`."""

    def __init__(self, objective: Objective, used: bool = True):
        self.fixed_temperature = objective.temperature
        if used and objective.learn_temperature:
            # Trained as log(1/temperature): always positive, and a step of one size means the same everywhere.
            self.log_scale = nnx.Param(jnp.full((), -math.log(self.fixed_temperature), jnp.float32))

    def temperature(self) -> Float[Array, ""]:
        """The contrastive objective's temperature; a trained one is bounded from below."""
        if "log_scale" not in vars(self):
            return jnp.float32(self.fixed_temperature)
        return jnp.exp(-jnp.minimum(self.log_scale[...], MAX_LOG_SCALE))


def pool(states: Float[Array, "b l d"], mask: Bool[Array, "b l"], how: str) -> Float[Array, "b d"]:
    """One state for a sequence: its first, or the mean of those present; float32, zero where nothing is present."""
    states = states.astype(jnp.float32)
    if how == "first":
        return jnp.where(mask[:, :1], states[:, 0], 0.0)
    present = mask[..., None]
    return jnp.where(present, states, 0.0).sum(1) / jnp.maximum(present.sum(1), 1)


class Pooler(nnx.Module):
    """ReLU(dense(pooled states)): the embedding a modality is compared by (SCALE, spec section 2.2).

    `width` is that of the states, 0 = config.width; `how` as in `pool`, "" = config.pool.
    """

    def __init__(self, config: Model, dtype: jnp.dtype, rngs: nnx.Rngs, width: int = 0, how: str = ""):
        self.dense = linear(width or config.width, config.projection, encoder_layout(config), dtype, rngs)
        self.how = how or config.pool

    def __call__(self, states: Float[Array, "b l d"], mask: Bool[Array, "b l"]) -> Float[Array, "b p"]:
        """The embedding, float32, not normalised."""
        return jax.nn.relu(self.dense(pool(states, mask, self.how))).astype(jnp.float32)


class Matcher(nnx.Module):
    """Are picture and text of one listing? BERT's pooler, tanh(dense(state)), and one logit in place of two."""

    def __init__(self, width: int, layout: Layout, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.dense = linear(width, width, layout, dtype, rngs)
        self.predict = linear(width, 1, layout, dtype, rngs)

    def pooled(self, state: Float[Array, "b d"]) -> Float[Array, "b d"]:
        """What BERT calls the pooled output."""
        return jnp.tanh(self.dense(state))

    def __call__(self, state: Float[Array, "b d"]) -> Float[Array, "b"]:
        """The logit, float32, of the state that stands for both."""
        return self.predict(self.pooled(state))[:, 0].astype(jnp.float32)


class MaskedHead(nnx.Module):
    """Dense, GELU, norm, then the vocabulary (tied) or the numbers of a block.

    `width` is that of the states, 0 = config.width; `outputs` how many numbers are told of a block, 0 = its own.
    """

    def __init__(
        self,
        spec: TokenSpec,
        vocabulary: int,
        config: Model,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
        width: int = 0,
        outputs: int = 0,
    ):
        layout, width = encoder_layout(config), width or config.width
        self.dense = linear(width, width, layout, dtype, rngs)
        self.norm = norm(width, layout, dtype, rngs)
        if spec.kind == "tokens":
            self.bias = nnx.Param(jnp.zeros(vocabulary))
        else:
            self.predict = linear(width, outputs or spec.dim, layout, dtype, rngs)
        self.kind = spec.kind

    def __call__(self, states: Float[Array, "b k d"], vocabulary: nnx.Embed | None) -> Float[Array, "b k v"]:
        """Logits over the vocabulary, or block values, float32; a model of pictures alone has no vocabulary."""
        states = self.norm(gelu(self.dense(states)))
        if vocabulary is not None and self.kind == "tokens":
            return vocabulary.attend(states).astype(jnp.float32) + self.bias[...]
        return self.predict(states).astype(jnp.float32)


class Classifier(nnx.Module):
    """The head of fine-tuning: all modalities' vectors side by side, a dense layer, dropout, the classes.

    There is no nonlinearity between (released code, spec section 5.2). The dense layer is also the fine-tuned
    product vector.
    """

    def __init__(self, modalities: int, classes: int, config: Model, dtype: jnp.dtype, rngs: nnx.Rngs, width: int = 0):
        """`width` is that of a modality's vector, 0 = config.width."""
        layout = encoder_layout(config)
        self.dense = linear(modalities * (width or config.width), config.projection, layout, dtype, rngs)
        self.predict = linear(config.projection, classes, layout, dtype, rngs)
        self.rate = config.dropout

    def vector(self, first: Float[Array, "b m d"]) -> Float[Array, "b p"]:
        """The dense layer, float32; the vectors of absent modalities are zeros."""
        return self.dense(first.reshape(len(first), -1)).astype(jnp.float32)

    def __call__(self, first: Float[Array, "b m d"], key: Key[Array, ""] | None) -> Float[Array, "b c"]:
        """Logits, float32."""
        return self.predict(dropout(self.vector(first), self.rate, key)).astype(jnp.float32)
