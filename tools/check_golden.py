"""Do m5jax's networks compute what another implementation computed, with that implementation's weights?

    python tools/check_golden.py FOLDER [FOLDER ...] [--kind scale|bert]

A folder holds the configuration, the weights, the inputs and the outputs of the other implementation:

* scale (released SCALE code): config.json, cross_config.json, weights.safetensors, inputs.npz, outputs.npz and, if the
  gradients are to be compared, gradients.json;
* bert (transformers' BertForMaskedLM): config.json, model.safetensors, inputs.npz, outputs.npz.

The kind is the folder's name unless --kind says otherwise. Prints the largest absolute difference of every output (of
gradient norms: relative), and last the same as one line of JSON. Exit code 0: everything is within its limit; 1:
something is not; otherwise as m5jax.errors. States at padding are not compared, and no label may lie there. The first
token of a sequence stands for it, and is never masked where the modality is there.
"""

import argparse
import json
import os
import pathlib
import sys
import zipfile
from collections.abc import Callable
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # the references were computed in float32 on a CPU

import jax
import jax.numpy as jnp
import numpy as np

from m5jax import config as config_lib
from m5jax import presets
from m5jax.errors import CheckpointError, ConfigError, DataError, M5Error
from m5jax.models.interface import functional, total_loss
from m5jax.models.scale import build
from m5jax.models.scale_network import FUSION_ORDER, HARMONY_ORDER, Scale
from m5jax.objectives import numerics
from m5jax.objectives.harmony import harmony
from m5jax.token_spec import token_specs
from m5jax.weights import huggingface, places, released, tensors

LIMIT, GRADIENT_LIMIT = 2e-4, 1e-3
LOSSES = {
    "loss_mlm": "masked_language",
    "loss_mem": "masked_entity",
    "loss_mrm": "masked_region",
    "loss_mfm": "masked_frame",
    "loss_mam": "masked_audio",
    "loss_clr": "contrastive",
}

Arrays = dict[str, Any]
Differences = dict[str, tuple[float, float]]  # by name of an output the largest difference and its limit


def check_scale(folder: pathlib.Path) -> Differences:
    """The released SCALE code: encoders, poolers, harmony, fusion, losses, gradient norms."""
    theirs = _read_json(folder / "config.json")
    cross = _read_json(folder / "cross_config.json")
    file = folder / "weights.safetensors"
    inputs, expected = _read_npz(folder / "inputs.npz"), _read_npz(folder / "outputs.npz")
    for name in ("hidden_act", "v_hidden_act"):
        if theirs.get(name, "gelu") != "gelu":
            raise CheckpointError(
                f"{folder / 'config.json'}: {name} = {theirs[name]!r}; the released encoders have gelu"
            )
    config = _released_config(theirs, cross, tensors.read(file), inputs, file)
    vocabulary = theirs["vocab_size"]
    model = build(config, token_specs(config.inputs), vocabulary)
    empty = jax.eval_shape(model.init, jax.random.key(0))
    params, report = released.load(file, jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), empty))
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
    differences = _differences(expected, found, seen)
    if (folder / "gradients.json").exists():
        reference = _read_json(folder / "gradients.json")
        differences |= _gradient_differences(reference["grad_norm"], jax.device_get(gradient(params)))
        if "total_loss" in reference:
            total = float(total_loss(model.weights, means))
            differences["total_loss"] = (_finite(abs(total - reference["total_loss"])), LIMIT)
    return differences


def check_bert(folder: pathlib.Path) -> Differences:
    """BertForMaskedLM of transformers: last hidden state and logits."""
    theirs = huggingface.read_config(folder)
    inputs, expected = _read_npz(folder / "inputs.npz"), _read_npz(folder / "outputs.npz")
    chosen = config_lib.default()
    presets.scale_released(chosen)
    _set_text(chosen, theirs, inputs["input_ids"].shape[1], theirs["max_position_embeddings"])
    chosen.inputs.modalities = ("text",)
    chosen.model.token_types = theirs.get("type_vocab_size", 2)
    for tower in (chosen.model.grids, chosen.model.fusion):
        tower.layers, tower.heads = 1, 1
    config = config_lib.freeze(chosen.to_dict())
    init, bind = functional(lambda rngs: Scale(config, token_specs(config.inputs), theirs["vocab_size"], 0, rngs))
    params, report = huggingface.load(folder, jax.jit(init)(jax.random.key(0)))
    print(f"{folder}: {report}")
    mask = inputs["attention_mask"] > 0

    @jax.jit
    def outputs(params: Any) -> Arrays:
        network = bind(params)
        arrays = {"ids": inputs["input_ids"], "mask": mask, "types": inputs.get("token_type_ids", 0 * mask)}
        states, _ = network.encode({"text": arrays}, None)
        return {"last_hidden_state": states["text"], "logits": network.predict("text", states["text"])}

    return _differences(expected, jax.device_get(outputs(params)), dict.fromkeys(("last_hidden_state", "logits"), mask))


