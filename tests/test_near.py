"""Near pairs of hashes: all of them, each once, and none besides; what was not compared is counted."""

import numpy as np
import pytest

from m5jax.validation import near


def flipped(rng, hashes, bits):
    """The hashes with so many bits of each turned over."""
    other = hashes.copy()
    for row in other:
        for bit in rng.choice(256, bits, replace=False):
            row[bit // 64] ^= np.uint64(1 << int(bit % 64))
    return other


def catalogue(seed, count):
    """Pictures with their near and not so near likenesses; every other picture has white margins."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, (count, 4), dtype=np.uint64)
    hashes[::2, ::3] = 0  # the first and last rows of pixels
    return np.unique(np.concatenate([hashes, *(flipped(rng, hashes, bits) for bits in range(1, 7))]), axis=0)


def slow(hashes):
    return {
        (i, j)
        for i in range(len(hashes))
        for j in (i + 1 + np.flatnonzero(np.bitwise_count(hashes[i + 1 :] ^ hashes[i]).sum(1) <= near.MOST)).tolist()
    }


def pairs(search):
    return [tuple(sorted(pair)) for i, j in search.pairs() for pair in zip(i.tolist(), j.tolist(), strict=True)]


@pytest.mark.parametrize("hashes", [catalogue(seed, count) for seed, count in ((0, 60), (1, 7), (2, 1))])
def test_all_near_pairs_are_found_once_as_by_comparing_all_with_all(hashes):
    search = near.Search(hashes)
    found = pairs(search)
    assert len(found) == len(set(found))
    assert set(found) == slow(hashes)
    assert len(found) > len(hashes) / 2
    assert search.skipped == 0


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_is_near_to_nothing(count):
    assert pairs(near.Search(np.zeros((count, 4), np.uint64))) == []


def test_pictures_that_are_all_but_blank_are_all_near(tmp_path):
    blank = flipped(np.random.default_rng(0), np.zeros((256, 4), np.uint64), 2)
    hashes = np.unique(blank, axis=0)
    assert set(pairs(near.Search(hashes))) == slow(hashes)
    assert len(slow(hashes)) == len(hashes) * (len(hashes) - 1) / 2


def test_comparisons_are_bounded_and_those_left_out_are_counted():
    hashes = np.unique(flipped(np.random.default_rng(0), np.zeros((256, 4), np.uint64), 2), axis=0)
    search = near.Search(hashes, longest=5)
    assert set(pairs(search)) < slow(hashes)
    assert search.skipped > 0
    assert search.compared <= 15 * 5 * len(hashes)


def test_bands_share_out_the_bits_evenly_and_pieces_are_bounded(monkeypatch):
    bands = near._bands(256)
    assert np.bitwise_count(bands).sum() == 256
    assert set(np.bitwise_count(bands).sum(1).tolist()) == {42, 43}
    monkeypatch.setattr(near, "CHUNK", 10)
    hashes = catalogue(3, 20)
    assert set(pairs(near.Search(hashes))) == slow(hashes)
    assert all(len(i) <= 10 for i, _ in near.Search(hashes).pairs())
