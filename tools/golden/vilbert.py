"""ViLBERT's two streams, from the code of K3M: config.json, weights.safetensors, inputs.npz, outputs.npz."""

import pathlib
from typing import Any

import jax

from golden.compared import Arrays, Differences, blank, differences, read_json, read_npz, set_regions, set_text
from m5jax import config as config_lib
from m5jax import methods
from m5jax.errors import CheckpointError
from m5jax.models.interface import functional
from m5jax.models.vilbert import Vilbert
from m5jax.token_spec import token_specs
from m5jax.weights import vilbert


def check(folder: pathlib.Path) -> Differences:
    """States of both streams at their end, and both pooled first states."""
    theirs = read_json(folder / "config.json")
    inputs, expected = read_npz(folder / "inputs.npz"), read_npz(folder / "outputs.npz")
    config = _config(theirs, inputs, folder)
    init, bind = functional(lambda rngs: Vilbert(config, token_specs(config.inputs), theirs["vocab_size"], 0, rngs))
    params, report = vilbert.load(folder / "weights.safetensors", blank(init))
    print(f"{folder}: {report}")
    text, image = (inputs[name] > 0 for name in ("attention_mask", "image_attention_mask"))
    features, boxes = inputs["image_feat"], inputs["image_loc"]

    @jax.jit
    def outputs(params: Any) -> Arrays:
        network = bind(params)
        batch = {
            "text": {"ids": inputs["input_ids"], "mask": text, "types": inputs.get("token_type_ids", 0 * text)},
            "image": {"values": features[:, 1:], "boxes": boxes[:, 1:], "mask": image[:, 1:]}
            | {"first": features[:, 0], "first_box": boxes[:, 0], "first_mask": image[:, 0]},
        }
        states, masks = network.encode(batch, None)
        pooled = network.pooled(states, masks)
        sequences = {f"{name}_sequence": states[name] for name in states}
        return sequences | {f"{name}_pooled": pooled[name] for name in pooled}

    masks = {"text_sequence": text, "image_sequence": image}
    return differences(expected, jax.device_get(outputs(params)), masks)


def _config(theirs: Arrays, inputs: Arrays, folder: pathlib.Path) -> config_lib.Config:
    """The settings under which our network is theirs."""
    count, deep, shallow = len(theirs["v_biattention_id"]), theirs["num_hidden_layers"], theirs["v_num_hidden_layers"]
    ours = {
        "hidden_act": "gelu",
        "v_hidden_act": "gelu",
        "t_biattention_id": list(range(deep - count, deep)),
        "v_biattention_id": list(range(shallow - count, shallow)),
    }
    for name, value in ours.items():
        if theirs[name] != value:
            raise CheckpointError(f"{folder / 'config.json'}: {name} = {theirs[name]!r}; our ViLBERT has {value!r}")
    chosen = config_lib.default()
    methods.apply(chosen, "vilbert")
    set_text(chosen, theirs, inputs["input_ids"].shape[1], theirs["max_position_embeddings"])
    chosen.model.token_types = theirs.get("type_vocab_size", 2)
    for tower, prefix in (("grids", "v_"), ("fusion", "bi_")):
        chosen.model[tower].width = theirs[f"{prefix}hidden_size"]
        chosen.model[tower].heads = theirs[f"{prefix}num_attention_heads"]
    chosen.model.grids.layers, chosen.model.grids.hidden = shallow, theirs["v_intermediate_size"]
    chosen.model.fusion.layers, chosen.model.projection = count, theirs["bi_hidden_size"]
    set_regions(chosen, inputs["image_feat"][:, 1:])
    return config_lib.freeze(chosen.to_dict())
