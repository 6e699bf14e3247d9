"""Missing and noisy on purpose: which listings it is follows from the seed alone, and smaller ratios are nested."""

import dataclasses
import itertools
import pickle

import jax
import numpy as np
import pytest
from reports import listing, write_prepared
from small import small_config

from m5jax import config as config_lib
from m5jax import run, settings
from m5jax.data import catalogue, corruption, pipeline
from m5jax.data.corruption import Corrupted, Plan, draw, uniform
from m5jax.data.prepare import prepare
from m5jax.data.records import DAMAGED
from m5jax.errors import ConfigError, DataError
from m5jax.inputs import CORRUPTIONS, SPLITS, Corruption
from m5jax.modalities import NAMES, State
from m5jax.report import health

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


LISTINGS = [listing(n, small_config()) for n in range(6)]
FIELDS = {name: [name] for name in NAMES} | {"text": ["title", "description"], "table": ["fields"]}


def assert_same(first, second, names):
    for field in (field for name in names for field in FIELDS[name]):
        np.testing.assert_array_equal(getattr(first, field), getattr(second, field))


@pytest.mark.parametrize("name", NAMES)
def test_contents_are_exchanged_and_taken_away(name):
    donors, gone = np.asarray([3, -1, -1, 0, -1, -1], np.int32), np.arange(6) == 1
    view = Corrupted(LISTINGS, Plan({name: gone}, {name: donors}))
    view = pickle.loads(pickle.dumps(view))  # noqa: S301 (our own bytes)
    assert len(view) == 6
    others = [other for other in NAMES if other != name]
    for position, source in enumerate([3, None, 2, 0, 4, 5]):
        record, own = view[position], LISTINGS[position]
        assert (record.id, record.category, record.instance_id) == (own.id, own.category, own.instance_id)
        assert_same(record, own, others)
        assert all(record.state(other) == State.PRESENT for other in others)
        if source is None:
            assert record.state(name) == State.ABSENT
            assert not any(len(getattr(record, field)) for field in FIELDS[name])
        else:
            assert record.state(name) == State.PRESENT
            assert_same(record, LISTINGS[source], [name])
    differ = FIELDS[name][0]
    assert not np.array_equal(getattr(view[0], differ), getattr(LISTINGS[0], differ))


def test_damaged_records_stay_damaged_and_give_nothing():
    records = [DAMAGED, *LISTINGS[1:]]
    plan = Plan({"image": np.ones(6, bool)}, {"text": np.asarray([2, 0, -1, -1, -1, -1], np.int32)})
    view = Corrupted(records, plan)
    assert view[0] == DAMAGED
    assert view[1].state("text") == State.CORRUPT
    assert view[1].title == ""
    assert view[1].state("table") == State.PRESENT


@pytest.fixture
def folder(tmp_path):
    splits = {"train": [listing(n, small_config()) for n in range(40)], "query": LISTINGS}
    return write_prepared(tmp_path, splits, small_config())


def test_records_states_titles_and_report_tell_the_same(folder):
    chosen = Corruption(missing_text=0.4, noise_text=0.5, missing_audio=0.3)
    corrupted = dataclasses.replace(folder, corruption=chosen)
    index, records, states = corrupted.index("train"), corrupted.records("train"), corrupted.states("train")
    assert [list(records[i].states) for i in range(40)] == index.states.tolist() == states.tolist()
    assert [records[i].title for i in range(40)] == index.titles.tolist()
    assert [records[i].id for i in range(40)] == index.ids.tolist() == folder.index("train").ids.tolist()
    plan = corrupted.corrupted("train")
    changed = index.titles != folder.index("train").titles
    np.testing.assert_array_equal(changed, plan.missing["text"] | plan.noise["text"])
    told = {(c.split, c.name, c.kind): c.count for c in health.corruptions(corrupted)}
    assert told == {
        ("train", "text", "missing"): plan.missing["text"].sum(),
        ("train", "audio", "missing"): plan.missing["audio"].sum(),
        ("train", "text", "noise"): plan.noise["text"].sum(),
    }
    (bar, _) = health.state_bars(corrupted)["audio"]
    assert bar.counts["absent"] == plan.missing["audio"].sum() > 0
    assert [corrupted.records("query")[i].title for i in range(6)] == [record.title for record in LISTINGS]
    everywhere = dataclasses.replace(corrupted, corruption=dataclasses.replace(chosen, splits=("train", "query")))
    assert "" in [everywhere.records("query")[i].title for i in range(6)]
    assert health.corruptions(folder) == []


def with_data(config, **changes):
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **changes))


def batches(config, count=3):
    return list(itertools.islice(pipeline.training_batches(prepare(config, quiet=True), config), count))


