"""Every protocol against loops over sets of labels, hand-worked lists, scikit-learn and what the release computed."""

import json
import math

import numpy as np
import pytest
from conftest import SHARED, needs_shared
from hypothesis import given, settings
from hypothesis import strategies as st
from rankings import evaluate, random, signs, unit
from sklearn.metrics import average_precision_score, ndcg_score

from m5jax.evals import protocols, ranking, relevance
from m5jax.evals.relevance import LabelSets
from m5jax.evals.task import own_rows

RELEASED = SHARED / "golden" / "retrieval_metrics"


def line(*places):
    """Vectors of the plane whose dot products with (1, 0) are the places; the longer, the nearer."""
    return np.stack([np.asarray(places, float), np.ones(len(places))], axis=1).astype(np.float32)


EAST = np.asarray([[1, 0]], np.float32)


def test_the_release_divides_by_the_hits_and_cuts_the_list_at_the_positives():
    # The list is a, d, b, c; the positives are b, c and the query itself, which is no row of the gallery.
    found = evaluate(EAST, line(4, 2, 1, 3), [7], [1, 7, 7, 2], ks=(1, 2, 3, 10), protocol="released")
    assert found.neighbours.tolist() == [[0, 3, 1, 2] + [-1] * 6]
    expected = {
        **{"p@1": 0, "p@2": 0, "p@3": 1 / 3, "p@10": 1 / 3},  # k' = min(10, 3 positives, 4 in the list)
        **{"map@1": 0, "map@2": 0, "map@3": 1 / 3, "map@10": 1 / 3},
        **{"recall@1": 0, "recall@2": 0, "recall@3": 1 / 3, "recall@10": 1 / 3},
        **{"hit@1": 0, "hit@2": 0, "hit@3": 1, "hit@10": 1, "mrr": 1 / 3},
        **dict.fromkeys(("ndcg@1", "ndcg@2"), 0),
        **dict.fromkeys(("ndcg@3", "ndcg@10"), 0.5 / (1 + 1 / math.log2(3) + 0.5)),
        **{"queries": 1, "answerable": 1, "gallery": 4, "distractors": 2, "coverage": 1},
    }
    assert found.scores == pytest.approx(expected)
    more = evaluate(EAST, line(4, 2, 1, 3), [7], [1, 7, 7, 2], ks=(10,), protocol="released", others=np.asarray([7, 7]))
    assert more.scores["p@10"] == 2 / 4  # a fourth positive, outside the gallery, lets the list be read to its end
    assert more.scores["map@10"] == pytest.approx((1 / 3 + 2 / 4) / 2)  # by hits, although there are four positives


def test_the_release_takes_its_top_with_the_query_itself_and_then_removes_it():
    gallery = line(4, 3, 2, 1)
    own = {"exclude": np.asarray([0]), "protocol": "released"}
    found = evaluate(EAST, gallery, [7], [7, 1, 7, 7], ks=(3,), **own)
    assert found.neighbours.tolist() == [[1, 2, -1]]
    assert found.scores["p@3"] == 1 / 2
    far = evaluate(EAST, gallery, [7], [7, 1, 7, 7], ks=(3,), exclude=np.asarray([3]), protocol="released")
    assert far.neighbours.tolist() == [[0, 1, 2]]  # its own row is not among the top: nothing is removed
    standard = evaluate(EAST, gallery, [7], [7, 1, 7, 7], ks=(3,), exclude=np.asarray([3]))
    assert standard.neighbours.tolist() == [[0, 1, 2]]
    assert evaluate(EAST, gallery, [7], [7, 1, 7, 7], ks=(3,), exclude=np.asarray([0])).neighbours.tolist() == [
        [1, 2, 3]
    ]


