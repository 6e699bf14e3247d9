"""Draws are functions of (seed, place): exact quotas, listings that take turns, mixtures that keep their ratio."""

import collections
import itertools
import math
import pickle
import tracemalloc
from fractions import Fraction

import grain
import numpy as np
import pytest

from m5jax.data import sampling
from m5jax.errors import DataError

SIZES = {"": 9, "head": 120, "middle": 31, "rare": 4, "single": 1}  # a long tail, and listings without a class
LISTINGS = sum(SIZES.values())


@pytest.fixture(scope="module")
def classes():
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(SIZES)), list(SIZES.values()))).astype(np.int32)


def drawn(draws, epochs):
    """Draws [epochs, N] as positions."""
    return np.asarray([draws.position(place) for place in range(epochs * len(draws))]).reshape(epochs, -1)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        # 156 draws are not of the 9 without a class: 39 for each of four.
        ("class_balanced", [9, 39, 39, 39, 39]),
        ("by_source", [9, 39, 39, 39, 39]),
        # sqrt: 10.954 : 5.568 : 2 : 1 of 156 are 87.56, 44.50, 15.99, 7.99: the largest remainders get the rest.
        ("square_root", [9, 88, 44, 16, 8]),
    ],
)
def test_every_class_gets_its_quota_in_every_epoch_and_listings_take_turns(classes, choice, expected):
    draws = sampling.draws(choice, classes, list(SIZES), seed=3)
    assert len(draws) == LISTINGS
    positions = drawn(draws, 5)
    for epoch in positions:
        assert np.bincount(classes[epoch]).tolist() == expected
    for epochs in (1, 2, 5):
        counts = np.bincount(positions[:epochs].ravel(), minlength=LISTINGS)
        for label in range(len(SIZES)):
            of_class = counts[classes == label]
            assert of_class.sum() == epochs * expected[label]
            assert of_class.max() - of_class.min() <= 1
    assert not np.array_equal(positions[0], positions[1])


def test_quotas_are_exact_for_any_long_tail():
    rng = np.random.default_rng(1)
    for trial in range(50):
        sizes = np.sort(rng.zipf(1.5, rng.integers(1, 300)).clip(max=5000))[::-1]
        known = rng.random(len(sizes)) < 0.9
        if not known.any():
            continue
        for exponent in (0.0, 0.5):
            quotas = sampling.quotas(sizes, exponent, known)
            assert quotas.sum() == sizes.sum(), trial
            assert quotas.min() >= 1
            np.testing.assert_array_equal(quotas[~known], sizes[~known])
            weights = [float(size) ** exponent for size in sizes[known]]
            exact = np.asarray([sizes[known].sum() * weight / math.fsum(weights) for weight in weights])
            assert abs(quotas[known] - exact).max() < 1


def test_neither_the_order_of_the_records_nor_a_copy_in_a_worker_changes_how_often_a_class_is_drawn(classes):
    draws = sampling.draws("square_root", classes, list(SIZES), seed=0)
    copy = pickle.loads(pickle.dumps(draws))  # noqa: S301 (our own bytes)
    assert [copy.position(place) for place in (0, 7, 10**12)] == [draws.position(place) for place in (0, 7, 10**12)]
    other = sampling.draws("square_root", classes[::-1], list(SIZES), seed=0)
    assert other.quotas.tolist() == draws.quotas.tolist()
    another = sampling.draws("square_root", classes, list(SIZES), seed=1)
    assert not np.array_equal(drawn(another, 1), drawn(draws, 1))


def test_only_chosen_listings_are_drawn(classes):
    chosen = np.flatnonzero(np.arange(LISTINGS) % 3 == 0)
    draws = sampling.draws("class_balanced", classes, list(SIZES), 0, chosen)
    assert len(draws) == len(chosen)
    assert set(drawn(draws, 3).ravel().tolist()) <= set(chosen.tolist())


def test_without_a_class_there_is_nothing_to_balance():
    with pytest.raises(DataError, match=r"sampling = 'by_source', but of 5 training listings none has a source"):
        sampling.draws("by_source", np.zeros(5, np.int32), [""], 0)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 16, 17, 1000])
def test_a_permutation_without_a_table_is_one(size):
    for key in (0, 1, 2**64 - 1):
        assert sorted(sampling.permuted(i, size, key) for i in range(size)) == list(range(size))


def test_permutations_are_as_likely_as_they_should_be():
    rng = np.random.default_rng(0)
    keys = [int(key) for key in rng.integers(0, 2**63, 6000)]
    orders = collections.Counter(tuple(sampling.permuted(i, 4, key) for i in range(4)) for key in keys)
    assert len(orders) == 24
    # Chi-squared of 23 degrees of freedom is below 50 in all but one of a thousand cases.
    assert sum((count - 250) ** 2 / 250 for count in orders.values()) < 50
    places = np.zeros((30, 30))
    for key in keys[:1500]:
        places[np.arange(30), [sampling.permuted(i, 30, key) for i in range(30)]] += 1
    assert ((places - 50) ** 2 / 50).sum() / (29 * 29) < 1.15  # of 841 degrees of freedom; 1.15 is three deviations


def test_an_epoch_of_300_million_listings_is_shuffled_without_a_table():
    length = 300_000_000
    tracemalloc.start()
    stream = grain.MapDataset.range(length).seed(0).shuffle().repeat()
    places = [stream[epoch * length + slot] for epoch in range(3) for slot in range(100)]
    places += [sampling.permuted(slot, length, 7) for slot in range(100)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000
    assert len(set(places)) > 395
    assert 0.4 < np.mean(places) / length < 0.6


def slow_mix(parts, draws):
    """A twin that counts: of the first n draws ceil(n p / P) are the first stream's, and so on with what is left."""
    taken = [0] * len(parts)
    for n in range(1, draws + 1):
        left, rest = n, sum(parts)
        for stream, part in enumerate(parts):
            quota = math.ceil(Fraction(left * part, rest))
            if quota > taken[stream]:
                yield stream, taken[stream]
                taken[stream] += 1
                break
            left, rest = left - quota, rest - part


@pytest.mark.parametrize("weights", ["1", "1 1", "1 0.3", "1 1/3 2.5", "1 0.001 0.01 7"])
def test_a_mixture_keeps_its_ratio_in_every_stretch(weights):
    weights = [Fraction(weight) for weight in weights.split()]
    scale = math.lcm(*(weight.denominator for weight in weights))
    mix, total = sampling.Mix(weights), 3000
    places = [mix[place] for place in range(total)]
    assert places == list(slow_mix([int(weight * scale) for weight in weights], total))
    counts = np.cumsum(np.eye(len(weights), dtype=int)[[stream for stream, _ in places]], 0)
    exact = np.outer(np.arange(1, total + 1), [float(weight / sum(weights)) for weight in weights])
    assert abs(counts - exact).max() <= len(weights)
    for stream in range(len(weights)):  # nothing of a stream is left out or comes twice
        assert [rank for which, rank in places if which == stream] == list(range(counts[-1, stream]))


def test_a_mixture_is_found_from_anywhere():
    mix = sampling.Mix([Fraction(1), Fraction(1, 3)])
    start = 4 * 10**15
    assert mix[start] == (0, 3 * 10**15)
    streams = collections.Counter(stream for stream, _ in (mix[start + place] for place in range(400)))
    assert streams == {0: 300, 1: 100}
    assert next(rank for stream, rank in map(mix.__getitem__, itertools.count(start)) if stream) == 10**15
