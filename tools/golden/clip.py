"""CLIPModel of transformers, with a vision transformer: config.json, model.safetensors, inputs.npz, outputs.npz."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from golden.compared import Arrays, Differences, blank, differences, read_npz, set_text
from m5jax import config as config_lib
from m5jax import methods
from m5jax.models.clip import Clip
from m5jax.models.interface import functional
from m5jax.objectives.contrastive import contrastive
from m5jax.objectives.numerics import normalise
from m5jax.token_spec import token_specs
from m5jax.weights import clip, huggingface


def check(folder: pathlib.Path) -> Differences:
    """Unit embeddings of titles and pictures, their scaled cosines, and the loss over the batch."""
    theirs = huggingface.read_config(folder)
    inputs, expected = read_npz(folder / "inputs.npz"), read_npz(folder / "outputs.npz")
    config = _config(theirs, inputs)
    vocabulary = theirs["text_config"]["vocab_size"]
    init, bind = functional(lambda rngs: Clip(config, token_specs(config.inputs), vocabulary, 0, rngs))
    params, report = clip.load(folder, blank(init))
    print(f"{folder}: {report}")
    read = (inputs["attention_mask"] > 0) & _until_read(inputs["input_ids"], theirs["text_config"]["eos_token_id"])
    pixels = inputs["pixel_values"].transpose(0, 2, 3, 1)
    patches = np.ones((len(pixels), token_specs(config.inputs)["image"].length), bool)

    @jax.jit
    def outputs(params: Any) -> Arrays:
        network = bind(params)
        batch = {
            "text": {"ids": inputs["input_ids"], "mask": read},
            "image": {"values": pixels, "mask": patches},
        }
        vectors = network.compared(*network.encode(batch, None))
        image, text = (normalise(vectors[:, network.names.index(name)]) for name in ("image", "text"))
        temperature, ones = network.temperature(), jnp.ones((len(pixels), 2, 2))
        (loss,) = contrastive(vectors, jnp.ones((len(pixels), 2), bool), temperature, ones, "cross_modal").values()
        found = {"text_embeds": text, "image_embeds": image, "logits_per_image": image @ text.T / temperature}
        return found | {"logits_per_text": text @ image.T / temperature, "loss": loss.mean()}

    return differences(expected, jax.device_get(outputs(params)), {})


def _until_read(ids: np.ndarray, end: int) -> np.ndarray:
    """The pieces up to the one at which transformers reads a title, bool [B, L]; of a causal title no other counts.

    That is the first of the id that ends a title; under the configurations of old, which say 2, that of the highest id.
    """
    last = ids.argmax(1) if end == 2 else (ids == end).argmax(1)
    return np.arange(ids.shape[1]) <= last[:, None]


def _config(theirs: Arrays, inputs: Arrays) -> config_lib.Config:
    """The settings under which our network is theirs."""
    words, patches = theirs["text_config"], theirs["vision_config"]
    chosen = config_lib.default()
    methods.apply(chosen, "clip")
    set_text(chosen, words, inputs["input_ids"].shape[1], words["max_position_embeddings"])
    chosen.model.fusion.heads = 1
    grids = chosen.model.grids
    grids.width, grids.heads = patches["hidden_size"], patches["num_attention_heads"]
    grids.layers, grids.hidden = patches["num_hidden_layers"], patches["intermediate_size"]
    chosen.model.projection = theirs["projection_dim"]
    chosen.inputs.image.size, chosen.inputs.image.patch = patches["image_size"], patches["patch_size"]
    return config_lib.freeze(chosen.to_dict())
