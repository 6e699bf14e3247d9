"""LXMERT: a language encoder, an object-relationship encoder, and a cross-modality encoder over both.

Tan and Bansal, LXMERT: Learning Cross-Modality Encoder Representations from Transformers, EMNLP 2019. A layer of the
cross-modality encoder is an attention of each side to the other, with one set of weights for both directions (as
released), and then a block of its own for each side.

Faithful: the three encoders (`config.model.tokens`, `grids`, `fusion`); an object is the mean of its features and its
box, each mapped and normalised, and a box is its four corners; masked words, masked objects (their features, or with
`region_target` their classes) and whether picture and title belong together, told by the title's first state. Not: no
question answering, for there are no questions in pre-training here; classes and features are not predicted both at
once; squared error where the release has a smooth L1; whether they belong together is one logit, where the release has
two classes. Ours: the mean object in front, as every picture has here; a learned state for the place of a patch or of
an object without a box; the product vector, both streams' states side by side, which a listing without one of the two
has as well; a side whose other one is absent gathers nothing from it.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Key

from m5jax.config import Config
from m5jax.errors import ConfigError
from m5jax.model_settings import Model
from m5jax.models import flops, interface, two_stream
from m5jax.models.coattention import Pair
from m5jax.models.encoders import GridEmbedder, hidden_blocks, presence
from m5jax.models.heads import Matcher
from m5jax.models.layers import BERT, Block, CrossAttention, Layout, dropout, encoder_layout, norm, repeated
from m5jax.models.pretraining import Masks, States
from m5jax.models.pretraining import build as build_model
from m5jax.token_spec import TokenSpec

CORNERS = 4


def build(config: Config, specs: dict[str, TokenSpec], vocabulary: int, classes: int = 0) -> interface.Model:
    """LXMERT for a vocabulary size and a number of classes (0 = none to tell).

    Raises:
      ConfigError: the modalities are not picture and title; an objective or readout is not LXMERT's; towers differ in
        width, or pictures come in through convolutions.
    """
    two_stream.check(config, specs, without=("contrastive",))
    model = config.model
    for name in ("tokens", "grids", "fusion"):
        if getattr(model, name).width not in (0, model.width):
            raise ConfigError(
                f"config.model.{name}.width = {getattr(model, name).width}: LXMERT attends both ways with one set of"
                f" weights, so all its states are as wide as config.model.width = {model.width}; leave it 0"
            )
    if model.stem != "patch":
        raise ConfigError(f"config.model.stem = {model.stem!r}: objects of LXMERT come in by a linear map, 'patch'")
    return build_model(
        lambda rngs: Lxmert(config, specs, vocabulary, classes, rngs),
        config,
        specs,
        classes,
        _flops(config, specs, vocabulary, classes),
    )


class ObjectEmbedder(GridEmbedder):
    """Features to states: (LN(W f + b) + LN(U corners + c)) / 2 (section 2.1); a hidden object's features are zeros."""

    def __init__(self, spec: TokenSpec, config: Model, dtype: jnp.dtype, rngs: nnx.Rngs):
        rows = config.positions.image or spec.sequence
        super().__init__(_cornered(spec), rows, dataclasses.replace(config, blocks="released"), dtype, rngs)
        self.norm_place = norm(config.width, BERT, dtype, rngs)

    def __call__(
        self, arrays: dict, vocabulary: nnx.Embed | None, key: Key[Array, ""] | None
    ) -> tuple[Float[Array, "b l+1 d"], Bool[Array, "b l+1"]]:
        """States and mask of the sequence, the mean object in front."""
        mask = arrays["mask"]
        features = self.norm(self._states(arrays, mask, mask & ~hidden_blocks(arrays)))
        states = 0.5 * (features + self.norm_place(self._place(arrays)))
        return dropout(states, self.rate, key), jnp.concatenate([presence(arrays)[:, None], mask], 1)


def _cornered(spec: TokenSpec) -> TokenSpec:
    """A picture whose boxes, if it has any, are their corners alone."""
    return dataclasses.replace(spec, geometry=min(spec.geometry, CORNERS))


