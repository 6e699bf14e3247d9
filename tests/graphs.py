"""Batches whose tables are graphs, made by hand: what the pipeline promises (docs/data.md), of random words."""

import numpy as np
from conftest import random_batch

from m5jax.token_spec import token_specs

OTHERS = 8


def graph_batch(config, vocabulary, size, seed=0, present=None, triples=None):
    """A training batch of random content with triples and questions.

    `present` as in `random_batch`; `triples` int [size] = how many each listing shows, else 2 to as many as there are.
    """
    batch, rng = random_batch(config, vocabulary, size, seed, present), np.random.default_rng([seed, 1])
    spec = token_specs(config.inputs)["table"]
    most = min(spec.triples, (spec.length - 2) // 4)  # a name and a value have one or two pieces each
    counts = rng.integers(min(2, most), most + 1, size) if triples is None else np.asarray(triples)
    if present is not None:
        counts = counts * present[:, list(token_specs(config.inputs)).index("table")]
    tables = [[words(rng, vocabulary, 2) for _ in range(count)] for count in counts]
    table = batch["table"] | table_arrays(spec, tables) | {"asked": asked(rng, spec, vocabulary, size)}
    return batch | {"table": table}


def words(rng, vocabulary, most):
    """A name and a value, each of 1 to `most` pieces."""
    return [rng.integers(7, vocabulary, rng.integers(1, most + 1)).tolist() for _ in range(2)]


def table_arrays(spec, tables, length=None):
    """Sequences [size, `length`] of the triples (name, value) of every listing: CLS, pieces, SEP."""
    length = length or spec.length
    ids = np.zeros((len(tables), length), np.int32)
    spans, mask = np.zeros_like(ids), np.zeros(ids.shape, bool)
    for row, table in enumerate(tables):
        flat = [(2, 0)] * bool(table)
        for k, (name, value) in enumerate(table):
            flat += [(piece, 2 * k + 1) for piece in name] + [(piece, 2 * k + 2) for piece in value]
        flat += [(3, 0)] * bool(table)
        for place, (piece, span) in enumerate(flat):
            ids[row, place], spans[row, place], mask[row, place] = piece, span, True
    return {"ids": ids, "mask": mask, "spans": spans}


def asked(rng, spec, vocabulary, size, valid=None):
    """What is asked: random names and values, some of them with a further true value."""
    shape = (size, spec.asked, spec.asked_length)
    made = {}
    for part in ("names", "values"):
        mask = np.arange(spec.asked_length) < rng.integers(1, spec.asked_length + 1, shape[:2])[..., None]
        made[part] = {"ids": np.where(mask, rng.integers(7, vocabulary, shape), 0).astype(np.int32), "mask": mask}
    made["key"] = rng.integers(1, 2**31, shape[:2], dtype=np.int32)
    made["others"] = np.zeros((*shape[:2], OTHERS), np.int32)
    made["others"][0, 0, 0] = made["key"][-1, -1]
    return made | {"valid": np.ones(shape[:2], bool) if valid is None else valid}
