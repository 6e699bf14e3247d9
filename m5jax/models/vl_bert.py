"""VL-BERT: every element of the one stream has a visual feature, the words that of the whole picture.

Su et al., VL-BERT: Pre-training of Generic Visual-Linguistic Representations, ICLR 2020, section 3.

An element is LN(piece + visual feature + type + position). Faithful: the visual feature is a linear map of what a
region shows beside sines and cosines of its corners, that of a word or of [END] the whole picture's; regions have the
piece [IMG], a type of their own and one position for all, the next after the title's last, and [END] the one after it;
the whole picture is a region, too, as released; a masked region shows zeros, to the whole picture's feature as well;
masked words with visual clues, masked regions (the classes a detector saw, or with `region_target` their features) with
linguistic clues; nothing tells whether title and picture belong together, which the paper found not to help. Not: the
whole picture's feature is the mean of its regions', and the detector is not trained along; no pre-training on text
alone, though words without a picture have the one learned visual feature that text alone has there; no further norms
and scales of visual features, which the released code has; not initialised from BERT. Patches have learned positions in
place of the sines and cosines.
"""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from m5jax.config import Config
from m5jax.errors import ConfigError
from m5jax.models import single_stream
from m5jax.models.encoders import TokenEmbedder, presence
from m5jax.models.interface import Batch, Model
from m5jax.models.layers import BERT, dropout, linear
from m5jax.models.pretraining import build as build_model
from m5jax.token_spec import TokenSpec

AFTER = 2  # positions after the title's: the regions', and that of [END]
# Sines and cosines of the corners, in per cent of the picture (Hu et al., Relation Networks, CVPR 2018, section 3).
CORNERS, PERCENT, LONGEST = 4, 100.0, 1000.0


def build(config: Config, specs: dict[str, TokenSpec], vocabulary: int, classes: int = 0) -> Model:
    """VL-BERT for a vocabulary size and a number of classes (0 = none to tell).

    Raises:
      ConfigError: modalities, objectives, blocks or readout are not VL-BERT's; too few positions of the title.
    """
    single_stream.check(config, specs, without=("matching", "word_region"))
    rows, needed = config.model.positions.text, specs["text"].length + AFTER
    if 0 < rows < needed:
        raise ConfigError(
            f"config.model.positions.text = {rows}: VL-BERT needs {needed}, for config.inputs.text.length ="
            f" {needed - AFTER} pieces, the regions and [END]; or set it to 0"
        )
    return build_model(
        lambda rngs: VlBert(config, specs, vocabulary, classes, rngs),
        config,
        specs,
        classes,
        single_stream.count(config, specs, vocabulary, classes, VlBert, 2 * CORNERS * waves(specs["image"])),
    )


def waves(spec: TokenSpec) -> int:
    """Wavelengths of a corner: its sines and cosines are as many numbers as a region has, in all."""
    return max(1, spec.dim // (2 * CORNERS))


class Visual(nnx.Module):
    """The visual features of the whole picture and of its blocks: V = W f + U waves(corners); [IMG] and [END]."""

    def __init__(self, spec: TokenSpec, config: Any, dtype: jnp.dtype, rngs: nnx.Rngs):
        init, width = nnx.initializers.normal(0.02), config.width
        self.project = linear(spec.dim, width, BERT, dtype, rngs)
        if spec.geometry:
            self.boxes = linear(2 * CORNERS * waves(spec), width, BERT, dtype, rngs)
        else:
            self.position = nnx.Param(init(rngs.params(), (config.positions.image or spec.sequence, width)))
        self.absent, self.piece, self.end = (nnx.Param(init(rngs.params(), (width,))) for _ in range(3))
        self.spec, self.dtype = spec, dtype

    def __call__(
        self, blocks: Float[Array, "b n k"], shown: Bool[Array, "b n"], arrays: dict
    ) -> Float[Array, "b n+1 d"]:
        """The features of the whole picture, in front, and of all blocks; where there is none, of the whole `absent`.

        Args:
          blocks: what they show, zeros where hidden or not there.
          shown: which show something; the whole picture is their mean.
          arrays: the picture's of a batch.
        """
        whole = blocks.sum(1) / jnp.maximum(shown.sum(1, keepdims=True), 1)
        features = self.project(jnp.concatenate([whole[:, None], blocks], 1).astype(self.dtype)) + self._place(arrays)
        absent = jnp.where(presence(arrays)[:, None], features[:, 0], self.absent[...].astype(self.dtype))
        return features.at[:, 0].set(absent)

    def _place(self, arrays: dict) -> Float[Array, "*b n+1 d"]:
        """What tells where a block lies."""
        if not self.spec.geometry:
            return self.position[...][: self.spec.sequence].astype(self.dtype)
        corners = single_stream.boxes(arrays)[..., :CORNERS]
        whole = jnp.broadcast_to(jnp.array([0.0, 0.0, 1.0, 1.0]), corners[:, :1].shape)
        return self.boxes(_waves(jnp.concatenate([whole, corners], 1), waves(self.spec)).astype(self.dtype))


def _waves(corners: Float[Array, "b n 4"], count: int) -> Float[Array, "b n w"]:
    """Sines and cosines of `count` wavelengths, in geometric progression, of every corner."""
    lengths = LONGEST ** (jnp.arange(count) / count)
    angles = (PERCENT * corners[..., None] / lengths).reshape(*corners.shape[:2], -1)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], -1)


class VlBert(single_stream.SingleStream):
    """Words, the whole picture, regions, [END]."""

    whole, ends = True, 1

    def words(self, rngs: nnx.Rngs) -> TokenEmbedder:
        """BERT's embedding, with positions for what comes after the title."""
        model = self.config.model
        rows = model.positions.text or self.specs["text"].length + AFTER
        return TokenEmbedder(self.specs["text"], rows, model, self.dtype, rngs)

    def pictures(self, rngs: nnx.Rngs) -> Visual:
        """See `Visual`."""
        return Visual(self.specs["image"], self.config.model, self.dtype, rngs)

    def joined(self, batch: Batch, key: Array | None) -> Float[Array, "b n d"]:
        """Words, the whole picture, regions, [END]."""
        words, visual = self.embedders["text"], self.embedders["image"]
        features = visual(*self.blocks(batch["image"]), batch["image"])
        whole, pieces = features[:, :1], words.summed(batch["text"], self.vocabulary)
        after = jnp.maximum(batch["text"]["mask"].sum(1), 1)  # without a title its first place is there all the same
        place, last = (self._beside(after + n) for n in range(AFTER))
        regions = features + visual.piece[...].astype(self.dtype) + place
        end = whole + visual.end[...].astype(self.dtype) + last
        return dropout(words.norm(jnp.concatenate([pieces + whole, regions, end], 1)), self.config.model.dropout, key)

    def _beside(self, position: Array) -> Float[Array, "b 1 d"]:
        """Type and position of what is no word."""
        words = self.embedders["text"]
        beside = words.position[...][position] + words.type[...][single_stream.PICTURE]
        return beside[:, None].astype(self.dtype)
