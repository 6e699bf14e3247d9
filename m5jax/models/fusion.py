"""The joint transformer: all modalities' states in one sequence (SCALE, section 3.2)."""

import itertools

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Key

from m5jax.model_settings import Model
from m5jax.models.layers import Stack, dropout, fusion_layout


class Fusion(nnx.Module):
    """Concatenates the sequences, tells them apart, and mixes them.

    Modalities are told apart by a learned state each; with released blocks by the place in the joint sequence alone.
    """

    def __init__(self, lengths: dict[str, int], config: Model, dtype: jnp.dtype, rngs: nnx.Rngs):
        init = nnx.initializers.normal(0.02)
        self.released, self.dtype, self.rate = config.blocks == "released", dtype, config.dropout
        if self.released:
            rows = config.positions.fusion or sum(lengths.values())
            self.position = nnx.Param(init(rngs.params(), (rows, config.width)))
        else:
            self.kind = nnx.Param(init(rngs.params(), (len(lengths), config.width)))
        self.stack = Stack(config.fusion, fusion_layout(config), config, dtype, rngs)
        self.names = tuple(lengths)

    def __call__(
        self,
        states: dict[str, Float[Array, "b _ d"]],
        masks: dict[str, Bool[Array, "b _"]],
        key: Key[Array, ""] | None = None,
        first_only: bool = False,
    ) -> dict[str, Float[Array, "b _ d"]]:
        """Fused states by modality, of the shapes that came in; a modality masked out takes no part.

        With `first_only` each modality's first state alone, [B, 1, D], which costs a fraction.
        """
        parts = [states[name] for name in self.names]
        mask = jnp.concatenate([masks[name] for name in self.names], 1)
        if self.released:
            joined = jnp.concatenate(parts, 1)
            joined = dropout(joined + self.position[...][: mask.shape[1]].astype(self.dtype), self.rate, key)
        else:
            told_apart = [part + kind for part, kind in zip(parts, self.kind[...].astype(self.dtype), strict=True)]
            joined = jnp.concatenate(told_apart, 1)
        starts = [0, *itertools.accumulate(part.shape[1] for part in parts)]
        read = starts[:-1] if first_only else None
        fused = self.stack(jnp.where(mask[..., None], joined, 0.0), mask, key, read)
        starts = range(len(starts)) if first_only else starts
        return {
            name: fused[:, start:end] for name, (start, end) in zip(self.names, itertools.pairwise(starts), strict=True)
        }