KINDS: dict[str, Callable[[pathlib.Path], Differences]] = {"scale": check_scale, "bert": check_bert}


def _set_text(chosen: Any, theirs: Arrays, length: int, positions: int) -> None:
    chosen.model.width = theirs["hidden_size"]
    chosen.model.tokens.layers = theirs["num_hidden_layers"]
    chosen.model.tokens.heads = theirs["num_attention_heads"]
    chosen.model.tokens.hidden = theirs["intermediate_size"]
    chosen.model.positions.text = positions
    chosen.inputs.text.length = length


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
    _set_text(chosen, theirs, inputs["input_ids"].shape[1], rows("bert.embeddings.position_embeddings.weight"))
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


def _differences(expected: Arrays, found: Arrays, masks: Arrays) -> Differences:
    """Largest differences; an output that we do not have, or of another shape, differs without bound."""
    if not expected:
        raise DataError("outputs.npz holds no array: there is nothing to compare with")
    result: Differences = {}
    for name, theirs in expected.items():
        ours = found.get(name)
        largest = np.inf
        if ours is not None and (ours.shape == theirs.shape or ours.size == theirs.size == 1):
            difference = np.abs(np.asarray(ours, np.float64).reshape(theirs.shape) - theirs)
            if name in masks:
                difference = difference[masks[name]]
            largest = _finite(difference.max(initial=0.0))
        result[name] = (largest, LIMIT)
    return result


def _finite(difference: Any) -> float:
    """A difference as a number to compare: NaN is no agreement."""
    return np.inf if np.isnan(difference) else float(difference)


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
        relative[name] = _finite(abs(found - norm) / max(abs(norm), rounding))
    worst = max(relative, key=relative.__getitem__)
    print(f"  of {len(norms)} gradient norms, {worst} differs most")
    return {"gradient_norms": (relative[worst], GRADIENT_LIMIT)}


def _read_npz(path: pathlib.Path) -> Arrays:
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _read_json(path: pathlib.Path) -> Arrays:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def check(folder: pathlib.Path, kind: str) -> Arrays:
    """What is to be said of one folder: its differences, or why there are none."""
    try:
        if kind not in KINDS:
            raise ConfigError(f"{folder}: no kind is called {kind!r}; give --kind, one of {', '.join(sorted(KINDS))}")
        try:
            differences = KINDS[kind](folder)
        except KeyError as error:
            raise DataError(f"{folder}: its files have no {error}") from error
    except M5Error as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return {"kind": kind, "passed": False, "error": str(error), "exit_code": error.exit_code}
    width = max(map(len, differences))
    for name, (value, limit) in differences.items():
        print(f"  {name:<{width}}  {value:9.2e}  {'within' if value <= limit else 'BEYOND'} {limit:g}")
    passed = all(value <= limit for value, limit in differences.values())
    return {
        "kind": kind,
        "passed": passed,
        "differences": {name: value if np.isfinite(value) else None for name, (value, _) in differences.items()},
        "limits": {name: limit for name, (_, limit) in differences.items()},
        "exit_code": 0 if passed else 1,
    }


def main(argv: list[str]) -> int:
    """Checks every folder; returns the first exit code that is not 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=pathlib.Path, metavar="FOLDER")
    parser.add_argument("--kind", choices=sorted(KINDS), help="what the folders hold, whatever their names")
    arguments = parser.parse_args(argv)
    results = {
        str(folder): check(folder, arguments.kind or pathlib.Path(os.path.abspath(folder)).name)
        for folder in arguments.folders
    }
    print(json.dumps({"passed": all(result["passed"] for result in results.values()), "folders": results}))
    return next((result["exit_code"] for result in results.values() if result["exit_code"]), 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
