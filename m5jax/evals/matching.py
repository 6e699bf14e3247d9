"""Do two listings show one product: pairs with a score, told by a threshold that other pairs have chosen.

Sees arrays of scores and truths only. A pair of which one side has no embedding scores -inf: it is never called a
match, and stays a match that was missed.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float
from sklearn.metrics import roc_auc_score


@dataclasses.dataclass(frozen=True)
class Matching:
    """Scores of pairs under a threshold chosen elsewhere.

    Attributes:
      threshold: from which score on a pair is called a match.
      chosen: scores of the pairs that chose it (`told`).
      scores: scores of the pairs that had no say in it (`told`).
    """

    threshold: float
    chosen: dict[str, float]
    scores: dict[str, float]


def matching(
    val_scores: Float[np.ndarray, "v"],
    val_matches: Bool[np.ndarray, "v"],
    test_scores: Float[np.ndarray, "t"],
    test_matches: Bool[np.ndarray, "t"],
) -> Matching | None:
    """Scores test pairs under the threshold that suits validation best; None where validation chooses none.

    Raises:
      ValueError: a score is NaN or +inf, or scores and truths differ in length.
    """
    chosen = threshold(val_scores, val_matches)
    if chosen is None:
        return None
    return Matching(chosen, told(val_scores, val_matches, chosen), told(test_scores, test_matches, chosen))


def threshold(scores: Float[np.ndarray, "n"], matches: Bool[np.ndarray, "n"]) -> float | None:
    """The score from which on calling pairs matches has the largest F1.

    It is the score of one of the pairs; of thresholds that do equally well the highest, which calls fewest pairs.
    Pairs that all match have the lowest of their scores.

    Args:
      scores: -inf = a side has no embedding; such a pair is never called.
      matches: whether the sides are one product.

    Returns:
      None where no pair that can be called is a match: F1 is then 0 whatever is chosen.

    Raises:
      ValueError: a score is NaN or +inf, or the arrays differ in length.
    """
    _check(scores, matches)
    order = np.argsort(-scores, kind="stable")
    order = order[np.isfinite(scores[order])]
    ranked, hits = scores[order], np.cumsum(matches[order])
    if not len(ranked) or not hits[-1]:
        return None
    last = np.append(ranked[1:] != ranked[:-1], True)  # of pairs of equal score all are called, or none
    # F1 = 2 TP / (called + matches)
    f1 = np.where(last, 2 * hits / (np.arange(1, len(hits) + 1) + matches.sum()), -1.0)
    return float(ranked[int(f1.argmax())])


def told(scores: Float[np.ndarray, "n"], matches: Bool[np.ndarray, "n"], least: float) -> dict[str, float]:
    """How well pairs with a score of at least `least` are the matches.

    Args:
      scores: -inf = a side has no embedding.
      matches: whether the sides are one product.
      least: the threshold, finite.

    Returns:
      ``pairs``, ``matches``, and ``called``, how many; ``coverage``, the share of pairs whose sides both have an
      embedding; ``accuracy``; ``precision``, the right ones of those called, where any is; ``recall``, those of the
      matches, where there is any; ``f1``, the harmonic mean of both, where a pair is called or a match; where there
      are matches and others, ``macro_f1``, the mean of that F1 and of the F1 of the others among those not called,
      which is 1/3 if half of the pairs match and all are called alike; there as well ``auc``, how
      often a match scores above a pair that is none (ties count half; Fawcett, An introduction to ROC analysis, 2006,
      section 7). What cannot be computed is not there.

    Raises:
      ValueError: a score is NaN or +inf, or the arrays differ in length.
    """
    _check(scores, matches)
    called = scores >= least
    right, calls, truths, pairs = int((called & matches).sum()), int(called.sum()), int(matches.sum()), len(matches)
    found = {"pairs": float(pairs), "matches": float(truths), "called": float(calls)}
    if pairs:
        found["coverage"] = float(np.isfinite(scores).mean())
        found["accuracy"] = float((called == matches).mean())
    if calls:
        found["precision"] = right / calls
    if truths:
        found["recall"] = right / truths
    if calls + truths:
        found["f1"] = 2 * right / (calls + truths)
    if 0 < truths < pairs:
        # F1 of the others = 2 TN / (not called + not matches)
        found["macro_f1"] = (found["f1"] + 2 * (pairs - calls - truths + right) / (2 * pairs - calls - truths)) / 2
        # Ranks are all that counts; a pair that cannot be called ranks below every other.
        ranks = np.unique(scores, return_inverse=True)[1]
        found["auc"] = float(roc_auc_score(matches, ranks))
    return found


def _check(scores: np.ndarray, matches: np.ndarray) -> None:
    if scores.shape != matches.shape or scores.ndim != 1:
        raise ValueError(f"scores {scores.shape} and matches {matches.shape} must be one number and one truth a pair")
    wrong = np.flatnonzero(np.isnan(scores) | (scores == np.inf))
    if len(wrong):
        raise ValueError(f"pair {wrong[0]} scores {scores[wrong[0]]}; give a pair without embedding -inf")
