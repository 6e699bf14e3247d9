"""What a picture's patches are made of: convolutions over the pixels, in place of one linear map of a patch.

A small catalogue teaches a transformer little about pixels. Convolutions know beforehand that neighbours belong
together and that a thing looks alike wherever it stands (Xiao et al., Early Convolutions Help Transformers See
Better, arXiv:2106.14881).
"""

import itertools

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Shaped

from m5jax.model_settings import Model
from m5jax.models.layers import encoder_layout, gelu, linear, norm
from m5jax.token_spec import TokenSpec

TAPS = 3  # side of a kernel


def channels(patch: int, width: int) -> tuple[int, ...]:
    """Channels behind each convolution of stride 2 that `patch` pixels take: doubling, up to `width`."""
    halvings = patch.bit_length() - 1
    return tuple(width >> (halvings - 1 - i) for i in range(halvings))


class Stem(nnx.Module):
    """Convolutions of 3 x 3 with stride 2, each followed by a norm over the channels and GELU, and a linear map.

    A token comes from its patch and the pixels next to it. A convolution is the product of nine shifted pictures with
    one matrix: a dense layer as all others, with their beginning, decay and sharding. With its gradient it took 0.22 s
    for 128 pictures of 64 pixels on two busy CPU cores, where the compiler's own convolution took 0.17 to 0.21 s.
    """

    def __init__(self, spec: TokenSpec, config: Model, dtype: jnp.dtype, rngs: nnx.Rngs):
        layout, self.patch, self.dtype = encoder_layout(config), spec.block[0], dtype
        sizes = (spec.grid[-1], *channels(self.patch, config.width))
        self.convolutions = nnx.List(
            [linear(TAPS * TAPS * before, after, layout, dtype, rngs) for before, after in itertools.pairwise(sizes)]
        )
        self.norms = nnx.List([norm(after, layout, dtype, rngs) for after in sizes[1:]])
        self.project = linear(sizes[-1], config.width, layout, dtype, rngs)

    def __call__(self, pixels: Shaped[Array, "b size size c"], shown: Bool[Array, "b l"]) -> Float[Array, "b l d"]:
        """A state for every patch, in row-major order; of patches that are not shown, no pixel reaches any state."""
        side = pixels.shape[1] // self.patch
        grid = shown.reshape(-1, side, side, 1).repeat(self.patch, 1).repeat(self.patch, 2)
        x = jnp.where(grid, pixels.astype(jnp.float32) / 127.5 - 1.0, 0.0).astype(self.dtype)
        for convolution, normalise in zip(self.convolutions, self.norms, strict=True):
            x = gelu(normalise(convolution(_neighbours(x))))
        return self.project(x).reshape(len(x), side * side, -1)


def _neighbours(x: Float[Array, "b h w c"]) -> Float[Array, "b h/2 w/2 9*c"]:
    """The nine pixels around every second one, side by side; zeros beyond the border."""
    height, width = x.shape[1], x.shape[2]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    taps = [padded[:, i : i + height : 2, j : j + width : 2] for i in range(TAPS) for j in range(TAPS)]
    return jnp.concatenate(taps, -1)
