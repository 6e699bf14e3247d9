"""Retrieval scores against hand-worked lists, loops and scikit-learn."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rankings import evaluate, random, signs, slow_ranking, unit
from sklearn.metrics import average_precision_score

from m5jax.evals import retrieval, search


def fan(*degrees):
    """Unit vectors in the plane: the fewer degrees, the nearer to the query at 0."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_average_precision_of_a_hand_worked_list():
    # The list is a, d, b, c; b and c are positive.
    result = evaluate(fan(0), fan(10, 40, 60, 20), [7], [1, 7, 7, 2], ks=(1, 3, 4, 10))
    assert result.neighbours.tolist() == [[0, 3, 1, 2] + [-1] * 6]
    best, fourth = 1 + 1 / math.log2(3), 1 / math.log2(5)  # hits at ranks 1 and 2; a hit at 4
    expected = {
        **{"p@1": 0, "p@3": 1 / 3, "p@4": 2 / 4, "p@10": 2 / 10},
        **{"map@1": 0, "map@3": (1 / 3) / 2, "map@4": (1 / 3 + 2 / 4) / 2, "map@10": (1 / 3 + 2 / 4) / 2},
        **{"recall@1": 0, "recall@3": 1 / 2, "recall@4": 1, "recall@10": 1},
        **{"hit@1": 0, "hit@3": 1, "hit@4": 1, "hit@10": 1},
        **{"ndcg@1": 0, "ndcg@3": 0.5 / best, "ndcg@4": (0.5 + fourth) / best, "ndcg@10": (0.5 + fourth) / best},
        **{"mrr": 1 / 3, "map": (1 / 3 + 2 / 4) / 2},
        **{"queries": 1, "answerable": 1, "gallery": 4, "distractors": 2, "coverage": 1},
    }
    assert result.scores == pytest.approx(expected)
    assert result.average_precision == pytest.approx([(1 / 3 + 2 / 4) / 2])
    assert result.first_hit_rank.tolist() == [3]


def test_average_precision_divides_by_k_where_positives_outnumber_it():
    result = evaluate(fan(0), fan(10, 20, 30, 40), [7], [7, 1, 7, 7], ks=(2,))
    scores = result.scores
    assert scores["map@2"] == result.average_precision == pytest.approx(1 / 2)  # by positives 1/3, by hits 1
    assert scores["recall@2"] == pytest.approx(1 / 3)
    assert scores["map"] == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)


def scores_by_loops(queries, gallery, query_labels, gallery_labels, query_valid, gallery_valid, exclude, ks):
    rankings, _ = slow_ranking(queries, gallery, query_valid, gallery_valid, exclude)
    sums, answerable = {}, 0
    for query, ranking in enumerate(rankings):
        label, own = query_labels[query], exclude[query]
        positives = sum(label == other != -1 and row != own for row, other in enumerate(gallery_labels))
        if not positives:
            continue
        answerable += 1
        hits = [gallery_labels[row] == label for row in ranking]
        precisions = [sum(hits[: i + 1]) / (i + 1) if hit else 0 for i, hit in enumerate(hits)]
        first = next((i + 1 for i, hit in enumerate(hits[: max(ks)]) if hit), math.inf)
        parts = {"mrr": 1 / first, "map": sum(precisions) / positives, "coverage": query_valid[query]}
        for k in ks:
            parts[f"p@{k}"] = sum(hits[:k]) / k
            parts[f"map@{k}"] = sum(precisions[:k]) / min(k, positives)
            parts[f"recall@{k}"] = sum(hits[:k]) / positives
            parts[f"hit@{k}"] = any(hits[:k])
            best = sum(1 / math.log2(rank + 2) for rank in range(min(k, positives)))
            parts[f"ndcg@{k}"] = sum(1 / math.log2(rank + 2) for rank, hit in enumerate(hits[:k]) if hit) / best
        sums = {name: sums.get(name, 0) + part for name, part in parts.items()}
    distractors = sum(label not in set(query_labels) - {-1} for label in gallery_labels)
    counts = {"queries": len(queries), "answerable": answerable, "gallery": len(gallery), "distractors": distractors}
    return {name: total / answerable for name, total in sums.items()} | counts


