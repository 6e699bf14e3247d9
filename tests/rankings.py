"""Vectors to search among, and the full sort that searches are compared with."""

import numpy as np

from m5jax.evals import retrieval
from m5jax.evals.relevance import LabelSets


def random(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def unit(vectors):
    vectors = vectors.astype(np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)


def signs(rng, rows):
    """Vectors of 16 signs, some all zero: cosines are exact in float32, and many are equal."""
    return (rng.choice([-1, 1], (rows, 16)) * rng.choice([0, 1], (rows, 1), p=[0.2, 0.8])).astype(np.float32)


def slow_ranking(queries, gallery, query_valid, gallery_valid, exclude):
    """Per query, every gallery row it may find, best first, and the cosines."""
    cosines = unit(queries) @ unit(gallery).T
    rankings = []
    for query, own in enumerate(exclude):
        rows = [row for row in range(len(gallery)) if query_valid[query] and gallery_valid[row] and row != own]
        rankings.append(sorted(rows, key=lambda row, query=query: (-cosines[query, row], row)))
    return rankings, cosines


def evaluate(queries, gallery, query_labels, gallery_labels, **options):
    """Retrieval at a few ranks with every row valid, unless told otherwise; labels are numbers, or sets of numbers."""
    options = {
        "ks": (1, 2, 5),
        "query_valid": np.ones(len(queries), bool),
        "gallery_valid": np.ones(len(gallery), bool),
    } | options
    sides = [
        LabelSets.of(labels) if any(isinstance(label, set) for label in labels) else np.asarray(labels, int)
        for labels in (query_labels, gallery_labels)
    ]
    return retrieval.evaluate(queries, gallery, *sides, **options)
