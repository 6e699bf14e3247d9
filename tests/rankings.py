"""Vectors to search among, and the full sort that searches are compared with."""

import numpy as np


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
