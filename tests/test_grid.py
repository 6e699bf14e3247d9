"""The subset grid: its cells are those of retrieval one by one, and known answers are found."""

import itertools

import numpy as np
import pytest
from rankings import random, signs

from m5jax.evals import grid, retrieval
from m5jax.evals.grid import Side
from m5jax.evals.protocols import PROTOCOLS


def made(seed, subsets=4, queries=30, listings=50):
    """Both sides in some subsets, with equal cosines and listings that lack this and that."""
    rng = np.random.default_rng(seed)
    sides = []
    for count in (queries, listings):
        vectors = np.stack([signs(rng, count) for _ in range(subsets)])
        sides.append(Side(vectors, rng.random((subsets, count)) < 0.7))
    sides[0].valid[1] = False  # no query has the second subset, no listing the third
    sides[1].valid[2] = False
    labels = [rng.integers(-1, 6, count) for count in (queries, listings)]
    return *sides, {"category": tuple(labels), "instance": tuple(np.where(of > 3, of, -1) for of in labels)}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_cell_is_retrieval_by_the_queries_that_have_the_subset(monkeypatch, protocol):
    monkeypatch.setattr(grid, "QUERIES_AT_ONCE", 7)
    queries, gallery, tasks = made(0)
    found = grid.evaluate(queries, gallery, tasks, k=10, protocol=protocol)
    assert list(found) == list(tasks)
    for task, (asked, searched) in tasks.items():
        for s, t in itertools.product(range(4), range(4)):
            cell = {name: scores[s, t] for name, scores in found[task].scores.items()}
            if s == 1 or t == 2:
                assert np.isnan(list(cell.values())).all()
                assert found[task].queries[s, t] == 0
                continue
            rows = np.flatnonzero(queries.valid[s])
            twin = retrieval.evaluate(
                queries.vectors[s][rows],
                gallery.vectors[t],
                asked[rows],
                searched,
                ks=(1, 10),
                query_valid=np.ones(len(rows), bool),
                gallery_valid=gallery.valid[t],
                protocol=protocol,
                others=asked,
            )
            assert cell == pytest.approx({name: twin.scores[name] for name in cell}, abs=1e-12)
            assert list(cell) == ["p@1", "map@10", "recall@10"]
            assert found[task].queries[s, t] == twin.scores["answerable"]
            scored = np.flatnonzero(~np.isnan(found[task].first[s, t]))
            np.testing.assert_array_equal(scored, rows[twin.query_rows])
            np.testing.assert_array_equal(found[task].first[s, t, scored], twin.values["p@1"].astype(np.float32))


def test_a_picture_that_points_at_titles_finds_them_and_nothing_else():
    """By hand: pictures lie where the titles of their kind do, tables where those of the next kind do."""
    kinds = np.arange(6) % 3
    picture, title, table = np.eye(3)[kinds], np.eye(3)[kinds], np.eye(3)[(kinds + 1) % 3]
    queries = Side(np.stack([picture, title, table]), np.ones((3, 6), bool))
    gallery = Side(np.stack([picture, title, table]), np.ones((3, 6), bool))
    found = grid.evaluate(queries, gallery, {"kind": (kinds, kinds)}, k=2, protocol="standard")["kind"]
    for name in ("p@1", "map@2", "recall@2"):
        np.testing.assert_array_equal(found.scores[name], [[1, 1, 0], [1, 1, 0], [0, 0, 1]])
    assert (found.queries == 6).all()


def test_a_listing_finds_itself_among_those_that_have_both():
    """The twin: retrieval in which every listing is a class of its own, without those that lack either side."""
    rng = np.random.default_rng(1)
    listings = Side(np.stack([signs(rng, 40) for _ in range(3)]), rng.random((3, 40)) < 0.6)
    apart = ~np.eye(3, dtype=bool)
    apart[0, 2] = False
    found = grid.itself(listings, apart, k=5)
    for s, t in itertools.product(range(3), range(3)):
        if not apart[s, t]:
            assert np.isnan(found.scores["p@1"][s, t])
            assert found.queries[s, t] == 0
            continue
        both = np.flatnonzero(listings.valid[s] & listings.valid[t])
        every = np.ones(len(both), bool)
        twin = retrieval.evaluate(
            listings.vectors[s][both],
            listings.vectors[t][both],
            np.arange(len(both)),
            np.arange(len(both)),
            ks=(1, 5),
            query_valid=every,
            gallery_valid=every,
        )
        cell = {name: scores[s, t] for name, scores in found.scores.items()}
        assert cell == pytest.approx({name: twin.scores[name] for name in cell}, abs=1e-12)
        assert found.queries[s, t] == len(both)


def test_nothing_to_ask_or_to_search_is_no_score():
    queries, gallery, _ = made(2)
    nobody, nothing = (
        Side(queries.vectors[:, :0], queries.valid[:, :0]),
        Side(gallery.vectors[:, :0], gallery.valid[:, :0]),
    )
    known = np.zeros(30, int), np.zeros(50, int)
    unknown = np.full(30, -1), np.full(50, -1)
    empty = np.zeros(0, int)
    for sides, labels in (
        ((nobody, gallery), (empty, known[1])),
        ((queries, nothing), (known[0], empty)),
        ((queries, gallery), (unknown[0], known[1])),
    ):
        found = grid.evaluate(*sides, {"task": labels}, k=3, protocol="standard")["task"]
        assert not found.queries.any()
        assert all(np.isnan(scores).all() for scores in found.scores.values())
    assert not grid.itself(nothing, np.ones((4, 4), bool), k=3).queries.any()


def test_k_may_exceed_the_gallery_and_zero_vectors_are_ranked_by_the_tie_rule():
    zeros = Side(np.zeros((1, 3, 4), np.float32), np.ones((1, 3), bool))
    labels = np.array([0, 1, 2])
    found = grid.evaluate(zeros, zeros, {"task": (labels, labels)}, k=9, protocol="standard")["task"]
    assert found.scores["p@1"][0, 0] == pytest.approx(1 / 3)  # the lowest row is found first, and is right once
    assert found.scores["map@9"][0, 0] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    assert found.scores["recall@9"][0, 0] == 1


def test_what_is_broken_is_refused_and_what_is_invalid_not_read():
    vectors = random((2, 5, 3))
    vectors[1, 4] = np.nan
    valid, labels = np.ones((2, 5), bool), np.zeros(5, int)
    ready = Side(random((2, 5, 3)), valid)
    with pytest.raises(ValueError, match="query 4 in subset 1 is marked valid but is not finite"):
        grid.evaluate(Side(vectors, valid), ready, {"task": (labels, labels)}, k=1, protocol="standard")
    without = valid.copy()
    without[1, 4] = False
    found = grid.evaluate(Side(vectors, without), ready, {"task": (labels, labels)}, k=1, protocol="standard")["task"]
    np.testing.assert_array_equal(found.queries, [[5, 5], [4, 4]])
    with pytest.raises(ValueError, match=r"listing vectors \(2, 5, 3\) and valid \(2, 4\)"):
        grid.itself(Side(vectors, valid[:, :4]), np.ones((2, 2), bool), k=1)
    with pytest.raises(ValueError, match="must have one D"):
        grid.evaluate(ready, Side(random((2, 5, 4)), valid), {"task": (labels, labels)}, k=1, protocol="standard")
    with pytest.raises(ValueError, match="each at least 1"):
        grid.itself(ready, np.ones((2, 2), bool), k=0)
