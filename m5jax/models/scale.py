"""SCALE: unimodal encoders, a joint transformer, self-harmonised contrastive and masked objectives.

Dong et al., M5Product: Self-harmonized Contrastive Learning for E-commercial Multi-modal Pretraining, CVPR 2022.
Every step knows what is absent. What the paper means and what its release computes are both settings of this
one model (docs/scale.md).
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from m5jax import modalities
from m5jax.config import Config
from m5jax.models import flops
from m5jax.models.encoders import presence, to_blocks
from m5jax.models.heads import pool
from m5jax.models.interface import Batch, Embeddings, Losses, Model, Objectives, Params, functional
from m5jax.models.scale_network import HARMONY_ORDER, Masks, Scale, States
from m5jax.objectives import harmony, numerics
from m5jax.objectives.classification import classification
from m5jax.objectives.contrastive import contrastive, pair_total
from m5jax.objectives.link_prediction import Asked, link_prediction
from m5jax.objectives.masked import PerListing, flatness, masked_blocks, masked_tokens
from m5jax.token_spec import TokenSpec


def build(config: Config, specs: dict[str, TokenSpec], vocabulary: int, classes: int = 0) -> Model:
    """SCALE for the given modalities, vocabulary size and number of classes (0 = none to tell)."""
    init, bind = functional(lambda rngs: Scale(config, specs, vocabulary, classes, rngs))
    objective = config.objective
    names = tuple(name for name in HARMONY_ORDER if name in specs)
    tasks = {n: modalities.TABLE[n].objective for n in names if getattr(objective, modalities.TABLE[n].objective)}
    is_free = objective.harmony != "off" and objective.harmony_source == "free"
    by_agreement = objective.harmony != "off" and not is_free and objective.harmony_weighting == "agreement"

    def present(batch: Batch) -> Bool[Array, "b m"]:
        return jnp.stack([presence(batch[name]) for name in names], -1)

    def weights(on: str, network: Scale, vectors: Array, there: Array) -> tuple[Array, Array]:
        """The harmony weights of one kind of objective as they act on logits and on losses, [B, M, M] each."""
        ones = jnp.ones((*there.shape, there.shape[1]))
        if objective.harmony == "off" or on not in objective.harmony_on:
            return ones, ones
        if is_free:
            matrix = harmony.free(network.harmony[...], there)
        else:
            matrix = (harmony.agreement if by_agreement else harmony.harmony)(vectors, there)
        matrix = jax.lax.stop_gradient(matrix) if objective.harmony_detach else matrix
        return {"logits": (matrix, ones), "loss": (ones, matrix), "both": (matrix, matrix)}[objective.harmony]

    def weighed(total: PerListing, weight: Array, on: str) -> numerics.SumCount:
        """Sum and number of an objective's losses under the weights of the listings [B]."""
        sums, counts = total
        losses = weight * sums
        if is_free and on in objective.harmony_on:
            losses = losses + harmony.barrier(weight) * counts
        return losses.sum(), counts.sum()

    def losses(params: Params, batch: Batch, key: Array | None) -> Losses:
        network: Scale = bind(params)
        keys = (None,) * 3 if key is None else jax.random.split(key, 3)
        there = present(batch)
        states, masks = network.encode(batch, keys[0])
        fused = network.fused(states, masks, keys[1])
        first = network.first(fused, masks)
        separable, coupled = {}, {"pooled": network.pooled(states, masks)}
        on_logits, on_losses = weights("masked", network, first, there) if not by_agreement else (None, None)
        for m, name in enumerate(names):
            if name not in tasks:
                continue
            scale = jnp.ones(len(there)) if on_logits is None else on_logits[:, m, m]
            seen = fused if config.model.masked_on == "fusion" else states
            total = _masked(network, specs[name], batch[name], seen[name], scale, objective.regression)
            if on_losses is None:  # a listing is compared with the whole batch: `couple` adds up
                coupled[tasks[name]] = total[0]
            else:
                separable[tasks[name]] = weighed(total, on_losses[:, m, m], "masked")
        if objective.link_prediction:
            coupled["items"] = network.aggregated(batch, states, masks, first)
            coupled["properties"], coupled["values"] = network.asked(batch)
        if objective.classification and classes:
            separable |= classification(network.classifier(first, keys[2]), batch["label"])
        return Losses(separable, coupled)

    def couple(params: Params, coupled: dict[str, Array], batch: Batch) -> Objectives:
        network: Scale = bind(params)
        pooled, there = coupled["pooled"], present(batch)
        on_logits, on_losses = weights("contrastive", network, pooled, there)
        objectives = {}
        if objective.contrastive and len(names) > 1:
            pairs = contrastive(pooled, there, network.temperature(), on_logits, objective.negatives)
            both = {(i, j): (there[:, i] & there[:, j]).astype(jnp.float32) for i, j in pairs}
            objectives["contrastive"] = numerics.add(
                *(
                    weighed((loss * both[i, j], both[i, j]), on_losses[:, i, j], "contrastive")
                    for (i, j), loss in pairs.items()
                )
            )
            # Shown without the weights of the losses, so that a pair costs log(candidates) by guessing.
            for (i, j), loss in pairs.items():
                objectives[f"contrastive/{names[i]}-{names[j]}"] = pair_total(loss, there, i, j)
        if by_agreement:
            _, on_losses = weights("masked", network, pooled, there)
            for m, name in enumerate(names):
                if name in tasks:
                    counts = _selected(batch[name]).sum(-1).astype(jnp.float32)
                    objectives[tasks[name]] = weighed((coupled[tasks[name]], counts), on_losses[:, m, m], "masked")
        if objective.link_prediction:
            objectives |= link_prediction(Asked.of(coupled, batch), objective)
        return objectives

    def embed(params: Params, batch: Batch, subsets: Mapping[str, tuple[str, ...]]) -> Embeddings:
        network: Scale = bind(params)
        states, masks = network.encode(batch, None)

        def fuse(shown: Bool[Array, "m"]) -> tuple[Float[Array, "b d"], Bool[Array, "b"]]:
            seen = {name: masks[name] & shown[m] for m, name in enumerate(names)}
            return _product_vector(network, batch, states, seen, config.model.readout)

        # One subset after the other through one compiled fusion: 31 take the memory and the compiler's time of one.
        table = np.array([[name in subset for name in names] for subset in subsets.values()]).reshape(-1, len(names))
        vectors, valid = jax.lax.map(fuse, jnp.asarray(table, bool))
        return {title: (vectors[row], valid[row]) for row, title in enumerate(subsets)}

    def agreement(params: Params, batch: Batch) -> Float[Array, "b m m"]:
        network: Scale = bind(params)
        matrix = harmony.harmony(network.pooled(*network.encode(batch, None)), present(batch))
        order = jnp.array([names.index(name) for name in specs])
        return matrix[:, order][:, :, order]

    def classify(params: Params, batch: Batch) -> Float[Array, "b c"]:
        network: Scale = bind(params)
        states, masks = network.encode(batch, None)
        return network.classifier(network.first(network.fused(states, masks, first_only=True), masks), None)

    names_category = bool(classes and objective.classification) and objective.classes == "category"
    total = {task: getattr(objective, task) for task in tasks.values()}
    others = ("contrastive", "link_prediction", "classification")
    total |= {name: getattr(objective, name) for name in others if getattr(objective, name)}
    count = flops.scale(config, specs, vocabulary, classes)
    return Model(init, losses, couple, total, embed, agreement, classify if names_category else None, count)


