"""What a listing's triples add to its vector: attention over the star of its properties and values (K3M, 2021).

B listings, L tokens, K triples, D width, H heads.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from m5jax.model_settings import Model
from m5jax.models.heads import pool
from m5jax.models.layers import encoder_layout


def shown_spans(table: dict) -> Int[Array, "b l"]:
    """Whose a token is, "spans" [B, L], of the tokens that "mask" [B, L] shows; 0 elsewhere."""
    return jnp.where(table["mask"], table["spans"], 0)


def span_means(
    states: Float[Array, "b l d"], spans: Int[Array, "b l"], triples: int
) -> tuple[Float[Array, "b k d"], Float[Array, "b k d"], Bool[Array, "b k"]]:
    """Vectors of properties and of values, each the mean of its own tokens, float32; and which triples are there.

    Args:
      states: of the table's tokens.
      spans: 2k + 1 where a token is of the k-th triple's property, 2k + 2 of its value, 0 elsewhere.
      triples: K.
    """
    members = jax.nn.one_hot(spans - 1, 2 * triples)  # a row of zeros where the span is 0
    counts = members.sum(1)
    sums = jnp.einsum("blk,bld->bkd", members, states.astype(jnp.float32), precision="highest")
    means = sums / jnp.maximum(counts, 1.0)[..., None]
    there = (counts > 0).reshape(-1, triples, 2).all(-1)
    return means[:, ::2], means[:, 1::2], there


class Structure(nnx.Module):
    """c* = c + W3 sum_x a_x t_x with t_x = W1 [c; p_x; v_x] and a = softmax_x(W2 LeakyReLU(t_x)), in H heads.

    A head has its own slice of t, its own W2 and its own softmax, as in graph attention (Velickovic et al. 2018); one
    head is the release's aggregator. W2 and W3 have no bias: the softmax would not see the one, and the other would be
    added whatever the triples say.
    """

    def __init__(self, width: int, config: Model, dtype: jnp.dtype, rngs: nnx.Rngs):
        """`width`: of the vector that is in the middle; vectors of properties and values have config.width."""
        heads, init = config.structure.heads, encoder_layout(config).init
        size = config.width // heads
        self.triple = nnx.LinearGeneral(
            width + 2 * config.width, (heads, size), kernel_init=init, dtype=dtype, rngs=rngs
        )
        self.score = nnx.Param(init(rngs.params(), (heads, size)))
        self.out = nnx.LinearGeneral(
            (heads, size), width, axis=(-2, -1), kernel_init=init, use_bias=False, dtype=dtype, rngs=rngs
        )
        self.slope = config.structure.slope

    def __call__(
        self,
        centre: Float[Array, "b w"],
        properties: Float[Array, "b k d"],
        values: Float[Array, "b k d"],
        there: Bool[Array, "b k"],
    ) -> Float[Array, "b w"]:
        """c*, float32; exactly c where no triple is there."""
        middle = jnp.broadcast_to(centre[:, None], (*there.shape, centre.shape[-1]))
        mixed = self.triple(jnp.concatenate([middle, properties, values], -1)).astype(jnp.float32)
        scores = (jax.nn.leaky_relu(mixed, self.slope) * self.score[...]).sum(-1)
        # Of no triples everything is allowed, and multiplied away: a softmax over nothing has no gradient.
        some = there.any(1)[:, None]
        shares = jax.nn.softmax(jnp.where((there | ~some)[..., None], scores, -jnp.inf), 1) * some[..., None]
        return centre.astype(jnp.float32) + self.out((shares[..., None] * mixed).sum(1)).astype(jnp.float32)


class Alone(NamedTuple):
    """How a sequence of triples is read one triple at a time.

    Attributes:
      seen: which tokens each token sees, those of its own triple; none if it is of no triple.
      positions: how many tokens of its own triple are before a token.
    """

    seen: Bool[Array, "b l l"]
    positions: Int[Array, "b l"]


def own_triple(spans: Int[Array, "b l"]) -> Alone:
    """Every triple as if it were the only one, so that neither their order nor a neighbour changes what is made of it.

    `spans` as in `span_means`.
    """
    triple = (spans + 1) // 2
    seen = (triple[:, :, None] == triple[:, None, :]) & (triple > 0)[:, :, None]
    earlier = jnp.tril(jnp.ones((spans.shape[1],) * 2, bool), -1)
    return Alone(seen, (seen & earlier).sum(-1))


def asked_vectors(
    asked: dict, encode: Callable[[dict], tuple[Float[Array, "n a d"], Bool[Array, "n a"]]]
) -> tuple[Float[Array, "b t d"], Float[Array, "b t d"]]:
    """Vectors of asked properties and of their values, each the mean of what `encode` makes of its text alone, float32.

    Names and values go through one pass of the encoder, unmasked and without dropout. What is not asked gives zeros.
    """
    batch, count, length = asked["names"]["ids"].shape
    both = {
        part: jnp.stack([asked[name][part] for name in ("names", "values")]).reshape(-1, length)
        for part in ("ids", "mask")
    }
    names, values = pool(*encode(both), "mean").reshape(2, batch, count, -1)
    return names, values
