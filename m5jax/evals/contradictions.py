"""Listings whose modalities contradict each other: which they are, and in which pair.

Sees arrays of embeddings only. Row i of every array is listing i.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import logsumexp
from sklearn.metrics import average_precision_score, roc_auc_score

TEMPERATURE = 0.07  # at which the contrastive objective begins
TOGETHER = 2048  # listings compared with each other; more are dealt out into groups
LEAST = 3  # listings that have a pair, below which nobody knows what is usual
DEVIATION = 1.4826  # over the median absolute one, for a normal distribution
LARGEST = 50.0  # evidence of one pair, nats


@dataclasses.dataclass(frozen=True)
class Ranking:
    """How far the modalities of listings contradict each other.

    Attributes:
      evidence: float64 [N, M, M], symmetric; NaN where a listing lacks the pair or nobody knows what is usual.
      score: float64 [N], that of the worst pair; -inf without any.
      pair: int [N, 2], the modalities of the worst pair; -1 without any.
      odd: int [N], of three modalities or more the one that speaks most against all others; -1 of fewer.
    """

    evidence: np.ndarray
    score: np.ndarray
    pair: np.ndarray
    odd: np.ndarray

    @property
    def judged(self) -> Bool[np.ndarray, "n"]:
        """Whether a listing has a pair that could be compared."""
        return self.pair[:, 0] >= 0

    @property
    def order(self) -> Int[np.ndarray, "r"]:
        """The judged listings, the most contradictory first; of equal scores the lower row."""
        rows = np.flatnonzero(self.judged)
        return rows[np.argsort(-self.score[rows], kind="stable")]


def rank(vectors: Mapping[str, Float[np.ndarray, "n d"]], valid: Mapping[str, Bool[np.ndarray, "n"]]) -> Ranking:
    """Judges every pair of modalities of every listing by comparison with other listings, without any label.

    A listing's surprise in a pair is its own contrastive loss (`surprise`). How much of it is usual differs: a title
    and its table nearly tell each other, a picture and its sound hardly. So a surprise counts as evidence, in nats:
    how much likelier it is of two different listings than of one, on the log scale, by a linear discriminant (Fisher,
    The Use of Multiple Measurements in Taxonomic Problems, 1936). What is usual of one listing is read off these
    listings, by median and median absolute deviation, which the contradictions among them hardly move; what is usual
    of two, off all pairs of different ones. Evidence against a pair that tells nothing is 0.

    More than `TOGETHER` listings are dealt out, in turns, into groups that are judged by themselves.

    Args:
      vectors: by modality, in one space; need not have unit length. A zero row has cosine 0 to everything.
      valid: by modality, whether a listing has an embedding; what stands in other rows is not read. A pair that fewer
        than `LEAST` listings of a group have is not judged.

    Raises:
      ValueError: an embedding marked valid is not finite.
    """
    names = list(vectors)
    count = len(valid[names[0]])
    evidence = np.full((count, len(names), len(names)), np.nan)
    groups = -(-count // TOGETHER)
    for (i, first), (j, second) in itertools.combinations(enumerate(names), 2):
        for group in range(groups):
            both = np.flatnonzero(valid[first] & valid[second])
            both = both[both % groups == group]
            if len(both) >= LEAST:
                found = _evidence(*surprise(vectors[first][both], vectors[second][both]))
                evidence[both, i, j] = evidence[both, j, i] = found
    there = ~np.isnan(evidence)
    pairs = np.where(there, evidence, -np.inf).reshape(count, len(names) ** 2)
    judged = (pairs > -np.inf).any(axis=1)
    worst = np.stack(np.divmod(pairs.argmax(1), len(names)), 1)
    against = np.where(there.any(2), np.where(there, evidence, 0).sum(2), -np.inf)
    return Ranking(
        evidence,
        pairs.max(1),
        np.where(judged.reshape(-1, 1), worst, -1),
        np.where(there.any(2).sum(1) > 2, against.argmax(1), -1),
    )


def surprise(
    first: Float[np.ndarray, "n d"], second: Float[np.ndarray, "n d"]
) -> tuple[Float[np.ndarray, "n"], float, float]:
    """How little each listing's two modalities find each other among all listings, and how it is of different ones.

    -log of the share that the other one has of the softmax over all listings, at `TEMPERATURE`, the mean of both ways:
    the contrastive loss of one listing (Radford et al., CLIP, 2021, figure 3). It takes N x N float64.

    Returns:
      Of the listings' own two, and mean and variance over all pairs of different listings.

    Raises:
      ValueError: an embedding is not finite.
    """
    for vectors in (first, second):
        if not np.isfinite(vectors).all():
            raise ValueError("an embedding marked valid is not finite; mark it invalid")
    logits = _unit(first) @ _unit(second).T / TEMPERATURE
    found = (logsumexp(logits, axis=1, keepdims=True) + logsumexp(logits, axis=0, keepdims=True)) / 2 - logits
    others = found[~np.eye(len(found), dtype=bool)]
    return np.diag(found).copy(), float(others.mean()), float(others.var())


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def _evidence(own: np.ndarray, others_mean: float, others_variance: float) -> np.ndarray:
    """The log-odds of two normal distributions of one variance, at the surprise of each listing."""
    usual = float(np.median(own))
    deviation = DEVIATION * float(np.median(np.abs(own - usual)))
    variance = (deviation**2 + others_variance) / 2
    apart = others_mean - usual
    if variance <= 1e-12 or apart <= 0:  # all alike, or own partners are no nearer than others
        return np.zeros(len(own))
    return np.clip(apart / variance * (own - (usual + others_mean) / 2), -LARGEST, LARGEST)


def precision(ranking: Ranking, planted: Bool[np.ndarray, "n m"], ks: Sequence[int]) -> dict[str, Any]:
    """How well a ranking finds listings that were made to contradict themselves.

    Args:
      ranking: of the listings.
      planted: the modalities that were exchanged. Listings that the ranking could not judge are not counted.
      ks: ranks; one beyond the listings that were judged is left out.

    Returns:
      ``judged`` and, of them, ``planted``; ``share``, the precision of a random order; ``precision@k``, and ``best@k``,
      what a perfect order would have; ``average_precision``, over the whole ranking; ``auc``, how often a planted
      listing ranks above one that is not; ``pair_named``, how often the named pair of a planted listing has an
      exchanged modality in it, ``odd_named``, how often the odd one is one of them where there is an odd one, and
      ``odd_by_chance``, if any of the judged modalities were named. None where there is nothing to count.
    """
    order = ranking.order
    wrong = np.asarray(planted[order].any(axis=1))
    count = int(wrong.sum())
    found: dict[str, Any] = {
        "judged": len(order),
        "planted": count,
        "share": count / len(order) if len(order) else None,
    }
    for k in (k for k in ks if k <= len(order)):
        found |= {f"precision@{k}": float(np.mean(wrong[:k])), f"best@{k}": min(1.0, count / k)}
    mixed = 0 < count < len(order)
    found["average_precision"] = float(average_precision_score(wrong, ranking.score[order])) if count else None
    found["auc"] = float(roc_auc_score(wrong, ranking.score[order])) if mixed else None
    rows = order[wrong]
    named = planted[rows[:, None], ranking.pair[rows]].any(1)
    odd = rows[ranking.odd[rows] >= 0]
    told = ~np.isnan(ranking.evidence[odd]).all(2)
    return found | {
        "pair_named": float(named.mean()) if count else None,
        "odd_named": float(planted[odd, ranking.odd[odd]].mean()) if len(odd) else None,
        "odd_by_chance": float(((told & planted[odd]).sum(1) / told.sum(1)).mean()) if len(odd) else None,
    }
