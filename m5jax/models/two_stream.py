"""What methods of two streams have in common: picture and title are embedded and encoded each by itself.

What then passes between the streams is a method's own (`TwoStream.mixed`). B listings, L words, N = regions or patches
with the mean of all in front (`encoders.GridEmbedder`); the two widths may differ.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from m5jax.config import Config
from m5jax.errors import ConfigError
from m5jax.model_settings import Model
from m5jax.models import flops
from m5jax.models.encoders import embedder
from m5jax.models.heads import pool
from m5jax.models.interface import Batch
from m5jax.models.layers import Layout, Stack
from m5jax.models.pretraining import Masks, Network, States
from m5jax.token_spec import TokenSpec


def check(config: Config, specs: Mapping[str, TokenSpec], without: tuple[str, ...] = ()) -> None:
    """Are the settings those of a method of two streams that has no objective named in `without`?

    Raises:
      ConfigError: naming the one that is not.
    """
    model, family = config.model, f"config.model.family = {config.model.family!r}"
    if set(specs) != {"image", "text"}:
        raise ConfigError(f"{family} sees picture and title: config.inputs.modalities = {tuple(specs)} must be these")
    for name in (*without, "word_region", "link_prediction"):
        if getattr(config.objective, name):
            raise ConfigError(f"config.objective.{name} is no objective of {family}: set it to 0")
    if model.tokens.width not in (0, model.width):
        raise ConfigError(
            f"config.model.tokens.width = {model.tokens.width}: with {family} pieces are as wide as their embedding,"
            f" config.model.width = {model.width}; leave it 0"
        )
    readouts = ("fusion", "dense", "contrastive") if config.objective.contrastive else ("fusion", "dense")
    if model.readout not in readouts:
        raise ConfigError(f"config.model.readout = {model.readout!r}: {family} has {', '.join(readouts)}")


class TwoStream(Network):
    """Embedders and encoders of picture and title."""

    def __init__(self, config: Config, specs: Mapping[str, TokenSpec], vocabulary: int, layout: Layout, rngs: nnx.Rngs):
        """`layout`: of the encoders."""
        super().__init__(config, specs, vocabulary, rngs)
        self.names, model = tuple(specs), config.model
        self.widths = widths(model)
        wide = {name: dataclasses.replace(model, width=width) for name, width in self.widths.items()}
        self.embedders = nnx.Dict({name: self.embedder(specs[name], wide[name], rngs) for name in self.names})
        towers = {"image": model.grids, "text": model.tokens}
        self.encoders = nnx.Dict({name: Stack(towers[name], layout, model, self.dtype, rngs) for name in self.names})

    def embedder(self, spec: TokenSpec, model: Model, rngs: nnx.Rngs) -> nnx.Module:
        """The embedder of a modality; it takes (arrays, vocabulary, key) and gives (states, mask)."""
        return embedder(spec, spec.sequence, model, self.dtype, rngs)

    def encode(self, batch: Batch, key: Array | None) -> tuple[States, Masks]:
        """States [B, N, D] and masks [B, N] of both streams at their end."""
        *keys, last = (None,) * 3 if key is None else jax.random.split(key, 3)
        embedded, masks = {}, {}
        for name, own in zip(self.names, keys, strict=True):
            embedded[name], masks[name] = self.embedders[name](batch[name], self.vocabulary, own)
        return self.mixed(embedded, masks, last), masks

    def encoded(self, embedded: States, masks: Masks, key: Array | None) -> States:
        """What the encoders, each by itself, make of what was embedded."""
        keys = (None, None) if key is None else jax.random.split(key)
        return {
            name: self.encoders[name](embedded[name], masks[name], own)
            for name, own in zip(self.names, keys, strict=True)
        }

    def mixed(self, embedded: States, masks: Masks, key: Array | None) -> States:
        """What encoders, and what passes between the streams, make of what was embedded."""
        raise NotImplementedError

    def vector(self, batch: Batch, states: States, masks: Masks) -> Float[Array, "b d"]:
        """Both streams side by side, of each its first state or the mean of all (`config.model.pool`).

        Zeros stand for a stream that is absent.
        """
        return jnp.concatenate([pool(states[name], masks[name], self.config.model.pool) for name in self.names], -1)


def widths(model: Model) -> dict[str, int]:
    """Of the states of both streams."""
    return {"image": model.grids.width or model.width, "text": model.width}


def streams_flops(config: Config, specs: Mapping[str, TokenSpec]) -> float:
    """Embedders and encoders of both streams, over one listing."""
    model, image, text = config.model, specs["image"], specs["text"]
    wide = model.grids.width or model.width
    embedded = flops.stem(image, wide) if model.stem == "convolutions" else flops.embedding(image, wide)
    encoded = flops.stack(image.sequence, model.grids, model.width) + flops.stack(
        text.sequence, model.tokens, model.width
    )
    return embedded + encoded
