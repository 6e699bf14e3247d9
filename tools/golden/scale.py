"""The released SCALE code: encoders, poolers, harmony, fusion, losses, gradient norms.

A folder holds config.json, cross_config.json, weights.safetensors, inputs.npz, outputs.npz and, if the gradients are to
be compared, gradients.json.
"""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from golden.compared import (
    GRADIENT_LIMIT,
    LIMIT,
    Arrays,
    Differences,
    blank,
    differences,
    finite,
    read_json,
    read_npz,
    set_text,
)
from m5jax import config as config_lib
from m5jax import presets
from m5jax.errors import CheckpointError, DataError
from m5jax.models.interface import functional, total_loss
from m5jax.models.scale import build
from m5jax.models.scale_network import FUSION_ORDER, HARMONY_ORDER, Scale
from m5jax.objectives import numerics
from m5jax.objectives.harmony import harmony
from m5jax.token_spec import token_specs
from m5jax.weights import places, released, tensors

LOSSES = {
    "loss_mlm": "masked_language",
    "loss_mem": "masked_entity",
    "loss_mrm": "masked_region",
    "loss_mfm": "masked_frame",
    "loss_mam": "masked_audio",
    "loss_clr": "contrastive",
}


def check(folder: pathlib.Path) -> Differences:
    """Every output, the total loss, and the gradient norms."""
    theirs = read_json(folder / "config.json")
    cross = read_json(folder / "cross_config.json")
    file = folder / "weights.safetensors"
    inputs, expected = read_npz(folder / "inputs.npz"), read_npz(folder / "outputs.npz")
    for name in ("hidden_act", "v_hidden_act"):
        if theirs.get(name, "gelu") != "gelu":
            raise CheckpointError(
                f"{folder / 'config.json'}: {name} = {theirs[name]!r}; the released encoders have gelu"
            )
    config = _released_config(theirs, cross, tensors.read(file), inputs, file)
    vocabulary = theirs["vocab_size"]
    model = build(config, token_specs(config.inputs), vocabulary)
    params, report = released.load(file, blank(model.init))
    print(f"{folder}: {report}")
    batch = _released_batch(inputs)
    _, bind = functional(lambda rngs: Scale(config, token_specs(config.inputs), vocabulary, 0, rngs))

    @jax.jit
    def states(params: Any) -> Arrays:
        network = bind(params)
        encoded, masks = network.encode(batch, None)
        fused = network.fusion(encoded, masks)
        pooled, first = network.pooled(encoded, masks), network.first(fused, masks)
        there = jnp.ones(first.shape[:2], bool)
        found = {"fusion_sequence": jnp.concatenate([fused[name] for name in FUSION_ORDER], 1)}
        for m, name in enumerate(HARMONY_ORDER):
            found |= {
                f"encoded_{name}": encoded[name],
                f"pooled_{name}": pooled[:, m],
                f"fused_cls_{name}": first[:, m],
            }
        for name, vectors in (("task", first), ("contrastive", pooled)):
            graph = harmony(vectors, there)
            found |= {f"{name}_graph": graph, f"{name}_modality_weight": jnp.diagonal(graph, axis1=1, axis2=2)}
        return found

    @jax.jit
    @jax.grad
    def gradient(params: Any) -> Any:
        return total_loss(model.weights, _means(model, params, batch))

    found = jax.device_get(states(params))
    means = jax.jit(lambda p: _means(model, p, batch))(params)
    found |= {name: np.asarray([means[ours]]) for name, ours in LOSSES.items()}
    masks = {
        name: a["mask"] if "ids" in a else np.column_stack([a["first_mask"], a["mask"]]) for name, a in batch.items()
    }
    seen = {f"encoded_{name}": mask for name, mask in masks.items()}
    seen["fusion_sequence"] = np.concatenate([masks[name] for name in FUSION_ORDER], 1)
    result = differences(expected, found, seen)
    if (folder / "gradients.json").exists():
        reference = read_json(folder / "gradients.json")
        result |= _gradient_differences(reference["grad_norm"], jax.device_get(gradient(params)))
        if "total_loss" in reference:
            total = float(total_loss(model.weights, means))
            result["total_loss"] = (finite(abs(total - reference["total_loss"])), LIMIT)
    return result


