"""VisualBERT: the regions of a picture are further words of a BERT.

Li et al., VisualBERT: A Simple and Performant Baseline for Vision and Language, arXiv:1908.03557, 2019.

Faithful: a region is the linear map of what it shows, plus a type of its own and one position that all regions share,
with the norm of the words; boxes are not read. Masked words, with every region in sight, and whether title and picture
belong together, told from the first state; in the order and with the tensors of the Hugging Face implementation. Not:
the paper puts a second caption of the same picture beside the first and swaps that one by a coin; a listing has one
title, so its picture is swapped (`config.inputs.mismatch`), and words are told where it is its own. Not initialised
from BERT; no pre-training on the task of its evaluation. Patches have a position each.
"""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from m5jax.config import Config
from m5jax.models import single_stream
from m5jax.models.interface import Batch, Model
from m5jax.models.layers import BERT, dropout, linear
from m5jax.models.pretraining import build as build_model
from m5jax.token_spec import TokenSpec


def build(config: Config, specs: dict[str, TokenSpec], vocabulary: int, classes: int = 0) -> Model:
    """VisualBERT for a vocabulary size and a number of classes (0 = none to tell).

    Raises:
      ConfigError: modalities, objectives, blocks or readout are not VisualBERT's.
    """
    single_stream.check(config, specs, without=("masked_region", "word_region"))
    return build_model(
        lambda rngs: VisualBert(config, specs, vocabulary, classes, rngs),
        config,
        specs,
        classes,
        single_stream.count(config, specs, vocabulary, classes, VisualBert, 0),
    )


class Regions(nnx.Module):
    """Blocks to states, before they are normalised: E = W f + type + position."""

    def __init__(self, spec: TokenSpec, config: Any, dtype: jnp.dtype, rngs: nnx.Rngs):
        init, width = nnx.initializers.normal(0.02), config.width
        self.places = spec.length if spec.dtype == "uint8" else 1
        self.project = linear(spec.dim, width, BERT, dtype, rngs)
        self.type = nnx.Param(init(rngs.params(), (config.token_types, width)))
        self.position = nnx.Param(init(rngs.params(), (config.positions.image or self.places, width)))
        self.dtype = dtype

    def __call__(self, blocks: Float[Array, "b n k"]) -> Float[Array, "b n d"]:
        """The states of all blocks."""
        place = self.position[...][: self.places] + self.type[...][single_stream.PICTURE]
        return self.project(blocks.astype(self.dtype)) + place.astype(self.dtype)


class VisualBert(single_stream.SingleStream):
    """Words and regions, normalised alike."""

    def pictures(self, rngs: nnx.Rngs) -> Regions:
        """See `Regions`."""
        return Regions(self.specs["image"], self.config.model, self.dtype, rngs)

    def joined(self, batch: Batch, key: Array | None) -> Float[Array, "b n d"]:
        """Words, regions."""
        words, regions = self.embedders["text"], self.embedders["image"]
        summed = [words.summed(batch["text"], self.vocabulary), regions(self.blocks(batch["image"])[0])]
        return dropout(words.norm(jnp.concatenate(summed, 1)), self.config.model.dropout, key)
