"""LxmertModel of transformers: config.json, model.safetensors, inputs.npz, outputs.npz."""

import pathlib
from typing import Any

import jax
import numpy as np

from golden.compared import Arrays, Differences, blank, differences, read_npz, set_regions, set_text
from m5jax import config as config_lib
from m5jax import methods
from m5jax.models.interface import functional
from m5jax.models.lxmert import Lxmert
from m5jax.token_spec import token_specs
from m5jax.weights import huggingface, lxmert


def check(folder: pathlib.Path) -> Differences:
    """States of both sides at the end of the cross-modality encoder, and the pooled first state of the title."""
    theirs = huggingface.read_config(folder)
    inputs, expected = read_npz(folder / "inputs.npz"), read_npz(folder / "outputs.npz")
    config = _config(theirs, inputs)
    init, bind = functional(lambda rngs: Lxmert(config, token_specs(config.inputs), theirs["vocab_size"], 0, rngs))
    params, report = lxmert.load(folder, blank(init))
    print(f"{folder}: {report}")
    text, image = (inputs[name] > 0 for name in ("attention_mask", "visual_attention_mask"))
    features = inputs["visual_feats"]
    boxes = np.pad(inputs["visual_pos"], ((0, 0), (0, 0), (0, 1)))  # a box of ours ends with its area

    @jax.jit
    def outputs(params: Any) -> Arrays:
        network = bind(params)
        batch = {
            "text": {"ids": inputs["input_ids"], "mask": text, "types": inputs.get("token_type_ids", 0 * text)},
            # No mean object goes in front: their first object does.
            "image": {"values": features[:, 1:], "boxes": boxes[:, 1:], "mask": image[:, 1:]}
            | {"first": features[:, 0], "first_box": boxes[:, 0], "first_mask": image[:, 0]},
        }
        states, _ = network.encode(batch, None)
        pooled = network.matcher.pooled(states["text"][:, 0])
        return {"language_output": states["text"], "vision_output": states["image"], "pooled_output": pooled}

    masks = {"language_output": text, "vision_output": image}
    return differences(expected, jax.device_get(outputs(params)), masks)


def _config(theirs: Arrays, inputs: Arrays) -> config_lib.Config:
    """The settings under which our network is theirs."""
    chosen = config_lib.default()
    methods.apply(chosen, "lxmert")
    set_text(
        chosen,
        theirs | {"num_hidden_layers": theirs["l_layers"]},
        inputs["input_ids"].shape[1],
        theirs["max_position_embeddings"],
    )
    chosen.model.token_types = theirs.get("type_vocab_size", 2)
    for tower, layers in (("grids", "r_layers"), ("fusion", "x_layers")):
        chosen.model[tower] = chosen.model.tokens
        chosen.model[tower].layers = theirs[layers]
    set_regions(chosen, inputs["visual_feats"][:, 1:])
    return config_lib.freeze(chosen.to_dict())
