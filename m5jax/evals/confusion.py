"""What is taken for what: categories that a model mixes up.

Sees arrays of labels only: integers from 0 up.
"""

import dataclasses

import numpy as np
from jaxtyping import Int

NOTHING = -1


@dataclasses.dataclass(frozen=True)
class Mixed:
    """Queries of one category that were taken for another.

    Attributes:
      truth, answer: the category, and what it was taken for.
      count: how many.
      share: of the queries of that category.
      example: row of the first of them.
    """

    truth: int
    answer: int
    count: int
    share: float
    example: int


def mixed_up(truth: Int[np.ndarray, "q"], answers: Int[np.ndarray, "q"], most: int) -> list[Mixed]:
    """Which categories are mixed up most often; of equals, those with the larger share first, then by number.

    Args:
      truth: the category of each query.
      answers: what it was taken for; `NOTHING` = for nothing, which mixes nothing up.
      most: pairs at most.

    Raises:
      ValueError: there is not an answer for every query.
    """
    _check(truth, answers)
    wrong = np.flatnonzero((truth != answers) & (answers != NOTHING))
    pairs, first, counts = np.unique(
        np.stack([truth[wrong], answers[wrong]]), axis=1, return_index=True, return_counts=True
    )
    shares = counts / np.bincount(truth, minlength=1)[pairs[0]]
    order = np.lexsort((pairs[1], pairs[0], -shares, -counts))[:most]
    return [
        Mixed(int(pairs[0, at]), int(pairs[1, at]), int(counts[at]), float(shares[at]), int(wrong[first[at]]))
        for at in order
    ]


def matrix(
    truth: Int[np.ndarray, "q"], answers: Int[np.ndarray, "q"], largest: int
) -> tuple[Int[np.ndarray, "c"], Int[np.ndarray, "c+1 c+2"]]:
    """How often each of the largest categories was taken for each of them, for another one, or for nothing.

    Args:
      truth: the category of each query.
      answers: what it was taken for, `NOTHING` = for nothing.
      largest: categories at most that get a row and a column.

    Returns:
      The categories, most queries first; and the counts: a row for each and one for all others, a column for each, one
      for all others, right or wrong, and one for nothing.

    Raises:
      ValueError: there is not an answer for every query.
    """
    _check(truth, answers)
    categories, counts = np.unique(truth, return_counts=True)
    chosen = categories[np.lexsort((categories, -counts))][:largest]
    others = len(chosen)
    row, column = (_places(labels, chosen) for labels in (truth, answers))
    column = np.where(answers == NOTHING, others + 1, column)
    table = np.zeros((others + 1, others + 2), np.int64)
    np.add.at(table, (row, column), 1)
    return chosen, table


def _places(labels: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Where each label is among the chosen ones; their number where it is not."""
    if not len(chosen):
        return np.zeros(len(labels), np.int64)
    order = np.argsort(chosen)
    at = np.searchsorted(chosen[order], labels).clip(max=len(chosen) - 1)
    return np.where(chosen[order][at] == labels, order[at], len(chosen))


def _check(truth: np.ndarray, answers: np.ndarray) -> None:
    if truth.shape != answers.shape or truth.ndim != 1:
        raise ValueError(f"truth {truth.shape} and answers {answers.shape} must both be [queries]")
