"""What methods of a single stream have in common: title and picture are one sequence, read by one BERT from the start.

How words and blocks become states is a method's own (`SingleStream.joined`). L words, of which the first stands for
both (the papers' [CLS]); N blocks: regions with boxes, or patches of a picture given as pixels, which have learned
positions in place of boxes. The tower is `config.model.fusion`.

The first word's place is there in every listing: without a title it shows the piece of id 0, [PAD], so that there is a
state to read (`config.model.pool` = "first") and something to attend to. No mean, objective or match counts it then.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from m5jax.config import Config
from m5jax.errors import ConfigError
from m5jax.models import flops
from m5jax.models.encoders import TokenEmbedder, hidden_blocks, presence, to_blocks
from m5jax.models.heads import Matcher, pool
from m5jax.models.interface import Batch
from m5jax.models.layers import BERT, Stack
from m5jax.models.pretraining import Masks, Network, States
from m5jax.token_spec import TokenSpec

PICTURE = 1  # the row of a table of token types that is the picture's; the title has row 0


def check(config: Config, specs: Mapping[str, TokenSpec], without: tuple[str, ...] = ()) -> None:
    """Are the settings those of a method of one stream that has no objective named in `without`?

    Raises:
      ConfigError: naming the one that is not.
    """
    model, family = config.model, f"config.model.family = {config.model.family!r}"
    if set(specs) != {"image", "text"}:
        raise ConfigError(f"{family} sees picture and title: config.inputs.modalities = {tuple(specs)} must be these")
    for name in ("contrastive", "link_prediction", *without):
        if getattr(config.objective, name):
            raise ConfigError(f"config.objective.{name} is no objective of {family}: set it to 0")
    if model.blocks != "released":
        raise ConfigError(f"{family} is a BERT: config.model.blocks = {model.blocks!r} must be 'released'")
    if model.fusion.width not in (0, model.width):
        raise ConfigError(
            f"config.model.fusion.width = {model.fusion.width}: with {family} states are as wide as the embedding of a"
            f" piece, config.model.width = {model.width}; leave it 0"
        )
    if model.token_types <= PICTURE:
        raise ConfigError(f"config.model.token_types = {model.token_types}: {family} needs 2, for title and picture")
    if model.readout not in ("fusion", "dense"):
        raise ConfigError(f"config.model.readout = {model.readout!r}: {family} has fusion, dense")


class SingleStream(Network):
    """One sequence through one tower.

    Attributes:
      whole: the picture as a whole has a place, in front of its blocks.
      ends: places behind the blocks, of no modality.
    """

    whole, ends = False, 0

    def __init__(self, config: Config, specs: Mapping[str, TokenSpec], vocabulary: int, classes: int, rngs: nnx.Rngs):
        super().__init__(config, specs, vocabulary, rngs)
        self.names, model = ("text", "image"), config.model
        self.embedders: Any = nnx.Dict({"text": self.words(rngs), "image": self.pictures(rngs)})
        self.encoder = Stack(model.fusion, BERT, model, self.dtype, rngs)
        if config.objective.matching:
            self.matcher = Matcher(model.width, BERT, self.dtype, rngs)
        self.make_heads(classes, rngs)

    def words(self, rngs: nnx.Rngs) -> TokenEmbedder:
        """What makes states of pieces: BERT's embedding, which all three keep."""
        spec = self.specs["text"]
        return TokenEmbedder(spec, self.config.model.positions.text or spec.length, self.config.model, self.dtype, rngs)

    def pictures(self, rngs: nnx.Rngs) -> nnx.Module:
        """What makes states of blocks."""
        raise NotImplementedError

    def joined(self, batch: Batch, key: Array | None) -> Float[Array, "b n d"]:
        """The sequence as the tower reads it: words, the whole picture if it has a place, blocks, ends."""
        raise NotImplementedError

    def blocks(self, arrays: dict) -> tuple[Float[Array, "b n k"], Bool[Array, "b n"]]:
        """What the picture's blocks show, float32, and which do; zeros where there is none, or one has to be told.

        Zeros, as papers hide a region, unless the method puts something else there. The batch hides some for methods
        without that objective, too: these see all.
        """
        shown = arrays["mask"]
        if self.config.objective.masked_region:
            shown = shown & ~hidden_blocks(arrays)
        blocks = to_blocks(arrays["values"], self.specs["image"], arrays.get("scale"))
        return jnp.where(shown[..., None], blocks, 0.0), shown

    def encode(self, batch: Batch, key: Array | None) -> tuple[States, Masks]:
        """The tower's states; of the whole picture zeros, masked out, where it has no place in the sequence."""
        before, after = (None, None) if key is None else jax.random.split(key)
        sequence = self.joined(batch, before)
        text, image = batch["text"]["mask"], batch["image"]["mask"]
        whole = presence(batch["image"])[:, None] & self.whole
        always = jnp.ones((len(text), self.ends), bool)
        mask = [text | (jnp.arange(text.shape[1]) == 0), *([whole] if self.whole else []), image, always]
        fused = self.encoder(sequence, jnp.concatenate(mask, 1), after)
        words = text.shape[1]
        picture = fused[:, words : words + image.shape[1] + self.whole]
        if not self.whole:
            picture = jnp.pad(picture, ((0, 0), (1, 0), (0, 0)))
        return {"text": fused[:, :words], "image": picture}, {"text": text, "image": jnp.concatenate([whole, image], 1)}

    def vector(self, batch: Batch, states: States, masks: Masks) -> Float[Array, "b d"]:
        """The first word's state, or the mean of all words and blocks (`config.model.pool`), float32."""
        if self.config.model.pool == "first":
            return states["text"][:, 0].astype(jnp.float32)
        joined, mask = (jnp.concatenate([parts[name] for name in self.names], 1) for parts in (states, masks))
        return pool(joined, mask, "mean")

    def match(self, states: States, masks: Masks) -> Float[Array, "b"]:
        """Logit of picture and title being of one listing, float32, from the first word's state."""
        return self.matcher(states["text"][:, 0])


def boxes(arrays: dict) -> Float[Array, "b n 5"]:
    """Where regions lie: x1, y1, x2, y2 and area as shares of the picture, float32; zeros where there is none."""
    return jnp.where(arrays["mask"][..., None], arrays["boxes"].astype(jnp.float32), 0.0)


def count(
    config: Config,
    specs: Mapping[str, TokenSpec],
    vocabulary: int,
    classes: int,
    network: type[SingleStream],
    geometry: int,
) -> float:
    """Operations of a forward pass over one listing with everything present.

    Args:
      config, specs, vocabulary, classes: of the model.
      network: the method.
      geometry: numbers of a region's place that are multiplied by weights.
    """
    model, image = config.model, specs["image"]
    rows = image.length + network.whole
    total = 2 * rows * (image.dim + (geometry if image.geometry else 0)) * model.width
    total += flops.stack(specs["text"].length + rows + network.ends, model.fusion, model.width)
    total += flops.heads(config, specs, vocabulary, classes)
    return float(total + (2 * model.width * (model.width + 1) if config.objective.matching else 0))
