"""A Hugging Face BERT (config.json, model.safetensors, vocab.txt) to the text encoder of our network."""

import json
import pathlib
import re
from typing import Any

from m5jax.errors import CheckpointError
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


def load(folder: str | pathlib.Path, params: Params) -> tuple[Params, Matches]:
    """The parameters with text encoder, vocabulary and language head from a BERT; its first layers, as many as ours.

    Raises:
      CheckpointError: a file is missing or damaged, a tensor has another shape, the configuration names another
        computation than ours, or at most 95 % of the text tensors are there; named.
    """
    path = pathlib.Path(folder) / WEIGHTS
    check_config(read_config(folder), params, folder)
    found = {_name(name): tensor for name, tensor in tensors.read(path).items()}
    released.check_tied(path, found, TIED)
    wanted = places_of(params)
    report = places.compare(found.keys() - TIED.keys(), wanted)
    if len(report.matched) <= ENOUGH * len(wanted):
        raise CheckpointError(
            f"{path} holds {len(report.matched)} of the {len(wanted)} tensors of the text encoder, and more than"
            f" {ENOUGH:.0%} are needed; missing are {', '.join(report.missing[:8])}"
        )
    return places.fill(params, found, wanted, path), report


def places_of(params: Params) -> Places:
    """Where every tensor of a BERT goes: embeddings, encoder, and the head of masked language modelling."""
    theirs, ours = "bert.embeddings", "embedders/text"
    made: Places = {
        f"{theirs}.word_embeddings.weight": Place("vocabulary/embedding"),
        f"{theirs}.position_embeddings.weight": Place(f"{ours}/position"),
        f"{theirs}.token_type_embeddings.weight": Place(f"{ours}/type"),
        "cls.predictions.bias": Place("heads/text/bias"),
    } | norm(f"{theirs}.LayerNorm", f"{ours}/norm")
    made |= kernel_and_bias("cls.predictions.transform.dense", "heads/text/dense")
    made |= norm("cls.predictions.transform.LayerNorm", "heads/text/norm")
    for layer in range(params["encoders"]["text"]["blocks"]["mlp"]["up"]["kernel"].shape[0]):
        made |= places.bert_layer(f"bert.encoder.layer.{layer}", "encoders/text", layer)
    return made


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


def check_config(config: dict[str, Any], params: Params, folder: Any) -> None:
    """Raises CheckpointError where the configuration asks for what no tensor's shape shows."""
    heads = params["encoders"]["text"]["blocks"]["attention"]["qkv"]["kernel"].shape[3]
    expected = {"hidden_act": "gelu", "layer_norm_eps": 1e-12, "num_attention_heads": heads}
    for name, value in expected.items():
        if config.get(name, value) != value:
            raise CheckpointError(
                f"{pathlib.Path(folder) / CONFIG}: {name} = {config[name]!r}; the configured text encoder has {value!r}"
            )


def _name(name: str) -> str:
    """Today's name of a tensor: with the model's prefix, and of a norm "weight" and "bias"."""
    name = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name))
    return f"bert.{name}" if name.startswith(("embeddings.", "encoder.", "pooler.")) else name
