"""What the masked objectives hide: how much, of what, and that nothing else changes."""

import numpy as np
import pytest
from test_tokenizer import wordpiece

from m5jax.data import masking

LENGTH, VOCABULARY = 40, 100


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    """A vocabulary whose special ids are scattered, so that no arithmetic of ids gets them right by accident."""
    pieces = [f"piece{i}" for i in range(VOCABULARY)]
    places = {0: "[PAD]", 13: "[UNK]", 14: "[MASK]", 50: "[unused1]", 51: "[SEP]", 77: "[unused2]", 99: "[CLS]"}
    pieces = [places.get(i, piece) for i, piece in enumerate(pieces)]
    return wordpiece(tmp_path_factory.mktemp("tokens"), pieces)


def generator(seed=0):
    return np.random.default_rng(seed)


def chosen(selection):
    return selection["positions"][selection["valid"]]


@pytest.mark.parametrize(
    ("candidates", "rate", "capacity", "count"),
    [(20, 0.15, 6, 3), (1, 0.15, 6, 1), (0, 0.15, 6, 0), (20, 0.9, 6, 6), (20, 0.0, 6, 0), (3, 1.0, 6, 3)],
)
def test_a_share_at_least_one_at_most_the_capacity(candidates, rate, capacity, count):
    for select in (masking.select, masking.mask_blocks):
        selection = select(generator(), np.arange(5, 5 + candidates), rate, capacity)
        assert selection["positions"].shape == selection["valid"].shape == (capacity,)
        assert len(chosen(selection)) == count
        assert len(set(chosen(selection))) == count
        assert set(chosen(selection)) <= set(range(5, 5 + candidates))
        assert selection["valid"].tolist() == [True] * count + [False] * (capacity - count)
        assert not selection["positions"][~selection["valid"]].any()


@pytest.mark.parametrize(("kept", "share"), [(masking.KEPT, 0.9), (0.0, 1.0)])
def test_of_the_blocks_of_a_picture_one_in_ten_stays_in_sight(kept, share):
    hidden = valid = 0
    for seed in range(1000):
        selection = masking.mask_blocks(generator(seed), np.arange(36), 0.3, 14, kept)
        assert not (selection["hidden"] & ~selection["valid"]).any()
        hidden, valid = hidden + selection["hidden"].sum(), valid + selection["valid"].sum()
    assert valid == 1000 * 11
    assert hidden / valid == pytest.approx(share, abs=0.01 if kept else 0)


def slow_language(rng, ids, rate, capacity, tokens):
    """The same draws, one piece after the other."""
    special = [i for i in range(tokens.size) if tokens.is_special[i]]
    candidates = [position for position, piece in enumerate(ids) if piece not in special]
    count = min(len(candidates), capacity, max(1, round(rate * len(candidates)))) if rate and candidates else 0
    draws = dict(zip(candidates, rng.random(len(candidates)), strict=True)) if count else {}
    positions = sorted(sorted(candidates, key=draws.__getitem__)[:count]) if count else []
    fates, others = rng.random(count), rng.integers(tokens.size - len(special), size=count)
    corrupted, pieces = list(ids), [i for i in range(tokens.size) if i not in special]
    for position, fate, other in zip(positions, fates, others, strict=True):
        if fate < 0.9:
            corrupted[position] = tokens.special.mask if fate < 0.8 else pieces[other]
    return corrupted, positions, [ids[position] for position in positions]


@pytest.mark.parametrize("rate", [0.15, 0.5, 0.0])
def test_language_is_masked_as_by_a_loop_over_the_pieces(tokens, rate):
    for seed in range(50):
        ids = generator(seed).integers(0, VOCABULARY, LENGTH).astype(np.int32)
        corrupted, selection = masking.mask_language(generator(seed), ids, rate, 12, tokens)
        expected, positions, targets = slow_language(generator(seed), ids, rate, 12, tokens)
        assert corrupted.tolist() == expected
        assert chosen(selection).tolist() == positions
        assert selection["targets"][selection["valid"]].tolist() == targets
        assert (corrupted.dtype, selection["targets"].dtype) == (np.int32, np.int32)


