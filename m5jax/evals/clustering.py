"""Clusters of embeddings against labels: do listings of one class lie together without being told.

Sees arrays of embeddings and labels only.
"""

import warnings
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix
from sklearn.preprocessing import normalize

MINI_BATCH_ROWS = 50_000  # of more listings k-means sees mini-batches


def k_means(
    embeddings: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, "n"],
    *,
    valid: Bool[np.ndarray, "n"],
    seed: int,
    seeds: int = 3,
    n_init: int = 3,
) -> dict[str, float]:
    """Scores k-means on unit vectors, with as many clusters as there are labels, from several seeds.

    Only labelled listings with an embedding are clustered: a listing that lies nowhere is in no cluster. More than
    `MINI_BATCH_ROWS` are clustered by mini-batches (Sculley, Web-Scale K-Means Clustering, 2010).

    Args:
      embeddings: need not have unit length; a zero row stays zero.
      labels: -1 = unknown.
      valid: whether a listing has an embedding.
      seed: of the initial centres; the seeds are it and those that follow.
      seeds: how often it is done.
      n_init: initialisations of each seed, of which the tightest is scored.

    Returns:
      The means over seeds of the scores of `agreement`, and with more than one seed ``nmi_std`` and so on, their
      standard deviations over seeds (of a sample, / (seeds - 1)); ``clusters``, found, likewise the mean (fewer than
      labels where embeddings coincide); ``listings``, clustered; ``seeds``; ``coverage``, the share of labelled
      listings with an embedding. With fewer than two labels there is nothing to find, and the counts alone are there.
      A label of one listing is asked for like any other.

    Raises:
      ValueError: an embedding marked valid is not finite, or seeds is below 1.
    """
    if seeds < 1:
        raise ValueError(f"seeds = {seeds} must be at least 1")
    labelled = labels >= 0
    rows = valid & labelled
    scores = {"listings": float(rows.sum())}
    if labelled.any():
        scores["coverage"] = float(valid[labelled].mean())
    classes = len(np.unique(labels[rows]))
    if classes < 2:
        return scores
    algorithm = MiniBatchKMeans if rows.sum() > MINI_BATCH_ROWS else KMeans
    unit, found = normalize(embeddings[rows]), []
    for number in range(seed, seed + seeds):
        options: dict[str, Any] = {"n_clusters": classes, "n_init": n_init, "random_state": number}
        with warnings.catch_warnings():
            # Raised where fewer embeddings differ than there are labels; `clusters` tells the reader.
            warnings.simplefilter("ignore", ConvergenceWarning)
            clusters = algorithm(**options).fit_predict(unit)
        found.append(agreement(labels[rows], clusters) | {"clusters": float(len(np.unique(clusters)))})
    runs = {name: [run[name] for run in found] for name in found[0]}
    scores |= {"seeds": float(seeds)} | {name: float(np.mean(values)) for name, values in runs.items()}
    spread = {f"{name}_std": float(np.std(values, ddof=1)) for name, values in runs.items() if seeds > 1}
    return scores | {name: value for name, value in spread.items() if name != "clusters_std"}


def agreement(labels: Int[np.ndarray, "n"], clusters: Int[np.ndarray, "n"]) -> dict[str, float]:
    """How far clusters match labels, whatever either is numbered.

    Args:
      labels: known labels of at least one listing.
      clusters: the cluster each listing is in.

    Returns:
      ``nmi``, mutual information over the arithmetic mean of the two entropies; ``ari``, the adjusted Rand index
      (Hubert and Arabie, Comparing Partitions, 1985); ``purity``, the share of listings whose label is the most
      frequent one of their cluster (Manning, Raghavan and Schütze, Introduction to Information Retrieval, 2008,
      section 16.3).
    """
    in_both = contingency_matrix(labels, clusters, sparse=True)
    return {
        "nmi": float(normalized_mutual_info_score(labels, clusters, average_method="arithmetic")),
        "ari": float(adjusted_rand_score(labels, clusters)),
        "purity": float(in_both.max(axis=0).sum() / len(labels)),
    }
