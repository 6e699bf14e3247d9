"""Image-only and text-only: one encoder, one masked objective; what several modalities are compared with.

Text: Devlin et al., BERT, NAACL 2019: pieces, positions and types, a post-norm encoder, masked language modelling with
the tied head. Without its second sentence and the prediction whether it follows: a title has none. Image: the same
encoder over regions or patches with masked region prediction, as in the comparisons of SCALE's paper (its section 4:
"12-layer transformers with MRP or MLM only").
"""

from collections.abc import Mapping

import jax
from flax import nnx
from jaxtyping import Array, Float

from m5jax.config import Config
from m5jax.errors import ConfigError
from m5jax.models import flops
from m5jax.models.encoders import embedder
from m5jax.models.heads import pool
from m5jax.models.interface import Batch, Model
from m5jax.models.layers import Stack, encoder_layout
from m5jax.models.pretraining import Masks, Network, States
from m5jax.models.pretraining import build as build_model
from m5jax.token_spec import TokenSpec


def build(config: Config, specs: dict[str, TokenSpec], vocabulary: int, classes: int = 0) -> Model:
    """The model of a single modality.

    Raises:
      ConfigError: there are several; an objective or readout is of a model with more.
    """
    if len(specs) != 1:
        raise ConfigError(
            f"config.model.family = 'unimodal' sees one modality: config.inputs.modalities = {tuple(specs)} has"
            f" {len(specs)}"
        )
    if config.objective.link_prediction:
        raise ConfigError(
            "config.objective.link_prediction is no objective of config.model.family = 'unimodal': set it to 0"
        )
    if config.model.readout not in ("fusion", "dense"):
        raise ConfigError(
            f"config.model.readout = {config.model.readout!r}: config.model.family = 'unimodal' has fusion, dense"
        )
    return build_model(
        lambda rngs: Unimodal(config, specs, vocabulary, classes, rngs),
        config,
        specs,
        classes,
        _flops(config, specs, vocabulary, classes),
    )


class Unimodal(Network):
    """One embedder, one encoder."""

    def __init__(self, config: Config, specs: Mapping[str, TokenSpec], vocabulary: int, classes: int, rngs: nnx.Rngs):
        super().__init__(config, specs, vocabulary, rngs)
        (name,) = self.names = tuple(specs)
        model, spec = config.model, self.specs[name]
        tower = model.tokens if spec.kind == "tokens" else model.grids
        self.embedders = nnx.Dict({name: embedder(spec, spec.sequence, model, self.dtype, rngs)})
        self.encoders = nnx.Dict({name: Stack(tower, encoder_layout(model), model, self.dtype, rngs)})
        self.make_heads(classes, rngs)

    def encode(self, batch: Batch, key: Array | None) -> tuple[States, Masks]:
        """The encoder's states."""
        (name,) = self.names
        before, after = (None, None) if key is None else jax.random.split(key)
        embedded, mask = self.embedders[name](batch[name], self.vocabulary, before)
        return {name: self.encoders[name](embedded, mask, after)}, {name: mask}

    def vector(self, batch: Batch, states: States, masks: Masks) -> Float[Array, "b d"]:
        """The first state, or the mean of all (`config.model.pool`)."""
        (name,) = self.names
        return pool(states[name], masks[name], self.config.model.pool)


def _flops(config: Config, specs: dict[str, TokenSpec], vocabulary: int, classes: int) -> float:
    (spec,) = specs.values()
    model = config.model
    tower = model.tokens if spec.kind == "tokens" else model.grids
    total = flops.stack(spec.sequence, tower, model.width) + flops.embedding(spec, model.width)
    return float(total + flops.heads(config, specs, vocabulary, classes))
