"""BertForMaskedLM of transformers: config.json, model.safetensors, inputs.npz, outputs.npz."""

import pathlib
from typing import Any

import jax

from golden.compared import Arrays, Differences, blank, differences, read_npz, set_text
from m5jax import config as config_lib
from m5jax import methods
from m5jax.models.interface import functional
from m5jax.models.unimodal import Unimodal
from m5jax.token_spec import token_specs
from m5jax.weights import huggingface


def check(folder: pathlib.Path) -> Differences:
    """Last hidden state and logits."""
    theirs = huggingface.read_config(folder)
    inputs, expected = read_npz(folder / "inputs.npz"), read_npz(folder / "outputs.npz")
    chosen = config_lib.default()
    methods.apply(chosen, "bert")
    set_text(chosen, theirs, inputs["input_ids"].shape[1], theirs["max_position_embeddings"])
    chosen.model.token_types = theirs.get("type_vocab_size", 2)
    chosen.model.grids.heads = chosen.model.fusion.heads = 1
    config = config_lib.freeze(chosen.to_dict())
    specs, vocabulary = token_specs(config.inputs), theirs["vocab_size"]
    init, bind = functional(lambda rngs: Unimodal(config, specs, vocabulary, 0, rngs))
    params, report = huggingface.load(folder, blank(init))
    print(f"{folder}: {report}")
    mask = inputs["attention_mask"] > 0

    @jax.jit
    def outputs(params: Any) -> Arrays:
        network = bind(params)
        arrays = {"ids": inputs["input_ids"], "mask": mask, "types": inputs.get("token_type_ids", 0 * mask)}
        states, _ = network.encode({"text": arrays}, None)
        return {"last_hidden_state": states["text"], "logits": network.predict("text", states["text"])}

    return differences(expected, jax.device_get(outputs(params)), dict.fromkeys(("last_hidden_state", "logits"), mask))
