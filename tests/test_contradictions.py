"""Contradictions: surprise against a loop, evidence by hand, planted listings found and their modality named."""

import numpy as np
import pytest
from rankings import random, unit

from m5jax.evals import contradictions
from m5jax.evals.contradictions import Ranking, precision, rank

NAMES = ("image", "text", "table")


def views(listings=300, dim=16, noise=(0.3, 0.3, 0.3), seed=0):
    """Modalities of the same listings, each with noise of its own."""
    shared = random((listings, dim), seed)
    made = {
        n: shared + s * random((listings, dim), seed + 1 + i) for i, (n, s) in enumerate(zip(NAMES, noise, strict=True))
    }
    return made, {name: np.ones(listings, bool) for name in NAMES}


def planted(made, share=0.1, seed=9):
    """Exchanges modalities of a share of the listings among each other; returns which."""
    rng, count = np.random.default_rng(seed), len(made["image"])
    which = np.zeros((count, len(NAMES)), bool)
    rows = rng.choice(count, int(share * count), replace=False)
    which[rows, rng.integers(0, len(NAMES), len(rows))] = True
    for m, name in enumerate(NAMES):
        at = np.flatnonzero(which[:, m])
        made[name][at] = made[name][np.roll(at, 1)]
    return which


def test_surprise_is_the_contrastive_loss_both_ways():
    first, second = random((7, 4)), random((7, 4), 1)
    own, mean, variance = contradictions.surprise(first, second)
    logits = unit(first) @ unit(second).T / 0.07
    slow = np.zeros((7, 7))
    for i in range(7):
        for j in range(7):
            row, column = np.exp(logits[i]), np.exp(logits[:, j])
            slow[i, j] = -(np.log(row[j] / row.sum()) + np.log(column[i] / column.sum())) / 2
    np.testing.assert_allclose(own, np.diag(slow))
    others = slow[~np.eye(7, dtype=bool)]
    assert (mean, variance) == pytest.approx((others.mean(), others.var()))


def test_evidence_is_the_log_odds_of_two_normal_distributions():
    # Own surprises: median 1, deviation 1.4826; of others mean 5 and variance 2.
    own = np.asarray([0.0, 1.0, 2.0, 6.0, 1.0 - 1.0])
    found = contradictions._evidence(own, 5.0, 2.0)
    variance = ((1.4826 * 1.0) ** 2 + 2.0) / 2
    slow = [((x - 1) ** 2 - (x - 5) ** 2) / (2 * variance) for x in own]
    np.testing.assert_allclose(found, slow)


def test_planted_listings_rank_first_and_their_modality_is_named():
    made, valid = views()
    which = planted(made)
    found = precision(rank(made, valid), which, (10, 30, 1000))
    assert (found["judged"], found["planted"], found["share"]) == (300, 30, 0.1)
    assert found["precision@10"] == 1
    assert found["precision@30"] > 0.9
    assert "precision@1000" not in found
    assert found["auc"] > 0.99
    assert found["odd_named"] > 0.9
    assert found["odd_by_chance"] == pytest.approx(1 / 3)
    assert found["pair_named"] > 0.95


def test_nothing_but_noise_is_found_no_better_than_by_chance():
    made, valid = views(listings=600)
    which = planted({name: random((600, 8), 50 + m) for m, name in enumerate(NAMES)})
    found = precision(rank(made, valid), which, (100,))
    assert found["auc"] == pytest.approx(0.5, abs=0.12)
    assert found["precision@100"] < 0.2


def test_pair_that_tells_nothing_accuses_nobody():
    made, valid = views(noise=(0.3, 0.3, 1e4))
    which = planted(made)
    found = rank(made, valid)
    clean = ~which.any(1)
    assert np.abs(found.evidence[clean][:, 0, 2]).mean() < 0.1 * np.abs(found.evidence[clean][:, 0, 1]).mean()
    assert (np.sort(found.pair[found.order[:10]]) == [0, 1]).all()


