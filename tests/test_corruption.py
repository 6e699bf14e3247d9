"""Missing and noisy on purpose: which listings it is follows from the seed alone, and smaller ratios are nested."""

import dataclasses
import itertools

import numpy as np
import pytest

from m5jax import config as config_lib
from m5jax import settings
from m5jax.catalogues import catalogue
from m5jax.data import corruption
from m5jax.data.corruption import draw, uniform
from m5jax.errors import ConfigError
from m5jax.inputs import CORRUPTIONS, SPLITS, Corruption
from m5jax.modalities import NAMES, State

COUNT = 20_000
IDS = [f"item-{i}" for i in range(COUNT)]
STATES = np.random.default_rng(0).choice([0, 1, 2, 3], (COUNT, 5), p=[0.1, 0.8, 0.05, 0.05]).astype(np.uint8)
PRESENT = STATES == State.PRESENT
ALL_PRESENT = np.ones((COUNT, 5), np.uint8)


def ratios(kind, value, **more):
    return Corruption(**{f"{kind}_{name}": value for name in NAMES}, **more)


def planned(chosen, ids=IDS, states=STATES, names=NAMES):
    return draw(chosen, ids, states, names)


def masks(plan, kind):
    found = plan.missing if kind == "missing" else plan.noise
    return np.stack([found[name] for name in NAMES], 1)


def test_the_fast_numbers_are_those_of_the_slow_ones():
    def slow(digest):
        mixed = (digest + corruption._digest(repr((3, "noise", "text")))) % 2**64
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) % 2**64
        return ((mixed ^ (mixed >> 31)) >> 11) / 2**53

    digests = [0, 1, 2**64 - 1, *(corruption._digest(identity) for identity in IDS[:50])]
    found = uniform(np.asarray(digests, np.uint64), 3, "noise", "text")
    assert found.tolist() == [slow(digest) for digest in digests]
    assert found.max() < 1


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_ratios_are_met_among_the_listings_that_have_the_modality(kind):
    for ratio in (0.1, 0.5, 0.9):
        found = masks(planned(ratios(kind, ratio), states=ALL_PRESENT), kind)
        stays = ratio**5 / 5 if kind == "missing" else 0.0  # one of five, where all would go
        bound = 5 * np.sqrt(COUNT * ratio * (1 - ratio))
        assert (np.abs(found.sum(0) - COUNT * (ratio - stays)) < bound).all()
        assert not masks(planned(ratios(kind, ratio)), kind)[~PRESENT].any()
    one = Corruption(**{f"{kind}_video": 0.3})
    found = planned(one).missing if kind == "missing" else planned(one).noise
    assert list(found) == ["video"]
    expected = 0.3 * PRESENT[:, 3].sum()
    assert abs(found["video"].sum() - expected) < 5 * np.sqrt(expected)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_what_is_corrupted_at_a_ratio_is_corrupted_at_every_larger_one(kind):
    steps = [masks(planned(ratios(kind, ratio)), kind) for ratio in (0.05, 0.2, 0.5, 0.8, 0.97, 1.0)]
    for fewer, more in itertools.pairwise(steps):
        assert not (fewer & ~more).any()
        assert more.sum() > fewer.sum()


def test_unequal_ratios_that_grow_together_are_nested_too():
    shares = dict(zip(NAMES, (1.0, 0.5, 0.8, 0.25, 0.9), strict=True))
    steps = [
        masks(planned(Corruption(**{f"missing_{name}": share * scale for name, share in shares.items()})), "missing")
        for scale in (0.1, 0.4, 0.7, 0.99)
    ]
    for fewer, more in itertools.pairwise(steps):
        assert not (fewer & ~more).any()


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_neither_order_nor_number_of_the_listings_matters(kind):
    chosen = ratios(kind, 0.4)
    whole = planned(chosen)
    order = np.random.default_rng(1).permutation(COUNT)
    turned = planned(chosen, [IDS[i] for i in order], STATES[order])
    np.testing.assert_array_equal(masks(turned, kind), masks(whole, kind)[order])
    for name, donors in turned.donors.items():  # the same listings give
        there = donors >= 0
        np.testing.assert_array_equal(order[donors[there]], whole.donors[name][order][there])
    half = planned(chosen, IDS[::2], STATES[::2])
    np.testing.assert_array_equal(masks(half, kind), masks(whole, kind)[::2])


