"""K3M's schemes of corruption: nested over ratios, the same for every model, noise of another category."""

import dataclasses
import itertools

import numpy as np
import pytest
from reports import listing, write_prepared
from small import small_config

from m5jax import sweep_settings
from m5jax.data.schemes import deranged, draw
from m5jax.errors import ConfigError
from m5jax.inputs import Corruption
from m5jax.modalities import NAMES, State
from m5jax.schemes import SCHEMES, possible

COUNT = 6_000
IDS = [f"item-{i}" for i in range(COUNT)]
RNG = np.random.default_rng(0)
STATES = RNG.choice([0, 1, 2, 3], (COUNT, 5), p=[0.1, 0.8, 0.05, 0.05]).astype(np.uint8)
PRESENT = {name: STATES[:, column] == State.PRESENT for column, name in enumerate(NAMES)}
CATEGORIES = RNG.integers(0, 9, COUNT)
RATIOS = (0.0, 0.2, 0.5, 0.8, 1.0)


def planned(name, ratio, *, seed=0, names=NAMES, order=None):
    order = np.arange(COUNT) if order is None else order
    chosen = Corruption(scheme=name, ratio=ratio, seed=seed)
    return draw(chosen, [IDS[i] for i in order], STATES[order], CATEGORIES[order], names)


def hit(plan):
    """Per modality, the listings that are corrupted."""
    return dict(plan.missing) | plan.noise


@pytest.mark.parametrize("name", SCHEMES)
def test_larger_ratios_corrupt_more_of_the_same_listings_alike(name):
    plans = [planned(name, ratio) for ratio in RATIOS]
    for fewer, more in itertools.pairwise(plans):
        for modality, corrupted in hit(fewer).items():
            assert not (corrupted & ~hit(more)[modality]).any()
            assert hit(more)[modality].sum() > corrupted.sum()
        for modality, donors in fewer.donors.items():
            shown = donors >= 0
            np.testing.assert_array_equal(donors[shown], more.donors[modality][shown])
    for ratio, plan in zip(RATIOS, plans, strict=True):
        for modality, corrupted in hit(plan).items():
            befallen = np.mean([modality in choice for choice in SCHEMES[name].choices])
            share = corrupted.sum() / PRESENT[modality].sum()
            assert abs(share - ratio * befallen) < 4 * np.sqrt(0.25 / COUNT)
            assert not corrupted[~PRESENT[modality]].any()


@pytest.mark.parametrize("name", SCHEMES)
def test_models_of_any_modalities_and_any_order_of_the_listings_meet_the_same(name):
    whole, order = planned(name, 0.5), np.random.default_rng(1).permutation(COUNT)
    turned = planned(name, 0.5, order=order)
    for modality, corrupted in hit(whole).items():
        np.testing.assert_array_equal(hit(turned)[modality], corrupted[order])
        alone = planned(name, 0.5, names=(modality,))
        assert list(hit(alone)) == [modality]
        np.testing.assert_array_equal(hit(alone)[modality], corrupted)
    for modality, donors in whole.donors.items():
        there = donors[order] >= 0
        np.testing.assert_array_equal(order[turned.donors[modality]][there], donors[order][there])
    other = hit(planned(name, 0.5, seed=1))
    assert any((other[modality] != corrupted).mean() > 0.1 for modality, corrupted in hit(whole).items())


def test_schemes_agree_on_the_listings_and_on_whose_content_they_show():
    text, image = PRESENT["text"], PRESENT["image"]
    plans = {name: planned(name, 0.5) for name in SCHEMES}
    corrupted = plans["TMR"].missing["text"]
    np.testing.assert_array_equal(corrupted, plans["TNR"].noise["text"])
    np.testing.assert_array_equal(corrupted, plans["TINR"].noise["text"])
    both = text & image
    mixed = plans["MMR"].missing
    np.testing.assert_array_equal((mixed["text"] ^ mixed["image"])[both], corrupted[both])  # one of both, never both
    noisy = plans["MNR"].noise
    np.testing.assert_array_equal((noisy["text"] | noisy["image"])[both], corrupted[both])
    thirds = [noisy["text"] & ~noisy["image"], noisy["image"] & ~noisy["text"], noisy["text"] & noisy["image"]]
    for third in thirds:
        assert abs((third & both).sum() / (corrupted & both).sum() - 1 / 3) < 0.05
    for name, modality, alone in (("TINR", "text", "TNR"), ("TINR", "image", "INR"), ("MNR", "text", "TNR")):
        shown = plans[name].donors[modality]
        np.testing.assert_array_equal(shown[shown >= 0], plans[alone].donors[modality][shown >= 0])
    donors = planned("TINR", 1.0).donors
    assert (donors["text"] == donors["image"])[both].mean() < 0.01  # two donors


