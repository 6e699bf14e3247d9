"""Co-attention: two streams of possibly different widths, each attending to the other (Lu et al., ViLBERT, 2019).

One layer of it is ViLBERT's connection layer, as released: both streams attend to each other as they came in, each adds
what it gathered and is normalised, then passes its own feed-forward. B listings, L and N tokens, D and E widths.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Key

from m5jax.model_settings import Model, Tower
from m5jax.models.layers import CrossAttention, FeedForward, Layout, dropout, norm, repeated

Pair = tuple[Float[Array, "b l d"], Float[Array, "b n e"]]


class Side(nnx.Module):
    """What one stream does in a layer of co-attention; parts are called as in `layers.Block`."""

    def __init__(
        self, own: Tower, other: Tower, tower: Tower, layout: Layout, config: Model, dtype: jnp.dtype, rngs: nnx.Rngs
    ):
        """`own`, `other`: towers of the two streams, of which widths and hidden units count; `tower`: the attention."""
        width, theirs = own.width or config.width, other.width or config.width
        self.norm_attention = norm(width, layout, dtype, rngs)
        self.attention = CrossAttention(width, theirs, tower.width or config.width, tower.heads, layout, dtype, rngs)
        self.norm_mlp = norm(width, layout, dtype, rngs)
        self.mlp = FeedForward(width, own.hidden or 4 * width, layout, dtype, rngs)
        self.rate, self.post_norm = config.dropout, layout.post_norm

    def offered(self, x: Float[Array, "b l d"]) -> Float[Array, "b l d"]:
        """What the attention, one's own and the other's, reads of the stream."""
        return x if self.post_norm else self.norm_attention(x)

    def __call__(
        self,
        x: Float[Array, "b l d"],
        own: Float[Array, "b l d"],
        other: Float[Array, "b n e"],
        mask: Bool[Array, "b n"],
        key: Key[Array, ""] | None,
    ) -> Float[Array, "b l d"]:
        """The stream after the layer: x, with what it gathered from what the mask shows of the other one.

        `own` and `other` are what the two offer.
        """
        keys = (None, None) if key is None else jax.random.split(key)
        x = x + dropout(self.attention(own, other, mask), self.rate, keys[0])
        if self.post_norm:
            x = self.norm_attention(x)
            return self.norm_mlp(x + dropout(self.mlp(x), self.rate, keys[1]))
        return x + dropout(self.mlp(self.norm_mlp(x)), self.rate, keys[1])


class CoAttention(nnx.Module):
    """One layer: text and a grid (picture, clip, sound) attend to each other."""

    def __init__(
        self, tower: Tower, text: Tower, grid: Tower, layout: Layout, config: Model, dtype: jnp.dtype, rngs: nnx.Rngs
    ):
        """`text`, `grid`: towers of the streams, of which widths and hidden units count; `tower`: of the attention."""
        self.text = Side(text, grid, tower, layout, config, dtype, rngs)
        self.grid = Side(grid, text, tower, layout, config, dtype, rngs)

    def __call__(
        self,
        text: Float[Array, "b l d"],
        grid: Float[Array, "b n e"],
        text_mask: Bool[Array, "b l"],
        grid_mask: Bool[Array, "b n"],
        key: Key[Array, ""] | None,
    ) -> Pair:
        """Both streams after the layer. One whose other side is absent gathers nothing and stays its own."""
        keys = (None, None) if key is None else jax.random.split(key)
        words, blocks = self.text.offered(text), self.grid.offered(grid)
        return self.text(text, words, blocks, grid_mask, keys[0]), self.grid(grid, blocks, words, text_mask, keys[1])


class CoStack(nnx.Module):
    """Layers of co-attention whose parameters lie along a leading axis, run by one `lax.scan`."""

    def __init__(
        self, tower: Tower, text: Tower, grid: Tower, layout: Layout, config: Model, dtype: jnp.dtype, rngs: nnx.Rngs
    ):
        """As `CoAttention`, `tower.layers` of them."""
        make = nnx.vmap(
            lambda forked: CoAttention(tower, text, grid, layout, config, dtype, forked), in_axes=0, out_axes=0
        )
        self.blocks = make(rngs.split(tower.layers))
        self.last_norm = layout.last_norm
        if layout.last_norm:
            self.norm_text = norm(text.width or config.width, layout, dtype, rngs)
            self.norm_grid = norm(grid.width or config.width, layout, dtype, rngs)
        self.layers, self.scan, self.remat = tower.layers, config.scan, config.remat

    def __call__(
        self,
        text: Float[Array, "b l d"],
        grid: Float[Array, "b n e"],
        text_mask: Bool[Array, "b l"],
        grid_mask: Bool[Array, "b n"],
        key: Key[Array, ""] | None,
    ) -> Pair:
        """Both streams after all layers."""
        graphdef, params = nnx.split(self.blocks)

        def body(streams: Pair, layer: tuple) -> tuple[Pair, None]:
            layer_params, layer_key = layer
            return nnx.merge(graphdef, layer_params)(*streams, text_mask, grid_mask, layer_key), None

        keys = None if key is None else jax.random.split(key, self.layers)
        text, grid = repeated(body, (text, grid), (params, keys), self.layers, self.scan, self.remat)
        return (self.norm_text(text), self.norm_grid(grid)) if self.last_norm else (text, grid)
