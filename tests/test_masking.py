"""What the masked objectives hide: how much, of what, and that nothing else changes."""

import numpy as np
import pytest

from m5jax.data import masking, tokenizer

LENGTH, VOCABULARY = 40, 100


def generator(seed=0):
    return np.random.default_rng(seed)


def chosen(selection):
    return selection["positions"][selection["valid"]]


@pytest.mark.parametrize(
    ("candidates", "rate", "capacity", "count"),
    [(20, 0.15, 6, 3), (1, 0.15, 6, 1), (0, 0.15, 6, 0), (20, 0.9, 6, 6), (20, 0.0, 6, 0), (3, 1.0, 6, 3)],
)
def test_a_share_at_least_one_at_most_the_capacity(candidates, rate, capacity, count):
    selection = masking.select(generator(), np.arange(5, 5 + candidates), rate, capacity)
    assert selection["positions"].shape == selection["valid"].shape == (capacity,)
    assert len(chosen(selection)) == count
    assert len(set(chosen(selection))) == count
    assert set(chosen(selection)) <= set(range(5, 5 + candidates))
    assert selection["valid"].tolist() == [True] * count + [False] * (capacity - count)


def test_language_is_masked_80_10_10_and_the_targets_are_the_originals():
    ids = generator().integers(tokenizer.VALUE + 1, VOCABULARY, LENGTH).astype(np.int32)
    candidates, fates = np.arange(1, LENGTH - 1), {"mask": 0, "same": 0, "other": 0}
    for seed in range(400):
        corrupted, selection = masking.mask_language(generator(seed), ids, candidates, 0.5, 20, VOCABULARY)
        positions = chosen(selection)
        untouched = np.setdiff1d(np.arange(LENGTH), positions)
        np.testing.assert_array_equal(corrupted[untouched], ids[untouched])
        np.testing.assert_array_equal(selection["targets"][selection["valid"]], ids[positions])
        assert corrupted.min() >= tokenizer.MASK
        for position in positions:
            fate = "mask" if corrupted[position] == tokenizer.MASK else "same"
            fates["other" if fate == "same" and corrupted[position] != ids[position] else fate] += 1
    total = sum(fates.values())
    assert total == 400 * 19
    assert fates["mask"] / total == pytest.approx(0.8, abs=0.02)
    assert fates["other"] / total == pytest.approx(0.1, abs=0.015)


def test_entities_are_masked_whole_a_name_or_a_value():
    ids = np.arange(10, 10 + LENGTH).astype(np.int32)
    entities = [
        np.array([2]),
        np.array([4, 5]),
        np.array([7, 8]),
        np.array([10]),
        np.array([12]),
        np.array([14, 15, 16]),
    ]
    seen = set()
    for seed in range(200):
        corrupted, selection = masking.mask_entities(generator(seed), ids, entities, 0.34, 8)
        positions = tuple(chosen(selection))
        assert positions in {tuple(entity) for entity in entities}
        seen.add(positions)
        assert (corrupted[list(positions)] == tokenizer.MASK).all()
        assert (corrupted != ids).sum() == len(positions)
        np.testing.assert_array_equal(selection["targets"][selection["valid"]], ids[list(positions)])
    assert len(seen) == len(entities)


def test_an_entity_that_does_not_fit_is_left_alone_and_no_entity_is_no_selection():
    ids = np.arange(10, 10 + LENGTH).astype(np.int32)
    corrupted, selection = masking.mask_entities(generator(), ids, [np.arange(1, 9), np.arange(10, 20)], 1.0, 4)
    np.testing.assert_array_equal(corrupted, ids)
    assert not selection["valid"].any()
    assert not masking.mask_entities(generator(), ids, [], 0.15, 4)[1]["valid"].any()
