"""What scores would be by chance: the number that a score must beat to mean anything."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int


def retrieval(positives: Int[np.ndarray, "q"], gallery: int, ks: Sequence[int]) -> dict[str, float]:
    """Expected retrieval scores of a gallery in random order.

    Rank i holds a hit with probability P / G, and given that, each rank before it with (P - 1) / (G - 1); summed over
    the ranks this is the expected average precision (Bestgen, Exact Expected Average Precision of the Random Baseline
    for System Evaluation, 2015). Nothing is found within i ranks with probability prod (G - P - j) / (G - j).

    Args:
      positives: P of each scored query, at least 1.
      gallery: G, rows of the gallery.
      ks: ranks to score at.

    Returns:
      The scores of `evals.retrieval.evaluate` under the protocol "standard", by the same names.
    """
    largest = max(ks)
    scores = {"map": _average_precision(positives, gallery, gallery)}
    left = np.arange(gallery)[None, :largest]
    missed = np.cumprod(np.clip(gallery - positives[:, None] - left, 0, None) / (gallery - left), axis=1)
    first = -np.diff(missed, axis=1, prepend=1.0)
    scores["mrr"] = float(np.mean((first / (left + 1)).sum(axis=1)))
    for k in ks:
        ranks = min(k, gallery)
        scores[f"p@{k}"] = float(np.mean(positives) * ranks / gallery / k)
        scores[f"recall@{k}"] = ranks / gallery
        scores[f"hit@{k}"] = float(np.mean(1 - missed[:, ranks - 1]))
        scores[f"map@{k}"] = _average_precision(positives, gallery, k)
        discounts = np.cumsum(1 / np.log2(np.arange(2, k + 2)))
        best = discounts[np.minimum(k, positives) - 1]
        scores[f"ndcg@{k}"] = float(np.mean(positives / gallery * discounts[ranks - 1] / best))
    return scores


def _average_precision(positives: Int[np.ndarray, "q"], gallery: int, k: int) -> float:
    """Expected average precision at k, averaged over queries."""
    ranks = np.arange(1, min(k, gallery) + 1)
    harmonic = float((1 / ranks).sum())
    earlier = (len(ranks) - harmonic) * (positives - 1) / max(gallery - 1, 1)
    return float(np.mean(positives / gallery * (harmonic + earlier) / np.minimum(k, positives)))


def most_frequent(train_labels: Int[np.ndarray, "n"], test_labels: Int[np.ndarray, "m"]) -> float:
    """Accuracy of always answering the most frequent training label; both sides hold at least one label, all known."""
    return float(np.mean(test_labels == np.bincount(train_labels).argmax()))