class CrossLayer(nnx.Module):
    """Attention to the other side with shared weights, then a block for each side."""

    def __init__(self, config: Model, layout: Layout, dtype: jnp.dtype, rngs: nnx.Rngs):
        width, tower = config.width, config.fusion
        self.norm_attention = norm(width, layout, dtype, rngs)
        self.attention = CrossAttention(width, width, width, tower.heads, layout, dtype, rngs)
        self.text = Block(tower, layout, config, dtype, rngs)
        self.image = Block(tower, layout, config, dtype, rngs)
        self.rate, self.post_norm = config.dropout, layout.post_norm

    def __call__(
        self,
        text: Float[Array, "b l d"],
        image: Float[Array, "b n d"],
        text_mask: Bool[Array, "b l"],
        image_mask: Bool[Array, "b n"],
        key: Key[Array, ""] | None,
    ) -> Pair:
        """Both sides after the layer."""
        keys = (None,) * 4 if key is None else jax.random.split(key, 4)
        words, objects = (x if self.post_norm else self.norm_attention(x) for x in (text, image))
        text = text + dropout(self.attention(words, objects, image_mask), self.rate, keys[0])
        image = image + dropout(self.attention(objects, words, text_mask), self.rate, keys[1])
        text, image = (self.norm_attention(x) if self.post_norm else x for x in (text, image))
        return self.text(text, text_mask, keys[2]), self.image(image, image_mask, keys[3])


class Lxmert(two_stream.TwoStream):
    """The three encoders and what predicts."""

    def __init__(self, config: Config, specs: Mapping[str, TokenSpec], vocabulary: int, classes: int, rngs: nnx.Rngs):
        model, layout = config.model, encoder_layout(config.model)
        super().__init__(config, specs, vocabulary, layout, rngs)
        make = nnx.vmap(lambda forked: CrossLayer(model, layout, self.dtype, forked), in_axes=0, out_axes=0)
        self.cross = nnx.Dict(blocks=make(rngs.split(model.fusion.layers)))
        if layout.last_norm:
            self.norms = nnx.Dict({name: norm(model.width, layout, self.dtype, rngs) for name in self.names})
        if config.objective.matching:
            self.matcher = Matcher(model.width, layout, self.dtype, rngs)
        self.make_heads(classes, rngs, vector=2 * model.width)

    def embedder(self, spec: TokenSpec, model: Model, rngs: nnx.Rngs) -> nnx.Module:
        """That of objects, or BERT's."""
        if spec.name == "image":
            return ObjectEmbedder(spec, model, self.dtype, rngs)
        return super().embedder(spec, model, rngs)

    def mixed(self, embedded: States, masks: Masks, key: Array | None) -> States:
        """The two encoders of one modality, then that of both."""
        model = self.config.model
        alone, between = (None, None) if key is None else jax.random.split(key)
        states = self.encoded(embedded, masks, alone)
        graphdef, params = nnx.split(self.cross["blocks"])

        def body(streams: Pair, layer: tuple) -> tuple[Pair, None]:
            layer_params, layer_key = layer
            return nnx.merge(graphdef, layer_params)(*streams, masks["text"], masks["image"], layer_key), None

        layers = (params, None if between is None else jax.random.split(between, model.fusion.layers))
        streams = (states["text"], states["image"])
        text, image = repeated(body, streams, layers, model.fusion.layers, model.scan, model.remat)
        states = {"image": image, "text": text}
        return {name: self.norms[name](x) for name, x in states.items()} if "norms" in vars(self) else states

    def match(self, states: States, masks: Masks) -> Float[Array, "b"]:
        """Logit of picture and title being of one listing, float32, by the title's first state."""
        return self.matcher(states["text"][:, 0])


def _flops(config: Config, specs: Mapping[str, TokenSpec], vocabulary: int, classes: int) -> float:
    model, width = config.model, config.model.width
    text, image = specs["text"].sequence, specs["image"].sequence
    total = two_stream.streams_flops(config, {"image": _cornered(specs["image"]), "text": specs["text"]})
    total += model.fusion.layers * (8 * (text + image) * width * width + 8 * text * image * width)
    total += flops.stack(text, model.fusion, width) + flops.stack(image, model.fusion, width)
    return float(total + flops.heads(config, specs, vocabulary, classes, vector=2 * width))
