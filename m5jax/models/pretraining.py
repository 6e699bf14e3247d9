"""From a network to a `Model`: the objectives it is trained with, the vectors of any subset, the classes.

SCALE weighs its objectives listing by listing and has a builder of its own (`scale.py`); every other method is a
`Network` in a file of its own, and this is what they have in common.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from m5jax import modalities
from m5jax.config import Config
from m5jax.models.encoders import presence, to_blocks
from m5jax.models.heads import Classifier, Comparing, MaskedHead
from m5jax.models.interface import Batch, Embeddings, Losses, Model, Objectives, Params, functional
from m5jax.objectives import numerics
from m5jax.objectives.classification import classification
from m5jax.objectives.contrastive import contrastive, pair_total
from m5jax.objectives.link_prediction import Asked, link_prediction
from m5jax.objectives.masked import (
    PerListing,
    flatness,
    masked_blocks,
    masked_classes,
    masked_tokens,
    noise_contrastive,
    standardised,
)
from m5jax.objectives.matching import matching
from m5jax.token_spec import TokenSpec

States = dict[str, Float[Array, "b _ d"]]
Masks = dict[str, Bool[Array, "b _"]]


class Network(Comparing):
    """A method's network: its constructor makes embedders and towers, and then calls `make_heads`.

    Attributes:
      names: the modalities that have states, in order; a table that is a graph has none.
    """

    names: tuple[str, ...]

    def __init__(self, config: Config, specs: Mapping[str, TokenSpec], vocabulary: int, rngs: nnx.Rngs):
        objective, init = config.objective, nnx.initializers.normal(0.02)
        compares = "image" in specs and objective.masked_region > 0 and objective.region_target == "nce"
        super().__init__(objective, used=compares or (objective.contrastive > 0 and len(specs) > 1))
        self.config, self.specs, self.dtype = config, dict(specs), jnp.dtype(config.precision)
        # One embedding of the vocabulary for all that is text, tied to the heads that predict its pieces.
        reads = any(spec.kind == "tokens" for spec in specs.values())
        words = nnx.Embed(vocabulary, config.model.width, dtype=self.dtype, embedding_init=init, rngs=rngs)
        self.vocabulary: Any = nnx.data(words if reads else None)
        self.pieces = vocabulary

    def make_heads(
        self, classes: int, rngs: nnx.Rngs, widths: Mapping[str, int] | None = None, vector: int = 0
    ) -> None:
        """The masked heads that have an objective, and the classifier.

        Args:
          classes: of the classifier.
          rngs: the constructor's.
          widths: of the states of each modality, where they are not config.model.width.
          vector: size of the product vector, where it is not config.model.width.
        """
        config, objective, size = self.config, self.config.objective, self.pieces
        heads = {}
        for name in self.names:
            if not getattr(objective, modalities.TABLE[name].objective):
                continue
            spec = self.specs[name]
            told = spec.classes if name == "image" and objective.region_target == "classes" else 0
            width = (widths or {}).get(name, 0)
            heads[name] = MaskedHead(spec, size, config.model, self.dtype, rngs, width, told)
        self.heads = nnx.Dict(heads)
        if classes and objective.classification:
            self.classifier = Classifier(1, classes, config.model, self.dtype, rngs, vector)

    def encode(self, batch: Batch, key: Array | None) -> tuple[States, Masks]:
        """States [B, N, D] and masks [B, N] of every modality of `names`, after all that mixes them.

        N = L for kind tokens, L + 1 for a grid, whose first state stands for the whole (`encoders.GridEmbedder`).
        A modality that is masked out takes no part.
        """
        raise NotImplementedError

    def vector(self, batch: Batch, states: States, masks: Masks) -> Float[Array, "b d"]:
        """The product vector, float32, not normalised; of a listing with nothing anything finite."""
        raise NotImplementedError

    def predict(self, name: str, states: Float[Array, "b k d"]) -> Float[Array, "b k v"]:
        """What the masked head of a modality makes of states."""
        return self.heads[name](states, self.vocabulary)

    def match(self, states: States, masks: Masks) -> Float[Array, "b"]:
        """Logit of picture and text being of one listing, float32."""
        raise NotImplementedError

    def compared(self, states: States, masks: Masks) -> Float[Array, "b m p"]:
        """What the contrastive objective compares, float32, in the order of `names`; not normalised."""
        raise NotImplementedError

    def asked(self, batch: Batch) -> tuple[Float[Array, "b t d"], Float[Array, "b t d"]]:
        """The vectors of the properties that link prediction asks for, and of their values, float32."""
        raise NotImplementedError

    def further(self, batch: Batch, states: States, masks: Masks) -> dict[str, PerListing]:
        """Objectives of this method alone, by name of their weight; those of mismatched listings do not count."""
        return {}


Make = Callable[[nnx.Rngs], Network]


def build(make: Make, config: Config, specs: Mapping[str, TokenSpec], classes: int, flops: float) -> Model:
    """The model of a network.

    Args:
      make: its constructor.
      config: the settings.
      specs: the modalities in use.
      classes: that the classifier tells apart, 0 = none.
      flops: of a forward pass over one listing with everything present.
    """
    init, bind = functional(make)
    objective, every = config.objective, tuple(specs)
    names = nnx.eval_shape(lambda: make(nnx.Rngs(0))).names
    tasks = {name: modalities.TABLE[name].objective for name in names}
    tasks = {name: task for name, task in tasks.items() if getattr(objective, task)}

    def losses(params: Params, batch: Batch, key: Array | None) -> Losses:
        network: Network = bind(params)
        keys = (None, None) if key is None else jax.random.split(key)
        states, masks = network.encode(batch, keys[0])
        matched = _matched(batch, len(masks[names[0]]))
        separable: Objectives = {}
        coupled: dict[str, Array] = {}
        for name, task in tasks.items():
            predictions, valid = _predictions(network, batch[name], name, states, matched)
            if name == "image" and objective.region_target == "nce":
                coupled |= {
                    "nce_predictions": predictions,
                    "nce_targets": standardised(
                        _targets(batch[name], specs[name]), flatness(specs[name].dtype, objective.regression)
                    ),
                }
            else:
                separable[task] = _sum(_told(predictions, batch[name], specs[name], valid, config))
        if objective.matching:
            both = presence(batch["image"]) & presence(batch["text"])
            separable |= matching(network.match(states, masks), matched, both)
        for name, (sums, counts) in network.further(batch, states, masks).items():
            separable[name] = _sum((sums * matched, counts * matched))
        if objective.contrastive and len(names) > 1:
            coupled["compared"] = network.compared(states, masks)
        if objective.link_prediction or (objective.classification and classes):
            vector = network.vector(batch, states, masks)
            if objective.link_prediction:
                coupled["items"] = vector
                coupled["properties"], coupled["values"] = network.asked(batch)
            if objective.classification and classes:
                separable |= classification(network.classifier(vector[:, None], keys[1]), batch["label"])
        return Losses(separable, coupled)

    def couple(params: Params, coupled: dict[str, Array], batch: Batch) -> Objectives:
        network: Network = bind(params)
        objectives: Objectives = {}
        if "compared" in coupled:
            matched = _matched(batch, len(coupled["compared"]))
            there = jnp.stack([presence(batch[name]) & matched for name in names], -1)
            ones = jnp.ones((*there.shape, len(names)))
            pairs = contrastive(coupled["compared"], there, network.temperature(), ones, objective.negatives)
            objectives["contrastive"] = numerics.add(*(pair_total(loss, there, i, j) for (i, j), loss in pairs.items()))
            for (i, j), loss in pairs.items():
                objectives[f"contrastive/{names[i]}-{names[j]}"] = pair_total(loss, there, i, j)
        if "nce_predictions" in coupled:
            matched = _matched(batch, len(coupled["nce_targets"]))
            valid = _selected(batch["image"], matched)
            objectives[tasks["image"]] = noise_contrastive(
                coupled["nce_predictions"], coupled["nce_targets"], valid, network.temperature()
            )
        if "items" in coupled:
            objectives |= link_prediction(Asked.of(coupled, batch), objective)
        return objectives

    def embed(params: Params, batch: Batch, subsets: Mapping[str, tuple[str, ...]]) -> Embeddings:
        network: Network = bind(params)

        def of(shown: Bool[Array, "m"]) -> tuple[Float[Array, "b d"], Bool[Array, "b"]]:
            seen = _only(batch, every, shown)
            there = jnp.stack([presence(seen[name]) for name in every], -1).any(-1)
            vector = _read(network, seen, config.model.readout)
            return numerics.normalise(jnp.where(there[:, None], vector, 0.0)), there

        table = np.array([[name in subset for name in every] for subset in subsets.values()]).reshape(-1, len(every))
        vectors, valid = jax.lax.map(of, jnp.asarray(table, bool))
        return {title: (vectors[row], valid[row]) for row, title in enumerate(subsets)}

    def classify(params: Params, batch: Batch) -> Float[Array, "b c"]:
        network: Network = bind(params)
        vector = network.vector(batch, *network.encode(batch, None))
        return network.classifier(vector[:, None], None)

    weighed = [*tasks.values(), "matching", "word_region", "contrastive", "link_prediction", "classification"]
    weights = {name: getattr(objective, name) for name in weighed if getattr(objective, name)}
    named = bool(classes and objective.classification) and objective.classes == "category"
    return Model(init, losses, couple, weights, embed, None, classify if named else None, flops)


def _read(network: Network, batch: Batch, readout: str) -> Float[Array, "b d"]:
    """The product vector as `config.model.readout` has it, float32."""
    states, masks = network.encode(batch, None)
    if readout == "contrastive":
        there = jnp.stack([presence(batch[name]) for name in network.names], 1)
        return jnp.where(there[..., None], numerics.normalise(network.compared(states, masks)), 0.0).sum(1)
    vector = network.vector(batch, states, masks)
    return network.classifier.vector(vector[:, None]) if readout == "dense" else vector


def _only(batch: Batch, names: tuple[str, ...], shown: Bool[Array, "m"]) -> Batch:
    """The batch with the modalities that are shown."""
    seen = dict(batch)
    for m, name in enumerate(names):
        hidden = {part: batch[name][part] & shown[m] for part in ("mask", "first_mask") if part in batch[name]}
        seen[name] = batch[name] | hidden
    return seen


def _matched(batch: Batch, listings: int) -> Bool[Array, "b"]:
    """Whose picture is their own."""
    return ~batch["mismatched"] if "mismatched" in batch else jnp.ones(listings, bool)


def _selected(arrays: dict, matched: Bool[Array, "b"]) -> Bool[Array, "b k"]:
    """Which entries of the selection count: those of a mismatched listing cannot be told from the other modality."""
    return arrays["masked"]["valid"] & (presence(arrays) & matched)[:, None]


def _predictions(
    network: Network, arrays: dict, name: str, states: States, matched: Bool[Array, "b"]
) -> tuple[Float[Array, "b k v"], Bool[Array, "b k"]]:
    """What the head says at the selected positions, and which of them count."""
    front = network.specs[name].kind == "grid"  # a grid's sequence has its mean block in front
    positions = arrays["masked"]["positions"][..., None] + front
    return network.predict(name, jnp.take_along_axis(states[name], positions, 1)), _selected(arrays, matched)


def _targets(arrays: dict, spec: TokenSpec) -> Float[Array, "b k n"]:
    """The blocks at the selected positions."""
    positions = arrays["masked"]["positions"][..., None]
    return jnp.take_along_axis(to_blocks(arrays["values"], spec, arrays.get("scale")), positions, 1)


def _told(
    predictions: Float[Array, "b k v"], arrays: dict, spec: TokenSpec, valid: Bool[Array, "b k"], config: Config
) -> PerListing:
    """The masked objective of one modality."""
    ones, masked = jnp.ones(len(valid)), arrays["masked"]
    if spec.kind == "tokens":
        return masked_tokens(predictions, masked["targets"], valid, ones)
    if spec.name == "image" and config.objective.region_target == "classes":
        shares = jnp.take_along_axis(arrays["classes"], masked["positions"][..., None], 1)
        return masked_classes(predictions, shares, valid)
    flat = flatness(spec.dtype, config.objective.regression)
    return masked_blocks(predictions, _targets(arrays, spec), valid, ones, flat)


def _sum(total: PerListing) -> numerics.SumCount:
    return total[0].sum(), total[1].sum()
