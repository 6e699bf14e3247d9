"""Missing and noisy on purpose: records, states, report, batches and facts tell of the same corrupted catalogue."""

import dataclasses
import itertools
import pickle

import jax
import numpy as np
import pytest
from reports import listing, write_prepared
from small import small_config

from m5jax import run
from m5jax.data import pipeline
from m5jax.data.corruption import Corrupted, Plan
from m5jax.data.records import DAMAGED
from m5jax.errors import ConfigError, DataError
from m5jax.inputs import Corruption
from m5jax.modalities import NAMES, State
from m5jax.preparing.prepare import prepare
from m5jax.report import health

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


def test_ratios_of_what_a_run_does_not_see_are_no_facts_of_it(three_modalities):
    """Runs of a series share ratios and records, and each sees some of the modalities."""
    ratio = Corruption(missing_image=0.5)
    some = dataclasses.replace(three_modalities.inputs, modalities=("text",), record=("image", "table"))
    config = dataclasses.replace(three_modalities, inputs=some)
    ratio.check(some)
    assert facts(with_data(config, corruption=ratio)) == facts(config)
    both = dataclasses.replace(ratio, noise_text=0.5)
    assert facts(with_data(config, corruption=both))["corruption"].keys() == {"noise_text", "splits", "seed"}
    stacked = dataclasses.replace(some, text=dataclasses.replace(some.text, with_table=True))
    assert "missing_table" in Corruption(missing_table=0.5).active(stacked)