def test_language_is_masked_80_10_10_and_the_targets_are_the_originals(tokens):
    ids = generator().choice(tokens.pieces, LENGTH).astype(np.int32)
    ids[[0, -1]] = tokens.special.cls, tokens.special.sep
    fates = {"mask": 0, "same": 0, "other": 0}
    for seed in range(400):
        corrupted, selection = masking.mask_language(generator(seed), ids, 0.5, 20, tokens)
        positions = chosen(selection)
        untouched = np.setdiff1d(np.arange(LENGTH), positions)
        np.testing.assert_array_equal(corrupted[untouched], ids[untouched])
        np.testing.assert_array_equal(selection["targets"][selection["valid"]], ids[positions])
        assert not tokens.is_special[ids[positions]].any()
        for position in positions:
            fate = "mask" if corrupted[position] == tokens.special.mask else "same"
            fates["other" if fate == "same" and corrupted[position] != ids[position] else fate] += 1
            assert fate == "mask" or not tokens.is_special[corrupted[position]]
    total = sum(fates.values())
    assert total == 400 * 19
    assert fates["mask"] / total == pytest.approx(0.8, abs=0.02)
    assert fates["other"] / total == pytest.approx(0.1, abs=0.015)


def test_of_special_ids_alone_nothing_is_selected(tokens):
    ids = np.flatnonzero(tokens.is_special).astype(np.int32)
    corrupted, selection = masking.mask_language(generator(), ids, 0.5, 4, tokens)
    np.testing.assert_array_equal(corrupted, ids)
    assert not selection["valid"].any()
    assert 0 <= selection["targets"].min() <= selection["targets"].max() < tokens.size


ENTITIES = [np.array(part) for part in ([2], [4, 5], [7, 8], [10], [12], [14, 15, 16])]


def slow_entities(rng, ids, entities, rate, capacity, tokens):
    """The same draws, one field after the other."""
    hidden, fields = [], list(zip(entities[::2], entities[1::2], strict=True))
    order = rng.permutation(len(fields)) if rate and fields else []
    for field in order[: max(1, round(rate * len(fields)))]:
        name, value = fields[field]
        entity = value if rng.integers(2) else name
        if len(hidden) + len(entity) <= capacity:
            hidden += list(entity)
    corrupted = [tokens.special.mask if position in hidden else piece for position, piece in enumerate(ids)]
    return corrupted, [position for position in sorted(hidden) if not tokens.is_special[ids[position]]]


@pytest.mark.parametrize(("rate", "capacity"), [(0.15, 8), (0.7, 8), (1.0, 3), (0.0, 8)])
def test_entities_are_masked_as_by_a_loop_over_the_fields(tokens, rate, capacity):
    for seed in range(50):
        ids = generator(seed).integers(0, VOCABULARY, LENGTH).astype(np.int32)
        corrupted, selection = masking.mask_entities(generator(seed), ids, ENTITIES, rate, capacity, tokens)
        expected, positions = slow_entities(generator(seed), ids, ENTITIES, rate, capacity, tokens)
        assert corrupted.tolist() == expected
        assert chosen(selection).tolist() == positions
        assert selection["targets"][selection["valid"]].tolist() == [ids[position] for position in positions]


def test_entities_are_masked_whole_a_name_or_a_value_by_a_fair_coin(tokens):
    ids, counts = np.where(np.arange(LENGTH) % 2, 20, 30).astype(np.int32), {}
    for seed in range(600):
        corrupted, selection = masking.mask_entities(generator(seed), ids, ENTITIES, 0.34, 8, tokens)
        positions = tuple(chosen(selection))
        assert positions in {tuple(entity) for entity in ENTITIES}
        counts[positions] = counts.get(positions, 0) + 1
        assert (corrupted[list(positions)] == tokens.special.mask).all()
        assert (corrupted != ids).sum() == len(positions)
    assert min(counts.values()) > 70  # 100 of each expected; three standard deviations are 27
    assert len(counts) == len(ENTITIES)


def test_unknown_pieces_are_hidden_with_their_entity_but_never_predicted(tokens):
    ids = np.full(LENGTH, 20, np.int32)
    ids[[2, 4]] = tokens.special.unk
    for seed in range(10):
        corrupted, selection = masking.mask_entities(
            generator(seed), ids, [np.array([2]), np.arange(4, 7)], 1, 8, tokens
        )
        hidden = np.flatnonzero(corrupted == tokens.special.mask).tolist()
        assert hidden in ([2], [4, 5, 6])
        assert chosen(selection).tolist() == [position for position in hidden if position > 4]


def test_an_entity_that_does_not_fit_is_left_alone_and_no_entity_is_no_selection(tokens):
    ids = np.arange(10, 10 + LENGTH).astype(np.int32)
    corrupted, selection = masking.mask_entities(generator(), ids, [np.arange(1, 9), np.arange(10, 20)], 1.0, 4, tokens)
    np.testing.assert_array_equal(corrupted, ids)
    assert not selection["valid"].any()
    assert not masking.mask_entities(generator(), ids, [], 0.15, 4, tokens)[1]["valid"].any()
