"""Chance levels against every order that a small gallery can have."""

import itertools

import numpy as np
import pytest

from m5jax.evals import chance, retrieval


def all_orders(positives, gallery, ks):
    """Scores of one query, averaged over all orders of its hits in the gallery, by the definitions of the protocol."""
    totals, orders = {}, list(itertools.combinations(range(gallery), positives))
    for hits in orders:
        precision = [(number + 1) / (rank + 1) for number, rank in enumerate(hits)]
        scores = {"map": sum(precision) / positives, "mrr": 1 / (hits[0] + 1) if hits[0] < max(ks) else 0}
        for k in ks:
            found = sum(rank < k for rank in hits)
            scores |= {f"p@{k}": found / k, f"recall@{k}": found / positives, f"hit@{k}": float(found > 0)}
            scores[f"map@{k}"] = sum(precision[:found]) / min(k, positives)
            best = sum(1 / np.log2(rank + 2) for rank in range(min(k, positives)))
            scores[f"ndcg@{k}"] = sum(1 / np.log2(rank + 2) for rank in hits[:found]) / best
        totals = {name: totals.get(name, 0) + score / len(orders) for name, score in scores.items()}
    return totals


@pytest.mark.parametrize("gallery", [1, 2, 7])
@pytest.mark.parametrize("ks", [(1,), (1, 3, 5), (9,)])
def test_expected_scores_are_the_mean_over_all_orders(gallery, ks):
    positives = np.arange(1, gallery + 1)
    slow = [all_orders(int(number), gallery, ks) for number in positives]
    fast = chance.retrieval(positives, gallery, ks)
    assert fast == pytest.approx({name: np.mean([scores[name] for scores in slow]) for name in slow[0]})


def test_names_are_those_of_the_scores():
    unit, labels, valid = np.eye(3, dtype=np.float32), np.asarray([0, 0, 1]), np.ones(3, bool)
    scores = retrieval.evaluate(unit, unit, labels, labels, ks=(1, 2), query_valid=valid, gallery_valid=valid).scores
    counts = {"queries", "answerable", "gallery", "distractors", "coverage"}
    assert set(chance.retrieval(np.asarray([2, 2, 1]), 3, (1, 2))) == set(scores) - counts


def test_random_embeddings_score_what_chance_says():
    rng = np.random.default_rng(0)
    query, gallery = rng.normal(size=(2000, 8)).astype(np.float32), rng.normal(size=(200, 8)).astype(np.float32)
    asked, searched = rng.integers(0, 5, 2000), rng.permutation(np.arange(200) % 5)
    valid = {"query_valid": np.ones(2000, bool), "gallery_valid": np.ones(200, bool)}
    scores = retrieval.evaluate(query, gallery, asked, searched, ks=(1, 10), **valid).scores
    for name, expected in chance.retrieval(np.bincount(searched)[asked], 200, (1, 10)).items():
        assert scores[name] == pytest.approx(expected, abs=0.03), name


def test_most_frequent_label_answers_for_all():
    assert chance.most_frequent(np.asarray([2, 2, 0, 1]), np.asarray([2, 0, 2, 2, 5])) == 0.6