def test_training_batches_show_the_corruption_with_any_number_of_workers(three_modalities):
    clean = batches(three_modalities)  # one pass of three batches
    config = with_data(three_modalities, corruption=Corruption(missing_image=0.5, noise_text=0.5))
    found = batches(config)
    plan = prepare(config, quiet=True).corrupted("train")
    lost = sum(int(before["image"]["mask"].any(1).sum() - after["image"]["mask"].any(1).sum())
               for before, after in zip(clean, found, strict=True))  # fmt: skip
    assert lost == plan.missing["image"].sum() > 0
    for before, after in zip(clean, found, strict=True):
        hidden = ~after["image"]["mask"].any(1)
        assert not after["image"]["values"][hidden].any()
        np.testing.assert_array_equal(before["text"]["mask"].any(1), after["text"]["mask"].any(1))
        jax.tree.map(np.testing.assert_array_equal, before["table"]["mask"], after["table"]["mask"])
    jax.tree.map(np.testing.assert_array_equal, batches(with_data(config, loader_workers=2)), found)


def test_evaluation_batches_show_it_where_it_acts(three_modalities):
    chosen = Corruption(missing_text=1.0, noise_table=1.0, splits=("gallery",))
    config = with_data(three_modalities, corruption=chosen)
    for split in ("gallery", "query"):
        clean, found = (
            jax.tree.map(
                lambda *parts: np.concatenate(parts),
                *pipeline.evaluation_batches(prepare(c, quiet=True), c, split),
            )
            for c in (three_modalities, config)
        )
        ready = prepare(config, quiet=True)
        seen = ready.states(split)[:, NAMES.index("text")] == State.PRESENT
        np.testing.assert_array_equal(found["text"]["mask"][: len(seen)].any(1), seen)
        shown = clean["table"]["mask"][: len(seen)].any(1)
        same = (found["table"]["ids"] == clean["table"]["ids"])[: len(seen)].all(1)
        assert shown.any()
        assert same[shown].any() == same[shown].all() == (split == "query")


def test_complete_only_trains_on_what_has_every_modality(three_modalities):
    config = with_data(three_modalities, complete_only=True)
    ready = prepare(config, quiet=True)
    positions = ready.complete("train")
    states = ready.index("train").states[:, :3]
    np.testing.assert_array_equal(positions, np.flatnonzero((states == State.PRESENT).all(1)))
    assert 0 < len(positions) < len(states)
    made = batches(config, 6)
    for batch in made:
        for name in ("image", "text", "table"):
            assert batch[name]["mask"].any(1).all()
    later = itertools.islice(pipeline.training_batches(ready, config, start=4), 2)
    jax.tree.map(np.testing.assert_array_equal, list(later), made[4:])
    fewer = prepare(with_data(config, corruption=Corruption(missing_text=0.5)), quiet=True).complete("train")
    assert set(fewer) < set(positions)


def test_without_a_complete_listing_training_stops_with_the_counts(three_modalities):
    config = with_data(three_modalities, complete_only=True, corruption=Corruption(missing_image=1.0))
    with pytest.raises(DataError, match=r"config\.data\.complete_only=True leaves no .*of 24 none.*image.*text.*table"):
        batches(config, 1)


def facts(config):
    return run.facts_of(config, prepare(config, quiet=True))["data"]


def test_the_facts_of_a_checkpoint_tell_what_was_done_and_clean_data_keeps_its_digest(three_modalities):
    clean = facts(three_modalities)
    assert clean["digest"] == prepare(three_modalities, quiet=True).manifest["digest"]
    assert set(clean) == {"digest", "seed", "batch_size"}
    assert facts(with_data(three_modalities, corruption=Corruption(seed=3, splits=("query",)))) == clean
    changed = [
        with_data(three_modalities, complete_only=True),
        with_data(three_modalities, corruption=Corruption(missing_text=0.1)),
        with_data(three_modalities, corruption=Corruption(noise_text=0.1)),
        with_data(three_modalities, corruption=Corruption(noise_text=0.1, seed=1)),
        with_data(three_modalities, corruption=Corruption(noise_text=0.1, splits=("train", "val"))),
    ]
    assert len({facts(config)["digest"] for config in changed} | {clean["digest"]}) == 6
    now = {"data": facts(changed[1])}
    with pytest.raises(ConfigError, match=r"corruption none -> \{'missing_text': 0\.1"):
        run.require_same({"data": clean}, now, ("data",), "here")
    with pytest.raises(ConfigError, match="complete_only True -> none"):
        run.require_same({"data": facts(changed[0])}, {"data": clean}, ("data",), "here")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"missing_image": 1.5}, "missing_image = 1.5 must be between 0.0 and 1.0"),
        ({"noise_audio": -0.1}, "noise_audio = -0.1 must be between"),
        ({"missing_image": 0.5, "splits": ("trian",)}, 'did you mean "train"'),
        ({"missing_image": 0.5, "splits": ()}, "splits is empty"),
        ({"noise_video": 0.5}, "noise_video = 0.5, but config.inputs.modalities = .* has no video"),
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
