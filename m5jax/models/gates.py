"""Initial-interactive fusion: what a modality's encoder says, with what others made of it (Zhu et al., K3M, 2021).

The versions of a token are its initial state and n >= 1 interactive ones, one per partner. `none` is the mean of the
interactive ones, `mean` that of all. `soft` weighs all by a softmax of scores, `hard` chooses one: in training by
straight-through Gumbel-softmax (Jang et al. 2017), without a key the one with the highest score, so that evaluation is
the same every time. The scores are linear in all versions and not squashed, so that a gate can be sure: the release
draws among sigmoids, and takes even a certain (1, 0, 0) in 58 of 100 draws only.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Key

from m5jax.model_settings import Model
from m5jax.models.layers import encoder_layout, linear


class Gates(nnx.Module):
    """The fusion of one modality's versions, as `config.fuse` has it."""

    def __init__(self, partners: int, width: int, config: Model, dtype: jnp.dtype, rngs: nnx.Rngs):
        """`partners`: interactive versions; `width`: of all versions."""
        self.how, self.temperature = config.fuse, config.fuse_temperature
        if self.how in ("soft", "hard"):
            versions = partners + 1
            outputs = versions * (width if config.fuse_per == "dimension" else 1)
            self.score = linear(versions * width, outputs, encoder_layout(config), dtype, rngs)

    def __call__(
        self,
        initial: Float[Array, "b l d"],
        interactive: Sequence[Float[Array, "b l d"]],
        there: Bool[Array, "b n"],
        key: Key[Array, ""] | None,
    ) -> Float[Array, "b l d"]:
        """The fused states.

        An interactive version whose partner is not there takes no part, unless that leaves nothing to take: with `none`
        the versions of a listing without any partner are what its own modality makes of itself, and they stay.
        """
        versions = jnp.stack([initial, *interactive], 2).astype(jnp.float32)
        own = self.how != "none"
        allowed = jnp.concatenate([jnp.full_like(there[:, :1], own), there], 1)
        if not own:
            allowed = allowed.at[:, 1:].set(there | ~there.any(1, keepdims=True))
        weights = self._weights(versions, allowed, key)
        return (weights * versions).sum(2).astype(initial.dtype)

    def _weights(
        self, versions: Float[Array, "b l v d"], allowed: Bool[Array, "b v"], key: Key[Array, ""] | None
    ) -> Float[Array, "b l v _"]:
        """The share of every version, of every dimension (or all at once) of every token; they add up to one."""
        batch, length, count, width = versions.shape
        allowed = allowed[:, None, :, None]
        if self.how in ("none", "mean"):
            return jnp.broadcast_to(allowed / allowed.sum(2, keepdims=True), (batch, length, count, 1))
        scores = self.score(versions.reshape(batch, length, count * width)).astype(jnp.float32)
        scores = scores.reshape(batch, length, count, -1)
        if self.how == "hard":
            if key is not None:
                scores = scores + jax.random.gumbel(key, scores.shape)
            scores = scores / self.temperature
        shares = jax.nn.softmax(jnp.where(allowed, scores, -jnp.inf), 2)
        if self.how == "soft":
            return shares
        chosen = jax.nn.one_hot(jnp.where(allowed, scores, -jnp.inf).argmax(2), count, axis=2)
        return chosen + (shares - jax.lax.stop_gradient(shares))
