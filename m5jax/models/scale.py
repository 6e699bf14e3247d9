"""SCALE: five encoders, a joint transformer, self-harmonised contrastive and masked objectives.

Dong et al., M5Product: Self-harmonized Contrastive Learning for E-commercial Multi-modal Pretraining, CVPR 2022.
As in the paper the masked objectives read the joint transformer's output. Every step knows what is absent.
"""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from m5jax import modalities
from m5jax.config import Config
from m5jax.models import flops
from m5jax.models.encoders import Encoder, to_blocks
from m5jax.models.fusion import Fusion
from m5jax.models.heads import MaskedHead, Pooler, pool
from m5jax.models.interface import Batch, Embeddings, Losses, Model, Objectives, Params, functional
from m5jax.objectives import numerics
from m5jax.objectives.contrastive import contrastive
from m5jax.objectives.harmony import agreement_shares, harmony
from m5jax.objectives.masked import masked_blocks, masked_tokens
from m5jax.token_spec import TokenSpec

FLAT_PIXELS, FLAT = 1e-2, 1e-6
MAX_LOG_SCALE = math.log(100.0)  # as CLIP (Radford et al. 2021, section 2.5): sharper logits are unstable


class Scale(nnx.Module):
    """The network: per modality an encoder, a pooler and a masked head; one fusion."""

    def __init__(self, config: Config, specs: dict[str, TokenSpec], vocabulary: int, rngs: nnx.Rngs):
        dtype, model = jnp.dtype(config.precision), config.model
        init = nnx.initializers.normal(0.02)
        # One embedding of the vocabulary for title and table, tied to the heads that predict its pieces.
        self.vocabulary = nnx.Embed(vocabulary, model.width, dtype=dtype, embedding_init=init, rngs=rngs)
        self.encoders = nnx.Dict({name: Encoder(spec, model, dtype, rngs) for name, spec in specs.items()})
        self.poolers = nnx.Dict({name: Pooler(model, dtype, rngs) for name in specs})
        self.fusion = Fusion(tuple(specs), model, dtype, rngs)
        self.heads = nnx.Dict({name: MaskedHead(spec, vocabulary, model, dtype, rngs) for name, spec in specs.items()})
        # Trained as log(1/temperature): always positive, and a step of one size means the same everywhere.
        self.log_scale = nnx.Param(jnp.full((), -math.log(config.objective.temperature), jnp.float32))

    def encode(self, batch: Batch, key: Array | None) -> tuple[dict[str, Array], dict[str, Array]]:
        """States [B, N, D] and masks [B, N] of every modality."""
        keys = [None] * len(self.encoders) if key is None else jax.random.split(key, len(self.encoders))
        encoded = {
            name: encoder(batch[name], self.vocabulary, key)
            for key, (name, encoder) in zip(keys, self.encoders.items(), strict=True)
        }
        return {name: states for name, (states, _) in encoded.items()}, {
            name: mask for name, (_, mask) in encoded.items()
        }

    def pooled(self, states: dict[str, Array], masks: dict[str, Array]) -> Float[Array, "b m p"]:
        """What the contrastive objective compares."""
        return jnp.stack([self.poolers[name](states[name], masks[name]) for name in self.fusion.names], 1)

    def temperature(self) -> Float[Array, ""]:
        """The contrastive objective's temperature, bounded from below."""
        return jnp.exp(-jnp.minimum(self.log_scale[...], MAX_LOG_SCALE))


