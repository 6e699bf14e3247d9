"""Intervals against another library and a slow twin, a simulation of how often they hold, and no variation at all."""

import numpy as np
import pytest
import scipy.stats

from m5jax.evals import bootstrap, slices
from m5jax.evals.bootstrap import Interval


def scores(count, seed=0):
    """Skewed as average precision is: many at 1, some at 0, the others between."""
    random = np.random.default_rng(seed)
    return np.where(random.random(count) < 0.5, 1.0, random.random(count) * (random.random(count) < 0.7))


@pytest.mark.parametrize(("count", "products"), [(12, 12), (60, 60), (200, 23)])
def test_ends_are_those_of_scipy(monkeypatch, count, products):
    monkeypatch.setattr(bootstrap, "REPLICATES", 40_000)
    values, clusters = scores(count), np.arange(count) % products
    ours = bootstrap.mean(values, clusters, seed=0)
    sums, sizes = np.bincount(clusters, values), np.bincount(clusters)
    theirs = scipy.stats.bootstrap(
        (sums, sizes),
        lambda sums, sizes, axis: sums.sum(axis) / sizes.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=40_000,
        method="BCa",
        rng=np.random.default_rng(1),
    )
    assert ours is not None
    assert ours.mean == pytest.approx(values.mean())
    assert (ours.queries, ours.clusters) == (count, products)
    within = 0.1 * theirs.standard_error  # four times what 40,000 draws leave open
    assert (ours.low, ours.high) == pytest.approx((*theirs.confidence_interval,), abs=within)


def test_replicates_are_those_of_a_slow_twin(monkeypatch):
    monkeypatch.setattr(bootstrap, "DRAWN_AT_ONCE", 70)  # several parts, the last one short
    monkeypatch.setattr(bootstrap, "REPLICATES", 15)
    values, clusters = scores(30), np.asarray(list("aabbbbcdefggggggghhiijjjjjjjjk"))
    names, random, expected = sorted(set(clusters)), np.random.default_rng(3), []
    for part in (6, 6, 3):
        for drawn in random.integers(len(names), size=(part, len(names))):
            expected.append(np.concatenate([values[clusters == names[number]] for number in drawn]).mean())
    of = np.asarray([names.index(one) for one in clusters])
    made = bootstrap._replicates(np.bincount(of, values)[:, None], np.bincount(of).astype(float), 3)
    assert made[:, 0] == pytest.approx(expected)


def test_draws_are_a_function_of_the_seed():
    values, clusters = scores(40), np.arange(40)
    assert bootstrap.mean(values, clusters, 7) == bootstrap.mean(values, clusters, 7)
    assert bootstrap.mean(values, clusters, 7) != bootstrap.mean(values, clusters, 8)
    names = np.asarray([f"product {number:02}" for number in clusters], object)
    assert bootstrap.mean(values, names, 7) == bootstrap.mean(values, clusters, 7)
    both = bootstrap.means({"one": values, "other": 1 - values}, clusters, 7)
    alone = bootstrap.mean(values, clusters, 7)
    assert alone is not None
    assert (both["one"].low, both["one"].high) == pytest.approx((alone.low, alone.high))


def test_intervals_hold_from_the_fewest_products_on_that_a_slice_judges(monkeypatch):
    monkeypatch.setattr(bootstrap, "REPLICATES", 400)
    times, holds = 400, 0
    for turn in range(times):
        interval = bootstrap.mean(scores(slices.LEAST, turn), np.arange(slices.LEAST), turn)
        assert interval is not None
        holds += not interval.excludes(0.5 + 0.5 * 0.7 * 0.5)
    assert holds / times == pytest.approx(0.95, abs=0.03)


def held(clustered, products, times=400):
    """How often the interval holds the mean of all there are, and how often that of queries drawn one by one would."""
    random, counts = np.random.default_rng(0), np.zeros(2)
    for turn in range(times):
        sizes = random.integers(1, 12, products) if clustered else np.ones(products, int)
        product = np.repeat(np.arange(products), sizes)
        easy = random.random(products) < 0.7  # a product is easy or hard, and so are all its queries
        values = (random.random(len(product)) < np.where(easy, 0.95, 0.1)[product]).astype(float)
        for which, clusters in enumerate((product, np.arange(len(product)))):
            interval = bootstrap.mean(values, clusters, turn)
            assert interval is not None
            counts[which] += not interval.excludes(0.7 * 0.95 + 0.3 * 0.1)
    return counts / times