def test_two_modalities_name_the_pair_and_no_odd_one():
    made, valid = views()
    valid["table"][:] = False
    which = planted(made)
    which[:, 2] = False
    found = rank(made, valid)
    assert (found.odd == -1).all()
    assert found.judged.all()
    assert (np.sort(found.pair) == [0, 1]).all()
    told = precision(found, which, (10,))
    assert (told["odd_named"], told["odd_by_chance"]) == (None, None)
    assert told["pair_named"] == 1


def test_what_is_absent_is_not_read_and_judges_nobody():
    made, valid = views()
    valid["text"] = np.arange(300) % 4 > 0
    valid["table"] = np.arange(300) % 4 > 1
    expected = rank(made, valid)
    for name in NAMES:
        made[name][~valid[name]] = np.nan
    found = rank(made, valid)
    np.testing.assert_array_equal(found.evidence, expected.evidence)
    alone = np.arange(300) % 4 == 0
    assert not found.judged[alone].any()
    assert set(found.order) == set(np.flatnonzero(~alone))
    assert (found.odd[np.arange(300) % 4 == 1] == -1).all()


def test_order_of_the_listings_changes_nothing_within_a_group():
    made, valid = views()
    planted(made)
    order = np.random.default_rng(3).permutation(300)
    mixed = rank({name: vectors[order] for name, vectors in made.items()}, valid)
    np.testing.assert_allclose(mixed.score, rank(made, valid).score[order], rtol=1e-6)


def test_many_listings_are_judged_in_groups(monkeypatch):
    made, valid = views()
    which = planted(made)
    monkeypatch.setattr(contradictions, "TOGETHER", 100)
    found = rank(made, valid)
    part = {name: vectors[1::3] for name, vectors in made.items()}
    np.testing.assert_allclose(found.score[1::3], rank(part, {n: v[1::3] for n, v in valid.items()}).score)
    assert precision(found, which, (10,))["auc"] > 0.97


@pytest.mark.parametrize("listings", [0, 1, 2])
def test_too_few_listings_are_not_judged(listings):
    made, valid = views(listings)
    found = rank(made, valid)
    assert not found.judged.any()
    told = precision(found, np.zeros((listings, 3), bool), (1,))
    assert (told["judged"], told["share"], told["auc"], told["average_precision"]) == (0, None, None, None)


@pytest.mark.parametrize("vectors", [np.zeros((9, 4)), np.ones((9, 4))], ids=["zero", "coinciding"])
def test_embeddings_that_tell_nothing_are_no_evidence(vectors):
    with np.errstate(all="raise"):
        found = rank({"image": vectors, "text": vectors}, {name: np.ones(9, bool) for name in ("image", "text")})
    assert not found.score.any()
    assert found.order.tolist() == list(range(9))


def test_embedding_that_is_not_finite_is_refused():
    made, valid = views(9)
    made["text"][3] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        rank(made, valid)


def test_counts_by_hand():
    evidence = np.full((4, 3, 3), np.nan)
    evidence[:3, 0, 1] = evidence[:3, 1, 0] = [3.0, 2.0, 1.0]
    evidence[0, 0, 2] = evidence[0, 2, 0] = 0.0
    pair = np.asarray([[0, 1], [0, 1], [0, 1], [-1, -1]])
    ranking = Ranking(evidence, np.asarray([3.0, 2.0, 1.0, -np.inf]), pair, np.asarray([0, -1, -1, -1]))
    which = np.asarray([[1, 0, 0], [0, 0, 0], [0, 0, 1], [1, 0, 0]], bool)
    assert precision(ranking, which, (1, 2)) == {
        "judged": 3, "planted": 2, "share": 2 / 3, "precision@1": 1, "best@1": 1, "precision@2": 0.5, "best@2": 1,
        "average_precision": pytest.approx((1 + 2 / 3) / 2), "auc": 0.5, "pair_named": 0.5,
        "odd_named": 1, "odd_by_chance": pytest.approx(1 / 3),
    }  # fmt: skip
    everything = precision(ranking, np.ones((4, 3), bool), (1,))
    assert (everything["auc"], everything["average_precision"]) == (None, 1)