def build(config: Config, specs: dict[str, TokenSpec], vocabulary: int) -> Model:
    """SCALE for the given modalities and vocabulary size."""
    init, bind = functional(lambda rngs: Scale(config, specs, vocabulary, rngs))
    names, objective = tuple(specs), config.objective
    tasks = {name: modalities.TABLE[name].objective for name in names}

    def present(batch: Batch) -> Bool[Array, "b m"]:
        return jnp.stack([batch[name]["mask"].any(-1) for name in names], -1)

    def scales(weight: Array) -> tuple[Array, Array]:
        """The harmony weights as they act on logits and on losses."""
        weight = jax.lax.stop_gradient(weight) if objective.harmony_detach else weight
        one = jnp.ones_like(weight)
        return {
            "off": (one, one),
            "logits": (weight, one),
            "loss": (one, weight),
            "both": (weight, weight),
        }[objective.harmony]

    def losses(params: Params, batch: Batch, key: Array | None) -> Losses:
        network: Scale = bind(params)
        keys = (None, None) if key is None else jax.random.split(key)
        states, masks = network.encode(batch, keys[0])
        pooled = network.pooled(states, masks)
        fused = network.fusion(states, masks, keys[1])
        first = jnp.stack([fused[name][:, 0] for name in names], 1).astype(jnp.float32)
        weights = jnp.diagonal(harmony(first, present(batch)), axis1=1, axis2=2)
        separable = {
            tasks[name]: _masked(network, specs[name], batch[name], fused[name], *scales(weights[:, m]))
            for m, name in enumerate(names)
        }
        return Losses(separable, {"pooled": pooled})

    def couple(params: Params, coupled: dict[str, Array], batch: Batch) -> Objectives:
        temperature = bind(params).temperature()
        temperature = temperature if objective.learn_temperature else jax.lax.stop_gradient(temperature)
        pooled, there = coupled["pooled"], present(batch)
        on_logits, on_losses = scales(harmony(pooled, there))
        pairs = contrastive(pooled, there, temperature, on_logits, on_losses)
        # Shown without the weights of the losses, so that a pair costs log(batch size) by guessing.
        plain = contrastive(pooled, there, temperature, on_logits, jnp.ones_like(on_losses))
        shown = {f"contrastive/{names[i]}-{names[j]}": total for (i, j), total in plain.items()}
        return {"contrastive": numerics.add(*pairs.values())} | shown if pairs else {}

    def embed(params: Params, batch: Batch, subsets: Mapping[str, tuple[str, ...]]) -> Embeddings:
        network: Scale = bind(params)
        states, masks = network.encode(batch, None)
        embeddings = {}
        for title, subset in subsets.items():
            shown = {name: masks[name] & (name in subset) for name in names}
            embeddings[title] = _product_vector(network, states, shown, config.model.readout)
        return embeddings

    def agreement(params: Params, batch: Batch) -> Float[Array, "b m m"]:
        network: Scale = bind(params)
        states, masks = network.encode(batch, None)
        return harmony(network.pooled(states, masks), present(batch))

    weights = {task: getattr(objective, task) for task in tasks.values()} | {"contrastive": objective.contrastive}
    return Model(init, losses, couple, weights, embed, agreement, flops.scale(config.model, specs, vocabulary))


def _product_vector(
    network: Scale, states: dict[str, Array], masks: dict[str, Array], readout: str
) -> tuple[Float[Array, "b d"], Bool[Array, "b"]]:
    """The vector of every listing from the modalities that the masks show, and where there is any.

    "fusion": the unit-length sum of the joint transformer's first states (SCALE, spec section 5.2). "encoders": the
    unit-length sum of the encoders' mean states, each at unit length. "agreement": the same, weighed by
    `agreement_shares`.
    """
    names = network.fusion.names
    there = jnp.stack([masks[name].any(1) for name in names], 1)
    if readout == "fusion":
        fused = network.fusion(states, masks)
        parts = jnp.stack([pool(fused[name], masks[name], "first") for name in names], 1)
        return numerics.normalise(parts.sum(1)), there.any(1)
    parts = jnp.stack([numerics.normalise(pool(states[name], masks[name], "mean")) for name in names], 1)
    if readout == "agreement":
        shares = agreement_shares(network.pooled(states, masks), there, network.temperature())
        parts = parts * shares[..., None]
    return numerics.normalise(parts.sum(1)), there.any(1)


def _masked(
    network: Scale, spec: TokenSpec, arrays: dict, fused: Array, logit_scale: Array, loss_scale: Array
) -> numerics.SumCount:
    """The masked objective of one modality, computed at the selected positions only."""
    masked = arrays["masked"]
    valid = masked["valid"] & arrays["mask"].any(-1, keepdims=True)
    is_grid = spec.kind == "grid"
    # A grid's sequence has its mean block in front.
    states = jnp.take_along_axis(fused, masked["positions"][..., None] + is_grid, 1)
    predictions = network.heads[spec.name](states, network.vocabulary)
    if not is_grid:
        return masked_tokens(predictions, masked["targets"], valid, logit_scale, loss_scale)
    targets = jnp.take_along_axis(to_blocks(arrays["values"], spec), masked["positions"][..., None], 1)
    flat = FLAT_PIXELS if spec.dtype == "uint8" else FLAT
    return masked_blocks(predictions, targets, valid, logit_scale, loss_scale, flat)
