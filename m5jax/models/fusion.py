"""The joint transformer: all modalities' states in one sequence (SCALE, section 3.2)."""

import itertools

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Key

from m5jax.config import Model
from m5jax.models.layers import Stack


class Fusion(nnx.Module):
    """Concatenates the sequences, tells modalities apart by a learned state each, and mixes them."""

    def __init__(self, names: tuple[str, ...], config: Model, dtype: jnp.dtype, rngs: nnx.Rngs):
        init = nnx.initializers.normal(0.02)
        self.kind = nnx.Param(init(rngs.params(), (len(names), config.width)))
        self.stack = Stack(config.fusion_layers, config, dtype, rngs)
        self.names = names

    def __call__(
        self,
        states: dict[str, Float[Array, "b _ d"]],
        masks: dict[str, Bool[Array, "b _"]],
        key: Key[Array, ""] | None = None,
    ) -> dict[str, Float[Array, "b _ d"]]:
        """Fused states by modality, of the shapes that came in; a modality masked out takes no part."""
        parts = [states[name] + self.kind[...][i].astype(states[name].dtype) for i, name in enumerate(self.names)]
        mask = jnp.concatenate([masks[name] for name in self.names], 1)
        joined = jnp.where(mask[..., None], jnp.concatenate(parts, 1), 0.0)
        fused = self.stack(joined, mask, key)
        ends = itertools.accumulate(part.shape[1] for part in parts)
        return {
            name: fused[:, end - part.shape[1] : end] for name, part, end in zip(self.names, parts, ends, strict=True)
        }
