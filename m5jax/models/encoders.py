"""From the arrays of one modality to the token states that its encoder reads.

Raw media and pre-extracted features share this code: both are grids cut into blocks (`modalities.py`). The
first state of every sequence stands for the whole modality: CLS for text, the mean block for a grid.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Key, Shaped

from m5jax.model_settings import Model
from m5jax.models.layers import dropout, encoder_layout, linear, norm
from m5jax.models.stem import Stem
from m5jax.token_spec import TokenSpec

_INIT = nnx.initializers.normal(0.02)


def to_blocks(
    values: Shaped[Array, "b *grid"], spec: TokenSpec, scale: Float[Array, "b rows"] | None = None
) -> Float[Array, "b l k"]:
    """Cuts a grid into blocks, one token of `spec.dim` numbers each, in row-major order of the blocks.

    uint8 pixels become [-1, 1]; other dtypes are taken as they are, times the scale of their row if there is one.
    """
    x = values.astype(jnp.float32)
    x = x / 127.5 - 1.0 if values.dtype == jnp.uint8 else x
    x = x if scale is None else x * scale[..., None]
    *sizes, channels = spec.grid
    split = [part for size, block in zip(sizes, spec.block, strict=True) for part in (size // block, block)]
    axes = len(sizes)
    x = x.reshape(-1, *split, channels)
    outer, inner = range(1, 2 * axes, 2), range(2, 2 * axes + 1, 2)
    return x.transpose(0, *outer, *inner, 2 * axes + 1).reshape(-1, spec.length, spec.dim)


class GridEmbedder(nnx.Module):
    """Blocks to states: E = W f + position, the mean block in front (SCALE, spec section 2.2).

    Regions with boxes have W f + U box instead; the whole picture's box is (0, 0, 1, 1, 1). With released blocks
    a hidden block is zeros and the states are normalised; else one learned state stands for what is hidden. A picture
    may have a convolutional stem in place of W, and then the mean of its states in front.
    """

    def __init__(self, spec: TokenSpec, rows: int, config: Model, dtype: jnp.dtype, rngs: nnx.Rngs):
        layout = encoder_layout(config)
        self.convolutional = spec.name == "image" and config.stem == "convolutions"
        if self.convolutional:
            self.stem = Stem(spec, config, dtype, rngs)
        else:
            self.project = linear(spec.dim, config.width, layout, dtype, rngs)
        if spec.geometry:
            self.boxes = linear(spec.geometry, config.width, layout, dtype, rngs)
        else:
            self.position = nnx.Param(_INIT(rngs.params(), (rows, config.width)))
        self.released = config.blocks == "released"
        if self.released:
            self.norm = norm(config.width, layout, dtype, rngs)
        else:
            self.hidden = nnx.Param(_INIT(rngs.params(), (config.width,)))
        self.spec, self.dtype, self.rate = spec, dtype, config.dropout

    def __call__(
        self, arrays: dict, vocabulary: nnx.Embed, key: Key[Array, ""] | None
    ) -> tuple[Float[Array, "b l+1 d"], Bool[Array, "b l+1"]]:
        """States and mask of the sequence; hidden blocks show nothing of themselves.

        Arrays may bring the row in front, "first" [B, dim], "first_box" [B, 5] and "first_mask" [B], instead of having
        it computed.
        """
        mask, hidden = arrays["mask"], hidden_blocks(arrays)
        states = self._states(arrays, mask, mask & ~hidden)
        mask = jnp.concatenate([presence(arrays)[:, None], mask], 1)
        if self.released:
            states = self.norm(states + self._place(arrays))
        else:
            replaced = jnp.pad(hidden, ((0, 0), (1, 0)))[..., None]
            states = jnp.where(replaced, self.hidden[...].astype(self.dtype), states) + self._place(arrays)
        return dropout(states, self.rate, key), mask

    def _states(self, arrays: dict, mask: Bool[Array, "b l"], shown: Bool[Array, "b l"]) -> Float[Array, "b l+1 d"]:
        """What the shown blocks become, and in front what stands for all of them."""
        if self.convolutional:
            states = self.stem(arrays["values"], shown)
            first = _mean(jnp.where(shown[..., None], states, 0.0), shown)
            return jnp.concatenate([first[:, None], states], 1)
        blocks = jnp.where(shown[..., None], to_blocks(arrays["values"], self.spec, arrays.get("scale")), 0.0)
        # The release divides by the blocks there are, hidden ones included.
        first = arrays.get("first", _mean(blocks, mask if self.released else shown))
        return self.project(jnp.concatenate([first[:, None], blocks], 1).astype(self.dtype))

    def _place(self, arrays: dict) -> Float[Array, "*b l+1 d"]:
        """What tells where in the modality a block lies."""
        if not self.spec.geometry:
            return self.position[...][: self.spec.length + 1].astype(self.dtype)
        boxes = jnp.where(arrays["mask"][..., None], arrays["boxes"].astype(jnp.float32), 0.0)
        whole = jnp.broadcast_to(jnp.array([0.0, 0.0, 1.0, 1.0, 1.0]), boxes[:, 0].shape)
        boxes = jnp.concatenate([arrays.get("first_box", whole)[:, None], boxes], 1)
        return self.boxes(boxes[..., : self.spec.geometry].astype(self.dtype))


def _mean(blocks: Float[Array, "b l k"], counted: Bool[Array, "b l"]) -> Float[Array, "b k"]:
    return blocks.sum(1) / jnp.maximum(counted.sum(1, keepdims=True), 1)


class TokenEmbedder(nnx.Module):
    """Ids to states: vocabulary (shared among modalities) plus position; with released blocks as BERT, normalised."""

    def __init__(self, spec: TokenSpec, rows: int, config: Model, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.position = nnx.Param(_INIT(rngs.params(), (rows, config.width)))
        self.released = config.blocks == "released"
        if self.released:
            # BERT's token types. SCALE uses the first for title and table alike.
            self.type = nnx.Param(_INIT(rngs.params(), (config.token_types, config.width)))
            self.norm = norm(config.width, encoder_layout(config), dtype, rngs)
        self.dtype, self.rate = dtype, config.dropout

    def __call__(
        self, arrays: dict, vocabulary: nnx.Embed, key: Key[Array, ""] | None
    ) -> tuple[Float[Array, "b l d"], Bool[Array, "b l"]]:
        """The state of every id at its place, and the mask. Ids behind the mask are not read.

        Arrays may bring "types" int [B, L], which are all 0 otherwise, and "positions" int [B, L], otherwise 0, 1, ...
        """
        states = self.summed(arrays, vocabulary)
        states = self.norm(states) if self.released else states
        return dropout(states, self.rate, key), arrays["mask"]

    def summed(self, arrays: dict, vocabulary: nnx.Embed) -> Float[Array, "b l d"]:
        """Piece, position and type added up, before they are normalised; behind the mask the piece of id 0."""
        ids = jnp.where(arrays["mask"], arrays["ids"], 0)
        table = self.position[...]
        places = table[arrays["positions"]] if "positions" in arrays else table[: ids.shape[1]]
        states = vocabulary(ids).astype(self.dtype) + places.astype(self.dtype)
        return states + self.type[...][arrays.get("types", 0)].astype(self.dtype) if self.released else states


def embedder(
    spec: TokenSpec, tokens: int, config: Model, dtype: jnp.dtype, rngs: nnx.Rngs
) -> GridEmbedder | TokenEmbedder:
    """The embedder for a modality's kind, with positions for the longest of the sequences that share it.

    Both kinds take (arrays, vocabulary, key) and give (states, mask).
    """
    rows = getattr(config.positions, spec.name) or tokens
    return (TokenEmbedder if spec.kind == "tokens" else GridEmbedder)(spec, rows, config, dtype, rngs)


def presence(arrays: dict) -> Bool[Array, "b"]:
    """Whether a listing has the modality: any of its tokens, or the row in front if that was brought along."""
    return arrays["mask"].any(-1) | arrays.get("first_mask", False)


def hidden_blocks(arrays: dict) -> Bool[Array, "b l"]:
    """The blocks that a masked objective hides; none outside training."""
    mask = arrays["mask"]
    if "masked" not in arrays:
        return jnp.zeros_like(mask)
    masked = arrays["masked"]
    hits = jax.nn.one_hot(masked["positions"], mask.shape[1], dtype=jnp.bool_) & masked["hidden"][..., None]
    return hits.any(1) & mask