def test_intervals_hold_as_often_as_they_say_only_if_products_are_drawn(monkeypatch):
    monkeypatch.setattr(bootstrap, "REPLICATES", 400)  # 95 % of 400 turns: within 3 %
    assert held(clustered=False, products=50)[0] == pytest.approx(0.95, abs=0.03)
    by_product, by_query = held(clustered=True, products=50)
    assert by_product == pytest.approx(0.95, abs=0.03)
    assert by_query < 0.8


def test_without_variation_the_interval_is_what_was_not_seen():
    # Of 20 products none failed: the exact interval of a share, by another library.
    exact = scipy.stats.binomtest(20, 20).proportion_ci(0.95, method="exact")
    right = bootstrap.mean(np.ones(20), np.arange(20), 0)
    assert right is not None
    assert (right.mean, right.low, right.high) == pytest.approx((1.0, exact.low, 1.0))
    wrong = bootstrap.mean(np.zeros(20), np.arange(20), 0)
    assert wrong is not None
    assert (wrong.low, wrong.high) == pytest.approx((0.0, 1 - exact.low))
    # The same value everywhere, and clusters of the same mean: worth anything where not seen.
    expected = pytest.approx((0.5, 0.5 * exact.low, 1 - 0.5 * exact.low))
    for values, clusters in ((np.full(20, 0.5), np.arange(20)), (np.arange(40) % 2 * 1.0, np.arange(40) // 2)):
        alike = bootstrap.mean(values, clusters, 0)
        assert alike is not None
        assert (alike.mean, alike.low, alike.high) == expected


def test_one_product_says_next_to_nothing():
    for values in (np.asarray([0.8]), np.asarray([0.8, 0.9, 0.7])):
        interval = bootstrap.mean(values, np.zeros(len(values), int), 0)
        assert interval == Interval(pytest.approx(0.8), pytest.approx(0.02), pytest.approx(0.995), len(values), 1)


def test_no_query_has_no_mean():
    nothing = np.zeros(0)
    assert bootstrap.mean(nothing, nothing, 0) is None
    assert bootstrap.difference(nothing, nothing, nothing, 0) is None
    assert bootstrap.means({"one": nothing}, nothing, 0) == {}


def test_a_paired_difference_tells_what_two_intervals_do_not():
    theirs = scores(200) * 0.9
    ours = theirs + np.random.default_rng(1).uniform(0, 0.06, 200)
    clusters = np.arange(200)
    one, other = bootstrap.mean(ours, clusters, 0), bootstrap.mean(theirs, clusters, 0)
    paired = bootstrap.difference(ours, theirs, clusters, 0)
    assert one is not None
    assert other is not None
    assert paired is not None
    assert not one.excludes(other.mean)
    assert paired.mean == pytest.approx(0.03, abs=0.005)
    assert paired.excludes(0)
    back = bootstrap.difference(theirs, ours, clusters, 0)
    assert back is not None
    assert back.mean == -paired.mean
    same = bootstrap.difference(ours, ours, clusters, 0)
    assert same is not None
    assert not same.excludes(0)


@pytest.mark.parametrize(
    ("values", "clusters", "message"),
    [
        (np.asarray([0.5, np.nan]), np.arange(2), "of query 1 is nan"),
        (np.asarray([0.5, 1.5]), np.arange(2), "of query 1 is 1.5, not within 0 and 1"),
        (np.asarray([0.5, 0.5]), np.arange(3), r"has shape \(2,\), and clusters \(3,\)"),
        (np.ones((2, 2)), np.ones((2, 2)), r"must be \[queries\]"),
    ],
)
def test_what_is_no_score_is_refused(values, clusters, message):
    with pytest.raises(ValueError, match=message):
        bootstrap.mean(values, clusters, 0)


def test_runs_of_other_queries_are_not_compared():
    with pytest.raises(ValueError, match="not of the same ones"):
        bootstrap.difference(np.ones(3), np.ones(2), np.arange(3), 0)
