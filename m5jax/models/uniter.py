"""UNITER: one stream, one modality masked at a time, words carried to regions.

Chen et al., UNITER: UNiversal Image-TExt Representation Learning, ECCV 2020.

Faithful: a region is LN(LN(W f) + LN(U box) + type), its box seven numbers (corners, width, height, area), its type a
row of the title's table; of a listing either words or regions are masked (`config.inputs.mask_one`); masked words,
masked regions by `config.objective.region_target` (features, or the classes of a detector by their divergence), whether
title and picture belong together, told from the first state, and word-region alignment by optimal transport for those
that do. Not: the paper draws one task for a batch, here all act on the same one, so that matches are told of a listing
with masks in it, and masked words and regions where the picture is the title's own; the regression's last layer is not
tied to W, and its targets are standardised by `config.objective.regression`; whether they belong together is one logit,
where the release has two classes; nothing parts the words of a pair that does not match from its regions; not
initialised from BERT. Patches have learned positions, normalised like boxes.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from m5jax.config import Config
from m5jax.models import single_stream
from m5jax.models.interface import Batch, Model
from m5jax.models.layers import BERT, dropout, linear, norm
from m5jax.models.pretraining import Masks, States
from m5jax.models.pretraining import build as build_model
from m5jax.objectives.masked import PerListing
from m5jax.objectives.word_region import word_region
from m5jax.token_spec import TokenSpec

BOX = 7


def build(config: Config, specs: dict[str, TokenSpec], vocabulary: int, classes: int = 0) -> Model:
    """UNITER for a vocabulary size and a number of classes (0 = none to tell).

    Raises:
      ConfigError: modalities, objectives, blocks or readout are not UNITER's.
    """
    single_stream.check(config, specs)
    total = single_stream.count(config, specs, vocabulary, classes, Uniter, BOX)
    if config.objective.word_region:
        total += 2 * specs["text"].length * specs["image"].length * config.model.width
    return build_model(lambda rngs: Uniter(config, specs, vocabulary, classes, rngs), config, specs, classes, total)


class Regions(nnx.Module):
    """Blocks to states: E = LN(LN(W f) + LN(U box) + type).

    A hidden block shows a learned f, as released. The paper has zeros there, and their norm at the start of training,
    where biases are zero, a gradient of a million.
    """

    def __init__(self, spec: TokenSpec, hides: bool, config: Any, dtype: jnp.dtype, rngs: nnx.Rngs):
        init = nnx.initializers.normal(0.02)
        self.project = linear(spec.dim, config.width, BERT, dtype, rngs)
        if spec.geometry:
            self.boxes = linear(BOX, config.width, BERT, dtype, rngs)
        else:
            rows = config.positions.image or spec.length
            self.position = nnx.Param(init(rngs.params(), (rows, config.width)))
        if hides:
            self.hidden = nnx.Param(init(rngs.params(), (spec.dim,)))
        self.norm_project, self.norm_place, self.norm = (norm(config.width, BERT, dtype, rngs) for _ in range(3))
        self.spec, self.hides, self.dtype = spec, hides, dtype

    def __call__(
        self, blocks: Float[Array, "b n k"], shown: Bool[Array, "b n"], arrays: dict, kind: Float[Array, "d"]
    ) -> Float[Array, "b n d"]:
        """The states of all blocks.

        Args:
          blocks: what they show.
          shown: which show something; what is there and does not is hidden.
          arrays: the picture's of a batch.
          kind: the type of a picture.
        """
        if self.hides:
            blocks = jnp.where(shown[..., None], blocks, self.hidden[...])
        features = self.norm_project(self.project(blocks.astype(self.dtype)))
        return self.norm(features + self.norm_place(self._place(arrays)) + kind.astype(self.dtype))

    def _place(self, arrays: dict) -> Float[Array, "*b n d"]:
        """What tells where a block lies."""
        if not self.spec.geometry:
            return self.position[...][: self.spec.length].astype(self.dtype)
        corners = single_stream.boxes(arrays)[..., :4]
        sides = corners[..., 2:] - corners[..., :2]
        box = jnp.concatenate([corners, sides, sides.prod(-1, keepdims=True)], -1)
        return self.boxes(box.astype(self.dtype))


class Uniter(single_stream.SingleStream):
    """Words and regions, each normalised by themselves."""

    def pictures(self, rngs: nnx.Rngs) -> Regions:
        """See `Regions`."""
        hides = self.config.objective.masked_region > 0
        return Regions(self.specs["image"], hides, self.config.model, self.dtype, rngs)

    def joined(self, batch: Batch, key: Array | None) -> Float[Array, "b n d"]:
        """Words, regions."""
        before, after = (None, None) if key is None else jax.random.split(key)
        embed = self.embedders["text"]
        words, _ = embed(batch["text"], self.vocabulary, before)
        kind = embed.type[...][single_stream.PICTURE]
        regions = self.embedders["image"](*self.blocks(batch["image"]), batch["image"], kind)
        return jnp.concatenate([words, dropout(regions, self.config.model.dropout, after)], 1)

    def further(self, batch: Batch, states: States, masks: Masks) -> dict[str, PerListing]:
        """Word-region alignment, over all words and regions that are there."""
        if not self.config.objective.word_region:
            return {}
        regions, shown = states["image"][:, 1:], masks["image"][:, 1:]
        return {"word_region": word_region(states["text"], regions, masks["text"], shown)}
