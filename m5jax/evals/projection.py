"""Embeddings in two dimensions, to be looked at: a map that keeps what it can of the distances.

Sees arrays of embeddings only.
"""

import dataclasses

import numpy as np
from jaxtyping import Float
from sklearn.manifold import TSNE

METHODS = ("pca", "tsne")
PERPLEXITY = 30.0  # neighbours that t-SNE keeps together; fewer where there are few listings
LEAST = 3  # listings that a map needs


@dataclasses.dataclass(frozen=True)
class Projection:
    """Listings as points.

    Attributes:
      points: float64 [N, 2], centred at 0.
      explained: of the variance of the embeddings, the shares that lie along the map's two axes, the larger first.
        None for a map without axes (t-SNE).
    """

    points: np.ndarray
    explained: tuple[float, float] | None


def project(embeddings: Float[np.ndarray, "n d"], method: str, seed: int) -> Projection | None:
    """Draws a map.

    "pca": the two directions of most variance (Hotelling, Analysis of a Complex of Statistical Variables, 1933), by
    singular values; each direction points where its largest loading is positive, so that equal data give equal maps.
    "tsne": van der Maaten and Hinton, Visualizing Data using t-SNE, 2008, from the first map. Its distances mean
    little: only who is near whom does.

    Args:
      embeddings: need not have unit length; duplicates share a point under "pca".
      method: one of `METHODS`.
      seed: of t-SNE.

    Returns:
      None where there is nothing to draw: fewer than `LEAST` listings, or all of them in one place.

    Raises:
      ValueError: an embedding is not finite, or the method unknown.
    """
    if method not in METHODS:
        raise ValueError(f"method {method!r} is unknown; choose from {', '.join(METHODS)}")
    if not np.isfinite(embeddings).all():
        raise ValueError("embeddings hold numbers that are not finite")
    if len(embeddings) < LEAST:
        return None
    centred = embeddings.astype(np.float64) - embeddings.mean(axis=0, dtype=np.float64)
    total = float((centred**2).sum())
    if total <= 1e-12 * max(1.0, float((embeddings.astype(np.float64) ** 2).sum())):
        return None
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    axes = np.zeros((2, centred.shape[1]))
    axes[: len(directions[:2])] = directions[:2]  # one-dimensional embeddings have one
    signs = np.sign(np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], 1))
    points = centred @ (axes * signs).T
    if method == "pca":
        first, second = (*(sizes[:2] ** 2 / total), 0.0)[:2]
        return Projection(points, (float(first), float(second)))
    perplexity = min(PERPLEXITY, (len(points) - 1) / 3)
    begin = points / max(points[:, 0].std(), 1e-12) * 1e-4
    found = TSNE(2, perplexity=perplexity, init=begin.astype(np.float32), random_state=seed, metric="cosine")
    points = found.fit_transform(embeddings.astype(np.float32)).astype(np.float64)
    return Projection(points - points.mean(axis=0), None)
