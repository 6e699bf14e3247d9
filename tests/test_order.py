"""The order of listings is that of the settings, whoever reads them and from wherever: uniform, mixed or sampled."""

import collections
import dataclasses
import itertools
import shutil

import jax
import numpy as np
import pytest
from reports import listing, write_prepared
from small import small_config

from m5jax import run
from m5jax.data import pipeline
from m5jax.inputs import Corruption

LONG_TAIL = ("goods > common",) * 29 + ("goods > rare",) * 8 + ("",) * 3  # forty listings: five batches an epoch
SOURCES = ("shop",) * 36 + ("market",) * 4
BATCH = 8


def text_config(**changes):
    return small_config(**({"inputs__modalities": ("text",)} | changes))


@pytest.fixture(scope="module")
def folders(prepared, tmp_path_factory):
    """Two catalogues of titles, of forty and of eleven listings; no title is in both."""
    made = []
    config = text_config(inputs__modalities=("text", "table"))
    for name, categories in (("first", LONG_TAIL), ("second", ("goods > other",) * 11)):
        folder = tmp_path_factory.mktemp("order") / name
        labels = [tuple(filter(None, category.split(" > "))) for category in categories]
        listings = [
            listing(n, config, title=f"{name} {n}", category=label, source=source)
            for n, (label, source) in enumerate(zip(labels, SOURCES, strict=False))
        ]
        made.append(write_prepared(folder, {"train": listings}, config))
        shutil.copy(prepared.tokenizer_path, folder)
    return tuple(made)


def stream(folders, config, steps, **options):
    mixed = folders[1:] if config.data.mix else ()
    return list(itertools.islice(pipeline.training_batches(folders[0], config, mixed=mixed, **options), steps))


MIXED = {"data__mix": "second=1/3", "data__sampling": "class_balanced"}


@pytest.fixture(scope="module", params=[{}, MIXED], ids=["uniform", "mixed and balanced"])
def whole(request, folders):
    """A configuration and the first 280 batches of its stream."""
    config = text_config(**request.param)
    return config, stream(folders, config, 280)


def test_any_number_of_hosts_sees_the_same_from_any_step_on(folders, whole):
    """As many hosts as you like go on where others stopped: the same listings, order and masks."""
    config, batches = whole
    for start, hosts in itertools.product((0, 17, 130, 260), (1, 2, 4, 8)):
        shares = [stream(folders, config, 20, start=start, share=pipeline.Share(i, hosts)) for i in range(hosts)]
        joined = [jax.tree.map(lambda *parts: np.concatenate(parts), *parts) for parts in zip(*shares, strict=True)]
        jax.tree.map(np.testing.assert_array_equal, joined, batches[start : start + 20])


def test_any_chain_of_resumes_is_the_unbroken_run(folders, whole):
    config, batches = whole
    stops = (0, 7, 8, 40, 41, 90)
    chain = [stream(folders, config, stop - start, start=start) for start, stop in itertools.pairwise(stops)]
    jax.tree.map(np.testing.assert_array_equal, list(itertools.chain(*chain)), batches[:90])


def test_three_worker_processes_make_the_stream_of_none(folders):
    """Of one and of two: tests/test_pipeline.py."""
    alone, three = (text_config(data__loader_workers=workers, **MIXED) for workers in (0, 3))
    jax.tree.map(np.testing.assert_array_equal, *(stream(folders, c, 6, start=17) for c in (three, alone)))


def drawn(folders, config, steps):
    """What is drawn, one (folder, position) after another."""
    config = dataclasses.replace(config, inputs=dataclasses.replace(config.inputs, mask_rate=0.0))
    known = {}
    for number, folder in enumerate(folders):
        for batch in pipeline.evaluation_batches(folder, config, "train"):
            for ids in batch["text"]["ids"]:
                known.setdefault(ids.tobytes(), (number, sum(which == number for which, _ in known.values())))
    return [known[ids.tobytes()] for batch in stream(folders, config, steps) for ids in batch["text"]["ids"]]