@settings(max_examples=60, deadline=None, database=None)
@given(queries=st.integers(0, 12), gallery=st.integers(0, 40), classes=st.integers(1, 30), seed=st.integers(0, 1000))
def test_scores_agree_with_loops(queries, gallery, classes, seed):
    rng = np.random.default_rng(seed)
    arrays = {
        "queries": signs(rng, queries),
        "gallery": signs(rng, gallery),
        "query_labels": rng.integers(-1, classes, queries),
        "gallery_labels": rng.integers(-1, classes, gallery),
        "query_valid": rng.random(queries) < 0.8,
        "gallery_valid": rng.random(gallery) < 0.8,
        "exclude": rng.integers(-1, gallery, queries),
        "ks": (1, 3, 10),
    }
    scores = evaluate(**arrays).scores
    assert scores == pytest.approx(scores_by_loops(**arrays))
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores


def test_full_map_agrees_with_scikit_learn(monkeypatch):
    monkeypatch.setattr(search, "RANKED_AT_ONCE", 32)  # so that the queries fill several blocks
    vectors, labels = random((150, 12), 9), np.random.default_rng(9).integers(0, 6, 150)
    scores = evaluate(vectors, vectors, labels, labels, exclude=np.arange(150), ks=(1, 150)).scores
    cosines = unit(vectors) @ unit(vectors).T
    expected = [
        average_precision_score(np.delete(labels == labels[row], row), np.delete(cosines[row], row))
        for row in range(150)
    ]
    assert scores["map"] == pytest.approx(np.mean(expected), abs=1e-6)
    assert scores["map"] == pytest.approx(scores["map@150"])


def test_a_large_gallery_is_not_ranked_whole(monkeypatch):
    monkeypatch.setattr(retrieval, "FULL_RANKING_LIMIT", 5)
    assert "map" in evaluate(random((2, 4)), random((5, 4)), [0, 1], [0, 1, 0, 1, 0]).scores
    assert "map" not in evaluate(random((2, 4)), random((6, 4)), [0, 1], [0, 1, 0, 1, 0, 1]).scores


def test_a_query_does_not_find_itself():
    vectors, labels = random((30, 8), 10), np.arange(30) // 2
    labels[-1] = 99  # leaves two listings without a partner
    assert evaluate(vectors, vectors, labels, labels, ks=(1,)).scores["hit@1"] == 1
    result = evaluate(vectors, vectors, labels, labels, exclude=np.arange(30), ks=(1, 29))
    assert not (result.neighbours == result.query_rows[:, None]).any()
    assert result.scores["answerable"] == 28
    assert result.query_rows.tolist() == list(range(28))
    assert result.scores["recall@29"] == 1
    assert result.scores["hit@1"] < 0.5


def test_every_query_counts_once_with_or_without_embedding():
    queries = np.concatenate([fan(0)] * 4)
    result = evaluate(queries, fan(5), [1] * 4, [1], query_valid=np.asarray([True, False, True, False]), ks=(1,))
    assert result.scores == pytest.approx(
        dict.fromkeys(["p@1", "map@1", "recall@1", "hit@1", "ndcg@1", "mrr", "map", "coverage"], 0.5)
        | {"queries": 4, "answerable": 4, "gallery": 1, "distractors": 0}
    )
    assert result.neighbours.tolist() == [[0], [-1], [0], [-1]]
    assert result.first_hit_rank.tolist() == [1, 0, 1, 0]


def test_a_positive_without_embedding_is_missed_but_stays_a_positive():
    valid = np.asarray([True, False])
    scores = evaluate(fan(0), fan(5, 6), [1], [1, 1], gallery_valid=valid, ks=(2,)).scores
    assert (scores["recall@2"], scores["map@2"], scores["map"]) == pytest.approx((0.5, 0.5, 0.5))


