"""What a ranking is worth: the rows that queries found and whom they are relevant to in, scores by protocol out.

Sees arrays of rows and labels only, no embeddings: scores can be computed again from saved ranks.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from m5jax.evals import relevance
from m5jax.evals.protocols import PROTOCOLS, RELEASED, STANDARD, TREC, Protocol
from m5jax.evals.relevance import Labels


@dataclasses.dataclass(frozen=True)
class Judged:
    """What every scored query is worth.

    Attributes:
      query_rows: int [Q'], the scored queries, as rows of those given, ascending.
      neighbours: int32 [Q', largest k], gallery rows without the query's own, best first; -1 where there are fewer.
      first_hit_rank: int [Q'], from 1; 0 = no hit within the largest k.
      values: by name of the score, float64 [Q'].
      positives: int [Q', 1 + largest gain], how many listings have each gain; column 0 is not counted.
    """

    query_rows: np.ndarray
    neighbours: np.ndarray
    first_hit_rank: np.ndarray
    values: dict[str, np.ndarray]
    positives: np.ndarray


def protocol_of(name: str, ks: Sequence[int]) -> Protocol:
    """The protocol of a name, for scores at some ranks.

    Raises:
      ValueError: there is none of this name, or the ranks are not one or more from 1 up.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"protocol {name!r} is unknown; choose from {', '.join(PROTOCOLS)}")
    if not ks or min(ks) < 1:
        raise ValueError(f"ks = {tuple(ks)} must be one or more ranks, each at least 1")
    return PROTOCOLS[name]


def judge(
    found: Int[np.ndarray, "q n"],
    own: Int[np.ndarray, "q"],
    query_labels: Labels,
    gallery_labels: Labels,
    others: Labels,
    *,
    ks: Sequence[int],
    protocol: Protocol,
) -> Judged:
    """Scores the rows that queries found; those queries that have a positive.

    Args:
      found: gallery rows, best first, the query's own among them; -1 where there are fewer. At least one more than the
        largest k where any query has an own row.
      own: the query's own gallery row, -1 = it is not in the gallery.
      query_labels, gallery_labels: integers (-1 = unknown) or `relevance.LabelSets`, the same kind all.
      others: labels of what is labelled and not in the gallery; under "released" these are positives as well.
      ks: ranks to score at.
      protocol: the definitions.

    Returns:
      See `Judged`; its values are p, map, recall, hit and ndcg @k, and mrr, as `retrieval.evaluate` names them.
    """
    positives = positives_of(query_labels, gallery_labels, others, own, protocol)
    scored = np.flatnonzero(positives[:, 1:].any(axis=1))
    positives, labels = positives[scored], relevance.take(query_labels, scored)
    listed = without_own(found[scored], own[scored], max(ks), protocol)
    gains = relevance.gains(labels, gallery_labels, listed)
    gains = gains if protocol is TREC else (gains > 0).astype(np.int32)
    values, first_hit_rank = _values(gains, (listed >= 0).sum(axis=1), positives, ks, protocol)
    return Judged(scored, listed, first_hit_rank, values, positives)


def positives_of(
    query_labels: Labels, gallery_labels: Labels, others: Labels, own: Int[np.ndarray, "q"], protocol: Protocol
) -> Int[np.ndarray, "q g"]:
    """How many positives of each gain every query has; column 0 is not counted."""
    counted = relevance.counts(query_labels, gallery_labels)
    if protocol is RELEASED:
        counted = counted + relevance.counts(query_labels, others)
    else:
        mine = relevance.gains(query_labels, gallery_labels, own[:, None])[:, 0]
        counted[np.arange(len(own)), mine] -= mine > 0
    if protocol is not TREC:
        counted = np.stack([counted[:, 0], counted[:, 1:].sum(axis=1)], axis=1)
    return counted


def without_own(
    found: Int[np.ndarray, "q n"], own: Int[np.ndarray, "q"], most: int, protocol: Protocol
) -> Int[np.ndarray, "q k"]:
    """The lists that are scored, int32 [Q, most]: each query's own row is taken out, and -1 fills the end."""
    if protocol is RELEASED:
        found = found[:, :most]
    mine = (found == own[:, None]) & (own[:, None] >= 0)
    order = np.argsort(mine, axis=1, kind="stable")
    listed = np.take_along_axis(np.where(mine, -1, found), order, axis=1)[:, :most]
    return np.pad(listed, ((0, 0), (0, most - listed.shape[1])), constant_values=-1).astype(np.int32)


def precision_at_hits(hits: Bool[np.ndarray, "q k"]) -> Float[np.ndarray, "q k"]:
    """Precision of the list down to each hit; 0 at rows that are none."""
    return np.where(hits, np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1), 0.0)


def average_precision(hits: Bool[np.ndarray, "q g"], positives: Int[np.ndarray, "q"]) -> Float[np.ndarray, "q"]:
    """Over the whole gallery in order, own row left out: the same under "standard" and "trec"."""
    return precision_at_hits(hits).sum(axis=1) / positives


def _values(
    gains: Int[np.ndarray, "q k"],
    length: Int[np.ndarray, "q"],
    counted: Int[np.ndarray, "q g"],
    ks: Sequence[int],
    protocol: Protocol,
) -> tuple[dict[str, np.ndarray], Int[np.ndarray, "q"]]:
    """The values of every query by name, and the rank of its first hit."""
    positives, ranks = counted[:, 1:].sum(axis=1), np.arange(1, gains.shape[1] + 1)
    precision, worth = precision_at_hits(gains > 0), gains / np.log2(ranks + 1)
    values: dict[str, np.ndarray] = {}
    first_hit_rank = np.zeros(len(gains), int)
    for k in sorted(set(ks)):
        most = np.minimum(k, positives) if protocol is RELEASED else np.full(len(gains), k)
        depth = np.minimum(most, length) if protocol is RELEASED else most
        within = (ranks <= depth[:, None]) & (gains > 0)
        hits = within.sum(axis=1)
        denominator = {
            STANDARD.name: np.minimum(k, positives),
            RELEASED.name: np.maximum(hits, 1),  # without a hit the sum is 0
            TREC.name: positives,
        }[protocol.name]
        values[f"p@{k}"] = hits / np.maximum(depth, 1)  # a list may be empty under "released": no hit
        values[f"map@{k}"] = (precision * within).sum(axis=1) / denominator
        values[f"recall@{k}"] = hits / positives
        values[f"hit@{k}"] = (hits > 0).astype(float)
        values[f"ndcg@{k}"] = (worth * within).sum(axis=1) / relevance.best_gain(counted, most)
        first_hit_rank = np.where(hits > 0, within.argmax(axis=1) + 1, 0)
    values["mrr"] = (first_hit_rank > 0) / np.maximum(first_hit_rank, 1)
    return values, first_hit_rank


def means(judged: Judged) -> dict[str, float]:
    """Every value averaged over the scored queries; empty if there are none."""
    return {name: float(value.mean()) for name, value in judged.values.items() if len(value)}
