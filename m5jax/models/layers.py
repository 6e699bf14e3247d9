"""Transformer layers: attention, feed-forward, block, and a stack of blocks scanned as one.

Modules hold parameters only; randomness is an argument (None = evaluation). B listings, L tokens, D width.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Key

from m5jax.model_settings import Model, Tower

_REMAT: dict[str, Callable | None] = {"dots": jax.checkpoint_policies.checkpoint_dots, "full": None}


def gelu(x: Array) -> Array:
    """GELU by the error function (Hendrycks and Gimpel 2016), as BERT has it."""
    return jax.nn.gelu(x, approximate=False)


def quick_gelu(x: Array) -> Array:
    """x * sigmoid(1.702 x), CLIP's approximation of GELU."""
    return x * jax.nn.sigmoid(1.702 * x)


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the blocks of a tower are put together, and how their kernels begin.

    Attributes:
      post_norm: normalise after each sublayer is added (BERT), instead of before it (Xiong et al. 2020).
      last_norm: normalise what leaves the tower.
      activation: of the feed-forward.
      eps: of the norms.
      init, init_qkv: of kernels [inputs, outputs]; query, key and value are one kernel.
    """

    post_norm: bool
    last_norm: bool
    activation: Callable[[Array], Array]
    eps: float
    init: nnx.Initializer
    init_qkv: nnx.Initializer


BASE, NARROW = 768, 64  # inputs of a kernel of BERT-base; fewer than the other are no state but, say, a box


def _as_released(key: Key[Array, ""], shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> Array:
    """Kernels [inputs, outputs] from N(0, 0.02), as BERT and CLIP begin.

    That suits BERT's width: the outputs of a network of width 64 would be three times as small, and it hardly learns.
    So kernels of less than `BASE` inputs begin larger, by the root of what they lack, and give outputs as large.
    """
    scale = math.sqrt(BASE / shape[0]) if NARROW <= shape[0] < BASE and len(shape) > 1 else 1.0
    return 0.02 * scale * jax.random.normal(key, shape, dtype)


_NORMAL, _LECUN = _as_released, nnx.initializers.lecun_normal()
PRE_NORM = Layout(False, True, gelu, 1e-6, _LECUN, _LECUN)
BERT = Layout(True, False, gelu, 1e-12, _NORMAL, _NORMAL)
# CLIP's towers (Radford et al. 2021).
CLIP = Layout(False, True, quick_gelu, 1e-5, _NORMAL, _NORMAL)
# The released joint transformer, taken over from CLIP4Clip; its qkv keeps PyTorch's default.
CLIP4CLIP = Layout(False, False, quick_gelu, 1e-12, _NORMAL, nnx.initializers.xavier_uniform())


def encoder_layout(config: Model) -> Layout:
    """How the encoders are built, and the heads with them."""
    return BERT if config.blocks == "released" else PRE_NORM


def fusion_layout(config: Model) -> Layout:
    """How the joint transformer is built."""
    return CLIP4CLIP if config.blocks == "released" else PRE_NORM


def norm(width: int, layout: Layout, dtype: jnp.dtype, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """A layer norm of the layout."""
    return nnx.LayerNorm(width, epsilon=layout.eps, dtype=dtype, rngs=rngs)


def linear(inputs: int, outputs: int, layout: Layout, dtype: jnp.dtype, rngs: nnx.Rngs) -> nnx.Linear:
    """A dense layer of the layout."""
    return nnx.Linear(inputs, outputs, kernel_init=layout.init, dtype=dtype, rngs=rngs)


def dropout(x: Array, rate: float, key: Key[Array, ""] | None) -> Array:
    """Inverted dropout; the identity without a key."""
    if key is None or rate == 0.0:
        return x
    kept = jax.random.bernoulli(key, 1.0 - rate, x.shape)
    return jnp.where(kept, x / (1.0 - rate), 0.0).astype(x.dtype)


def repeated(body: Callable, state: Any, layers: Any, count: int, scan: bool, remat: str) -> Any:
    """The state after `count` layers, whose parameters lie along a leading axis of `layers`.

    `body(state, layer) -> (state, None)` is one of them; `scan` and `remat` are those of `config.model`.
    """
    if remat != "none":
        body = jax.checkpoint(body, policy=_REMAT[remat], prevent_cse=not scan)
    if scan:
        return jax.lax.scan(body, state, layers)[0]
    for i in range(count):
        state, _ = body(state, jax.tree.map(lambda leaf, i=i: leaf[i], layers))
    return state


class Attention(nnx.Module):
    """Multi-head self-attention in which masked tokens are never attended to."""

    def __init__(self, width: int, heads: int, layout: Layout, dtype: jnp.dtype, rngs: nnx.Rngs):
        size = width // heads
        self.qkv = nnx.LinearGeneral(width, (3, heads, size), kernel_init=layout.init_qkv, dtype=dtype, rngs=rngs)
        self.out = nnx.LinearGeneral(
            (heads, size), width, axis=(-2, -1), kernel_init=layout.init, dtype=dtype, rngs=rngs
        )

    def __call__(
        self, x: Float[Array, "b l d"], mask: Bool[Array, "b *q l"], read: Sequence[int] | None = None
    ) -> Float[Array, "b _ d"]:
        """What the tokens at the places `read` (None = all) gather from all that the mask shows.

        The mask is [B, L], or [B, L, L] where every token sees others of its own. A listing with no token at all gets
        the mean of the values: finite, and never read.
        """
        query, key, value = jnp.moveaxis(self.qkv(x), -3, 0)
        query = query if read is None else query[:, np.asarray(read)]
        mixed = jax.nn.dot_product_attention(query, key, value, mask=_for_heads(mask))
        return self.out(mixed)


def _for_heads(mask: Bool[Array, "b *q l"]) -> Bool[Array, "b 1 q l"]:
    return mask[:, None] if mask.ndim == 3 else mask[:, None, None]


class CrossAttention(nnx.Module):
    """Multi-head attention of one sequence to another of possibly another width (Lu et al., ViLBERT, section 2.1)."""

    def __init__(
        self,
        own: int,
        other: int,
        width: int,
        heads: int,
        layout: Layout,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        """`own`, `other`: widths of the sequences; `width`: of the attention."""
        size = width // heads
        self.query = nnx.LinearGeneral(own, (heads, size), kernel_init=layout.init_qkv, dtype=dtype, rngs=rngs)
        self.kv = nnx.LinearGeneral(other, (2, heads, size), kernel_init=layout.init_qkv, dtype=dtype, rngs=rngs)
        self.out = nnx.LinearGeneral((heads, size), own, axis=(-2, -1), kernel_init=layout.init, dtype=dtype, rngs=rngs)

    def __call__(
        self, x: Float[Array, "b l d"], other: Float[Array, "b n e"], mask: Bool[Array, "b n"]
    ) -> Float[Array, "b l d"]:
        """What every token of x gathers from what the mask shows of the other sequence; zeros where it shows nothing.

        Zeros, so that a listing without the other modality is what its own one makes it.
        """
        key, value = jnp.moveaxis(self.kv(other), -3, 0)
        mixed = jax.nn.dot_product_attention(self.query(x), key, value, mask=_for_heads(mask))
        return jnp.where(mask.any(-1)[:, None, None], self.out(mixed), 0.0).astype(x.dtype)


class FeedForward(nnx.Module):
    """Two layers with the layout's activation between."""

    def __init__(self, width: int, hidden: int, layout: Layout, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.up = linear(width, hidden, layout, dtype, rngs)
        self.down = linear(hidden, width, layout, dtype, rngs)
        self.activation = layout.activation

    def __call__(self, x: Float[Array, "b l d"]) -> Float[Array, "b l d"]:
        """Every token by itself."""
        return self.down(self.activation(self.up(x)))


class Block(nnx.Module):
    """Attention, then feed-forward, each added to what came in."""

    def __init__(self, tower: Tower, layout: Layout, config: Model, dtype: jnp.dtype, rngs: nnx.Rngs):
        width = tower.width or config.width
        self.norm_attention = norm(width, layout, dtype, rngs)
        self.attention = Attention(width, tower.heads, layout, dtype, rngs)
        self.norm_mlp = norm(width, layout, dtype, rngs)
        self.mlp = FeedForward(width, tower.hidden or 4 * width, layout, dtype, rngs)
        self.rate, self.post_norm = config.dropout, layout.post_norm

    def __call__(
        self,
        x: Float[Array, "b l d"],
        mask: Bool[Array, "b *q l"],
        key: Key[Array, ""] | None,
        read: Sequence[int] | None = None,
    ) -> Float[Array, "b _ d"]:
        """The tokens at the places `read` (None = all) after both sublayers.

        Dropout falls on what a sublayer adds, not on attention weights.
        """
        keys = (None, None) if key is None else jax.random.split(key)
        own = x if read is None else x[:, np.asarray(read)]
        if self.post_norm:
            x = self.norm_attention(own + dropout(self.attention(x, mask, read), self.rate, keys[0]))
            return self.norm_mlp(x + dropout(self.mlp(x), self.rate, keys[1]))
        x = own + dropout(self.attention(self.norm_attention(x), mask, read), self.rate, keys[0])
        return x + dropout(self.mlp(self.norm_mlp(x)), self.rate, keys[1])


class Stack(nnx.Module):
    """Blocks whose parameters lie along a leading axis, run by one `lax.scan`; a last norm where the layout has one."""

    def __init__(self, tower: Tower, layout: Layout, config: Model, dtype: jnp.dtype, rngs: nnx.Rngs):
        make = nnx.vmap(lambda forked: Block(tower, layout, config, dtype, forked), in_axes=0, out_axes=0)
        self.blocks = make(rngs.split(tower.layers))
        if layout.last_norm:
            self.norm = norm(tower.width or config.width, layout, dtype, rngs)
        self.layers, self.scan, self.remat, self.last_norm = tower.layers, config.scan, config.remat, layout.last_norm

    def __call__(
        self,
        x: Float[Array, "b l d"],
        mask: Bool[Array, "b *q l"],
        key: Key[Array, ""] | None,
        read: Sequence[int] | None = None,
    ) -> Float[Array, "b _ d"]:
        """The tokens at the places `read` (None = all) after all blocks; the last block computes no others."""
        keys = None if key is None else jax.random.split(key, self.layers)
        x = self._begun(x, mask, keys, self.layers - (read is not None))
        if read is not None:
            block, params = self.last(1)
            x = nnx.merge(block, jax.tree.map(lambda leaf: leaf[0], params))(
                x, mask, None if keys is None else keys[-1], read
            )
        return self.normalised(x)

    def begun(
        self, x: Float[Array, "b l d"], mask: Bool[Array, "b *q l"], key: Key[Array, ""] | None, count: int
    ) -> Float[Array, "b l d"]:
        """The tokens after the first `count` blocks."""
        return self._begun(x, mask, None if key is None else jax.random.split(key, self.layers), count)

    def last(self, count: int) -> tuple[nnx.GraphDef, Any]:
        """A block, and the parameters of the last `count` along a leading axis: for `repeated`, with others between."""
        block, params = nnx.split(self.blocks)
        return block, jax.tree.map(lambda leaf: leaf[self.layers - count :], params)

    def normalised(self, x: Float[Array, "b l d"]) -> Float[Array, "b l d"]:
        """What leaves the tower, of the tokens after all blocks."""
        return self.norm(x) if self.last_norm else x

    def _begun(self, x: Array, mask: Array, keys: Array | None, count: int) -> Array:
        graphdef, params = nnx.split(self.blocks)

        def body(state: Array, layer: tuple) -> tuple[Array, None]:
            layer_params, layer_key = layer
            return nnx.merge(graphdef, layer_params)(state, mask, layer_key), None

        layers = jax.tree.map(lambda leaf: leaf[:count], (params, keys))
        return repeated(body, x, layers, count, self.scan, self.remat)
