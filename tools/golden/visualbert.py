"""VisualBertModel of transformers: config.json, model.safetensors, inputs.npz, outputs.npz."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp

from golden.compared import Arrays, Differences, blank, differences, read_npz, set_text
from m5jax import config as config_lib
from m5jax import methods
from m5jax.models.interface import functional
from m5jax.models.visualbert import VisualBert
from m5jax.token_spec import token_specs
from m5jax.weights import huggingface, visualbert


def check(folder: pathlib.Path) -> Differences:
    """Last hidden state and pooled output."""
    theirs = huggingface.read_config(folder)
    inputs, expected = read_npz(folder / "inputs.npz"), read_npz(folder / "outputs.npz")
    config = _config(theirs, inputs)
    init, bind = functional(lambda rngs: VisualBert(config, token_specs(config.inputs), theirs["vocab_size"], 0, rngs))
    params, report = visualbert.load(folder, blank(init))
    print(f"{folder}: {report}")
    text, image = (inputs[name] > 0 for name in ("attention_mask", "visual_attention_mask"))

    @jax.jit
    def outputs(params: Any) -> Arrays:
        network = bind(params)
        batch = {
            "text": {"ids": inputs["input_ids"], "mask": text, "types": inputs.get("token_type_ids", 0 * text)},
            "image": {"values": inputs["visual_embeds"], "mask": image},
        }
        states, _ = network.encode(batch, None)
        return {
            "last_hidden_state": jnp.concatenate([states["text"], states["image"][:, 1:]], 1),
            "pooler_output": network.matcher.pooled(states["text"][:, 0]),
        }

    masks = {"last_hidden_state": jnp.concatenate([text, image], 1)}
    return differences(expected, jax.device_get(outputs(params)), masks)


def _config(theirs: Arrays, inputs: Arrays) -> config_lib.Config:
    """The settings under which our network is theirs."""
    chosen = config_lib.default()
    methods.apply(chosen, "visualbert")
    set_text(chosen, theirs, inputs["input_ids"].shape[1], theirs["max_position_embeddings"])
    chosen.model.fusion = chosen.model.tokens
    chosen.model.grids.heads = 1
    chosen.model.positions.image = theirs["max_position_embeddings"]
    chosen.model.token_types = theirs.get("type_vocab_size", 2)
    chosen.inputs.image.source = "features"
    chosen.inputs.image.feature_rows, chosen.inputs.image.feature_dim = inputs["visual_embeds"].shape[1:]
    return config_lib.freeze(chosen.to_dict())
