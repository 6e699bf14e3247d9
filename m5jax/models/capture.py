"""CAPTURE: encoders of picture and title, co-attention between them, and one joint stream of both.

Zhan et al., Product1M: Towards Weakly Supervised Instance-Level Product Retrieval via Cross-Modal Pretraining, ICCV
2021; layers and places of the losses as released.

Faithful: text and visual transformer (`config.model.tokens`, `grids`, four blocks each), cross-transformer
(co-attention, four layers) and co-transformer (one self-attention over both sequences, blocks that normalise before
their sublayers, one learned position a place: the one that SCALE took over); masked words, masked regions (the classes
a detector saw, or with `region_target` their features), and contrast between the first states of the two encoders,
which nothing has mixed yet, each through a ReLU layer, against both modalities of the other listings, at temperature
0.07. Not: cross- and co-transformer have one depth, `config.model.fusion` (released: four and six); the narrow layer
that the release puts between them and the heads of the masked objectives. The product vector is both streams' states
side by side, as in its classifier, with zeros for one that is absent.
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
from m5jax.models import flops, interface, two_stream
from m5jax.models.coattention import CoStack
from m5jax.models.fusion import Fusion
from m5jax.models.heads import Pooler
from m5jax.models.layers import encoder_layout
from m5jax.models.pretraining import Masks, States
from m5jax.models.pretraining import build as build_model
from m5jax.token_spec import TokenSpec


def build(config: Config, specs: dict[str, TokenSpec], vocabulary: int, classes: int = 0) -> interface.Model:
    """CAPTURE for a vocabulary size and a number of classes (0 = none to tell).

    Raises:
      ConfigError: the modalities are not picture and title; an objective or readout is not CAPTURE's; the streams
        differ in width, or heads do not divide that.
    """
    two_stream.check(config, specs, without=("matching",))
    if config.model.grids.width not in (0, config.model.width):
        raise ConfigError(
            f"config.model.grids.width = {config.model.grids.width}: CAPTURE joins its streams, so both are as wide as"
            f" config.model.width = {config.model.width}; leave it 0"
        )
    if config.model.width % config.model.fusion.heads:
        raise ConfigError(
            f"config.model.fusion.heads = {config.model.fusion.heads} must divide config.model.width ="
            f" {config.model.width}, the width of CAPTURE's joint stream"
        )
    return build_model(
        lambda rngs: Capture(config, specs, vocabulary, classes, rngs),
        config,
        specs,
        classes,
        _flops(config, specs, vocabulary, classes),
    )


class Capture(two_stream.TwoStream):
    """Two encoders, co-attention, and a joint transformer.

    Its states have, under "alone/image" and "alone/text", the first states as the encoders gave them [B, 1, D].
    """

    def __init__(self, config: Config, specs: Mapping[str, TokenSpec], vocabulary: int, classes: int, rngs: nnx.Rngs):
        model, layout = config.model, encoder_layout(config.model)
        super().__init__(config, specs, vocabulary, layout, rngs)
        if config.objective.contrastive:
            self.poolers = nnx.Dict({name: Pooler(model, self.dtype, rngs, how="first") for name in self.names})
        self.cross = CoStack(model.fusion, model.tokens, model.grids, layout, model, self.dtype, rngs)
        lengths = {name: specs[name].sequence for name in ("text", "image")}
        self.fusion = Fusion(lengths, _joint(model), self.dtype, rngs)
        self.make_heads(classes, rngs, vector=2 * model.width)

    def mixed(self, embedded: States, masks: Masks, key: Array | None) -> States:
        """What every part in turn makes of both streams."""
        keys = (None,) * 3 if key is None else jax.random.split(key, 3)
        alone = self.encoded(embedded, masks, keys[0])
        text, image = self.cross(alone["text"], alone["image"], masks["text"], masks["image"], keys[1])
        joint = self.fusion({"text": text, "image": image}, masks, keys[2])
        return joint | {f"alone/{name}": states[:, :1] for name, states in alone.items()}

    def compared(self, states: States, masks: Masks) -> Float[Array, "b m p"]:
        """What the ReLU layers see in the first states of the encoders."""
        return jnp.stack([self.poolers[name](states[f"alone/{name}"], masks[name][:, :1]) for name in self.names], 1)


def _joint(model: Model) -> Model:
    """The settings of the joint transformer, as wide as the streams are: `fusion.width` is that of co-attention."""
    return dataclasses.replace(model, fusion=dataclasses.replace(model.fusion, width=0))


def _flops(config: Config, specs: Mapping[str, TokenSpec], vocabulary: int, classes: int) -> float:
    model, width = config.model, config.model.width
    text, image = specs["text"].sequence, specs["image"].sequence
    total = two_stream.streams_flops(config, specs)
    total += flops.co_attention(text, image, model)
    total += flops.stack(text + image, _joint(model).fusion, width)
    total += 4 * width * model.projection if config.objective.contrastive else 0
    return float(total + flops.heads(config, specs, vocabulary, classes, vector=2 * width))