@pytest.mark.parametrize("modality", ["text", "image"])
def test_every_title_and_picture_is_shown_once_by_a_listing_of_another_category(modality):
    donors = planned("TINR", 1.0).donors[modality]
    shown = donors[PRESENT[modality]]
    np.testing.assert_array_equal(np.sort(shown), np.flatnonzero(PRESENT[modality]))
    assert (CATEGORIES[shown] != CATEGORIES[PRESENT[modality]]).all()


def share(groups, donors):
    """How often listings of each group (row) show one of each (column), as a share of the row."""
    table = np.zeros((groups.max() + 1,) * 2)
    np.add.at(table, (groups, groups[donors]), 1)
    return table / table.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("groups", [3, 4, 20])
def test_what_is_shown_does_not_tell_the_category(groups):
    of = np.arange(3_000) % groups
    found = share(of, deranged(RNG.integers(0, 2**63, 3_000).astype(np.uint64), of, "test"))
    assert (np.diag(found) == 0).all()
    expected = 1 / (groups - 1)
    worst = np.abs(found + expected * np.eye(groups) - expected).max()
    assert worst < 6 * np.sqrt(expected * groups / 3_000)


@pytest.mark.parametrize(
    ("sizes", "most"),
    [((50, 50), 1), ((51, 49), 2), ((90, 6, 4), 9), ((2, 1), 2), ((1, 1), 1), ((5,), 1), ((2,), 1), ((1, 1, 1, 1), 1)],
)
def test_one_large_category_shows_the_others_as_evenly_as_can_be(sizes, most):
    of = np.repeat(np.arange(len(sizes)), sizes)[RNG.permutation(sum(sizes))]
    donors = deranged(RNG.integers(0, 2**63, len(of)).astype(np.uint64), of, "test")
    assert (donors != np.arange(len(of))).all()
    assert len(sizes) == 1 or (of[donors] != of).all()
    assert np.bincount(donors).max() == most
    largest = of == np.argmax(sizes)
    if 2 * max(sizes) > len(of) > max(sizes):
        used = np.bincount(donors[largest], minlength=len(of))[~largest]
        assert used.max() - used.min() <= 1


def test_a_listing_may_have_nothing_left_and_one_alone_keeps_its_own(tmp_path):
    config = small_config(inputs__modalities=("text",), inputs__record=("image", "table"))
    prepared = write_prepared(tmp_path, {"query": [listing(n, config) for n in range(3)]}, config)
    gone = dataclasses.replace(prepared, corruption=Corruption(scheme="TMR", ratio=1.0, splits=("query",)))
    assert not (gone.states("query")[:, NAMES.index("text")] == State.PRESENT).any()
    assert [gone.records("query")[row].title for row in range(3)] == gone.index("query").titles.tolist() == [""] * 3
    unseen = dataclasses.replace(prepared, corruption=Corruption(scheme="KMR", ratio=1.0, splits=("query",)))
    assert unseen.corrupted("query").missing == {}
    alone = draw(Corruption(scheme="TNR", ratio=1.0), ["a"], np.ones((1, 5), np.uint8), np.zeros(1, int), NAMES)
    assert alone.donors["text"].tolist() == [-1]
    nobody = draw(Corruption(scheme="TNR", ratio=1.0), ["a"], np.zeros((1, 5), np.uint8), np.zeros(1, int), NAMES)
    assert nobody.donors["text"].tolist() == [-1]


# ---- settings


def test_schemes_are_sweeps_by_name_where_records_hold_what_they_are_about():
    inputs = small_config(inputs__modalities=("text",), inputs__record=("image",)).inputs
    assert possible(inputs.kept) == ("TMR", "IMR", "MMR", "TNR", "INR", "TINR", "MNR")
    chosen = sweep_settings.corruption("MNR", 0.2, inputs, ("train",), 3)
    assert chosen == Corruption(scheme="MNR", ratio=0.2, splits=("train",), seed=3)
    assert chosen.active(inputs) == {"scheme": "MNR", "ratio": 0.2, "splits": ["train"], "seed": 3}
    assert not sweep_settings.corruption("INR", 0.2, inputs, ("train",), 3).active(inputs)  # seen by another model
    assert not sweep_settings.corruption("MNR", 0.0, inputs, ("train",), 3).active(inputs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__corruption__ratio": 0.5}, "ratio = 0.5 is that of a scheme.*TMR"),
        ({"data__corruption__scheme": "KMR"}, "'KMR' is about table, neither in config.inputs.modalities"),
        ({"data__corruption__scheme": "TMX"}, "scheme = 'TMX'"),
        ({"data__corruption__scheme": "TMR", "data__corruption__noise_image": 0.1}, "beside .*noise_image"),
        ({"data__corruption__scheme": "TMR", "data__corruption__ratio": 0.1, "data__corruption__splits": ()},
         "splits is empty"),
        ({"evaluate__sweeps": ("KMR",)}, "'KMR'.*TINR, MNR"),
    ],
)  # fmt: skip
def test_schemes_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        small_config(inputs__modalities=("image", "text"), **changes)
