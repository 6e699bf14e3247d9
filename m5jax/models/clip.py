"""CLIP: a title and its picture, each encoded by itself, are near each other and far from the batch's others.

Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021; the vision transformer
as released.

Faithful: towers that normalise before their sublayers, with quick GELU; a class state in front of the patches and a
norm before the first block; a causal title that is read at its last piece; linear maps of both without bias to one
space, cosines over a trained temperature, cross-entropy both ways. Not: our titles end with [SEP], where the release
ends with a token of its own; pixels lie in [-1, 1] and are not brought to the mean and spread of the release's
pictures. Ours: regions instead of patches, with boxes in place of positions; the product vector, the sum of what
picture and title become in the one space, each of unit length, of those that a listing has.
"""

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Key

from m5jax.config import Config
from m5jax.errors import ConfigError
from m5jax.model_settings import Model
from m5jax.models import flops, interface, two_stream
from m5jax.models.encoders import presence, to_blocks
from m5jax.models.interface import Batch
from m5jax.models.layers import CLIP, dropout, linear, norm
from m5jax.models.pretraining import Masks, States
from m5jax.models.pretraining import build as build_model
from m5jax.objectives.numerics import normalise
from m5jax.token_spec import TokenSpec


def build(config: Config, specs: dict[str, TokenSpec], vocabulary: int, classes: int = 0) -> interface.Model:
    """CLIP for a vocabulary size and a number of classes (0 = none to tell).

    Raises:
      ConfigError: the modalities are not picture and title; an objective or readout is not CLIP's; pictures come in
        through convolutions.
    """
    two_stream.check(config, specs, without=("masked_language", "masked_region", "matching"))
    if config.model.stem != "patch":
        raise ConfigError(
            f"config.model.stem = {config.model.stem!r}: patches of CLIP come in by a linear map, 'patch'"
        )
    return build_model(
        lambda rngs: Clip(config, specs, vocabulary, classes, rngs),
        config,
        specs,
        classes,
        _flops(config, specs, vocabulary, classes),
    )


class PatchEmbedder(nnx.Module):
    """Patches to states: a class state in front, W x without bias, positions or boxes, normalised."""

    def __init__(self, spec: TokenSpec, config: Model, dtype: jnp.dtype, rngs: nnx.Rngs):
        width, init = config.width, nnx.initializers.normal(0.02)
        self.project = nnx.Linear(spec.dim, width, use_bias=False, kernel_init=CLIP.init, dtype=dtype, rngs=rngs)
        self.kind = nnx.Param(init(rngs.params(), (width,)))
        if spec.geometry:
            self.boxes = linear(spec.geometry, width, CLIP, dtype, rngs)
        else:
            rows = config.positions.image or spec.sequence
            self.position = nnx.Param(init(rngs.params(), (rows, width)))
        self.norm = norm(width, CLIP, dtype, rngs)
        self.spec, self.dtype, self.rate = spec, dtype, config.dropout

    def __call__(
        self, arrays: dict, vocabulary: nnx.Embed | None, key: Key[Array, ""] | None
    ) -> tuple[Float[Array, "b l+1 d"], Bool[Array, "b l+1"]]:
        """States and mask of the sequence; what is behind the mask is not read."""
        mask = arrays["mask"]
        shown = mask[..., None]
        blocks = jnp.where(shown, to_blocks(arrays["values"], self.spec, arrays.get("scale")), 0.0)
        states = self.project(blocks.astype(self.dtype))
        first = self.kind[...].astype(self.dtype)
        if self.spec.geometry:
            states = states + self.boxes(jnp.where(shown, arrays["boxes"], 0).astype(self.dtype))
        else:
            places = self.position[...].astype(self.dtype)
            first, states = first + places[0], states + places[1 : self.spec.sequence]
        first = jnp.broadcast_to(first, (len(mask), 1, len(first)))
        states = self.norm(jnp.concatenate([first, states], 1))
        return dropout(states, self.rate, key), jnp.concatenate([presence(arrays)[:, None], mask], 1)


class Clip(two_stream.TwoStream):
    """Two towers and a map from each to one space."""

    def __init__(self, config: Config, specs: Mapping[str, TokenSpec], vocabulary: int, classes: int, rngs: nnx.Rngs):
        super().__init__(config, specs, vocabulary, CLIP, rngs)
        size = config.model.projection

        def project(width: int) -> nnx.Linear:
            return nnx.Linear(width, size, use_bias=False, kernel_init=CLIP.init, dtype=self.dtype, rngs=rngs)

        self.projections = nnx.Dict({name: nnx.Dict(project=project(width)) for name, width in self.widths.items()})
        self.make_heads(classes, rngs, self.widths, size)

    def embedder(self, spec: TokenSpec, model: Model, rngs: nnx.Rngs) -> nnx.Module:
        """Patches with a class state, or pieces at their places."""
        if spec.name == "image":
            return PatchEmbedder(spec, model, self.dtype, rngs)
        # A piece and its place, without types and norm, is what the other blocks begin with.
        return super().embedder(spec, dataclasses.replace(model, blocks="pre_norm"), rngs)

    def mixed(self, embedded: States, masks: Masks, key: Array | None) -> States:
        """What the towers make of both, a piece of those before it alone."""
        words = masks["text"]
        causal = words[:, None, :] & jnp.tril(jnp.ones((words.shape[1], words.shape[1]), bool))
        return self.encoded(embedded, masks | {"text": causal}, key)

    def compared(self, states: States, masks: Masks) -> Float[Array, "b m p"]:
        """The class state of the picture and the last state of the title, in one space."""
        words = masks["text"]
        last = jnp.where(words, jnp.arange(words.shape[1]), 0).max(-1)
        read = {
            "image": states["image"][:, 0],
            "text": jnp.take_along_axis(states["text"], last[:, None, None], 1)[:, 0],
        }
        return jnp.stack([self.projections[name]["project"](read[name]) for name in self.names], 1).astype(jnp.float32)

    def vector(self, batch: Batch, states: States, masks: Masks) -> Float[Array, "b d"]:
        """The sum of what is compared, each of unit length, of what is there."""
        there = jnp.stack([masks[name].any(-1) for name in self.names], 1)
        return jnp.where(there[..., None], normalise(self.compared(states, masks)), 0.0).sum(1)


def _flops(config: Config, specs: Mapping[str, TokenSpec], vocabulary: int, classes: int) -> float:
    model, image = config.model, specs["image"]
    widths = two_stream.widths(model)
    total = two_stream.streams_flops(config, specs)
    total -= 2 * (image.dim + image.geometry) * widths["image"]  # the class state is not computed from anything
    total += 2 * sum(widths.values()) * model.projection
    return float(total + flops.heads(config, specs, vocabulary, classes, widths, model.projection))
