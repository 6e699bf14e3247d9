"""From the arrays of one modality to a sequence of token states: embedding and unimodal encoder.

Raw media and pre-extracted features share this code: both are grids cut into blocks (`modalities.py`). The
first state of every sequence stands for the whole modality: CLS for text, the mean block for a grid.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Key, Shaped

from m5jax.config import Model
from m5jax.models.layers import Stack, dropout
from m5jax.token_spec import TokenSpec

_INIT = nnx.initializers.normal(0.02)


def to_blocks(values: Shaped[Array, "b *grid"], spec: TokenSpec) -> Float[Array, "b l k"]:
    """Cuts a grid into blocks, one token of `spec.dim` numbers each, in row-major order of the blocks.

    uint8 pixels become [-1, 1]; other dtypes are taken as they are.
    """
    x = values.astype(jnp.float32)
    x = x / 127.5 - 1.0 if values.dtype == jnp.uint8 else x
    *sizes, channels = spec.grid
    split = [part for size, block in zip(sizes, spec.block, strict=True) for part in (size // block, block)]
    axes = len(sizes)
    x = x.reshape(-1, *split, channels)
    outer, inner = range(1, 2 * axes, 2), range(2, 2 * axes + 1, 2)
    return x.transpose(0, *outer, *inner, 2 * axes + 1).reshape(-1, spec.length, spec.dim)


class GridEmbedder(nnx.Module):
    """Blocks to states: SCALE's E = W f + position with the mean block in front (spec section 2.2)."""

    def __init__(self, spec: TokenSpec, config: Model, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.project = nnx.Linear(spec.dim, config.width, dtype=dtype, rngs=rngs)
        self.position = nnx.Param(_INIT(rngs.params(), (spec.length + 1, config.width)))
        self.hidden = nnx.Param(_INIT(rngs.params(), (config.width,)))
        self.dtype = dtype

    def __call__(
        self, blocks: Float[Array, "b l k"], mask: Bool[Array, "b l"], selected: Bool[Array, "b l"]
    ) -> tuple[Float[Array, "b l+1 d"], Bool[Array, "b l+1"]]:
        """States and mask of the sequence; `selected` blocks are replaced by one learned state."""
        shown = (mask & ~selected)[..., None]
        blocks = jnp.where(shown, blocks, 0.0)
        mean = blocks.sum(1, keepdims=True) / jnp.maximum(shown.sum(1, keepdims=True), 1)
        states = self.project(jnp.concatenate([mean, blocks], 1).astype(self.dtype))
        first = jnp.zeros_like(selected[:, :1])
        replaced = jnp.concatenate([first, selected], 1)[..., None]
        states = jnp.where(replaced, self.hidden[...].astype(self.dtype), states)
        present = mask.any(1, keepdims=True)
        return states + self.position[...].astype(self.dtype), jnp.concatenate([present, mask], 1)


class TokenEmbedder(nnx.Module):
    """Ids to states: vocabulary (shared among modalities) plus position."""

    def __init__(self, spec: TokenSpec, config: Model, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.position = nnx.Param(_INIT(rngs.params(), (spec.length, config.width)))
        self.dtype = dtype

    def __call__(self, ids: Int[Array, "b l"], vocabulary: nnx.Embed) -> Float[Array, "b l d"]:
        """The state of every id at its place."""
        return vocabulary(ids).astype(self.dtype) + self.position[...].astype(self.dtype)


class Encoder(nnx.Module):
    """One modality's embedding, norm and transformer."""

    def __init__(self, spec: TokenSpec, config: Model, dtype: jnp.dtype, rngs: nnx.Rngs):
        embedder = TokenEmbedder if spec.kind == "tokens" else GridEmbedder
        self.embed = embedder(spec, config, dtype, rngs)
        self.stack = Stack(config.encoder_layers, config, dtype, rngs)
        self.spec, self.rate = spec, config.dropout

    def __call__(
        self, arrays: dict, vocabulary: nnx.Embed, key: Key[Array, ""] | None
    ) -> tuple[Float[Array, "b n d"], Bool[Array, "b n"]]:
        """States [B, N, D] and their mask [B, N]; N = L for kind tokens, L + 1 for a grid.

        What an absent modality's arrays hold is replaced by zeros before anything is computed from it.
        """
        mask = arrays["mask"]
        if isinstance(self.embed, TokenEmbedder):
            states = self.embed(jnp.where(mask, arrays["ids"], 0), vocabulary)
        else:
            blocks = to_blocks(arrays["values"], self.spec)
            states, mask = self.embed(blocks, mask, selected(arrays))
        keys = (None, None) if key is None else jax.random.split(key)
        states = jnp.where(mask[..., None], dropout(states, self.rate, keys[0]), 0.0)
        return self.stack(states, mask, keys[1]), mask


def selected(arrays: dict) -> Bool[Array, "b l"]:
    """The blocks that a masked objective hides; none outside training."""
    mask = arrays["mask"]
    if "masked" not in arrays:
        return jnp.zeros_like(mask)
    masked = arrays["masked"]
    hits = jax.nn.one_hot(masked["positions"], mask.shape[1], dtype=jnp.bool_) & masked["valid"][..., None]
    return hits.any(1) & mask