def test_the_release_scores_a_query_that_has_no_positive_but_itself_and_one_without_embedding():
    found = evaluate(EAST, line(2, 1), [7], [1, 2], ks=(2,), protocol="released")
    assert (found.scores["answerable"], found.scores["p@2"], found.scores["map@2"]) == (1, 0, 0)
    none = evaluate(EAST, line(2), [7], [7], ks=(2,), protocol="released", query_valid=np.zeros(1, bool))
    assert (none.scores["p@2"], none.scores["ndcg@2"], none.scores["mrr"], none.scores["coverage"]) == (0, 0, 0, 0)


def test_graded_relevance_by_hand():
    # The list has grades 1, 0, 2; another row of grade 2 has no embedding.
    queries, gallery = [{1, 5}], [{1}, {9}, {1, 5}, {5, 1, 3}]
    valid = np.asarray([True, True, True, False])
    asked = EAST, line(4, 1, 0, -1)
    found = evaluate(*asked, queries, gallery, ks=(1, 3), gallery_valid=valid, protocol="trec").scores
    best = 2 + 2 / math.log2(3) + 1 / 2
    assert found["ndcg@3"] == pytest.approx((1 + 2 / 2) / best)
    assert found["ndcg@1"] == 1 / 2
    assert found["map@3"] == found["map"] == pytest.approx((1 + 2 / 3) / 3)
    assert (found["p@3"], found["recall@3"], found["distractors"]) == (pytest.approx(2 / 3), pytest.approx(2 / 3), 1)
    flat = evaluate(*asked, queries, gallery, ks=(1, 3), gallery_valid=valid).scores
    assert flat["ndcg@3"] == pytest.approx((1 + 1 / 2) / (1 + 1 / math.log2(3) + 1 / 2))  # every hit is worth 1


def slow_scores(queries, gallery, query_labels, gallery_labels, query_valid, gallery_valid, exclude, ks, name):
    """The definitions, query by query, with Python's own sets."""
    scores = queries.astype(float) @ gallery.T.astype(float)
    scores = scores if name == "released" else unit(queries) @ unit(gallery).T
    sums, answerable = {}, 0
    for query, own in enumerate(exclude):
        mine = query_labels[query]
        grades = [len(mine & labels) for labels in gallery_labels]
        order = [row for row in range(len(gallery)) if query_valid[query] and gallery_valid[row]]
        order.sort(key=lambda row, query=query: (-scores[query, row], row))
        order = order[: max(ks)] if name == "released" else order
        order = [row for row in order if row != own]
        pool = [grade for row, grade in enumerate(grades) if grade and (row != own or name == "released")]
        if name == "released":  # whatever is labelled: the queries that are not in the gallery as well
            away = [labels for labels, row in zip(query_labels, exclude, strict=True) if row < 0]
            pool += [len(mine & labels) for labels in away if mine & labels]
        if not pool:
            continue
        answerable += 1
        worth = sorted(pool if name == "trec" else [1] * len(pool), reverse=True)
        parts = {"coverage": query_valid[query]}
        hits = [grades[row] > 0 for row in order]
        if name != "released":
            parts["map"] = sum((sum(hits[: i + 1]) / (i + 1) for i, hit in enumerate(hits) if hit), 0) / len(pool)
        for k in ks:
            most = min(k, len(pool)) if name == "released" else k
            cut = hits[: min(most, len(order))]
            length = len(cut) if name == "released" else k
            precision = sum(sum(cut[: i + 1]) / (i + 1) for i, hit in enumerate(cut) if hit)
            over = {"standard": min(k, len(pool)), "released": sum(cut), "trec": len(pool)}[name]
            gains = [(grades[row] if name == "trec" else 1) * hit for row, hit in zip(order, cut, strict=False)]
            best = sum(gain / math.log2(i + 2) for i, gain in enumerate(worth[:most]))
            parts[f"p@{k}"] = sum(cut) / length if length else 0
            parts[f"map@{k}"] = precision / over if sum(cut) else 0
            parts[f"recall@{k}"] = sum(cut) / len(pool)
            parts[f"hit@{k}"] = any(cut)
            parts[f"ndcg@{k}"] = sum(gain / math.log2(i + 2) for i, gain in enumerate(gains)) / best
            parts["mrr"] = 1 / (cut.index(True) + 1) if any(cut) else 0
        sums = {name: sums.get(name, 0) + part for name, part in parts.items()}
    asked = set().union(*query_labels)
    counts = {"queries": len(queries), "answerable": answerable, "gallery": len(gallery)}
    counts["distractors"] = sum(not labels & asked for labels in gallery_labels)
    return {name: total / answerable for name, total in sums.items()} | counts


