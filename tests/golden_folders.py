"""Golden folders of any size: the tensors of the released SCALE and of BertForMaskedLM, drawn inputs, their files."""

import itertools
import json
import pathlib
from typing import Any

import numpy as np
from released_twin import EMBEDDINGS, POOLERS, Arrays
from safetensors import numpy as safetensors_numpy

TIED = {
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
PREFIXES = {"image": "v", "video": "video", "audio": "audio"}  # of the features' sizes
Shapes = dict[str, tuple[int, ...]]


def bert_shapes(config: dict[str, Any]) -> Shapes:
    """Names and shapes of the tensors of BertForMaskedLM."""
    width, words = config["hidden_size"], config["vocab_size"]
    made = _embeddings("bert.embeddings", config) | _norm("cls.predictions.transform.LayerNorm", width)
    for n in range(config["num_hidden_layers"]):
        made |= _layer(f"bert.encoder.layer.{n}", width, config["intermediate_size"])
    made |= _linear("cls.predictions.transform.dense", width, width) | _linear("cls.predictions.decoder", words, width)
    return made | {"cls.predictions.bias": (words,)}


def scale_shapes(config: dict[str, Any], cross: dict[str, Any]) -> Shapes:
    """Names and shapes of the tensors of the released model, with those that nothing reads."""
    width, pooled, hidden = config["hidden_size"], config["bi_hidden_size"], config["v_intermediate_size"]
    made = bert_shapes(config) | _embeddings("bert.pv_embeddings", config)
    del made["cls.predictions.decoder.bias"]
    for n in range(config["num_hidden_layers"]):
        made |= _layer(f"bert.encoder.pv_layer.{n}", width, config["intermediate_size"])
    for n, name in itertools.product(range(config["v_num_hidden_layers"]), ("v", "video", "audio")):
        made |= _layer(f"bert.encoder.{name}_layer.{n}", width, hidden)
    for name, prefix in PREFIXES.items():
        theirs, size = f"bert.{EMBEDDINGS[name]}", config[f"{prefix}_feature_size"]
        made |= _linear(f"{theirs}.{name}_embeddings", width, size) | _norm(f"{theirs}.LayerNorm", width)
        made |= _linear(f"cls.{name}Predictions.transform.dense", width, width)
        made |= _norm(f"cls.{name}Predictions.transform.LayerNorm", width)
        made |= _linear(f"cls.{name}Predictions.decoder", config[f"{prefix}_target_size"], width)
    made |= _linear("bert.v_embeddings.image_location_embeddings", width, 5)
    made["bert.video_embeddings.position_embeddings.weight"] = (config["max_video_len"], width)
    made["bert.audio_embedding.position_embeddings.weight"] = (config["max_audio_len"], width)
    for name in POOLERS.values():
        made |= _linear(f"bert.encoder.{name}_pooler.dense", pooled, width)
        made |= _linear(f"bert.{name}_pooler.dense", pooled, width) if name != "audio" else {}
    made["bert.cross_encoder.embeddings.position_embeddings.weight"] = (cross["max_position_embeddings"], width)
    for n in range(cross["num_hidden_layers"]):
        theirs = f"bert.cross_encoder.transformer.resblocks.{n}"
        made |= {f"{theirs}.attn.in_proj_weight": (3 * width, width), f"{theirs}.attn.in_proj_bias": (3 * width,)}
        made |= _linear(f"{theirs}.attn.out_proj", width, width)
        made |= _norm(f"{theirs}.ln_1", width) | _norm(f"{theirs}.ln_2", width)
        made |= _linear(f"{theirs}.mlp.c_fc", 4 * width, width) | _linear(f"{theirs}.mlp.c_proj", width, 4 * width)
    made |= _linear("bert.cross_encoder.pooler.dense", width, width) | _norm("bert.cross_encoder.pooler.ln_pool", width)
    made |= _linear("cls.t_weight_fc", 1, pooled) | _linear("cls.v_weight_fc", 1, pooled)
    return made | _linear("cls.vil_weight_fc", pooled, 2 * pooled)


def _embeddings(name: str, config: dict[str, Any]) -> Shapes:
    rows = {"word": "vocab_size", "position": "max_position_embeddings", "token_type": "type_vocab_size"}
    width = config["hidden_size"]
    made = {f"{name}.{part}_embeddings.weight": (config[size], width) for part, size in rows.items()}
    return made | _norm(f"{name}.LayerNorm", width)


def _layer(name: str, width: int, hidden: int) -> Shapes:
    made = _linear(f"{name}.intermediate.dense", hidden, width) | _linear(f"{name}.output.dense", width, hidden)
    for part in ("self.query", "self.key", "self.value", "output.dense"):
        made |= _linear(f"{name}.attention.{part}", width, width)
    return made | _norm(f"{name}.attention.output.LayerNorm", width) | _norm(f"{name}.output.LayerNorm", width)


def _linear(name: str, out: int, width: int) -> Shapes:
    return {f"{name}.weight": (out, width), f"{name}.bias": (out,)}


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def draw(shapes: Shapes, rng: np.random.Generator) -> Arrays:
    """Weights large enough for nothing to be near-degenerate: float32, norms around 1, the decoder tied."""
    made = {}
    for name, shape in shapes.items():
        vector = len(shape) == 1
        made[name] = rng.normal(float(vector and name.endswith("weight")), 0.1 if vector else 0.25, shape)
    tied = {copy: made[original] for copy, original in TIED.items() if copy in made}
    return {name: tensor.astype(np.float32) for name, tensor in (made | tied).items()}


def tokens(rng: np.random.Generator, size: int, length: int, vocabulary: int, types: int) -> tuple[np.ndarray, ...]:
    """Ids, types and a right-padded mask, int64 [size, length]."""
    ids, kinds = rng.integers(vocabulary, size=(size, length)), rng.integers(types, size=(size, length))
    count = rng.integers(1, length + 1, size)
    count[0] = length
    return ids, kinds, (np.arange(length) < count[:, None]).astype(np.int64)


def scale_inputs(
    config: dict[str, Any], lengths: dict[str, int], size: int, masks: Arrays, rng: np.random.Generator
) -> Arrays:
    """A batch, labelled here and there where its masks are 1: those given, and right-padded ones.

    `lengths` are without the grids' global token.
    """
    made, words, types = {}, config["vocab_size"], config["type_vocab_size"]
    for name, prefix, labels in (("text", "", "masked_lm_labels"), ("table", "pv_", "masked_em_labels")):
        ids, kinds, mask = tokens(rng, size, lengths[name], words, types)
        mask = masks.get(name, mask)
        made |= {f"{prefix}input_ids": ids, f"{prefix}token_type_ids": kinds, f"{prefix}attention_mask": mask}
        made[labels] = np.where((rng.random(ids.shape) < 0.3) & (mask > 0), rng.integers(words, size=ids.shape), -1)
    for name, prefix in PREFIXES.items():
        mask = masks.get(name, tokens(rng, size, lengths[name] + 1, 1, 1)[-1])
        made[f"{name}_attention_mask"] = mask
        made[f"{name}_feat"] = rng.normal(size=(*mask.shape, config[f"{prefix}_feature_size"])).astype(np.float32)
        shape = (size, lengths[name], config[f"{prefix}_target_size"])
        made[f"{name}_target"] = rng.normal(size=shape).astype(np.float32)
        made[f"{name}_label"] = np.where((rng.random(shape[:2]) < 0.4) & (mask[:, 1:] > 0), 1, -1)
    return made | {"image_loc": rng.random((*made["image_attention_mask"].shape, 5), np.float32)}


def write(folder: pathlib.Path, files: dict[str, Any]) -> pathlib.Path:
    """Writes the files of a golden folder as their names ask for: numbers in single precision, as a release would."""
    folder.mkdir()
    for name, content in files.items():
        if name.endswith(".safetensors"):
            safetensors_numpy.save_file(content, folder / name)
        elif name.endswith(".json"):
            (folder / name).write_text(json.dumps(content), encoding="utf-8")
        else:
            single = {k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in content.items()}
            np.savez(folder / name, **single)
    return folder
