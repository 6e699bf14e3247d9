"""A Hugging Face BERT (config.json, model.safetensors, vocab.txt) to the text encoder of our network."""

import json
import pathlib
import re
from typing import Any

from m5jax.errors import CheckpointError, ConfigError
from m5jax.models.interface import Params
from m5jax.weights import places, released, tensors
from m5jax.weights.places import Matches, Place, Places, kernel_and_bias, norm

WEIGHTS, CONFIG = "model.safetensors", "config.json"
ENOUGH = 0.95
"""Share of the text encoder's tensors that a file must fill: less is another network, not a variant of this one."""

TIED = {
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
# What no tensor's shape shows, and what it must be.
COMPUTED = {
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "position_embedding_type": "absolute",
    "is_decoder": False,
}


def load(folder: str | pathlib.Path, params: Params) -> tuple[Params, Matches]:
    """The parameters with text encoder, vocabulary and, if there is one, language head from a BERT.

    Of its layers the first, as many as ours. Everything else stays as it is.

    Raises:
      CheckpointError: a file is missing or damaged; a tensor has another shape; the configuration names another
        computation than ours; an embedding is missing, or at most 95 % of the encoder's tensors are there; by name.
      ConfigError: there is no text to encode.
    """
    if "text" not in params.get("encoders", {}):
        raise ConfigError("a BERT's weights are for the text: config.inputs.modalities must have text")
    path = pathlib.Path(folder) / WEIGHTS
    check_config(read_config(folder), params["encoders"]["text"], folder)
    found = {_name(name): tensor for name, tensor in tensors.read(path).items()}
    released.check_tied(path, found, TIED)
    for copy, original in TIED.items():
        if copy in found:
            found.setdefault(original, found.pop(copy))
    encoder, head = encoder_places(params), head_places()
    report = places.compare(found, encoder | head)
    missing = [name for name in report.missing if name in encoder]
    if len(missing) >= (1 - ENOUGH) * len(encoder) or any(".embeddings." in name for name in missing):
        raise CheckpointError(
            f"{path} holds {len(encoder) - len(missing)} of the {len(encoder)} tensors of the text encoder, and all"
            f" embeddings and more than {ENOUGH:.0%} are needed; missing are {', '.join(missing[:8])}"
        )
    return places.fill(params, found, encoder | head, path), report


def encoder_places(params: Params) -> Places:
    """Where the tensors of a BERT's embeddings and layers go."""
    made = embedding_places("bert.embeddings")
    for layer in range(places.layers(params["encoders"]["text"])):
        made |= places.bert_layer(f"bert.encoder.layer.{layer}", "encoders/text", layer)
    return made


def embedding_places(theirs: str) -> Places:
    """Where those of a BERT's embeddings, called `theirs`, go."""
    ours = "embedders/text"
    made: Places = {
        f"{theirs}.word_embeddings.weight": Place("vocabulary/embedding"),
        f"{theirs}.position_embeddings.weight": Place(f"{ours}/position"),
        f"{theirs}.token_type_embeddings.weight": Place(f"{ours}/type"),
    }
    return made | norm(f"{theirs}.LayerNorm", f"{ours}/norm")


def head_places() -> Places:
    """Where those of its head of masked language modelling go; a plain encoder has none."""
    made: Places = {"cls.predictions.bias": Place("heads/text/bias")}
    made |= kernel_and_bias("cls.predictions.transform.dense", "heads/text/dense")
    return made | norm("cls.predictions.transform.LayerNorm", "heads/text/norm")


def read_config(folder: str | pathlib.Path) -> dict[str, Any]:
    """The BERT's own configuration.

    Raises:
      CheckpointError: it is missing, or not JSON.
    """
    path = pathlib.Path(folder) / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} is not an object")
    return config


def check_config(config: dict[str, Any], stack: Params, folder: Any) -> None:
    """Raises CheckpointError where the configuration asks for what no tensor's shape shows, of a stack of blocks."""
    heads = stack["blocks"]["attention"]["qkv"]["kernel"].shape[3]
    found = COMPUTED | config  # what is not named is BERT's own
    for name, value in (COMPUTED | {"num_attention_heads": heads}).items():
        if found.get(name) != value:
            raise CheckpointError(
                f"{pathlib.Path(folder) / CONFIG}: {name} = {found.get(name)!r}; the configured encoder has {value!r}"
            )


def _name(name: str) -> str:
    """Today's name of a tensor: with the model's prefix, and of a norm "weight" and "bias"."""
    name = norm_name(name)
    return f"bert.{name}" if name.startswith(("embeddings.", "encoder.", "pooler.")) else name


def norm_name(name: str) -> str:
    """Today's name of a norm's tensor, which once was "gamma" or "beta"."""
    return re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name))