def _product_vector(
    network: Scale, batch: Batch, states: States, masks: Masks, readout: str
) -> tuple[Float[Array, "b d"], Bool[Array, "b"]]:
    """The vector of every listing from the modalities that the masks show, and where there is any.

    All have unit length. "fusion": the sum of the joint transformer's first states (SCALE, spec section 5.2; what is
    not shown takes no part in the joint transformer either, where the release fuses everything and leaves terms out).
    "dense": the classifier's dense layer over them (the same, fine-tuned). "structure": their mean and what the table's
    triples add to it (K3M's c*, where the table is shown). "encoders": the sum of the encoders' mean
    states, each at unit length. "agreement": the same, weighed by `agreement_shares`. "contrastive": the sum of what
    the contrastive objective compares, each at unit length, so that those of single modalities lie in one space.
    """
    names = network.names
    there = jnp.stack([masks[name].any(1) for name in names], 1)
    if readout in ("fusion", "dense", "structure"):
        first = network.first(network.fused(states, masks, first_only=True), masks)
        if readout == "structure":
            vector = network.aggregated(batch, states, masks, first)
        else:
            vector = first.sum(1) if readout == "fusion" else network.classifier.vector(first)
        return numerics.normalise(jnp.where(there.any(1, keepdims=True), vector, 0.0)), there.any(1)
    if readout == "contrastive":
        parts = jnp.where(there[..., None], numerics.normalise(network.pooled(states, masks)), 0.0)
        return numerics.normalise(parts.sum(1)), there.any(1)
    parts = jnp.stack([numerics.normalise(pool(states[name], masks[name], "mean")) for name in names], 1)
    if readout == "agreement":
        shares = harmony.agreement_shares(network.pooled(states, masks), there, network.temperature())
        parts = parts * shares[..., None]
    return numerics.normalise(parts.sum(1)), there.any(1)


def _selected(arrays: dict) -> Bool[Array, "b k"]:
    """Which entries of the selection count."""
    return arrays["masked"]["valid"] & presence(arrays)[:, None]


def _masked(network: Scale, spec: TokenSpec, arrays: dict, states: Array, scale: Array, regression: str) -> PerListing:
    """The masked objective of one modality, computed at the selected positions only.

    The targets of a grid are its own blocks, unless the selection brings "targets" [B, K, dim].
    """
    masked, valid, is_grid = arrays["masked"], _selected(arrays), spec.kind == "grid"
    positions = masked["positions"][..., None]
    # A grid's sequence has its mean block in front.
    predictions = network.predict(spec.name, jnp.take_along_axis(states, positions + is_grid, 1))
    if not is_grid:
        return masked_tokens(predictions, masked["targets"], valid, scale)
    targets = masked.get("targets")
    if targets is None:
        targets = jnp.take_along_axis(to_blocks(arrays["values"], spec, arrays.get("scale")), positions, 1)
    return masked_blocks(predictions, targets, valid, scale, flatness(spec.dtype, regression))