def test_an_epoch_shows_every_listing_once_in_another_order(folders):
    first, second = np.asarray(drawn(folders, text_config(), 10))[:, 1].reshape(2, 40)
    assert sorted(first) == sorted(second) == list(range(40))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    ("choice", "classes", "quotas"),
    [
        ("class_balanced", LONG_TAIL, [19, 18, 3]),  # three have no category, and 37 draws are of the others
        ("square_root", LONG_TAIL, [24, 13, 3]),
        ("by_source", SOURCES, [20, 20]),
    ],
)
def test_the_long_tail_is_drawn_as_it_was_chosen(folders, choice, classes, quotas):
    positions = np.asarray(drawn(folders, text_config(data__sampling=choice), 15))[:, 1].reshape(3, 40)
    labels = np.asarray([list(dict.fromkeys(classes)).index(name) for name in classes])
    for epoch in positions:
        assert np.bincount(labels[epoch]).tolist() == quotas
    counts = np.bincount(positions.ravel())
    for label in range(len(quotas)):
        assert np.ptp(counts[labels == label]) <= 1
    assert not np.array_equal(positions[0], np.sort(positions[0]))  # an epoch is shuffled, not class by class


def test_what_corruption_left_whole_is_what_is_sampled(folders):
    config = text_config(
        inputs__modalities=("text", "table"), data__sampling="class_balanced", data__complete_only=True
    )
    chosen = Corruption(missing_table=0.5)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, corruption=chosen))
    corrupted = [dataclasses.replace(folder, corruption=chosen, inputs=config.inputs) for folder in folders]
    complete = corrupted[0].complete("train").tolist()
    assert 10 < len(complete) < 30
    assert {position for _, position in drawn(corrupted, config, 20)} == set(complete)


def test_catalogues_are_mixed_by_weight_and_each_keeps_its_epochs(folders):
    places = drawn(folders, text_config(data__mix="second=0.25"), 25)
    seen = {number: [position for which, position in places if which == number] for number in (0, 1)}
    assert {number: len(positions) for number, positions in seen.items()} == {0: 160, 1: 40}
    for number, length in ((0, 40), (1, 11)):
        for start in range(0, len(seen[number]) - length + 1, length):
            assert sorted(seen[number][start : start + length]) == list(range(length))
    for start in range(0, 200, BATCH):
        assert 1 <= sum(which for which, _ in places[start : start + BATCH]) <= 2


def test_catalogues_of_one_length_are_shuffled_apart(folders):
    places = drawn((folders[1], folders[0]), text_config(data__mix="first=1"), 2)
    twin = drawn((folders[1], folders[1]), text_config(data__mix="first=1"), 2)
    assert collections.Counter(which for which, _ in places) == {0: 8, 1: 8}
    assert [position for _, position in twin[::2]] != [position for _, position in twin[1::2]]


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({"epochs": 1.0}, 5),
        ({"epochs": 1.5}, 8),  # 60 listings are 7.5 batches
        ({"epochs": 0.1, "batch_size": 4}, 1),
        ({"epochs": 2.2, "batch_size": 11}, 8),  # exactly: in floating point 88.00000000000001
        ({"epochs": 2.0, "data__mix": "second=1/2"}, 15),  # of 15 batches ten are of the first
        ({"steps": 7, "epochs": 0.0}, 7),
    ],
)
def test_epochs_become_steps(folders, changes, steps):
    config = text_config(**({"steps": 0} | changes))
    found = run.with_steps(config, folders[0])
    assert (found.steps, found.epochs) == (steps, 0.0)
    assert dataclasses.replace(found, steps=config.steps, epochs=config.epochs) == config


def test_the_facts_of_a_checkpoint_tell_sampling_and_mixture(folders):
    config = text_config()
    plain = run.facts_of(config, folders[0])["data"]
    assert plain.keys() == {"digest", "seed", "batch_size"}
    mixed = run.facts_of(text_config(data__mix="second=0.5", data__sampling="by_source"), folders[0], folders[1:])
    assert mixed["data"] == plain | {
        "sampling": "by_source",
        "mix 1 weight": "1/2",
        "mix 1 digest": folders[1].manifest["digest"],
    }
