"""Which of some candidates answers a question: ranks of the true ones, and what a list without a model would have.

Sees arrays only. A question may have several answers; each is ranked among the candidates that are wrong, the other
true ones being left out ("filtered": Bordes et al., Translating Embeddings for Modeling Multi-relational Data, 2013).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

KS = (1, 3, 10)


def ranks(
    scores: Float[np.ndarray, "q c"], offered: Bool[np.ndarray, "q c"], true: Bool[np.ndarray, "q c"]
) -> Int[np.ndarray, "q c"]:
    """The filtered rank of every answer, from 1; 0 where a candidate is no answer.

    Of equal scores the earlier candidate comes first, so their order must not tell what is true.

    Args:
      scores: the higher the better; read only where offered.
      offered: whether there is such a candidate.
      true: whether it answers the question.

    Raises:
      ValueError: the arrays differ in shape, or a score that is offered is NaN.
    """
    if not scores.shape == offered.shape == true.shape or scores.ndim != 2:
        raise ValueError(f"scores {scores.shape}, offered {offered.shape} and true {true.shape} must be [Q, C] all")
    if np.isnan(scores[offered]).any():
        raise ValueError(f"question {np.flatnonzero((np.isnan(scores) & offered).any(1))[0]} has a score that is NaN")
    wrong = offered & ~true
    found = np.zeros(scores.shape, np.int64)
    for question, candidate in zip(*np.nonzero(offered & true), strict=True):
        score, others = scores[question, candidate], wrong[question]
        ahead = scores[question] > score
        ahead[:candidate] |= scores[question, :candidate] == score
        found[question, candidate] = 1 + int((ahead & others).sum())
    return found


def values(
    found: Int[np.ndarray, "q c"], valid: Bool[np.ndarray, "q"], ks: Sequence[int] = KS
) -> dict[str, Float[np.ndarray, "q"]]:
    """What every question is worth, from 0 to 1: the mean over its answers.

    Args:
      found: ranks of the answers, 0 elsewhere; every question has one.
      valid: whether the listing asked about has an embedding; without one nothing is found, and all values are 0.
      ks: ranks.

    Returns:
      ``rank@k``, whether an answer is among the k first; ``mrr``, one over its rank.
    """
    answers = found > 0
    count = answers.sum(axis=1)
    worth = {f"rank@{k}": answers & (found <= k) for k in ks} | {"mrr": answers / np.maximum(found, 1)}
    return {name: valid * of.sum(axis=1) / count for name, of in worth.items()}


def means(worth: dict[str, Float[np.ndarray, "q"]]) -> dict[str, float]:
    """Every value averaged over the questions; empty without any."""
    return {name: float(of.mean()) for name, of in worth.items() if len(of)}


def chance(
    offered: Bool[np.ndarray, "q c"], true: Bool[np.ndarray, "q c"], ks: Sequence[int] = KS
) -> dict[str, Float[np.ndarray, "q"]]:
    """What every question is worth, as `values` has it, if its candidates stand in random order.

    An answer's rank is then any from 1 to W + 1 with equal chance, W being the candidates that are wrong.
    """
    places = (offered & ~true).sum(axis=1) + 1
    harmonic = np.cumsum(1 / np.arange(1, places.max(initial=1) + 1))
    return {f"rank@{k}": np.minimum(k, places) / places for k in ks} | {"mrr": harmonic[places - 1] / places}
