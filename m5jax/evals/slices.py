"""Who loses: scores of groups of queries, each with its interval, and whether it is told from the whole.

Sees arrays of numbers and names only. Groups differ in how much there is to find as well as in the model: a category
with two positives in the gallery is another task than one with two hundred.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int, Shaped

from m5jax.evals import bootstrap
from m5jax.evals.bootstrap import Interval

LEAST = 10  # products of a group from which on its interval holds about as often as it says (tests/test_bootstrap.py)
BANDS = 10
NO_GROUP = -1
UNSEEN = "never seen in training"
BELOW, ALIKE, ABOVE, TOO_FEW = "below", "alike", "above", "too few"


@dataclasses.dataclass(frozen=True)
class Grouping:
    """One way to tell queries apart.

    Attributes:
      of: int [Q], the group of each query; `NO_GROUP` = in none.
      names: of the groups, in an order that means something or by name.
    """

    of: np.ndarray
    names: tuple[str, ...]

    def rows(self, keep: np.ndarray) -> "Grouping":
        """The grouping of the queries that `keep` selects, with the groups they are in."""
        there, of = np.unique(self.of[keep], return_inverse=True)
        known = there != NO_GROUP
        return Grouping(of - int(~known.all()), tuple(self.names[number] for number in there[known]))


@dataclasses.dataclass(frozen=True)
class Slice:
    """The scores of one group of queries.

    Attributes:
      name: of the group.
      scores: per score its mean over the group and the interval.
      score: the one that decides who loses.
      verdict: of that score: "below" where its interval ends below that of all queries begins, "above" where it
        begins above, "alike" where neither; "too few" to tell with fewer than `LEAST` products.
    """

    name: str
    scores: dict[str, Interval]
    score: Interval
    verdict: str


def slices(
    values: Mapping[str, Float[np.ndarray, "q"]],
    groups: Grouping,
    clusters: Shaped[np.ndarray, "q"],
    decides: str,
    seed: int,
) -> list[Slice]:
    """The scores of every group that a query is in, in the order of the groups.

    Of many groups some are low by chance. With nothing but chance at work a group is called "below" less often than
    1 in 40: its whole interval must lie below that of all queries, not only below their mean.

    Args:
      values: per score, from 0 to 1 for each query.
      groups: which queries belong together.
      clusters: what tells queries of one product from those of others.
      decides: the score that decides who loses.
      seed: of the bootstrap.

    Raises:
      ValueError: arrays do not fit together, or a value is not from 0 to 1.
    """
    found, whole = [], bootstrap.mean(values[decides], clusters, seed)
    order = np.argsort(groups.of, kind="stable")
    starts = np.searchsorted(groups.of[order], np.arange(len(groups.names) + 1))
    for name, start, stop in zip(groups.names, starts, starts[1:], strict=False):
        rows = order[start:stop]
        scores = bootstrap.means({score: of[rows] for score, of in values.items()}, clusters[rows], seed)
        if scores and whole:
            found.append(Slice(name, scores, scores[decides], _verdict(scores[decides], whole)))
    return found


def _verdict(score: Interval, whole: Interval) -> str:
    if score.clusters < LEAST:
        return TOO_FEW
    return BELOW if score.high < whole.low else ABOVE if score.low > whole.high else ALIKE


def worst_first(found: Sequence[Slice]) -> list[Slice]:
    """Slices by the mean of their score, lowest first; those with too few products behind all others."""

    def key(one: Slice) -> tuple[bool, float, str]:
        return one.verdict == TOO_FEW, one.score.mean, one.name

    return sorted(found, key=key)


def largest_first(found: Sequence[Slice]) -> list[Slice]:
    """Slices by the number of their queries, most first."""
    return sorted(found, key=lambda one: (-one.score.queries, one.name))


def by_name(names: Shaped[np.ndarray, "q"]) -> Grouping:
    """Queries grouped by a name each; "" = in no group."""
    known = sorted(set(names.tolist()) - {""})
    number = {name: place for place, name in enumerate(known)} | {"": NO_GROUP}
    return Grouping(np.asarray([number[name] for name in names.tolist()], np.int64), tuple(known))


def by_frequency(seen: Int[np.ndarray, "q"]) -> Grouping:
    """Queries in tenths, from the head of the catalogue to its tail, by how often training showed their category.

    Every tenth has about as many queries, so that each can be told: by classes the last tenths of a long tail would
    have none. All queries of one frequency stay together, in the tenth where their middle lies: neither a category nor
    a tie is cut, so a tenth may be larger than others, and one that a large category runs over is not there.

    Args:
      seen: training listings of each query's category; 0 = none, a group of its own; -1 = without category, in none.

    Returns:
      The groups, named by the frequencies in them.
    """
    groups = np.full(len(seen), NO_GROUP)
    frequencies, place, queries = np.unique(-seen[seen > 0], return_inverse=True, return_counts=True)
    if len(frequencies):
        middle = np.cumsum(queries) - queries / 2
        bands = np.minimum((middle / queries.sum() * BANDS).astype(int), BANDS - 1)
        groups[seen > 0] = bands[place]
    names = [_band(number, seen[groups == number]) for number in range(BANDS)]
    groups[seen == 0] = BANDS
    whole = Grouping(groups, (*names, UNSEEN))
    return whole.rows(np.ones(len(seen), bool))


def _band(number: int, seen: np.ndarray) -> str:
    if not len(seen):
        return ""
    low, high = (f"{end:,}" for end in (seen.min(), seen.max()))
    return f"{number + 1}: {low} in training" if low == high else f"{number + 1}: {low} to {high} in training"


def hardest_first(
    values: Float[np.ndarray, "q"], nearest: Float[np.ndarray, "q"], groups: Shaped[np.ndarray, "q"]
) -> Int[np.ndarray, "q"]:
    """The order of queries from the worst to the best.

    Of equal values, which are many at 0 and at 1, the groups take turns, so that one category does not fill the page;
    within a group the query comes first whose nearest neighbour is nearest: it was wrong, or right, and sure of it.

    Args:
      values: how well each query was answered.
      nearest: cosine of its nearest neighbour.
      groups: what takes turns.
    """
    _, group = np.unique(groups, return_inverse=True)
    surest = np.lexsort((-nearest, group, values))
    same = (np.diff(values[surest]) == 0) & (np.diff(group[surest]) == 0)
    places = np.arange(len(values))
    firsts = np.maximum.accumulate(np.where(np.append(False, same)[: len(values)], 0, places))
    turn = np.empty(len(values), np.int64)
    turn[surest] = places - firsts
    return np.lexsort((-nearest, turn, values))
