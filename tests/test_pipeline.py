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


def inputs_changed(config, **changes):
    return dataclasses.replace(config, inputs=dataclasses.replace(config.inputs, **changes))


def plain(config, **changes):
    """Without anything random about a picture but whose it is."""
    image = dataclasses.replace(config.inputs.image, crop=1.0, flip=False)
    return inputs_changed(config, image=image, mask_rate=0.0, **changes)


def joined(steps):
    return jax.tree.map(lambda *parts: np.concatenate(parts), *steps)


def test_mismatched_listings_show_the_next_ones_picture_of_the_stream(prepared, three_modalities):
    own = joined(batches(prepared, plain(three_modalities)))
    config = plain(three_modalities, mismatch=0.5)
    made = joined(batches(prepared, config))
    mismatched = made.pop("mismatched")
    for name in ("text", "valid"):  # only pictures are exchanged
        assert_equal(made[name], own[name])
    picture, shown, text = own["image"]["values"], made["image"]["values"], own["text"]["mask"].any(1)
    there = own["image"]["mask"].any(1)
    can = there[:-1] & there[1:] & text[:-1] & (picture[:-1] != picture[1:]).any((1, 2, 3))
    assert can.sum() > 15
    assert not mismatched[:-1][~can].any()
    assert 0.2 < mismatched[:-1][can].mean() < 0.8
    np.testing.assert_array_equal(shown[:-1], np.where(mismatched[:-1, None, None, None], picture[1:], picture[:-1]))
    np.testing.assert_array_equal(made["image"]["mask"], own["image"]["mask"])
    assert_equal(batches(prepared, config, 3, start=2), batches(prepared, config, 5)[2:])


def test_a_mismatch_is_the_same_for_any_number_of_workers_and_processes(prepared, three_modalities):
    config = plain(three_modalities, mismatch=0.9)
    made = batches(prepared, config, 3)
    data = dataclasses.replace(config.data, loader_workers=1)
    assert_equal(batches(prepared, dataclasses.replace(config, data=data), 3), made)
    shares = [batches(prepared, config, 3, share=pipeline.Share(index, 2)) for index in range(2)]
    for step in range(3):
        assert_equal(joined([share[step] for share in shares]), made[step])


def test_a_picture_of_the_same_product_or_of_a_hidden_modality_is_no_mismatch(prepared, three_modalities, monkeypatch):
    read = records.Records.__getitem__
    product = inputs_changed(three_modalities, mismatch=0.9, drop_modality=0.5)
    made = joined(batches(prepared, product))
    shown = made["image"]["mask"].any(1) & made["text"]["mask"].any(1)
    assert made["mismatched"][shown].any()
    assert not made["mismatched"][~shown].any()
    one = {"instance_id": "the same"}
    monkeypatch.setattr(records.Records, "__getitem__", lambda self, i: dataclasses.replace(read(self, i), **one))
    assert not joined(batches(prepared, inputs_changed(three_modalities, mismatch=0.9)))["mismatched"].any()


def test_of_the_modalities_that_have_a_masked_objective_one_is_masked(prepared, three_modalities):
    config = inputs_changed(three_modalities, mask_one=True)
    made = joined(batches(prepared, config))
    there = np.stack([made[name]["mask"].any(1) for name in ("image", "text", "table")], 1)
    masked = np.stack([made[name]["masked"]["valid"].any(1) for name in ("image", "text", "table")], 1)
    assert (masked.sum(1) == there.any(1)).all()
    assert masked.any(0).all()
    clear = joined(batches(prepared, plain(three_modalities)))  # rows of tables are in another order
    same = (made["text"]["ids"] == clear["text"]["ids"]).all(1)
    assert same[~masked[:, 1]].all()
    assert not made["image"]["masked"]["hidden"][~masked[:, 0]].any()
    objective = dataclasses.replace(config.objective, masked_region=0.0, masked_entity=0.0)
    alone = joined(batches(prepared, dataclasses.replace(config, objective=objective)))
    np.testing.assert_array_equal(alone["text"]["masked"]["valid"].any(1), there[:, 1])
    assert not alone["image"]["masked"]["valid"].any()
