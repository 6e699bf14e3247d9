"""A Hugging Face CLIP with a vision transformer (config.json, model.safetensors) to our network of family clip."""

import pathlib
import re
from typing import Any

import numpy as np

from m5jax.errors import CheckpointError
from m5jax.models.interface import Params
from m5jax.weights import huggingface, places, tensors
from m5jax.weights.places import Matches, Place, Places, kernel_and_bias, norm

DEAD = re.compile(r"(text|vision)_model\.embeddings\.position_ids")
PATCHES = "vision_model.embeddings.patch_embedding.weight"
TOWERS = {"image": "vision", "text": "text"}
# What no tensor's shape shows, and what it must be.
COMPUTED = {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}


def load(folder: str | pathlib.Path, params: Params) -> tuple[Params, Matches]:
    """The parameters with both towers, projections and the temperature of a CLIP, which must be all there.

    Raises:
      CheckpointError: a file is missing or damaged; the configuration names another computation than ours; a tensor has
        another shape, is missing, or has an unknown name; by name.
    """
    path, config = pathlib.Path(folder) / huggingface.WEIGHTS, huggingface.read_config(folder)
    for name, theirs in TOWERS.items():
        check_tower(config.get(f"{theirs}_config") or {}, params["encoders"][name], f"{folder}: {theirs}_config")
    found, wanted = tensors.read(path), places_of(params)
    report = places.compare(found, wanted)
    places.refuse_partial(path, report, DEAD)
    # A convolution's kernel is [outputs, channels, rows, columns]; a patch of ours is read row by row, channels last.
    patches = found[PATCHES]
    if patches.ndim != 4:
        raise CheckpointError(f"{path}: tensor {PATCHES} is {list(patches.shape)}; patches have four axes")
    found |= {PATCHES: np.ascontiguousarray(patches.transpose(0, 2, 3, 1)).reshape(len(patches), -1)}
    return places.fill(params, found, wanted, path), report


def check_tower(config: dict[str, Any], stack: Params, where: str) -> None:
    """Raises CheckpointError where a tower's configuration asks for what no tensor's shape shows."""
    heads = stack["blocks"]["attention"]["qkv"]["kernel"].shape[3]
    found = COMPUTED | config
    for name, value in COMPUTED.items():
        if found[name] != value:
            raise CheckpointError(f"{where}.{name} = {found[name]!r}; the configured network has {value!r}")
    if config.get("num_attention_heads", heads) != heads:
        raise CheckpointError(
            f"{where}.num_attention_heads = {config['num_attention_heads']!r}; the configured network has {heads}"
        )


def places_of(params: Params) -> Places:
    """Where every tensor goes in these parameters."""
    image, text = "embedders/image", "embedders/text"
    made: Places = {
        "logit_scale": Place("log_scale"),
        "text_model.embeddings.token_embedding.weight": Place("vocabulary/embedding"),
        "text_model.embeddings.position_embedding.weight": Place(f"{text}/position"),
        "vision_model.embeddings.class_embedding": Place(f"{image}/kind"),
        "vision_model.embeddings.position_embedding.weight": Place(f"{image}/position"),
        PATCHES: Place(f"{image}/project/kernel", inputs=1),
        "text_projection.weight": Place("projections/text/project/kernel", inputs=1),
        "visual_projection.weight": Place("projections/image/project/kernel", inputs=1),
    }
    made |= norm("vision_model.pre_layrnorm", f"{image}/norm")
    made |= norm("vision_model.post_layernorm", "encoders/image/norm")
    made |= norm("text_model.final_layer_norm", "encoders/text/norm")
    for name, theirs in TOWERS.items():
        for layer in range(places.layers(params["encoders"][name])):
            made |= _layer(f"{theirs}_model.encoder.layers.{layer}", f"encoders/{name}/blocks", layer)
    return made


def _layer(theirs: str, ours: str, layer: int) -> Places:
    index, attention = (layer,), f"{theirs}.self_attn"
    return (
        places.joined([f"{attention}.{letter}_proj" for letter in "qkv"], f"{ours}/attention/qkv", layer)
        | kernel_and_bias(f"{attention}.out_proj", f"{ours}/attention/out", index, 2)
        | norm(f"{theirs}.layer_norm1", f"{ours}/norm_attention", index)
        | norm(f"{theirs}.layer_norm2", f"{ours}/norm_mlp", index)
        | kernel_and_bias(f"{theirs}.mlp.fc1", f"{ours}/mlp/up", index)
        | kernel_and_bias(f"{theirs}.mlp.fc2", f"{ours}/mlp/down", index)
    )