def test_modalities_kinds_and_seeds_are_drawn_apart():
    both = dataclasses.replace(ratios("noise", 0.5), **{f"missing_{name}": 0.0 for name in NAMES})
    columns = [masks(planned(both, states=ALL_PRESENT), "noise")]
    columns.append(masks(planned(dataclasses.replace(both, seed=1), states=ALL_PRESENT), "noise"))
    for name in NAMES:
        columns.append(planned(Corruption(**{f"missing_{name}": 0.5}), states=ALL_PRESENT).missing[name][:, None])
    correlation = np.corrcoef(np.concatenate(columns, 1).T)
    assert np.abs(correlation - np.eye(15)).max() < 5 / np.sqrt(COUNT)


def test_a_donor_is_another_listing_that_has_the_modality_and_the_same_at_every_ratio():
    few, many = planned(ratios("noise", 0.2)), planned(ratios("noise", 1.0))
    for column, name in enumerate(NAMES):
        donors = many.donors[name]
        noisy = np.flatnonzero(donors >= 0)
        np.testing.assert_array_equal(noisy, np.flatnonzero(PRESENT[:, column]))
        assert PRESENT[donors[noisy], column].all()
        assert (donors[noisy] != noisy).all()
        assert np.bincount(donors[noisy]).max() < 12  # of Poisson(1) at 20,000 listings
        there = few.donors[name] >= 0
        np.testing.assert_array_equal(few.donors[name][there], donors[there])
    everywhere = planned(ratios("noise", 1.0), states=ALL_PRESENT).donors
    assert (everywhere["text"] == everywhere["table"]).sum() < 10


def test_of_two_listings_each_gives_to_the_other_and_one_alone_keeps_its_own():
    states = np.asarray([[1, 1, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0]], np.uint8)
    donors = planned(ratios("noise", 1.0), ["a", "b", "c"], states).donors
    assert donors["text"].tolist() == [1, 0, -1]
    assert donors["image"].tolist() == donors["table"].tolist() == [-1, -1, -1]


def test_the_last_modality_stays_and_only_those_in_use_count():
    plan = planned(ratios("missing", 1.0))
    left = plan.states(STATES) == State.PRESENT
    np.testing.assert_array_equal(left.sum(1), PRESENT.any(1))
    assert (left.sum(0) > COUNT / 8).all()  # any of them
    seen = planned(ratios("missing", 0.7), names=("text", "audio"))
    assert set(seen.missing) == {"text", "audio"}
    columns = [NAMES.index("text"), NAMES.index("audio")]
    left = seen.states(STATES)[:, columns] == State.PRESENT
    np.testing.assert_array_equal(left.any(1), PRESENT[:, columns].any(1))


def test_a_modality_that_nobody_has_comes_back_only_where_there_is_no_other():
    plan = planned(Corruption(missing_image=1.0, missing_text=0.9), names=("image", "text"))
    back = PRESENT[:, 0] & ~plan.missing["image"]
    np.testing.assert_array_equal(back, PRESENT[:, 0] & ~PRESENT[:, 1])


def test_what_is_missing_is_not_noisy_and_empty_and_corrupt_stay_what_they_are():
    chosen = dataclasses.replace(ratios("missing", 0.5), noise_image=0.5, noise_text=0.5)
    plan = planned(chosen)
    for column, name in ((0, "image"), (1, "text")):
        assert not (plan.missing[name] & plan.noise[name]).any()
        left = PRESENT[:, column] & ~plan.missing[name]
        assert abs(plan.noise[name].sum() / left.sum() - 0.5) < 0.03
    states = plan.states(STATES)
    np.testing.assert_array_equal(states[~PRESENT], STATES[~PRESENT])
    assert (states[masks(plan, "missing")] == State.ABSENT).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"missing_image": 1.5}, "missing_image = 1.5 must be between 0.0 and 1.0"),
        ({"noise_audio": -0.1}, "noise_audio = -0.1 must be between"),
        ({"missing_image": 0.5, "splits": ("trian",)}, 'did you mean "train"'),
        ({"missing_image": 0.5, "splits": ()}, "splits is empty"),
        ({"noise_video": 0.5}, "noise_video = 0.5, but video is neither in config.inputs.modalities = .* nor in"),
        ({"seed": -1}, "seed = -1"),
    ],
)
def test_settings_that_cannot_work_are_refused(three_modalities, changes, message):
    values = settings.to_dict(three_modalities)
    values["data"]["corruption"] |= changes
    with pytest.raises(ConfigError, match=message):
        config_lib.freeze(values)


def test_the_splits_are_those_of_the_catalogue():
    assert SPLITS == catalogue.SPLITS