@pytest.mark.parametrize("name", protocols.PROTOCOLS)
@settings(max_examples=40)
@given(queries=st.integers(0, 9), gallery=st.integers(0, 25), most=st.integers(1, 4), seed=st.integers(0, 1000))
def test_every_protocol_agrees_with_loops_over_sets(name, queries, gallery, most, seed):
    rng = np.random.default_rng(seed)
    sides = [
        [set(rng.choice(5, rng.integers(0, most + 1), replace=False).tolist()) for _ in range(count)]
        for count in (queries, gallery)
    ]
    arrays = {
        "queries": signs(rng, queries),
        "gallery": signs(rng, gallery),
        "query_labels": sides[0],
        "gallery_labels": sides[1],
        "query_valid": rng.random(queries) < 0.8,
        "gallery_valid": rng.random(gallery) < 0.8,
        "exclude": rng.permutation(np.arange(-queries, gallery).clip(-1))[:queries],
        "ks": (1, 3, 10),
    }
    if most == 1:  # one label at most: as integers
        arrays |= {f"{side}_labels": [min(labels, default=-1) for labels in sides[n]] for n, side in SIDES}
    scores = evaluate(**arrays, protocol=name).scores
    arrays |= {"query_labels": sides[0], "gallery_labels": sides[1]}
    assert scores == pytest.approx(slow_scores(**arrays, name=name))
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores


SIDES = ((0, "query"), (1, "gallery"))


def test_graded_scores_agree_with_scikit_learn():
    rng = np.random.default_rng(3)
    queries, gallery = random((30, 12), 1), random((80, 12), 2)
    sides = [[set(rng.choice(9, 3, replace=False).tolist()) for _ in range(count)] for count in (30, 80)]
    found = evaluate(queries, gallery, *sides, ks=(1, 10, 80), protocol="trec").scores
    grades = np.asarray([[len(mine & labels) for labels in sides[1]] for mine in sides[0]])
    cosines = unit(queries) @ unit(gallery).T
    for k in (1, 10, 80):
        assert found[f"ndcg@{k}"] == pytest.approx(ndcg_score(grades, cosines, k=k), abs=1e-6)
    expected = [average_precision_score(row > 0, score) for row, score in zip(grades, cosines, strict=True)]
    assert found["map"] == pytest.approx(np.mean(expected), abs=1e-6)
    assert found["map@80"] == pytest.approx(found["map"])


@pytest.mark.parametrize("entries", [1, 7, 1 << 22])
def test_shared_labels_are_counted_however_few_are_looked_at_at_once(monkeypatch, entries):
    monkeypatch.setattr(relevance, "ENTRIES", entries)
    rng = np.random.default_rng(entries)
    sides = [[set(rng.choice(6, rng.integers(0, 5), replace=False).tolist()) for _ in range(n)] for n in (12, 40)]
    queries, gallery = map(LabelSets.of, sides)
    found = rng.integers(-1, 40, (12, 7))
    searched = [*sides[1], set()]  # row -1 shares nothing
    slow = [[len(mine & searched[row]) for row in rows] for mine, rows in zip(sides[0], found, strict=True)]
    assert relevance.gains(queries, gallery, found).tolist() == slow
    counted = relevance.counts(queries, gallery)
    for row, mine in zip(counted, sides[0], strict=True):
        shared = [len(mine & labels) for labels in sides[1]]
        assert row[1:].tolist() == [shared.count(gain) for gain in range(1, counted.shape[1])]
    keep = np.asarray([3, 3, 0, 11])
    assert relevance.gains(queries.rows(keep), gallery, found[keep]).tolist() == [slow[row] for row in keep]


