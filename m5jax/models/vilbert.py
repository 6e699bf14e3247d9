"""ViLBERT: a BERT for the title, one for the picture's regions, and co-attention between them, block by block.

Lu et al., ViLBERT: Pretraining Task-Agnostic Visiolinguistic Representations, NeurIPS 2019; the order of the layers as
released. A deep stack of words and a shallower one of regions end together: before their last C blocks, C the layers of
co-attention (`config.model.fusion`), the streams attend to each other, and after that run a block each, C times.

Faithful: two streams of their own widths; regions with boxes and the mean region in front; masked words, masked regions
(the classes a detector saw, or with `region_target` their features) and whether picture and title belong together, told
by the product of both first states, each through a ReLU layer. Not: the title's encoder is not initialised from BERT;
whether they belong together is one logit, where the release has two classes. Ours: the product vector, both streams'
states side by side, which a listing without one of the two has as well; a stream whose other one is absent gathers
nothing from it.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from m5jax.config import Config
from m5jax.errors import ConfigError
from m5jax.models import flops, two_stream
from m5jax.models.coattention import CoAttention, Pair
from m5jax.models.heads import Pooler
from m5jax.models.interface import Model
from m5jax.models.layers import encoder_layout, linear, repeated
from m5jax.models.pretraining import Masks, States
from m5jax.models.pretraining import build as build_model
from m5jax.token_spec import TokenSpec


def build(config: Config, specs: dict[str, TokenSpec], vocabulary: int, classes: int = 0) -> Model:
    """ViLBERT for a vocabulary size and a number of classes (0 = none to tell).

    Raises:
      ConfigError: the modalities are not picture and title; an objective or readout is not ViLBERT's; there are more
        layers of co-attention than blocks of a stream.
    """
    two_stream.check(config, specs, without=("contrastive",))
    model = config.model
    if model.fusion.layers > min(model.tokens.layers, model.grids.layers):
        raise ConfigError(
            f"config.model.fusion.layers = {model.fusion.layers}: ViLBERT runs a block of either stream after every"
            f" layer of co-attention, and config.model.tokens has {model.tokens.layers} and config.model.grids"
            f" {model.grids.layers}"
        )
    return build_model(
        lambda rngs: Vilbert(config, specs, vocabulary, classes, rngs),
        config,
        specs,
        classes,
        _flops(config, specs, vocabulary, classes),
    )


class Vilbert(two_stream.TwoStream):
    """Two streams, connected before each of their last blocks."""

    def __init__(self, config: Config, specs: Mapping[str, TokenSpec], vocabulary: int, classes: int, rngs: nnx.Rngs):
        model, layout = config.model, encoder_layout(config.model)
        super().__init__(config, specs, vocabulary, layout, rngs)
        make = nnx.vmap(
            lambda forked: CoAttention(model.fusion, model.tokens, model.grids, layout, model, self.dtype, forked),
            in_axes=0,
            out_axes=0,
        )
        self.connections = nnx.Dict(blocks=make(rngs.split(model.fusion.layers)))
        if config.objective.matching:
            self.poolers = nnx.Dict(
                {name: Pooler(model, self.dtype, rngs, width, "first") for name, width in self.widths.items()}
            )
            self.matcher = nnx.Dict(predict=linear(model.projection, 1, layout, self.dtype, rngs))
        self.make_heads(classes, rngs, self.widths, sum(self.widths.values()))

    def mixed(self, embedded: States, masks: Masks, key: Array | None) -> States:
        """Blocks of each stream by itself, then a layer of co-attention before each of the last."""
        model, count = self.config.model, self.config.model.fusion.layers
        before, beside, after = (None,) * 3 if key is None else jax.random.split(key, 3)
        text, image = self.encoders["text"], self.encoders["image"]
        streams = (
            text.begun(embedded["text"], masks["text"], before, text.layers - count),
            image.begun(embedded["image"], masks["image"], beside, image.layers - count),
        )
        connection, connections = nnx.split(self.connections["blocks"])
        (words, last_words), (regions, last_regions) = text.last(count), image.last(count)

        def body(streams: Pair, layer: Any) -> tuple[Pair, None]:
            params, layer_key = layer
            keys = (None,) * 3 if layer_key is None else jax.random.split(layer_key, 3)
            text, image = nnx.merge(connection, params[0])(*streams, masks["text"], masks["image"], keys[0])
            text = nnx.merge(words, params[1])(text, masks["text"], keys[1])
            return (text, nnx.merge(regions, params[2])(image, masks["image"], keys[2])), None

        layer_keys = None if after is None else jax.random.split(after, count)
        layers = ((connections, last_words, last_regions), layer_keys)
        streams = repeated(body, streams, layers, count, model.scan, model.remat)
        return {"image": image.normalised(streams[1]), "text": text.normalised(streams[0])}

    def pooled(self, states: States, masks: Masks) -> States:
        """By stream the ReLU layer's view of its first state, float32 [B, config.model.projection]."""
        return {name: self.poolers[name](states[name], masks[name]) for name in self.names}

    def match(self, states: States, masks: Masks) -> Float[Array, "b"]:
        """Logit of picture and title being of one listing, float32."""
        pooled = self.pooled(states, masks)
        return self.matcher["predict"](pooled["image"] * pooled["text"])[:, 0].astype(jnp.float32)


def _flops(config: Config, specs: Mapping[str, TokenSpec], vocabulary: int, classes: int) -> float:
    model, widths = config.model, two_stream.widths(config.model)
    total = two_stream.streams_flops(config, specs)
    total += flops.co_attention(specs["text"].sequence, specs["image"].sequence, model)
    total += flops.heads(config, specs, vocabulary, classes, widths, sum(widths.values()), matcher=False)
    if config.objective.matching:
        total += 2 * model.projection * (sum(widths.values()) + 1)
    return float(total)
