"""State dicts of the released SCALE code (safetensors) to parameters of our network.

They fit a network with released blocks and shared encoders (`presets.scale_released`). The release also holds a third
of its parameters that nothing reads: a second text encoder for the table, a second image encoder for the video,
poolers of other models. Those are dropped, by name.
"""

import pathlib
import re
from typing import Any

import numpy as np

from m5jax.errors import CheckpointError
from m5jax.models.interface import Params
from m5jax.weights import places, tensors
from m5jax.weights.places import Matches, Place, Places, kernel_and_bias, norm

# Never read by the released forward pass (spec section 2.1): every other name must have a place here.
DEAD = re.compile(
    r"bert\.pv_embeddings\..*|bert\.encoder\.(pv|video)_layer\..*|bert\.cross_encoder\.pooler\..*"
    r"|bert\.(t|pv|v|video|audio)_pooler\..*|cls\.(t|v|vil)_weight_fc\..*|bert\.embeddings\.position_ids"
    r"|bert\.cross_encoder\.embeddings\.(word|token_type)_embeddings\..*|bert\.cross_encoder\.embeddings\.LayerNorm\..*"
)
TIED = {"cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight"}
_POOLERS = {"text": "t", "table": "pv", "image": "v", "video": "video", "audio": "audio"}
_LAYERS = {"text": "layer", "image": "v_layer", "audio": "audio_layer"}


def load(path: str | pathlib.Path, params: Params) -> tuple[Params, Matches]:
    """The parameters with everything that the file holds of them, which must be all.

    Args:
      path: a safetensors file.
      params: parameters of the configured network; what the release has no tensor for (a classifier) stays as it is.

    Raises:
      CheckpointError: the file cannot be read, holds a tensor of another shape, lacks one, or holds one of a name that
        is neither known nor known to be dead; all of these are named.
    """
    found = tensors.read(path)
    wanted = places_of(params)
    check_tied(path, found, TIED)
    report = places.compare(found.keys() - TIED.keys(), wanted)
    places.refuse_partial(path, report, DEAD)
    return places.fill(params, found, wanted, path), report


def check_tied(path: Any, found: tensors.Tensors, tied: dict[str, str]) -> None:
    """Raises CheckpointError where two tensors that are one parameter here differ."""
    for copy, original in tied.items():
        if copy in found and original in found and not np.array_equal(found[copy], found[original]):
            raise CheckpointError(f"{path}: {copy} differs from {original}; they are one parameter here")


def places_of(params: Params) -> Places:
    """Where every tensor of the release goes in these parameters."""
    layers = {name: places.layers(stack) for name, stack in params["encoders"].items()}
    made: Places = {"bert.embeddings.word_embeddings.weight": Place("vocabulary/embedding")}
    for name, embedder in params["embedders"].items():
        made |= _embedder(name, embedder)
    for name, count in layers.items():
        for layer in range(count):
            made |= places.bert_layer(f"bert.encoder.{_LAYERS.get(name, name)}.{layer}", f"encoders/{name}", layer)
    for name in params["poolers"]:
        made |= kernel_and_bias(f"bert.encoder.{_POOLERS[name]}_pooler.dense", f"poolers/{name}/dense")
    made["bert.cross_encoder.embeddings.position_embeddings.weight"] = Place("fusion/position")
    for layer in range(places.layers(params["fusion"]["stack"])):
        made |= _fusion_block(layer)
    for name in params["heads"]:
        made |= _head(name)
    return made


def _embedder(name: str, embedder: Params) -> Places:
    ours = f"embedders/{name}"
    if name == "text":
        theirs = "bert.embeddings"
        return {
            f"{theirs}.position_embeddings.weight": Place(f"{ours}/position"),
            f"{theirs}.token_type_embeddings.weight": Place(f"{ours}/type"),
        } | norm(f"{theirs}.LayerNorm", f"{ours}/norm")
    theirs, project = {
        "image": ("bert.v_embeddings", "image_embeddings"),
        "video": ("bert.video_embeddings", "video_embeddings"),
        "audio": ("bert.audio_embedding", "audio_embeddings"),
    }.get(name, (f"bert.{name}_embeddings", f"{name}_embeddings"))
    made = kernel_and_bias(f"{theirs}.{project}", f"{ours}/project") | norm(f"{theirs}.LayerNorm", f"{ours}/norm")
    if "boxes" in embedder:
        return made | kernel_and_bias(f"{theirs}.image_location_embeddings", f"{ours}/boxes")
    return made | {f"{theirs}.position_embeddings.weight": Place(f"{ours}/position")}


def _fusion_block(layer: int) -> Places:
    theirs, ours, index = f"bert.cross_encoder.transformer.resblocks.{layer}", "fusion/stack/blocks", (layer,)
    return (
        {
            f"{theirs}.attn.in_proj_weight": Place(f"{ours}/attention/qkv/kernel", index, 1),
            f"{theirs}.attn.in_proj_bias": Place(f"{ours}/attention/qkv/bias", index),
        }
        | kernel_and_bias(f"{theirs}.attn.out_proj", f"{ours}/attention/out", index, 2)
        | norm(f"{theirs}.ln_1", f"{ours}/norm_attention", index)
        | norm(f"{theirs}.ln_2", f"{ours}/norm_mlp", index)
        | kernel_and_bias(f"{theirs}.mlp.c_fc", f"{ours}/mlp/up", index)
        | kernel_and_bias(f"{theirs}.mlp.c_proj", f"{ours}/mlp/down", index)
    )


def _head(name: str) -> Places:
    theirs, ours = "cls.predictions" if name == "text" else f"cls.{name}Predictions", f"heads/{name}"
    made = kernel_and_bias(f"{theirs}.transform.dense", f"{ours}/dense")
    made |= norm(f"{theirs}.transform.LayerNorm", f"{ours}/norm")
    if name == "text":
        return made | {f"{theirs}.bias": Place(f"{ours}/bias")}
    return made | kernel_and_bias(f"{theirs}.decoder", f"{ours}/predict")