def test_unknown_labels_are_no_class():
    result = evaluate(fan(0, 10, 25), fan(0, 10, 25), [-1, 5, 6], [-1, -1, 5], ks=(1,))
    assert result.query_rows.tolist() == [1]
    assert {name: result.scores[name] for name in ("queries", "answerable", "hit@1", "map")} == pytest.approx(
        {"queries": 3, "answerable": 1, "hit@1": 0, "map": 1 / 3}
    )


@pytest.mark.parametrize(("queries", "gallery"), [(0, 0), (0, 3), (3, 0), (3, 3)])
def test_without_an_answerable_query_there_are_counts_only(queries, gallery):
    result = evaluate(random((queries, 4)), random((gallery, 4)), [1] * queries, [2] * gallery, ks=(1, 5))
    assert result.scores == {"queries": queries, "answerable": 0, "gallery": gallery, "distractors": gallery}
    assert result.neighbours.shape == (0, 5)
    assert result.average_precision.shape == result.first_hit_rank.shape == result.query_rows.shape == (0,)


def test_order_of_the_gallery_and_length_of_the_vectors_do_not_matter():
    rng = np.random.default_rng(11)
    queries, gallery = random((25, 12), 12), random((90, 12), 13)
    query_labels, gallery_labels, exclude = rng.integers(0, 5, 25), rng.integers(0, 5, 90), rng.integers(-1, 90, 25)
    order = rng.permutation(90)
    place = np.append(np.argsort(order), -1)
    before = evaluate(queries, gallery, query_labels, gallery_labels, exclude=exclude)
    after = evaluate(3 * queries, gallery[order] / 7, query_labels, gallery_labels[order], exclude=place[exclude])
    assert before.scores == pytest.approx(after.scores)
    assert np.array_equal(place[before.neighbours], after.neighbours)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": "relaesed"}, "'relaesed' is unknown; choose from standard, released, trec"),
        ({"ks": ()}, "at least 1"),
        ({"ks": (5, 0)}, r"ks = \(5, 0\)"),
        ({"query_labels": [1, 2]}, r"query_labels has shape \(2,\), but there are 1 query"),
        ({"gallery_labels": [1, 2]}, r"gallery_labels has shape \(2,\), but there are 3 gallery"),
        ({"exclude": np.asarray([3])}, "exclude names gallery row 3 of 3"),
    ],
)
def test_impossible_requests_are_named(options, message):
    arguments = {"queries": fan(0), "gallery": fan(1, 2, 3), "query_labels": [1], "gallery_labels": [1, 2, 3]}
    with pytest.raises(ValueError, match=message):
        evaluate(**arguments | options)


@pytest.mark.parametrize("name", ["standard", "released", "trec"])
def test_a_protocol_is_printed_rule_by_rule_and_every_result_carries_it(name):
    protocol = retrieval.PROTOCOLS[name]
    lines = protocol.describe().splitlines()
    assert lines[0] == f"name: {name}"
    assert [line.partition(":")[0] for line in lines[1:]] == [rule.replace("_", " ") for rule in protocol.rules]
    result = evaluate(fan(0, 1), fan(1, 2, 3), [1, 2], [1, 1, -1], protocol=name, label="category")
    passport = result.passport.to_dict()
    assert (result.protocol, passport["rules"], passport["label"]) == (protocol, protocol.rules, "category")
    counts = {"queries": 2, "answerable": 1 + (name == "released"), "gallery": 3, "distractors": 1}
    assert {count: passport[count] for count in counts} == counts == {count: result.scores[count] for count in counts}
    assert passport["digest"] != evaluate(fan(0), fan(1, 2, 3), [1], [1, 2, -1]).passport.digest
    assert json.loads(json.dumps(passport, allow_nan=False)) == passport
