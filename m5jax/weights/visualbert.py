"""A Hugging Face VisualBERT (config.json, model.safetensors) to our network of family visualbert."""

import pathlib
import re

from m5jax.errors import CheckpointError
from m5jax.models.interface import Params
from m5jax.weights import huggingface, places, released, tensors
from m5jax.weights.places import Matches, Place, Places, kernel_and_bias

PREFIX = re.compile(r"^(visual_bert|bert)\.")
# Heads: ours has one logit for whether picture and title belong together.
DEAD = re.compile(r"(cls|pooler)\..*|embeddings\.position_ids")
TIED = {copy: PREFIX.sub("", original) for copy, original in huggingface.TIED.items()}


def load(folder: str | pathlib.Path, params: Params) -> tuple[Params, Matches]:
    """The parameters with embeddings, layers and, where there are both, language head and pooler of a VisualBERT.

    Embeddings and layers must be all there; a head that the file or our network has not stays as it is.

    Raises:
      CheckpointError: a file is missing or damaged; the configuration names another computation than ours; a tensor has
        another shape, is missing, or has a name that is neither known nor that of a head; by name.
    """
    path, config = pathlib.Path(folder) / huggingface.WEIGHTS, huggingface.read_config(folder)
    huggingface.check_config(config, params["encoder"], folder)
    if config.get("bypass_transformer"):
        raise CheckpointError(
            f"{pathlib.Path(folder) / huggingface.CONFIG}: bypass_transformer = true, which has regions read by a"
            " further layer alone; ours go through all"
        )
    found = {PREFIX.sub("", huggingface.norm_name(name)): tensor for name, tensor in tensors.read(path).items()}
    released.check_tied(path, found, TIED)
    for copy, original in TIED.items():
        if copy in found:
            found.setdefault(original, found.pop(copy))
    heads = head_places(params)
    wanted = stream_places(params) | {name: heads[name] for name in heads.keys() & found.keys()}
    report = places.compare(found, wanted)
    places.refuse_partial(path, report, DEAD)
    return places.fill(params, found, wanted, path), report


def stream_places(params: Params) -> Places:
    """Where the tensors of its embeddings and layers go."""
    theirs, ours = "embeddings", "embedders/image"
    made = huggingface.embedding_places(theirs) | {
        f"{theirs}.visual_position_embeddings.weight": Place(f"{ours}/position"),
        f"{theirs}.visual_token_type_embeddings.weight": Place(f"{ours}/type"),
    }
    made |= kernel_and_bias(f"{theirs}.visual_projection", f"{ours}/project")
    for layer in range(places.layers(params["encoder"])):
        made |= places.bert_layer(f"encoder.layer.{layer}", "encoder", layer)
    return made


def head_places(params: Params) -> Places:
    """Where those of its heads go, for the heads that ours has."""
    made = huggingface.head_places() if "text" in params["heads"] else {}
    return made | kernel_and_bias("pooler.dense", "matcher/dense") if "matcher" in params else made
