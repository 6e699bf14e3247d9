"""How sure a mean over queries is: bootstrap intervals that draw whole products, and paired differences of two runs.

Sees arrays of numbers only; imports no jax, so that runs are compared at once.

An interval is BCa (Efron, Better Bootstrap Confidence Intervals, 1987, section 3): scores of queries pile up at 0 and
at 1, and the percentile interval of such a skewed mean lies too far on one side. Queries of one product are alike, so
products are drawn, not queries (Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8): a
hundred photographs of one tin are not a hundred witnesses. What is uncertain is which queries were asked; the gallery
and the model stay as they are.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Shaped
from scipy.special import ndtr, ndtri

CONFIDENCE = 0.95
REPLICATES = 2000
DRAWN_AT_ONCE = 1 << 21  # numbers of drawn clusters held at a time
ALIKE = 1e-12  # spread of cluster means up to which it is rounding


@dataclasses.dataclass(frozen=True)
class Interval:
    """A mean over queries, and between which values it would lie for other queries of the kind.

    Attributes:
      mean: over the queries.
      low, high: ends of the interval of `CONFIDENCE`.
      queries: how many.
      clusters: how many of them are independent.
    """

    mean: float
    low: float
    high: float
    queries: int
    clusters: int

    def excludes(self, value: float) -> bool:
        """Whether the interval tells the mean from a value."""
        return not self.low <= value <= self.high


def means(
    values: Mapping[str, Float[np.ndarray, "q"]],
    clusters: Shaped[np.ndarray, "q"],
    seed: int,
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> dict[str, Interval]:
    """The mean of each of some scores, over the same queries and from the same draws.

    A mean is that of all queries drawn, so a product counts by its queries. Where the means of all clusters are equal,
    or there is one cluster, no draw differs, and a bootstrap would be sure of everything. There the interval is what n
    clusters leave open: a share of up to 1 - (0.025) ** (1 / n) of the clusters could be unlike those seen without one
    of them having turned up (Clopper and Pearson, 1934, with no or only successes), and be worth either bound.

    Args:
      values: per score, one number a query.
      clusters: what tells queries of one product from those of others: numbers or strings.
      seed: of the draws; equal arguments give equal intervals.
      bounds: the least and the largest that a value can be.

    Returns:
      Per score its interval; nothing if there is no query.

    Raises:
      ValueError: arrays do not fit together, or a value is not finite or beyond the bounds.
    """
    for name, column in values.items():
        if column.shape != clusters.shape or column.ndim != 1:
            raise ValueError(f"{name} has shape {column.shape}, and clusters {clusters.shape}: both must be [queries]")
        if not ((column >= bounds[0]) & (column <= bounds[1])).all():
            wrong = np.flatnonzero(~((column >= bounds[0]) & (column <= bounds[1])))[0]
            raise ValueError(f"{name} of query {wrong} is {column[wrong]}, not within {bounds[0]:g} and {bounds[1]:g}")
    if not values or not len(clusters):
        return {}
    _, cluster_of = np.unique(clusters, return_inverse=True)
    sizes = np.bincount(cluster_of).astype(np.float64)
    sums = np.stack([np.bincount(cluster_of, column) for column in values.values()], 1)
    lows, highs = _ends(sums, sizes, seed, bounds)
    return {
        name: Interval(float(column.mean()), float(low), float(high), len(column), len(sizes))
        for (name, column), low, high in zip(values.items(), lows, highs, strict=True)
    }


def mean(values: Float[np.ndarray, "q"], clusters: Shaped[np.ndarray, "q"], seed: int) -> Interval | None:
    """The mean of one score from 0 to 1, see `means`; None if there is no query."""
    return means({"values": values}, clusters, seed).get("values")


def difference(
    ours: Float[np.ndarray, "q"], theirs: Float[np.ndarray, "q"], clusters: Shaped[np.ndarray, "q"], seed: int
) -> Interval | None:
    """How much better the first of two is on the same queries: the mean of `ours - theirs`, see `means`.

    Paired: what makes a query hard is hard for both and cancels, so this tells more apart than two intervals do.

    Args:
      ours, theirs: scores from 0 to 1 of the same queries, in the same order.
      clusters: what tells queries of one product from those of others.
      seed: of the draws.

    Returns:
      The interval, which tells a difference from chance where it `excludes(0)`; None if there is no query.

    Raises:
      ValueError: arrays do not fit together, or a score is not from 0 to 1.
    """
    if ours.shape != theirs.shape:
        raise ValueError(f"scores of {ours.shape} and {theirs.shape} queries are not of the same ones")
    return means({"difference": ours - theirs}, clusters, seed, bounds=(-1.0, 1.0)).get("difference")


def _ends(
    sums: Float[np.ndarray, "c m"], sizes: Float[np.ndarray, "c"], seed: int, bounds: tuple[float, float]
) -> tuple[Float[np.ndarray, "m"], Float[np.ndarray, "m"]]:
    """Both ends of the interval of each score, from its sum in every cluster."""
    of_cluster = sums / sizes[:, None]
    estimate, tail = sums.sum(0) / sizes.sum(), (1 - CONFIDENCE) / 2
    unseen = 1 - tail ** (1 / len(sizes))
    low, high = (estimate + unseen * (bound - estimate) for bound in bounds)
    differ = np.ptp(of_cluster, axis=0) > ALIKE
    if differ.any():
        drawn = _replicates(sums[:, differ], sizes, seed)
        places = _places(drawn, estimate[differ], _acceleration(sums[:, differ], sizes), tail)
        ends = [np.quantile(column, at) for column, at in zip(drawn.T, places.T, strict=True)]
        low[differ], high[differ] = np.transpose(ends)
    return low, high


def _replicates(sums: Float[np.ndarray, "c m"], sizes: Float[np.ndarray, "c"], seed: int) -> Float[np.ndarray, "r m"]:
    """Means of as many clusters as there are, drawn with replacement, `REPLICATES` times."""
    random, count = np.random.default_rng(seed), len(sizes)
    rows, made = max(1, DRAWN_AT_ONCE // count), []
    for start in range(0, REPLICATES, rows):
        part = min(rows, REPLICATES - start)
        drawn = random.integers(count, size=(part, count)) + count * np.arange(part)[:, None]
        times = np.bincount(drawn.ravel(), minlength=part * count).reshape(part, count).astype(np.float64)
        made.append((times @ sums) / (times @ sizes)[:, None])
    return np.concatenate(made)


def _acceleration(sums: Float[np.ndarray, "c m"], sizes: Float[np.ndarray, "c"]) -> Float[np.ndarray, "m"]:
    """How fast the standard error grows with the mean: the skewness of the means without one cluster each, over 6."""
    without = (sums.sum(0) - sums) / (sizes.sum() - sizes)[:, None]
    apart = without.mean(0) - without
    return (apart**3).sum(0) / (6 * (apart**2).sum(0) ** 1.5)


def _places(
    drawn: Float[np.ndarray, "r m"], estimate: Float[np.ndarray, "m"], acceleration: Float[np.ndarray, "m"], tail: float
) -> Float[np.ndarray, "2 m"]:
    """Which quantiles of the replicates are the ends: `tail` from either side, with bias and skew put right."""
    below = ((drawn < estimate).mean(0) + (drawn <= estimate).mean(0)) / 2  # half of those that are equal
    bias = ndtri(below.clip(0.5 / len(drawn), 1 - 0.5 / len(drawn)))
    shifted = bias + ndtri(np.asarray([[tail], [1 - tail]]))
    return ndtr(bias + shifted / (1 - acceleration * shifted))
