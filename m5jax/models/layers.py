"""Transformer layers: attention, feed-forward, block, and a stack of blocks scanned as one.

Modules hold parameters only; randomness is an argument (None = evaluation). B listings, L tokens, D width.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Key

from m5jax.config import Model

_REMAT: dict[str, Callable | None] = {"dots": jax.checkpoint_policies.checkpoint_dots, "full": None}
NORM_EPS = 1e-6


def dropout(x: Array, rate: float, key: Key[Array, ""] | None) -> Array:
    """Inverted dropout; the identity without a key."""
    if key is None or rate == 0.0:
        return x
    kept = jax.random.bernoulli(key, 1.0 - rate, x.shape)
    return jnp.where(kept, x / (1.0 - rate), 0.0).astype(x.dtype)


class Attention(nnx.Module):
    """Multi-head self-attention in which masked tokens are never attended to."""

    def __init__(self, config: Model, dtype: jnp.dtype, rngs: nnx.Rngs):
        heads, size = config.heads, config.width // config.heads
        self.qkv = nnx.LinearGeneral(config.width, (3, heads, size), dtype=dtype, rngs=rngs)
        self.out = nnx.LinearGeneral((heads, size), config.width, axis=(-2, -1), dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "b l d"], mask: Bool[Array, "b l"]) -> Float[Array, "b l d"]:
        """A listing with no token at all gets the mean of the values: finite, and never read."""
        query, key, value = jnp.moveaxis(self.qkv(x), -3, 0)
        mixed = jax.nn.dot_product_attention(query, key, value, mask=mask[:, None, None, :])
        return self.out(mixed)


class FeedForward(nnx.Module):
    """Two layers with a GELU between."""

    def __init__(self, config: Model, dtype: jnp.dtype, rngs: nnx.Rngs):
        hidden = round(config.width * config.mlp_ratio)
        self.up = nnx.Linear(config.width, hidden, dtype=dtype, rngs=rngs)
        self.down = nnx.Linear(hidden, config.width, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "b l d"]) -> Float[Array, "b l d"]:
        """Every token by itself."""
        return self.down(jax.nn.gelu(self.up(x)))


class Block(nnx.Module):
    """Pre-norm transformer block (Xiong et al. 2020)."""

    def __init__(self, config: Model, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.norm_attention = nnx.LayerNorm(config.width, epsilon=NORM_EPS, dtype=dtype, rngs=rngs)
        self.attention = Attention(config, dtype, rngs)
        self.norm_mlp = nnx.LayerNorm(config.width, epsilon=NORM_EPS, dtype=dtype, rngs=rngs)
        self.mlp = FeedForward(config, dtype, rngs)
        self.rate = config.dropout

    def __call__(
        self, x: Float[Array, "b l d"], mask: Bool[Array, "b l"], key: Key[Array, ""] | None
    ) -> Float[Array, "b l d"]:
        """The tokens after attention and feed-forward, each added to what came in."""
        keys = (None, None) if key is None else jax.random.split(key)
        x = x + dropout(self.attention(self.norm_attention(x), mask), self.rate, keys[0])
        return x + dropout(self.mlp(self.norm_mlp(x)), self.rate, keys[1])


class Stack(nnx.Module):
    """Blocks whose parameters lie along a leading axis, run by one `lax.scan`, and a last norm."""

    def __init__(self, layers: int, config: Model, dtype: jnp.dtype, rngs: nnx.Rngs):
        make = nnx.vmap(lambda forked: Block(config, dtype, forked), in_axes=0, out_axes=0)
        self.blocks = make(rngs.split(layers))
        self.norm = nnx.LayerNorm(config.width, epsilon=NORM_EPS, dtype=dtype, rngs=rngs)
        self.layers, self.scan, self.remat = layers, config.scan, config.remat

    def __call__(
        self, x: Float[Array, "b l d"], mask: Bool[Array, "b l"], key: Key[Array, ""] | None
    ) -> Float[Array, "b l d"]:
        """The tokens after all blocks and the norm."""
        graphdef, params = nnx.split(self.blocks)

        def body(state: Array, layer: tuple) -> tuple[Array, None]:
            layer_params, layer_key = layer
            return nnx.merge(graphdef, layer_params)(state, mask, layer_key), None

        if self.remat != "none":
            body = jax.checkpoint(body, policy=_REMAT[self.remat], prevent_cse=not self.scan)
        layers = (params, None if key is None else jax.random.split(key, self.layers))
        if self.scan:
            x, _ = jax.lax.scan(body, x, layers)
        else:
            for i in range(self.layers):
                x, _ = body(x, jax.tree.map(lambda leaf, i=i: leaf[i], layers))
        return self.norm(x)
