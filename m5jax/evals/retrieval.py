"""Retrieval scores of embeddings under a named protocol: search, then judge.

Sees arrays of embeddings and labels only. Labels are integers from 0 up, -1 = unknown; or `relevance.LabelSets`.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from m5jax.evals import protocols, ranking, relevance, search
from m5jax.evals.protocols import PROTOCOLS, RELEASED, Passport, Protocol
from m5jax.evals.relevance import Labels

__all__ = ["PROTOCOLS", "Retrieval", "evaluate"]

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
      values: by name of a score that is a mean over queries ("p@1", "ndcg@10", "mrr", "map"), float64 [Q'].
      ranks: int32 [Q, largest k, or one more if any query has an own row], of all queries given, the own row included.
      passport: what was scored by which rules.
    """

    protocol: Protocol
    scores: dict[str, float]
    query_rows: np.ndarray
    neighbours: np.ndarray
    average_precision: np.ndarray
    first_hit_rank: np.ndarray
    values: dict[str, np.ndarray]
    ranks: np.ndarray
    passport: Passport


def evaluate(
    query_embeddings: Float[np.ndarray, "q d"],
    gallery_embeddings: Float[np.ndarray, "g d"],
    query_labels: Labels,
    gallery_labels: Labels,
    *,
    ks: Sequence[int],
    query_valid: Bool[np.ndarray, "q"],
    gallery_valid: Bool[np.ndarray, "g"],
    exclude: Int[np.ndarray, "q"] | None = None,
    protocol: str = "standard",
    others: Labels | None = None,
    label: str = "",
    gallery_digest: str | None = None,
) -> Retrieval:
    """Scores whether the gallery rows nearest to each query share a label with it.

    A gallery row without an embedding still counts as a positive: losing an embedding never raises a score. A valid
    embedding that is all zero has score 0 with everything, so its ranking is the tie rule's.

    Args:
      query_embeddings, gallery_embeddings: need not have unit length.
      query_labels: -1, or no label, = unknown; such a query is left out.
      gallery_labels: -1, or no label, = unknown; relevant to no query.
      ks: ranks to score at; may exceed the gallery, whose end is then followed by misses.
      query_valid, gallery_valid: whether a row has an embedding.
      exclude: the query's own gallery row, -1 = it is not in the gallery; None = no query is.
      protocol: a name in `PROTOCOLS`.
      others: labels of the listings that are labelled but not in the gallery, which "released" counts as positives;
        None = the queries without an own row.
      label: what a label is, for the passport.
      gallery_digest: `protocols.digest` of the gallery; None = of the labels alone.

    Returns:
      Scores for each k, as the protocol defines them: ``p@k``; ``map@k``, average precision (Manning, Raghavan and
      Schütze, Introduction to Information Retrieval, 2008, section 8.4) cut off at k; ``recall@k``, hits over all
      positives, so below 1 where they outnumber k; ``hit@k``; ``ndcg@k`` (Järvelin and Kekäläinen, Cumulated
      gain-based evaluation of IR techniques, 2002, with the linear gain and the discount log2(rank + 1) of trec_eval).
      Then ``mrr``, within the largest k; ``map``, over the full ranking, where the gallery has at most
      `FULL_RANKING_LIMIT` rows and the protocol has one; ``coverage``, the share of scored queries with an embedding;
      and the counts ``queries`` and ``gallery``, as given, ``answerable``, the queries scored, and ``distractors``, the
      gallery rows that share a label with no query. If no query can be scored, the counts alone.

    Raises:
      ValueError: arrays do not fit together, a valid embedding is not finite, a rank is below 1, or no such protocol.
    """
    rules = ranking.protocol_of(protocol, ks)
    exclude = np.full(len(query_embeddings), -1) if exclude is None else exclude
    search.check(query_embeddings, query_valid, exclude, gallery_embeddings, gallery_valid)
    _check_labels("query", query_labels, query_embeddings)
    _check_labels("gallery", gallery_labels, gallery_embeddings)
    others = relevance.take(query_labels, np.flatnonzero(exclude < 0)) if others is None else others

    depth = max(ks) + bool((exclude >= 0).any())
    score = score_of(rules)
    ranks, _ = search.top_k(
        query_embeddings,
        gallery_embeddings,
        depth,
        query_valid=query_valid,
        gallery_valid=gallery_valid,
        exclude=np.full(len(exclude), -1),
        score=score,
    )
    judged = ranking.judge(ranks, exclude, query_labels, gallery_labels, others, ks=ks, protocol=rules)
    scored = judged.query_rows
    if rules is not RELEASED and 0 < len(gallery_labels) <= FULL_RANKING_LIMIT:
        judged.values["map"] = np.zeros(len(scored))
        for part, order in search.rankings(
            query_embeddings[scored],
            gallery_embeddings,
            query_valid=query_valid[scored],
            gallery_valid=gallery_valid,
            exclude=exclude[scored],
            score=score,
        ):
            hits = relevance.gains(relevance.take(query_labels, scored[part]), gallery_labels, order) > 0
            positives = judged.positives[part, 1:].sum(axis=1)
            judged.values["map"][part] = ranking.average_precision(hits, positives)
    coverage = {"coverage": float(query_valid[scored].mean())} if len(scored) else {}
    passport = Passport(
        protocol=rules.name,
        rules=rules.rules,
        queries=len(query_embeddings),
        gallery=len(gallery_embeddings),
        digest=_digest(gallery_labels) if gallery_digest is None else gallery_digest,
        label=label,
        answerable=len(scored),
        distractors=relevance.distractors(query_labels, gallery_labels),
    )
    return Retrieval(
        protocol=rules,
        scores=passport.counts | ranking.means(judged) | coverage,
        query_rows=scored,
        neighbours=judged.neighbours,
        average_precision=judged.values[f"map@{max(ks)}"],
        first_hit_rank=judged.first_hit_rank,
        values=judged.values,
        ranks=ranks,
        passport=passport,
    )


def score_of(protocol: Protocol) -> str:
    """The score function of a protocol, as `search` calls it."""
    return "dot" if protocol is RELEASED else "cosine"


def _check_labels(side: str, labels: Labels, embeddings: np.ndarray) -> None:
    if isinstance(labels, relevance.LabelSets):
        if len(labels) != len(embeddings):
            raise ValueError(f"{side}_labels has {len(labels)} rows, but there are {len(embeddings)} {side} embeddings")
    else:
        search.check_length(side, embeddings, **{f"{side}_labels": labels})


def _digest(labels: Labels) -> str:
    """Of a gallery whose ids nobody knows."""
    sets = relevance.as_sets(labels)
    rows = [" ".join(map(str, part)) for part in np.split(sets.numbers, sets.starts[1:-1])] if len(sets) else []
    return protocols.digest(map(str, range(len(sets))), rows)
