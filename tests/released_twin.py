"""The released SCALE forward pass and BertForMaskedLM once more: slowly, in float64, under the release's names.

Written from a description of the release and sharing no code with the package, so that both do not err alike.
"""

import itertools
import math
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]

GRAPH: tuple[str, ...] = ("text", "image", "table", "video", "audio")  # order of the harmony matrices
SEQUENCE: tuple[str, ...] = ("text", "table", "image", "video", "audio")  # order of the fusion sequence
GRIDS: tuple[str, ...] = ("image", "video", "audio")
EMBEDDINGS: dict[str, str] = {"image": "v_embeddings", "video": "video_embeddings", "audio": "audio_embedding"}
POOLERS: dict[str, str] = {"text": "t", "table": "pv", "image": "v", "video": "video", "audio": "audio"}
erf = np.vectorize(math.erf, otypes=[float])


def linear(x: np.ndarray, weights: Arrays, name: str) -> np.ndarray:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def norm(x: np.ndarray, weights: Arrays, name: str) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def gelu(x: np.ndarray) -> np.ndarray:
    return x * (1 + erf(x / math.sqrt(2))) / 2


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def attention(query: np.ndarray, key: np.ndarray, value: np.ndarray, heads: int, bias: np.ndarray) -> np.ndarray:
    """One listing and head after the other; [B, L, width], `bias` [B, L] is added to the scores of every key."""
    width = query.shape[-1] // heads
    result = np.zeros_like(query)
    for b, head in np.ndindex(len(query), heads):
        part = slice(head * width, (head + 1) * width)
        scores = query[b, :, part] @ key[b, :, part].T / math.sqrt(width) + bias[b]
        result[b, :, part] = np.exp(log_softmax(scores)) @ value[b, :, part]
    return result


def layers(x: np.ndarray, mask: np.ndarray, weights: Arrays, prefix: str, heads: int) -> np.ndarray:
    """The stack of BERT layers whose names start so: norms after the sums, additive mask."""
    for n in itertools.count():
        name = f"{prefix}.{n}"
        if f"{name}.output.dense.weight" not in weights:
            return x
        query, key, value = (linear(x, weights, f"{name}.attention.self.{part}") for part in ("query", "key", "value"))
        mixed = attention(query, key, value, heads, -10000.0 * (1 - mask))
        mixed = linear(mixed, weights, f"{name}.attention.output.dense")
        x = norm(x + mixed, weights, f"{name}.attention.output.LayerNorm")
        wide = gelu(linear(x, weights, f"{name}.intermediate.dense"))
        x = norm(x + linear(wide, weights, f"{name}.output.dense"), weights, f"{name}.output.LayerNorm")
    raise AssertionError


def text_states(ids: np.ndarray, types: np.ndarray, mask: np.ndarray, weights: Arrays, heads: int) -> np.ndarray:
    words, positions, kinds = (
        weights[f"bert.embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type")
    )
    x = norm(words[ids] + positions[: ids.shape[1]] + kinds[types], weights, "bert.embeddings.LayerNorm")
    return layers(x, mask, weights, "bert.encoder.layer", heads)


def head(x: np.ndarray, weights: Arrays, name: str) -> np.ndarray:
    return norm(gelu(linear(x, weights, f"{name}.transform.dense")), weights, f"{name}.transform.LayerNorm")


def logits(x: np.ndarray, weights: Arrays) -> np.ndarray:
    words = weights["bert.embeddings.word_embeddings.weight"]
    return head(x, weights, "cls.predictions") @ words.T + weights["cls.predictions.bias"]


def bert_outputs(weights: Arrays, config: dict[str, Any], inputs: Arrays) -> Arrays:
    weights = {name: tensor.astype(np.float64) for name, tensor in weights.items()}
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    types = inputs.get("token_type_ids", np.zeros_like(ids))
    states = text_states(ids, types, mask, weights, config["num_attention_heads"])
    return {"last_hidden_state": states, "logits": logits(states, weights)}


def scale_outputs(weights: Arrays, config: dict[str, Any], cross: dict[str, Any], inputs: Arrays) -> Arrays:
    """Every output of the released pre-training model in evaluation mode, float64; each loss of shape [1]."""
    weights = {name: tensor.astype(np.float64) for name, tensor in weights.items()}
    states, masks = encoded(weights, config, inputs)
    fused, first = fusion(weights, cross["num_attention_heads"], states, masks)
    pooled = {
        name: np.maximum(linear(states[name][:, 0], weights, f"bert.encoder.{POOLERS[name]}_pooler.dense"), 0)
        for name in GRAPH
    }
    result = {"fusion_sequence": fused}
    for name in GRAPH:
        result |= {f"encoded_{name}": states[name], f"pooled_{name}": pooled[name], f"fused_cls_{name}": first[name]}
    for kind, vectors in (("task", first), ("contrastive", pooled)):
        graph = np.stack([harmony(listing) for listing in np.stack([vectors[name] for name in GRAPH], 1)])
        result |= {f"{kind}_graph": graph, f"{kind}_modality_weight": np.diagonal(graph, axis1=1, axis2=2)}
    shares = dict(zip(GRAPH, result["task_modality_weight"].T, strict=True))
    losses = {
        "mlm": language_loss(logits(states["text"], weights), shares["text"], inputs["masked_lm_labels"]),
        "mem": language_loss(logits(states["table"], weights), shares["table"], inputs["masked_em_labels"]),
        "clr": contrastive_loss(pooled, result["contrastive_graph"]),
    }
    for name, loss in (("image", "mrm"), ("video", "mfm"), ("audio", "mam")):
        made = head(states[name], weights, f"cls.{name}Predictions")
        made = linear(made, weights, f"cls.{name}Predictions.decoder")[:, 1:] * shares[name][:, None, None]
        error = ((made - inputs[f"{name}_target"]) ** 2)[inputs[f"{name}_label"] == 1]
        losses[loss] = error.sum() / max(error.size, 1)
    return result | {f"loss_{name}": np.array([loss]) for name, loss in losses.items()}


