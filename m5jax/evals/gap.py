"""The modality gap: how far apart modalities lie, and whether a listing is found from one by another.

Sees arrays of embeddings only. Row i of every array is listing i.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from m5jax.evals import search


def within(vectors: Float[np.ndarray, "n d"]) -> float | None:
    """The mean cosine of two different listings in one modality, how narrow its cone is; None of fewer than two.

    Args:
      vectors: of unit length; a zero row has cosine 0 to everything.
    """
    return _others(vectors, vectors, float((vectors.astype(np.float64) ** 2).sum()))


def between(first: Float[np.ndarray, "n d"], second: Float[np.ndarray, "n d"]) -> dict[str, float]:
    """How two modalities of the same listings lie to each other.

    Args:
      first, second: of unit length; at least one listing, all with both.

    Returns:
      ``gap``, the distance of the two centroids (Liang et al., Mind the Gap, 2022, section 2), from 0 to 2; ``own``,
      the mean cosine of a listing's own two; ``others``, that of different listings, not there for a single one.
    """
    own = np.einsum("nd,nd->n", first, second, dtype=np.float64)
    found = {
        "gap": float(np.linalg.norm(first.mean(axis=0, dtype=np.float64) - second.mean(axis=0, dtype=np.float64))),
        "own": float(own.mean()),
    }
    others = _others(first, second, float(own.sum()))
    return found if others is None else found | {"others": others}


def _others(first: np.ndarray, second: np.ndarray, own: float) -> float | None:
    """The mean product of rows of different listings, from the sums of the rows: all pairs but the own ones."""
    count = len(first)
    if count < 2:
        return None
    everything = first.sum(axis=0, dtype=np.float64) @ second.sum(axis=0, dtype=np.float64)
    return float((everything - own) / (count * (count - 1)))


def recall(
    queries: Float[np.ndarray, "q d"], gallery: Float[np.ndarray, "g d"], own: Int[np.ndarray, "q"], ks: Sequence[int]
) -> dict[int, float]:
    """Per k, the share of queries whose own listing is among the k gallery rows nearest by cosine.

    Nothing else is right, not even a twin; of equal cosines the lower row comes first. A k beyond the gallery finds
    everything.

    Args:
      queries: at least one, each with an embedding; a zero row has cosine 0 to everything.
      gallery: every row with an embedding.
      own: the gallery row of each query's listing.
      ks: each at least 1.

    Raises:
      ValueError: an embedding is not finite.
    """
    found, _ = search.top_k(
        queries,
        gallery,
        max(ks),
        query_valid=np.ones(len(queries), bool),
        gallery_valid=np.ones(len(gallery), bool),
        exclude=np.full(len(queries), -1),
    )
    return {k: float(np.mean((found[:, :k] == own[:, None]).any(axis=1))) for k in ks}
