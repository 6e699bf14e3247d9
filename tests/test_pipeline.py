"""A batch is a function of (seed, step): whoever makes it, and from wherever one starts."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest

from m5jax.data import pipeline, records

STEPS = 9


def batches(prepared, config, steps=STEPS, **options):
    return list(itertools.islice(pipeline.training_batches(prepared, config, **options), steps))


def assert_equal(first, second):
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def stream(prepared, three_modalities):
    return batches(prepared, three_modalities)


def test_every_start_gives_the_rest_of_the_same_stream(prepared, three_modalities, stream):
    for start in (1, 5):  # in the first pass over 24 listings, and in the second
        assert_equal(batches(prepared, three_modalities, STEPS - start, start=start), stream[start:])


def test_another_seed_gives_another_stream_and_every_pass_another_order(prepared, three_modalities, stream):
    (other,) = batches(prepared, dataclasses.replace(three_modalities, seed=1), 1)
    assert not np.array_equal(other["text"]["ids"], stream[0]["text"]["ids"])
    assert not np.array_equal(stream[3]["text"]["ids"], stream[0]["text"]["ids"])  # a pass is three batches


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_worker_processes_changes_nothing(prepared, three_modalities, stream, workers):
    data = dataclasses.replace(three_modalities.data, loader_workers=workers)
    assert_equal(batches(prepared, dataclasses.replace(three_modalities, data=data), 4, start=2), stream[2:6])


@pytest.mark.parametrize("count", [2, 4])
def test_the_shares_of_the_processes_make_up_the_same_global_batch(prepared, three_modalities, stream, count):
    shares = [batches(prepared, three_modalities, share=pipeline.Share(index, count)) for index in range(count)]
    for step in range(STEPS):
        joined = jax.tree.map(lambda *parts: np.concatenate(parts), *(share[step] for share in shares))
        assert_equal(joined, stream[step])


def test_evaluation_shows_every_listing_once_in_record_order_whatever_the_batch(prepared, three_modalities):
    whole = None
    for size in (16, 8, 10):
        sized = dataclasses.replace(three_modalities.evaluate, batch_size=size)
        config = dataclasses.replace(three_modalities, evaluate=sized)
        made = list(pipeline.evaluation_batches(prepared, config, "gallery"))
        total = prepared.splits["gallery"]
        assert len(made) == -(-total // size)
        joined = jax.tree.map(lambda *parts: np.concatenate(parts), *made)
        assert joined["valid"].tolist() == [True] * total + [False] * (len(made) * size - total)
        assert not joined["text"]["mask"][total:].any()
        rows = jax.tree.map(lambda x, n=total: x[:n], joined)
        if whole is not None:
            assert_equal(rows, whole)
        whole = rows


def test_a_listing_is_shown_the_same_way_whatever_batch_it_is_in(prepared, three_modalities):
    """Random choices belong to the listing's place in the stream, not to the batch."""
    smaller = dataclasses.replace(three_modalities, batch_size=4)
    small = batches(prepared, smaller, 4)
    joined = [jax.tree.map(lambda *parts: np.concatenate(parts), *small[i : i + 2]) for i in (0, 2)]
    assert_equal(joined, batches(prepared, three_modalities, 2))


def test_a_damaged_record_keeps_its_place(prepared, three_modalities, stream, monkeypatch):
    read = records.Records.__getitem__
    monkeypatch.setattr(records.Records, "__getitem__", lambda self, i: records.DAMAGED if i == 3 else read(self, i))
    damaged = batches(prepared, three_modalities, 3)  # one pass
    valid = np.concatenate([batch["valid"] for batch in damaged])
    assert (~valid).sum() == 1
    before = jax.tree.map(lambda *parts: np.concatenate(parts)[valid], *stream[:3])
    assert_equal(jax.tree.map(lambda *parts: np.concatenate(parts)[valid], *damaged), before)
