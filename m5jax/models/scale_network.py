"""The network of SCALE: per modality an embedder, an encoder, a pooler and a masked head; one joint transformer.

With `config.model.structure` it has K3M's structure aggregation over the table's triples as well, and with
`config.model.fuse` K3M's gates between what an encoder says and what the joint transformer made of it.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from m5jax.config import Config
from m5jax.models.encoders import embedder
from m5jax.models.fusion import Fusion
from m5jax.models.gates import Gates
from m5jax.models.heads import Classifier, Comparing, MaskedHead, Pooler, pool
from m5jax.models.interface import Batch
from m5jax.models.layers import Stack, encoder_layout
from m5jax.models.structure import Structure, asked_vectors, shown_spans, span_means
from m5jax.token_spec import TokenSpec

# The release's orders. They matter: its harmony matrix is not symmetric, its joint sequence has one position a place.
HARMONY_ORDER = ("text", "image", "table", "video", "audio")
FUSION_ORDER = ("text", "table", "image", "video", "audio")
# Who lends a part to whom where parts are shared, as released.
LENDERS = {
    "embedder": {"table": "text"},
    "encoder": {"table": "text", "video": "image"},
    "head": {"table": "text"},
}

States = dict[str, Float[Array, "b _ d"]]
Masks = dict[str, Bool[Array, "b _"]]


class Scale(Comparing):
    """The parts of the network, and the passes through them."""

    def __init__(self, config: Config, specs: dict[str, TokenSpec], vocabulary: int, classes: int, rngs: nnx.Rngs):
        super().__init__(config.objective)
        dtype, model = jnp.dtype(config.precision), config.model
        init = nnx.initializers.normal(0.02)
        self.names = tuple(name for name in HARMONY_ORDER if name in specs)
        self.lender = {part: _lenders(part, self.names, model.share) for part in LENDERS}
        owners = {part: [n for n in self.names if lenders[n] == n] for part, lenders in self.lender.items()}
        towers = {"tokens": model.tokens, "grid": model.grids}
        # One embedding of the vocabulary for title and table, tied to the heads that predict its pieces.
        self.vocabulary = nnx.Embed(vocabulary, model.width, dtype=dtype, embedding_init=init, rngs=rngs)
        tokens = {n: specs[n].sequence for n in FUSION_ORDER if n in specs}
        longest = {n: max(tokens[m] for m in self.names if self.lender["embedder"][m] == n) for n in owners["embedder"]}
        self.embedders = nnx.Dict({n: embedder(specs[n], longest[n], model, dtype, rngs) for n in owners["embedder"]})
        self.encoders = nnx.Dict(
            {n: Stack(towers[specs[n].kind], encoder_layout(model), model, dtype, rngs) for n in owners["encoder"]}
        )
        self.poolers = nnx.Dict({n: Pooler(model, dtype, rngs) for n in self.names})
        self.fusion = Fusion(tokens, model, dtype, rngs)
        self.heads = nnx.Dict({n: MaskedHead(specs[n], vocabulary, model, dtype, rngs) for n in owners["head"]})
        if config.objective.harmony != "off" and config.objective.harmony_source == "free":
            self.harmony = nnx.Param(jnp.zeros((len(self.names), len(self.names)), jnp.float32))
        if classes and config.objective.classification:
            self.classifier = Classifier(len(self.names), classes, model, dtype, rngs)
        if model.fuse != "none":
            self.gates = nnx.Dict({n: Gates(1, model.width, model, dtype, rngs) for n in self.names})
        if model.structure.heads:
            self.structure, self.triples = Structure(model.width, model, dtype, rngs), specs["table"].triples

    def encode(self, batch: Batch, key: Array | None) -> tuple[States, Masks]:
        """States [B, N, D] and masks [B, N] of every modality; N = L for kind tokens, L + 1 for a grid."""
        states, masks = {}, {}
        keys = [None] * len(self.names) if key is None else jax.random.split(key, len(self.names))
        for name, own in zip(self.names, keys, strict=True):
            states[name], masks[name] = self._encoded(name, batch[name], own)
        return states, masks

    def _encoded(self, name: str, arrays: dict, key: Array | None) -> tuple[Float[Array, "b l d"], Bool[Array, "b l"]]:
        before, after = (None, None) if key is None else jax.random.split(key)
        embedded, mask = self.embedders[self.lender["embedder"][name]](arrays, self.vocabulary, before)
        return self.encoders[self.lender["encoder"][name]](embedded, mask, after), mask

    def fused(self, states: States, masks: Masks, key: Array | None = None, first_only: bool = False) -> States:
        """What the joint transformer makes of the states, or a gate of both; arguments as `Fusion` has them."""
        if "gates" not in vars(self):
            return self.fusion(states, masks, key, first_only)
        keys = [None] * (1 + len(self.names)) if key is None else jax.random.split(key, 1 + len(self.names))
        joint = self.fusion(states, masks, keys[0], first_only)
        return {
            name: self.gates[name](
                states[name][:, : joint[name].shape[1]], [joint[name]], masks[name].any(1, keepdims=True), own
            )
            for name, own in zip(self.names, keys[1:], strict=True)
        }

    def aggregated(self, batch: Batch, states: States, masks: Masks, first: Float[Array, "b m d"]) -> Array:
        """c* [B, D], float32: the mean of the first states that are there, and what the triples add to it."""
        there = jnp.stack([masks[name].any(1) for name in self.names], 1)
        centre = first.sum(1) / jnp.maximum(there.sum(1, keepdims=True), 1)
        table = {"mask": masks["table"], "spans": batch["table"]["spans"]}
        return self.structure(centre, *span_means(states["table"], shown_spans(table), self.triples))

    def asked(self, batch: Batch) -> tuple[Float[Array, "b t d"], Float[Array, "b t d"]]:
        """The mean states of the asked names and values, each text by itself, from the table's encoder."""
        return asked_vectors(batch["table"]["asked"], lambda arrays: self._encoded("table", arrays, None))

    def pooled(self, states: States, masks: Masks) -> Float[Array, "b m p"]:
        """What the contrastive objective compares."""
        return jnp.stack([self.poolers[name](states[name], masks[name]) for name in self.names], 1)

    def first(self, fused: States, masks: Masks) -> Float[Array, "b m d"]:
        """The joint transformer's first state of every modality, float32, zeros where absent."""
        return jnp.stack([pool(fused[name], masks[name], "first") for name in self.names], 1)

    def predict(self, name: str, states: Float[Array, "b k d"]) -> Float[Array, "b k v"]:
        """What the masked head of a modality makes of states: logits, or numbers of blocks."""
        return self.heads[self.lender["head"][name]](states, self.vocabulary)


def _lenders(part: str, names: tuple[str, ...], share: bool) -> dict[str, str]:
    """Whose part every modality uses; its own where nothing is shared, or the lender is not in use."""
    lenders = LENDERS[part] if share else {}
    return {name: lenders[name] if lenders.get(name) in names else name for name in names}