def encoded(weights: Arrays, config: dict[str, Any], inputs: Arrays) -> tuple[Arrays, Arrays]:
    """States [B, L, width] and masks [B, L]: the table through the text's encoder, the video through the image's."""
    states, masks = {}, {name: inputs[f"{name}_attention_mask"] for name in GRIDS}
    for name, prefix in (("text", ""), ("table", "pv_")):
        masks[name] = inputs[f"{prefix}attention_mask"]
        ids, types = inputs[f"{prefix}input_ids"], inputs[f"{prefix}token_type_ids"]
        states[name] = text_states(ids, types, masks[name], weights, config["num_attention_heads"])
    for name in GRIDS:
        theirs = f"bert.{EMBEDDINGS[name]}"
        x = linear(inputs[f"{name}_feat"].astype(np.float64), weights, f"{theirs}.{name}_embeddings")
        if name == "image":
            x = x + linear(inputs["image_loc"].astype(np.float64), weights, f"{theirs}.image_location_embeddings")
        else:
            x = x + weights[f"{theirs}.position_embeddings.weight"][: x.shape[1]]
        stack = "bert.encoder.audio_layer" if name == "audio" else "bert.encoder.v_layer"
        x = norm(x, weights, f"{theirs}.LayerNorm")
        states[name] = layers(x, masks[name], weights, stack, config["v_num_attention_heads"])
    return states, masks


def fusion(weights: Arrays, heads: int, states: Arrays, masks: Arrays) -> tuple[np.ndarray, Arrays]:
    """The fused sequence, and the state of every modality's first token: norms before, no last norm, QuickGELU."""
    x = np.concatenate([states[name] for name in SEQUENCE], 1)
    bias = -1e6 * (1 - np.concatenate([masks[name] for name in SEQUENCE], 1))
    x = x + weights["bert.cross_encoder.embeddings.position_embeddings.weight"][: x.shape[1]]
    for n in itertools.count():
        name = f"bert.cross_encoder.transformer.resblocks.{n}"
        if f"{name}.attn.in_proj_weight" not in weights:
            break
        mixed = norm(x, weights, f"{name}.ln_1") @ weights[f"{name}.attn.in_proj_weight"].T
        query, key, value = np.split(mixed + weights[f"{name}.attn.in_proj_bias"], 3, -1)
        x = x + linear(attention(query, key, value, heads, bias), weights, f"{name}.attn.out_proj")
        wide = linear(norm(x, weights, f"{name}.ln_2"), weights, f"{name}.mlp.c_fc")
        x = x + linear(wide / (1 + np.exp(-1.702 * wide)), weights, f"{name}.mlp.c_proj")
    starts = np.cumsum([0] + [states[name].shape[1] for name in SEQUENCE[:-1]])
    return x, {name: x[:, start] for name, start in zip(SEQUENCE, starts, strict=True)}


def harmony(vectors: np.ndarray) -> np.ndarray:
    """Cosines times their softmax along a row, rows of length one: [5, 5] of one listing's [5, width]."""
    lengths = np.linalg.norm(vectors, axis=1)
    cosine = vectors @ vectors.T / np.maximum(np.outer(lengths, lengths), 1e-8)
    rows = cosine * np.exp(log_softmax(cosine))
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def language_loss(scores: np.ndarray, share: np.ndarray, labels: np.ndarray) -> float:
    likely = log_softmax(scores * share[:, None, None])
    chosen = [-likely[b, n, labels[b, n]] for b, n in np.argwhere(labels >= 0)]
    return float(sum(chosen) / max(len(chosen), 1))


def contrastive_loss(pooled: Arrays, graph: np.ndarray) -> float:
    """Each of the ten pairs by itself: every vector among the other 2B - 1 is to find its listing's other one."""
    size, pairs = len(graph), []
    for i, j in itertools.combinations(range(len(GRAPH)), 2):
        both = np.concatenate([pooled[GRAPH[i]], pooled[GRAPH[j]]])
        both = both / np.maximum(np.linalg.norm(both, axis=1, keepdims=True), 1e-12)
        for row in range(2 * size):
            others = [other for other in range(2 * size) if other != row]
            scores = both[others] @ both[row] / 0.07 * graph[row % size, i, j]
            pairs.append(-log_softmax(scores)[others.index((row + size) % (2 * size))])
    return float(np.mean(pairs))
