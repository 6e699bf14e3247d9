"""Neighbours against a full sort: exact, in the order of the tie rule, in blocks of one shape."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rankings import random, signs, slow_ranking, unit

from m5jax.evals import search

BLOCK = 16  # small, so that few rows make several blocks
SOME_ROWS = st.sampled_from([0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5])


def top_k(queries, gallery, k, query_valid=None, gallery_valid=None, exclude=None, block=BLOCK, devices=None):
    return search.top_k(
        queries,
        gallery,
        k,
        query_valid=np.ones(len(queries), bool) if query_valid is None else query_valid,
        gallery_valid=np.ones(len(gallery), bool) if gallery_valid is None else gallery_valid,
        exclude=np.full(len(queries), -1) if exclude is None else exclude,
        block=block,
        devices=devices,
    )


@settings(max_examples=40, deadline=None, database=None)
@given(queries=SOME_ROWS, gallery=SOME_ROWS, k=st.sampled_from([1, 7, BLOCK, 60]), seed=st.integers(0, 1000))
def test_top_k_agrees_with_a_full_sort(queries, gallery, k, seed):
    rng = np.random.default_rng(seed)
    query_vectors, gallery_vectors = signs(rng, queries), signs(rng, gallery)
    masks = (rng.random(queries) < 0.8, rng.random(gallery) < 0.8, rng.integers(-1, gallery, queries))
    rows, cosines = top_k(query_vectors, gallery_vectors, k, *masks)
    rankings, expected = slow_ranking(query_vectors, gallery_vectors, *masks)
    assert rows.shape == cosines.shape == (queries, k)
    assert (rows.dtype, cosines.dtype) == (np.int32, np.float32)
    for query, ranking in enumerate(rankings):
        found = ranking[:k]
        assert rows[query].tolist() == found + [-1] * (k - len(found))
        np.testing.assert_allclose(cosines[query, : len(found)], expected[query, found], atol=1e-6)
        assert np.all(cosines[query, len(found) :] == -np.inf)


def test_top_k_of_ordinary_vectors_over_several_default_blocks():
    queries, gallery = random((search.BLOCK // 8 + 30, 24), 1), random((2 * search.BLOCK + 300, 24), 2)
    rows, _ = top_k(queries, gallery, 10, block=search.BLOCK)
    exact = np.argsort(-unit(queries) @ unit(gallery).T, axis=1)[:, :10]
    assert (rows == exact).mean() > 0.999  # float32 may swap cosines that differ in the seventh digit


def test_the_lower_of_identical_rows_comes_first_in_any_block():
    gallery = np.tile(random((11, 24), 3), (9, 1))  # copies stand at other places in other blocks
    rows, cosines = top_k(random((40, 24), 4), gallery, 99)
    for query in range(40):
        groups = rows[query].reshape(11, 9)
        assert np.all(np.diff(groups, axis=1) == 11), "copies must come one after the other, lowest first"
        assert np.all(np.ptp(cosines[query].reshape(11, 9), axis=1) == 0)


def test_minus_zero_ties_with_zero():
    rows, cosines = top_k(np.ones((1, 1), np.float32), np.asarray([[-0.0], [0.0], [-0.0]], np.float32), 3)
    assert rows.tolist() == [[0, 1, 2]]
    assert not np.signbit(cosines).any()


def test_zero_vectors_have_cosine_zero():
    _, cosines = top_k(np.zeros((2, 8), np.float32), random((5, 8)), 5)
    assert np.all(cosines == 0)


def test_dot_products_rank_long_vectors_first():
    gallery = np.asarray([[1, 0], [3, 1], [3, 1], [-1, 0], [0, 0]], np.float32)
    queries, everything = np.asarray([[2, 0]], np.float32), np.ones(5, bool)
    sides = {"query_valid": np.ones(1, bool), "gallery_valid": everything, "exclude": np.asarray([-1]), "score": "dot"}
    rows, products = search.top_k(queries, gallery, 5, block=2, **sides)
    assert (rows.tolist(), products.tolist()) == ([[1, 2, 0, 4, 3]], [[6, 6, 2, 0, -2]])
    ((_, order),) = search.rankings(queries, gallery, **sides)
    assert order.tolist() == rows.tolist()
    with pytest.raises(ValueError, match="score 'euclid' must be cosine or dot"):
        search.top_k(queries, gallery, 5, **sides | {"score": "euclid"})


@pytest.mark.parametrize("scale", [1e-3, 2.0**10, 1e6])
def test_length_of_the_vectors_does_not_matter(scale):
    queries, gallery = random((20, 24), 5), random((50, 24), 6)
    factors = np.where(np.arange(50) % 2, scale, 1)[:, None].astype(np.float32)
    rows, cosines = top_k(queries, gallery, 10)
    scaled_rows, scaled_cosines = top_k(queries * np.float32(scale), gallery * factors, 10)
    assert np.array_equal(rows, scaled_rows)
    np.testing.assert_allclose(cosines, scaled_cosines, atol=1e-6)


def test_what_stands_in_a_row_without_embedding_changes_nothing():
    queries, gallery = random((6, 8), 7), random((30, 8), 8)
    query_valid, gallery_valid = np.arange(6) != 2, np.arange(30) % 3 > 0
    expected = top_k(queries, gallery, 5, query_valid, gallery_valid)
    queries[2], gallery[~gallery_valid] = np.nan, np.inf
    for before, after in zip(expected, top_k(queries, gallery, 5, query_valid, gallery_valid), strict=True):
        assert np.array_equal(before, after)
    assert np.all(expected[0][2] == -1)


def test_half_precision_embeddings_are_compared_in_float32():
    queries, gallery = random((5, 8)).astype(np.float16), random((40, 8), 1).astype(np.float16)
    expected = top_k(queries.astype(np.float32), gallery.astype(np.float32), 5)
    for half, full in zip(top_k(queries, gallery, 5), expected, strict=True):
        assert np.array_equal(half, full)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("side", ["query", "gallery"])
def test_an_embedding_that_is_not_finite_is_named(side, value):
    vectors = {"query": random((40, 4)), "gallery": random((40, 4))}
    vectors[side][BLOCK + 3, 1] = value
    with pytest.raises(ValueError, match=f"{side} embedding {BLOCK + 3} is marked valid but is not finite"):
        top_k(vectors["query"], vectors["gallery"], 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"queries": random((4, 5))}, r"\(4, 5\).*\(9, 3\)"),
        ({"queries": random(4)}, "rows, D"),
        ({"query_valid": np.ones(3, bool)}, r"query_valid has shape \(3,\).* 4 query"),
        ({"gallery_valid": np.ones(4, bool)}, r"gallery_valid has shape \(4,\).* 9 gallery"),
        ({"exclude": np.full(5, -1)}, r"exclude has shape \(5,\)"),
        ({"exclude": np.asarray([0, 9, 1, 2])}, "row 9 of 9"),
        ({"exclude": np.asarray([0, 1, -2, 2])}, "row -2 of 9"),
        ({"k": 0}, "k = 0 must be at least 1"),
        ({"block": 257}, "block = 257 must be at most 256 or a multiple"),
    ],
)
def test_arrays_that_do_not_fit_together_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        top_k(**{"queries": random((4, 3)), "gallery": random((9, 3)), "k": 2} | arguments)


def test_more_rows_need_no_further_compilation():
    traces = []

    def listen(event, duration, **_):
        traces.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for gallery in (5, BLOCK + 1):  # on one device, and on all
            top_k(random((3, 7)), random((gallery, 7)), 4)
        first = len(traces)
        for queries, gallery in [(BLOCK, BLOCK), (BLOCK + 1, 5 * BLOCK + 2), (100, 333)]:
            top_k(random((queries, 7)), random((gallery, 7)), 4)
        assert first > 0
        assert traces[first:] == []
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_no_more_than_a_block_is_compared_at_once_on_a_device(monkeypatch):
    shapes, merge = set(), search._merge_here

    def spy(best, queries, gallery):
        shapes.update([(side.vectors.shape, side.valid.shape) for side in (queries, gallery)])
        shapes.add(best.rows.shape)
        return merge(best, queries, gallery)

    monkeypatch.setattr(search, "_merge_here", spy)
    top_k(random((70, 23)), random((200, 23)), 3)  # a width that nothing else was compiled for
    assert shapes == {((BLOCK, 23), (BLOCK,)), (BLOCK, 3)}


@pytest.mark.parametrize("order", [1, -1], ids=["every block is better than all before", "no block is"])
@pytest.mark.parametrize("k", [1, 30, 700])
def test_any_order_of_the_gallery_gives_the_same_neighbours(order, k):
    # Cosines that rise or fall row by row, in blocks of groups of several rows: all rungs of `FEW` and the whole block.
    rows = 2600
    angles = np.linspace(0.2, 1.4, rows)[::-order]
    gallery = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    own = np.asarray([-1, np.argmin(angles), -1])
    queries = np.asarray([[1, 0], [1, 0], [0, 1]], np.float32)
    found, cosines = top_k(queries, gallery, k, exclude=own, block=1024)
    nearest = np.argsort(angles)
    for query, expected in enumerate([nearest, nearest[1:], nearest[::-1]]):
        assert found[query].tolist() == expected[:k].tolist()
    assert np.all(np.diff(cosines, axis=1) <= 0)


def test_ties_within_and_across_groups_go_to_the_lower_row():
    levels = np.random.default_rng(9).integers(0, 5, 3000)  # five different cosines among 3,000 rows
    angles = 0.3 * levels
    gallery = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    rows, _ = top_k(np.asarray([[1, 0]], np.float32), gallery, 1200, block=1024)
    assert rows[0].tolist() == np.argsort(levels, kind="stable")[:1200].tolist()


@pytest.mark.parametrize("gallery", [1, BLOCK, 5 * BLOCK + 3, 20 * BLOCK])
def test_one_device_and_eight_find_the_same(gallery):
    rng = np.random.default_rng(gallery)
    queries, rows = random((40, 12), 1), np.concatenate([random((gallery, 12), 2), signs(rng, gallery)[:, :12]])
    masks = rng.random(40) < 0.9, rng.random(2 * gallery) < 0.9, rng.integers(-1, 2 * gallery, 40)
    assert len(jax.local_devices()) == 8
    alone, together = (top_k(queries, rows, 9, *masks, devices=jax.local_devices()[:n]) for n in (1, 8))
    for one, eight in zip(alone, together, strict=True):
        assert np.array_equal(one, eight)


def test_a_run_that_has_a_mesh_of_its_own_is_left_alone():
    queries, gallery = random((5, 8)), random((70, 8), 1)
    sides = {"query_valid": np.ones(5, bool), "gallery_valid": np.ones(70, bool), "exclude": np.full(5, -1)}
    expected, _ = search.top_k(queries, gallery, 70, **sides)
    mesh = jax.sharding.Mesh(np.asarray(jax.devices(), object).reshape(4, 2), ("data", "model"))
    with jax.set_mesh(mesh):
        rows, _ = search.top_k(queries, gallery, 70, **sides)
        for _, ranking in search.rankings(queries, gallery, **sides):
            assert jax.sharding.get_abstract_mesh() == mesh.abstract_mesh
            assert np.array_equal(ranking, expected)
    assert np.array_equal(rows, expected)


def test_the_gallery_may_lie_on_disk(tmp_path):
    vectors = random((300, 8), 3).astype(np.float16)
    np.save(tmp_path / "gallery.npy", vectors)
    mapped = np.load(tmp_path / "gallery.npy", mmap_mode="r")
    for disk, memory in zip(top_k(random((9, 8)), mapped, 4), top_k(random((9, 8)), vectors, 4), strict=True):
        assert np.array_equal(disk, memory)


def test_a_device_holds_no_matrix_of_scores():
    coarse = search.device_bytes(24_410, 768, 110)  # whatever the gallery: M5Product's has 1,197,905 rows
    assert coarse < 200 * 2**20
    assert search.device_bytes(2 * 24_410, 768, 110) < 2 * coarse
