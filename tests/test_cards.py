"""Which queries are shown, and what their cards say."""

import numpy as np
import pytest
from reports import listing, make_scored
from small import small_config

from m5jax.report.cards import Answers

CONFIG = small_config(inputs__modalities=("text", "table"))


def answers(folder, queries, gallery, query_vectors, gallery_vectors, task="category"):
    """Answers to queries of the given categories, in a gallery of the given categories."""
    splits = {
        split: [listing(start + n, CONFIG, category=(kind,) if kind else ()) for n, kind in enumerate(kinds)]
        for split, kinds, start in (("query", queries, 0), ("gallery", gallery, 100))
    }
    vectors = {"query": np.asarray(query_vectors, float), "gallery": np.asarray(gallery_vectors, float)}
    scored = make_scored(folder, splits, CONFIG, vectors=vectors)
    parts = (scored.embedded["query"], scored.embedded["gallery"])
    return Answers(scored.prepared, *parts, task, scored.results[task, "fused"])


def ids(shown):
    return [answer.query.id for answer in shown]


@pytest.fixture
def mixed(tmp_path):
    # One "a" lies along the first axis, two "b" along the second; the nearer a query lies to an axis, the surer it is.
    queries = [("a", 1, 0.1), ("a", 1, 0.3), ("a", 0.1, 1), ("b", 1, 0.1), ("b", 0.2, 1)]
    kinds, vectors = [kind for kind, *_ in queries], [vector for _, *vector in queries]
    return answers(tmp_path, kinds, ["a", "b", "b"], vectors, [[1, 0], [0, 1], [0, 1]])


def test_best_and_worst_take_turns_among_equals_and_the_surest_comes_first(mixed):
    best, worst = mixed.extremes(4, 4)
    assert ids(best) == ["id-000", "id-004", "id-001", "id-003"]
    assert [answer.average_precision for answer in best] == pytest.approx([1, 1, 1, (1 / 2 + 2 / 3) / 2])
    assert ids(worst) == ["id-002", "id-003", "id-000", "id-004"]
    assert worst[0].average_precision == pytest.approx(1 / 3)


def test_neighbours_are_ranked_and_judged(mixed):
    answer = mixed.extremes(0, 5)[1][1]
    assert answer.query.right is None
    assert [(card.rank, card.right) for card in answer.neighbours] == [(1, False), (2, True), (3, True)]
    assert [card.cosine for card in answer.neighbours] == pytest.approx([0.995, 0.0995, 0.0995], abs=1e-3)
    assert answer.taken_for == ("a", 1)


def test_few_categories_take_turns(mixed):
    assert ids(mixed.spread(3)) == ["id-000", "id-003", "id-001"]  # "a", which has more queries, begins
    assert sorted(ids(mixed.spread(12))) == [f"id-00{n}" for n in range(5)]


def test_many_categories_are_sampled_from_the_largest_to_the_smallest(tmp_path):
    kinds = [f"kind {n:02}" for n in range(30) for _ in range(1 + (n < 10))]
    shown = answers(tmp_path, kinds, kinds, np.ones((40, 2)), np.ones((40, 2))).spread(4)
    assert [answer.query.category for answer in shown] == ["kind 00", "kind 10", "kind 19", "kind 29"]


def test_query_that_found_nothing_is_not_shown(tmp_path):
    config = small_config(inputs__modalities=("text", "table"))
    none = listing(0, config, present=())
    splits = {"query": [none, listing(1, config)], "gallery": [listing(n, config) for n in range(6)]}
    scored = make_scored(tmp_path, splits, config)
    parts = (scored.embedded["query"], scored.embedded["gallery"])
    found = Answers(scored.prepared, *parts, "category", scored.results["category", "fused"])
    assert len(found) == 1
    assert ids(found.spread(12)) == ["id-001"]


def test_card_tells_what_the_listing_has(mixed):
    card = mixed.spread(1)[0].query
    assert card.states == {"text": "present", "table": "present"}
    assert card.fields == [("colour", "red"), ("size", "0")]
    assert (card.title, card.category, card.pictures) == ("listing 0", "a", {})
    assert [neighbour.same_product for neighbour in mixed.spread(1)[0].neighbours] == [True, False, False]


def test_products_of_two_sources_are_not_the_same(tmp_path):
    gallery = [listing(n, CONFIG, instance_id="7", source=source) for n, source in enumerate(("shop", "other", "shop"))]
    gallery.append(listing(3, CONFIG, instance_id=""))
    splits = {"query": [listing(9, CONFIG, category=("goods", "kind 0"), instance_id="7")], "gallery": gallery}
    vectors = {"query": np.asarray([[1.0, 0]]), "gallery": np.asarray([[1.0, 0], [1, 0.1], [1, 0.2], [1, 0.3]])}
    scored = make_scored(
        tmp_path, splits, small_config(inputs__modalities=("text",), evaluate__ks=(4,)), vectors=vectors
    )
    parts = (scored.embedded["query"], scored.embedded["gallery"])
    (answer,) = Answers(scored.prepared, *parts, "category", scored.results["category", "fused"]).spread(1)
    assert [card.same_product for card in answer.neighbours] == [True, False, True, False]
