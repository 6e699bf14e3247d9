"""A Hugging Face LXMERT (config.json, model.safetensors) to our network of family lxmert."""

import pathlib
import re

from m5jax.errors import CheckpointError
from m5jax.models.interface import Params
from m5jax.weights import huggingface, places, tensors
from m5jax.weights.places import Matches, Places, kernel_and_bias, norm

PREFIX = re.compile(r"^(lxmert|bert)\.")
# Heads: ours predict other numbers of an object, one logit of a pair, and answer no question.
DEAD = re.compile(r"(cls|obj_predict_head|answer_head)\..*|embeddings\.position_ids|pooler\..*")
ENCODERS = {"text": "layer", "image": "r_layers"}
SIDES = {"text": "lang", "image": "visn"}


def load(folder: str | pathlib.Path, params: Params) -> tuple[Params, Matches]:
    """The parameters with embeddings, all three encoders and the pooler of an LXMERT, which must be all there.

    Raises:
      CheckpointError: a file is missing or damaged; the configuration names another computation than ours; a tensor has
        another shape, is missing, or has a name that is neither known nor that of a head; by name.
    """
    path, config = pathlib.Path(folder) / huggingface.WEIGHTS, huggingface.read_config(folder)
    for stack in params["encoders"].values():
        huggingface.check_config(config, stack, folder)
    if (found_dim := config.get("visual_pos_dim", 4)) != 4:
        raise CheckpointError(
            f"{pathlib.Path(folder) / huggingface.CONFIG}: visual_pos_dim = {found_dim!r}; a box of ours is 4 numbers"
        )
    found = {PREFIX.sub("", huggingface.norm_name(name)): tensor for name, tensor in tensors.read(path).items()}
    wanted = places_of(params)
    report = places.compare(found, wanted)
    places.refuse_partial(path, report, DEAD)
    return places.fill(params, found, wanted, path), report


def places_of(params: Params) -> Places:
    """Where every tensor of the network, heads apart, goes in these parameters."""
    made = huggingface.embedding_places("embeddings")
    theirs, ours = "encoder.visn_fc", "embedders/image"
    made |= kernel_and_bias(f"{theirs}.visn_fc", f"{ours}/project") | norm(f"{theirs}.visn_layer_norm", f"{ours}/norm")
    made |= kernel_and_bias(f"{theirs}.box_fc", f"{ours}/boxes") | norm(
        f"{theirs}.box_layer_norm", f"{ours}/norm_place"
    )
    for name, blocks in ENCODERS.items():
        for layer in range(places.layers(params["encoders"][name])):
            made |= places.bert_layer(f"encoder.{blocks}.{layer}", f"encoders/{name}", layer)
    for layer in range(len(params["cross"]["blocks"]["norm_attention"]["scale"])):
        made |= _cross_layer(layer)
    return made | kernel_and_bias("pooler.dense", "matcher/dense") if "matcher" in params else made


def _cross_layer(layer: int) -> Places:
    theirs, ours, index = f"encoder.x_layers.{layer}", "cross/blocks", (layer,)
    attention = f"{theirs}.visual_attention"
    made = (
        kernel_and_bias(f"{attention}.att.query", f"{ours}/attention/query", index)
        | places.joined([f"{attention}.att.key", f"{attention}.att.value"], f"{ours}/attention/kv", layer)
        | kernel_and_bias(f"{attention}.output.dense", f"{ours}/attention/out", index, 2)
        | norm(f"{attention}.output.LayerNorm", f"{ours}/norm_attention", index)
    )
    for name, side in SIDES.items():
        made |= places.block(
            f"{theirs}.{side}_self_att", f"{theirs}.{side}_inter", f"{theirs}.{side}_output", f"{ours}/{name}", layer
        )
    return made
