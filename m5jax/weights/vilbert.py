"""The two streams of a ViLBERT (safetensors), as the release and the code of K3M name them, to our family vilbert.

The release's layers of co-attention have two further projections each (`q_dense1`, `q_dense2`) that nothing reads;
those are dropped, by name, and so are heads: ours tell other things of a region, and one logit of a pair.
"""

import pathlib
import re

from m5jax.models.interface import Params
from m5jax.weights import huggingface, places, tensors
from m5jax.weights.places import Matches, Places, kernel_and_bias, norm

DEAD = re.compile(r"encoder\.c_layer\.\d+\.biOutput\.q_dense[12]\..*|embeddings\.position_ids|cls\..*|[tv]_pooler\..*")
PREFIX = re.compile(r"^(bert_tri|bert)\.")
# Of a side of co-attention: its name here, the number of its queries, the letter of its feed-forward and its pooler.
SIDES = {"image": ("grid", 1, "v"), "text": ("text", 2, "t")}


def load(path: str | pathlib.Path, params: Params) -> tuple[Params, Matches]:
    """The parameters with embeddings, blocks, co-attention and poolers of a ViLBERT, which must be all there.

    Args:
      path: a safetensors file.
      params: parameters of the configured network; what the file has no tensor for (heads) stays as it is.

    Raises:
      CheckpointError: the file cannot be read, holds a tensor of another shape, lacks one, or holds one of a name that
        is neither known nor known to be dead; all of these are named.
    """
    found = {_name(name): tensor for name, tensor in tensors.read(path).items()}
    wanted = places_of(params)
    report = places.compare(found, wanted)
    places.refuse_partial(path, report, DEAD)
    return places.fill(params, found, wanted, path), report


def places_of(params: Params) -> Places:
    """Where every tensor of the two streams goes in these parameters."""
    made = huggingface.embedding_places("embeddings")
    theirs, ours = "v_embeddings", "embedders/image"
    made |= kernel_and_bias(f"{theirs}.image_embeddings", f"{ours}/project")
    made |= kernel_and_bias(f"{theirs}.image_location_embeddings", f"{ours}/boxes")
    made |= norm(f"{theirs}.LayerNorm", f"{ours}/norm")
    for name, blocks in (("text", "layer"), ("image", "v_layer")):
        for layer in range(places.layers(params["encoders"][name])):
            made |= places.bert_layer(f"encoder.{blocks}.{layer}", f"encoders/{name}", layer)
    for layer in range(len(params["connections"]["blocks"]["text"]["norm_mlp"]["scale"])):
        for name in SIDES:
            made |= _side(f"encoder.c_layer.{layer}", name, layer)
    for name in params.get("poolers", ()):
        made |= kernel_and_bias(f"{SIDES[name][2]}_pooler.dense", f"poolers/{name}/dense")
    return made


def _side(theirs: str, name: str, layer: int) -> Places:
    """One stream's part of a layer of co-attention: its queries, the other stream's keys and values, all after them."""
    side, number, letter = SIDES[name]
    other = 3 - number
    ours, index = f"connections/blocks/{side}", (layer,)
    attention = f"{theirs}.biattention"
    return (
        kernel_and_bias(f"{attention}.query{number}", f"{ours}/attention/query", index)
        | places.joined([f"{attention}.{part}{other}" for part in ("key", "value")], f"{ours}/attention/kv", layer)
        | kernel_and_bias(f"{theirs}.biOutput.dense{number}", f"{ours}/attention/out", index, 2)
        | norm(f"{theirs}.biOutput.LayerNorm{number}", f"{ours}/norm_attention", index)
        | kernel_and_bias(f"{theirs}.{letter}_intermediate.dense", f"{ours}/mlp/up", index)
        | kernel_and_bias(f"{theirs}.{letter}_output.dense", f"{ours}/mlp/down", index)
        | norm(f"{theirs}.{letter}_output.LayerNorm", f"{ours}/norm_mlp", index)
    )


def _name(name: str) -> str:
    """A tensor's name without the prefix of the model, its encoder called as the release calls it."""
    return re.sub(r"^encoder_tri\.", "encoder.", PREFIX.sub("", huggingface.norm_name(name)))
