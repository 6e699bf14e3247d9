"""A score over a growing share of broken listings: what it loses, and where.

Sees arrays of numbers only.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int


def summary(ratios: Sequence[float], scores: Sequence[float], chance: float) -> dict[str, float | None]:
    """A curve in three numbers.

    Args:
      ratios: shares of broken listings, ascending, at least two, the first 0.
      scores: at these.
      chance: what the score would be without a model.

    Returns:
      ``area``, the mean score from the first ratio to the last, by trapezoids; ``lost``, the first score less the
      last; ``half_lost_at``, the ratio at which half of the first score's gain over chance is lost, on straight lines
      between the ratios: None if it is not lost within them, or if there is no gain.

    Raises:
      ValueError: fewer than two ratios, they do not ascend, or there are not as many scores.
    """
    x, y = np.asarray(ratios, float), np.asarray(scores, float)
    if len(x) < 2 or x.shape != y.shape or (np.diff(x) <= 0).any():
        raise ValueError(f"ratios {tuple(ratios)} must be two or more and ascend, with as many scores, not {len(y)}")
    half = (y[0] + chance) / 2
    below = np.flatnonzero(y <= half)
    at = None
    if y[0] > chance and len(below):
        end = below[0]  # not 0: the first score lies above the half
        at = float(x[end - 1] + (y[end - 1] - half) / (y[end - 1] - y[end]) * (x[end] - x[end - 1]))
    return {"area": float(np.trapezoid(y, x) / (x[-1] - x[0])), "lost": float(y[0] - y[-1]), "half_lost_at": at}


def distinct(showings: Sequence[Int[np.ndarray, "n m"]]) -> tuple[Int[np.ndarray, "v m"], Int[np.ndarray, "p n"]]:
    """What there is to embed of listings that several corruptions leave as they are, or change alike.

    Args:
      showings: per corruption, as numbers, which listing each of n is and what it shows of every modality.

    Returns:
      The variants, each once, in ascending order; and per corruption the variant that each of the n is.
    """
    variants, which = np.unique(np.concatenate(showings), axis=0, return_inverse=True)
    return variants, which.reshape(len(showings), -1)