def _released_config(
    theirs: Arrays, cross: Arrays, weights: tensors.Tensors, inputs: Arrays, file: pathlib.Path
) -> config_lib.Config:
    """The settings under which our network is theirs: what shapes can tell from the weights, the rest from config."""

    def rows(name: str) -> int:
        if name not in weights:
            raise CheckpointError(f"{file} has no tensor {name}")
        return weights[name].shape[0]

    def layers(prefix: str) -> int:
        return len({name[len(prefix) :].split(".")[0] for name in weights if name.startswith(prefix)})

    chosen = config_lib.default()
    presets.scale_released(chosen)
    set_text(chosen, theirs, inputs["input_ids"].shape[1], rows("bert.embeddings.position_embeddings.weight"))
    chosen.inputs.table.length = inputs["pv_input_ids"].shape[1]
    chosen.model.tokens.layers = layers("bert.encoder.layer.")
    chosen.model.token_types = rows("bert.embeddings.token_type_embeddings.weight")
    chosen.model.grids.layers = layers("bert.encoder.v_layer.")
    chosen.model.grids.heads = theirs["v_num_attention_heads"]
    chosen.model.grids.hidden = theirs["v_intermediate_size"]
    chosen.model.fusion.layers = layers("bert.cross_encoder.transformer.resblocks.")
    chosen.model.fusion.heads = cross["num_attention_heads"]
    chosen.model.projection = theirs["bi_hidden_size"]
    chosen.model.positions.video = rows("bert.video_embeddings.position_embeddings.weight")
    chosen.model.positions.audio = rows("bert.audio_embedding.position_embeddings.weight")
    chosen.model.positions.fusion = rows("bert.cross_encoder.embeddings.position_embeddings.weight")
    for name in ("image", "video", "audio"):
        media = chosen.inputs[name]
        media.source = "features"
        media.feature_rows, media.feature_dim = (int(n) for n in inputs[f"{name}_target"].shape[1:])
    chosen.inputs.image.boxes = True
    return config_lib.freeze(chosen.to_dict())


def _released_batch(inputs: Arrays) -> Arrays:
    """Their arrays as a batch of ours. Everything is corrupted already, so nothing is left to hide."""
    batch: Arrays = {}
    for name, prefix, labels in (("text", "", "masked_lm_labels"), ("table", "pv_", "masked_em_labels")):
        selected, mask = inputs[labels], inputs[f"{prefix}attention_mask"] > 0
        batch[name] = {"ids": inputs[f"{prefix}input_ids"], "mask": mask, "masked": _selection(selected >= 0)}
        batch[name]["masked"]["targets"] = np.maximum(selected, 0)
        batch[name]["types"] = inputs.get(f"{prefix}token_type_ids", 0 * selected)
    for name in ("image", "video", "audio"):
        features, mask = inputs[f"{name}_feat"], inputs[f"{name}_attention_mask"] > 0
        batch[name] = {"values": features[:, 1:], "mask": mask[:, 1:]}
        batch[name] |= {"first": features[:, 0], "first_mask": mask[:, 0]}
        batch[name]["masked"] = _selection(inputs[f"{name}_label"] == 1)
        batch[name]["masked"]["targets"] = inputs[f"{name}_target"]
    boxes = inputs["image_loc"]
    batch["image"] |= {"boxes": boxes[:, 1:], "first_box": boxes[:, 0]}
    return batch


def _selection(chosen: np.ndarray) -> Arrays:
    positions = np.broadcast_to(np.arange(chosen.shape[1], dtype=np.int32), chosen.shape)
    return {"positions": positions, "valid": chosen, "hidden": np.zeros_like(chosen)}


def _means(model: Any, params: Any, batch: Arrays) -> Arrays:
    losses = model.losses(params, batch, None)
    objectives = losses.separable | model.couple(params, losses.coupled, batch)
    return {name: numerics.mean(total) for name, total in objectives.items()}


def _gradient_differences(norms: dict[str, float], gradients: Any) -> Differences:
    """The largest relative difference of the gradient norm of a parameter; prints which it is.

    Relative to at least a hundred-thousandth of the whole gradient: that of a key's bias is zero but for rounding.
    """
    if not norms:
        raise DataError("gradients.json has no grad_norm: there is nothing to compare with")
    ours, table = places.leaves(gradients), released.places_of(gradients)
    rounding = 1e-5 * np.sqrt(sum(norm**2 for norm in norms.values()))
    relative = {}
    for name, norm in norms.items():
        place = table.get(name)
        found = np.linalg.norm(np.asarray(ours[place.path][place.index], np.float64)) if place else np.inf
        relative[name] = finite(abs(found - norm) / max(abs(norm), rounding))
    worst = max(relative, key=relative.__getitem__)
    print(f"  of {len(norms)} gradient norms, {worst} differs most")
    return {"gradient_norms": (relative[worst], GRADIENT_LIMIT)}
