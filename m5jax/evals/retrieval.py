"""Retrieval scores under a named protocol.

Sees arrays of embeddings and labels only. Labels are integers from 0 up; -1 = unknown.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from m5jax.evals import search
from m5jax.evals.protocols import PROTOCOLS, Protocol

FULL_RANKING_LIMIT = 20_000  # largest gallery that is ranked whole


@dataclasses.dataclass(frozen=True)
class Retrieval:
    """Scores over all queries, and what each query found.

    Attributes:
      protocol: what the scores mean.
      scores: finite numbers by name; `evaluate` lists them.
      query_rows: int [Q'], the scored queries, as rows of the queries given.
      neighbours: int32 [Q', largest k], gallery rows, best first; -1 where there are fewer.
      average_precision: float64 [Q'], at the largest k.
      first_hit_rank: int [Q'], from 1; 0 = no hit within the largest k.
    """

    protocol: Protocol
    scores: dict[str, float]
    query_rows: np.ndarray
    neighbours: np.ndarray
    average_precision: np.ndarray
    first_hit_rank: np.ndarray


def evaluate(
    query_embeddings: Float[np.ndarray, "q d"],
    gallery_embeddings: Float[np.ndarray, "g d"],
    query_labels: Int[np.ndarray, "q"],
    gallery_labels: Int[np.ndarray, "g"],
    *,
    ks: Sequence[int],
    query_valid: Bool[np.ndarray, "q"],
    gallery_valid: Bool[np.ndarray, "g"],
    exclude: Int[np.ndarray, "q"] | None = None,
    protocol: str = "standard",
) -> Retrieval:
    """Scores whether the gallery rows nearest to each query share its label.

    A gallery row without an embedding still counts as a positive: losing an embedding never raises a score.

    Args:
      query_embeddings, gallery_embeddings: need not have unit length.
      query_labels: -1 = unknown; such a query is left out.
      gallery_labels: -1 = unknown; relevant to no query.
      ks: ranks to score at.
      query_valid, gallery_valid: whether a row has an embedding.
      exclude: the query's own gallery row, -1 = it is not in the gallery; None = no query is.
      protocol: a name in `PROTOCOLS`.

    Returns:
      Scores for each k: ``p@k``, hits over k, however few positives there are; ``map@k``, average precision (Manning,
      Raghavan and Schütze, Introduction to Information Retrieval, 2008, section 8.4) cut off at k; ``recall@k``, hits
      over all positives, so below 1 where they outnumber k; ``hit@k``. Then ``mrr``, within the largest k; ``map``,
      over the full ranking, where the gallery has at most `FULL_RANKING_LIMIT` rows; ``coverage``, the share of scored
      queries with an embedding; and the counts ``queries`` and ``gallery``, as given, and ``answerable``, the queries
      scored. If none is, the counts alone.

    Raises:
      ValueError: arrays do not fit together, a valid embedding is not finite, a rank is below 1, or no such protocol.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol {protocol!r} is unknown; choose from {', '.join(PROTOCOLS)}")
    if not ks or min(ks) < 1:
        raise ValueError(f"ks = {tuple(ks)} must be one or more ranks, each at least 1")
    exclude = np.full(len(query_embeddings), -1) if exclude is None else exclude
    search.check(query_embeddings, query_valid, exclude, gallery_embeddings, gallery_valid)
    search.check_length("query", query_embeddings, query_labels=query_labels)
    search.check_length("gallery", gallery_embeddings, gallery_labels=gallery_labels)

    positives = _count_positives(query_labels, gallery_labels, exclude)
    scored = np.flatnonzero(positives)
    labels, positives = query_labels[scored], positives[scored]
    asked = query_embeddings[scored]
    sides = {"query_valid": query_valid[scored], "gallery_valid": gallery_valid, "exclude": exclude[scored]}
    neighbours, _ = search.top_k(asked, gallery_embeddings, max(ks), block=search.BLOCK, **sides)
    hits = (neighbours >= 0) & (gallery_labels[neighbours] == labels[:, None])
    first_hit_rank = np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 0)
    average_precision = _precision_at_hits(hits).sum(axis=1) / np.minimum(max(ks), positives)
    counts = {"queries": len(query_labels), "answerable": len(scored), "gallery": len(gallery_labels)}
    scores = {name: float(count) for name, count in counts.items()}
    if len(scored):
        scores |= _scores_within(hits, positives, ks)
        scores["mrr"] = float(np.mean(hits.any(axis=1) / np.maximum(first_hit_rank, 1)))
        scores["coverage"] = float(np.mean(query_valid[scored]))
    if len(scored) and len(gallery_labels) <= FULL_RANKING_LIMIT:
        scores["map"] = float(
            np.mean(_full_average_precision(asked, gallery_embeddings, labels, gallery_labels, positives, sides))
        )
    return Retrieval(PROTOCOLS[protocol], scores, scored, neighbours, average_precision, first_hit_rank)


def _full_average_precision(
    queries: np.ndarray,
    gallery: np.ndarray,
    labels: np.ndarray,
    gallery_labels: np.ndarray,
    positives: np.ndarray,
    sides: dict[str, np.ndarray],
) -> Float[np.ndarray, "q"]:
    """Average precision of each query over the whole gallery."""
    average_precision = np.zeros(len(labels))
    for part, order in search.rankings(queries, gallery, **sides):
        relevant = (gallery_labels[order] == labels[part, None]) & (order >= 0)
        average_precision[part] = _precision_at_hits(relevant).sum(axis=1) / positives[part]
    return average_precision


def _count_positives(query_labels: np.ndarray, gallery_labels: np.ndarray, exclude: np.ndarray) -> np.ndarray:
    """Gallery rows with each query's label, its own row left out; 0 for an unknown label."""
    classes, compact = np.unique(np.concatenate([query_labels, gallery_labels]), return_inverse=True)
    in_gallery = np.bincount(compact[len(query_labels) :], minlength=len(classes))
    own = np.append(gallery_labels, -1)[exclude] == query_labels  # exclude -1 meets the -1 appended: unknown
    return np.where(query_labels >= 0, in_gallery[compact[: len(query_labels)]] - own, 0)


def _precision_at_hits(hits: Bool[np.ndarray, "q k"]) -> Float[np.ndarray, "q k"]:
    """Precision of the list down to each hit; 0 at rows that are none."""
    return np.where(hits, np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1), 0.0)


def _scores_within(hits: np.ndarray, positives: np.ndarray, ks: Sequence[int]) -> dict[str, float]:
    """The scores at each k, averaged over queries."""
    scores, precision = {}, _precision_at_hits(hits)
    for k in ks:
        found = hits[:, :k].sum(axis=1)
        scores[f"p@{k}"] = float(np.mean(found / k))
        scores[f"map@{k}"] = float(np.mean(precision[:, :k].sum(axis=1) / np.minimum(k, positives)))
        scores[f"recall@{k}"] = float(np.mean(found / positives))
        scores[f"hit@{k}"] = float(np.mean(found > 0))
    return scores