def test_own_rows_are_told_by_ids_and_an_id_that_stands_twice_is_refused():
    assert own_rows(["b", "x", "a"], ["a", "b", "c"]).tolist() == [1, -1, 0]
    for sides in ((["a", "a"], ["b"]), (["b"], ["a", "c", "a"])):
        with pytest.raises(ValueError, match="id 'a' stands more than once in the"):
            own_rows(*sides)


def test_a_query_whose_only_positive_is_itself_is_left_out_under_standard():
    vectors = line(3, 2, 1)
    found = evaluate(vectors, vectors, [1, 2, 2], [1, 2, 2], exclude=np.arange(3), ks=(1,))
    assert found.query_rows.tolist() == [1, 2]
    assert found.scores["distractors"] == 0  # a row that is its own query's label is none


@needs_shared
@pytest.mark.parametrize("case", ["disjoint", "gallery_is_query"])
def test_released_scores_are_those_of_the_release(case):
    held = np.load(RELEASED / case / "embeddings.npz")
    labels = json.loads((RELEASED / case / "labels.json").read_text())
    number = {name: place for place, name in enumerate(sorted(set(labels.values())))}
    asked, searched = ([number[labels[one]] for one in held[f"{side}_ids"].tolist()] for side in ("query", "gallery"))
    inside = set(held["gallery_ids"].tolist())
    others = np.asarray([number[label] for one, label in labels.items() if one not in inside], int)
    own = own_rows(held["query_ids"], held["gallery_ids"])
    options = {"exclude": own, "others": others, "ks": (1, 5, 10), "protocol": "released"}
    scores = evaluate(held["query"], held["gallery"], asked, searched, **options).scores
    for top, official in json.loads((RELEASED / case / "official_metrics.json").read_text()).items():
        k = top.removeprefix("top")
        assert 100 * scores[f"map@{k}"] == pytest.approx(official["mAP"], abs=1e-6)
        assert 100 * scores[f"p@{k}"] == pytest.approx(official["Prec"], abs=1e-6)


def test_values_of_single_queries_average_to_the_scores():
    rng = np.random.default_rng(5)
    found = evaluate(random((20, 8), 1), random((50, 8), 2), rng.integers(0, 4, 20), rng.integers(0, 4, 50))
    assert {name: values.mean() for name, values in found.values.items()} == pytest.approx(
        {name: found.scores[name] for name in found.values}
    )
    assert set(found.scores) - set(found.values) == {"queries", "answerable", "gallery", "distractors", "coverage"}
    assert found.values["map@5"] is found.average_precision


def test_zero_vectors_rank_by_the_tie_rule_and_deeper_ks_than_the_gallery_meet_misses():
    found = evaluate(np.zeros((1, 2), np.float32), line(5, 1, 3), [7], [1, 7, 7], ks=(2, 50))
    assert found.neighbours[0, :3].tolist() == [0, 1, 2]
    assert (found.scores["p@50"], found.scores["recall@50"], found.scores["map@2"]) == (2 / 50, 1, 1 / 4)


def test_without_own_keeps_the_order_of_all_others():
    found = np.asarray([[4, 2, 0], [1, 3, -1], [-1, -1, -1]])
    own = np.asarray([2, -1, 1])
    for name, expected in (("standard", [[4, 0], [1, 3], [-1, -1]]), ("released", [[4, -1], [1, 3], [-1, -1]])):
        listed = ranking.without_own(found, own, 2, protocols.PROTOCOLS[name])
        assert listed.tolist() == expected
