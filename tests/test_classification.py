"""Nearest-neighbour votes against loops and hand-worked cases; the probe on labels that can and cannot be read."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from m5jax.evals import classification


def random(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def fan(*degrees):
    """Unit vectors in the plane; a test listing at 0 is nearest to the smallest angle."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def blobs(labels, seed=0, spread=0.1):
    """Vectors around one centre per label, far from each other."""
    return (10 * np.eye(8)[np.asarray(labels)] + spread * random((len(labels), 8), seed)).astype(np.float32)


def masks(train, test, options):
    return {"train_valid": np.ones(len(train), bool), "test_valid": np.ones(len(test), bool)} | options


def nearest_neighbours(train, train_labels, test, test_labels, k, **options):
    labels = np.asarray(train_labels), np.asarray(test_labels)
    return classification.nearest_neighbours(train, labels[0], test, labels[1], k, **masks(train, test, options))


def linear_probe(train, train_labels, test, test_labels, seed=0, **options):
    labels = np.asarray(train_labels, int), np.asarray(test_labels, int)
    return classification.linear_probe(train, labels[0], test, labels[1], seed=seed, **masks(train, test, options))


# ---- nearest neighbours


@pytest.mark.parametrize(
    ("train", "train_labels", "winner"),
    [
        (fan(10, 11, 12), [1, 2, 2], 2),  # almost equal weights: the majority wins
        (fan(5, 40, 41), [1, 2, 2], 1),  # exp((cos 5 - cos 40) / 0.07) = 27 outweighs two
        (fan(20, -20), [2, 1], 2),  # equal weights: the lower row stands first
        (fan(70, 80), [3, 3], 3),  # fewer listings than k
    ],
)
def test_votes_weigh_by_cosine(train, train_labels, winner):
    for label in (1, 2, 3):
        scores = nearest_neighbours(train, train_labels, fan(0), [label], 3)
        assert scores["accuracy"] == (label == winner)


def accuracy_by_loops(train, train_labels, test, test_labels, k, train_valid, test_valid):
    unit_train, unit_test = (
        x.astype(np.float64) / np.linalg.norm(x, axis=1, keepdims=True).astype(np.float64) for x in (train, test)
    )
    right = []
    for vector, label, valid in zip(unit_test, test_labels, test_valid, strict=True):
        if label < 0:
            continue
        votes, cosines = {}, unit_train @ vector
        voters = [row for row in np.argsort(-cosines) if train_valid[row] and train_labels[row] >= 0][:k]
        for row in voters:
            votes[train_labels[row]] = votes.get(train_labels[row], 0) + np.exp(cosines[row] / 0.07)
        right.append(valid and max(votes, key=votes.__getitem__) == label)
    return np.mean(right)


@pytest.mark.parametrize("seed", range(5))
def test_accuracy_agrees_with_loops(seed):
    rng = np.random.default_rng(seed)
    train, test = random((60, 6), seed), random((40, 6), seed + 100)
    labels = rng.integers(-1, 4, 60), rng.integers(-1, 4, 40)
    valid = rng.random(60) < 0.8, rng.random(40) < 0.8
    scores = nearest_neighbours(train, labels[0], test, labels[1], 10, train_valid=valid[0], test_valid=valid[1])
    expected = accuracy_by_loops(train, labels[0], test, labels[1], 10, *valid)
    assert scores["accuracy"] == pytest.approx(expected)
    assert 0 < expected < 1


def test_neighbours_without_embedding_or_label_have_no_vote():
    valid = np.asarray([False, True, True])
    scores = nearest_neighbours(fan(0, 1, 50), [1, -1, 2], fan(0), [2], 3, train_valid=valid)
    assert scores == {
        **{"train": 1, "test": 1, "unlabelled": 0, "coverage": 1},
        **{"accuracy": 1, "balanced_accuracy": 1, "macro_f1": 1},
    }


def test_every_labelled_test_listing_counts_once():
    valid = np.asarray([True, False, False, False])
    scores = nearest_neighbours(fan(0, 90), [0, 1], fan(1, 2, 3, 4), [0, 0, -1, -1], 1, test_valid=valid)
    assert scores == {
        **{"train": 2, "test": 2, "unlabelled": 2, "coverage": 0.5},
        **{"accuracy": 0.5, "balanced_accuracy": 0.5, "macro_f1": pytest.approx(2 / 3)},  # precision 1, recall 1/2
    }


def test_accuracy_without_anyone_to_ask_or_to_score_is_left_out():
    nobody = np.zeros(2, bool)
    scores = nearest_neighbours(fan(0, 90), [0, 1], fan(1), [0], 1, train_valid=nobody)
    assert scores == {"train": 0, "test": 1, "unlabelled": 0, "coverage": 1}
    scores = nearest_neighbours(fan(0, 90), [0, 1], fan(1), [-1], 1)
    assert scores == {"train": 2, "test": 0, "unlabelled": 1}


def test_means_over_classes_weigh_a_class_of_one_listing_like_any_other():
    # Class 1 trained on one listing and has one to test; class 2 is only tested. k outnumbers the training listings.
    truth = [0, 0, 0, 1, 2]
    scores = nearest_neighbours(fan(0, 5, 90), [0, 0, 1], fan(1, 2, 3, 89, 88), truth, 10)
    answers = [0, 0, 0, 1, 1]
    assert scores["accuracy"] == pytest.approx(4 / 5)
    assert scores["balanced_accuracy"] == pytest.approx((1 + 1 + 0) / 3)
    assert scores["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, answers))
    assert scores["macro_f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)


def test_zero_embeddings_are_answered_by_the_first_that_vote():
    scores = nearest_neighbours(np.zeros((3, 2), np.float32), [4, 4, 5], np.zeros((2, 2), np.float32), [4, 5], 2)
    assert (scores["accuracy"], scores["balanced_accuracy"]) == (0.5, 0.5)


@pytest.mark.parametrize("classify", ["neighbours", "probe"])
@pytest.mark.parametrize("side", ["train", "test"])
def test_a_valid_embedding_that_is_not_finite_is_refused(classify, side):
    vectors = {"train": random((6, 8)), "test": random((2, 8), 1)}
    vectors[side][1, 3] = np.nan
    data = vectors["train"], [0, 1] * 3, vectors["test"], [0, 1]
    with pytest.raises(ValueError, match=r"not finite|NaN"):
        nearest_neighbours(*data, 3) if classify == "neighbours" else linear_probe(*data)


# ---- linear probe


def test_separable_labels_are_read():
    labels = np.arange(60) % 3
    scores = linear_probe(blobs(labels), labels, blobs(labels, seed=1), labels)
    assert scores == {
        **{"train": 60, "test": 60, "unlabelled": 0, "coverage": 1},
        **{"accuracy": 1, "balanced_accuracy": 1, "macro_f1": 1, "converged": 1},
    }


def test_random_labels_are_not_read():
    rng = np.random.default_rng(0)
    scores = linear_probe(random((400, 8)), rng.integers(0, 4, 400), random((800, 8), 1), rng.integers(0, 4, 800))
    assert scores["accuracy"] == pytest.approx(1 / 4, abs=0.06)


def test_scale_and_offset_of_a_dimension_do_not_matter():
    rng = np.random.default_rng(1)
    labels, test_labels = rng.integers(0, 3, 90), rng.integers(0, 3, 60)
    train, test = blobs(labels, spread=8), blobs(test_labels, seed=1, spread=8)
    scale, offset = 10.0 ** rng.integers(-2, 3, 8).astype(np.float32), rng.normal(size=8).astype(np.float32)
    before = linear_probe(train, labels, test, test_labels)
    after = linear_probe(train * scale + offset, labels, test * scale + offset, test_labels)
    assert after["accuracy"] == pytest.approx(before["accuracy"], abs=0.02)
    assert 0.4 < before["accuracy"] < 0.95


def test_a_class_unseen_in_training_counts_as_wrong():
    # Both listings of class 2 look like class 0: precision of 0 is 2/4, its recall 1.
    test_labels, looks = [0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 0, 0]
    scores = linear_probe(blobs([0, 1] * 10), [0, 1] * 10, blobs(looks, seed=1), test_labels)
    assert scores["accuracy"] == pytest.approx(4 / 6)
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert scores["balanced_accuracy"] == pytest.approx((1 + 1 + 0) / 3)


def test_macro_f1_is_over_the_classes_of_the_test_listings():
    labels = [0, 1, 2] * 10
    scores = linear_probe(blobs(labels), labels, blobs([0, 1, 2], seed=1), [0, 1, 1])
    assert scores["macro_f1"] == pytest.approx((1 + 2 / 3) / 2)  # 2 was answered once, wrongly, but is no test class


@pytest.mark.parametrize(("asked", "accuracy"), [([True, False, True, False], 0.5), ([False] * 4, 0)])
def test_the_probe_is_wrong_without_embedding(asked, accuracy):
    test = blobs([0, 1, 0, 1], seed=1)
    test[~np.asarray(asked)] = np.nan
    scores = linear_probe(blobs([0, 1] * 10), [0, 1] * 10, test, [0, 1, 0, 1], test_valid=np.asarray(asked))
    assert (scores["accuracy"], scores["coverage"]) == (accuracy, accuracy)


def test_unlabelled_listings_are_left_out_of_the_probe():
    train_labels = np.asarray([0, 1] * 10 + [-1] * 5)
    train = np.concatenate([blobs([0, 1] * 10), blobs([0] * 5)])
    scores = linear_probe(train, train_labels, blobs([0, 0, 1], seed=1), [0, 1, -1])
    assert (scores["train"], scores["test"], scores["unlabelled"], scores["accuracy"]) == (20, 2, 1, 0.5)


@pytest.mark.parametrize(
    ("train_labels", "test_labels"), [([0] * 6, [0, 0]), ([-1] * 6, [0, 0]), ([0, 1] * 3, [-1, -1])]
)
def test_the_probe_needs_two_classes_and_something_to_score(train_labels, test_labels):
    scores = linear_probe(random((6, 8)), train_labels, random((2, 8)), test_labels)
    assert not scores.keys() & {"accuracy", "macro_f1", "converged"}
    assert all(np.isfinite(value) for value in scores.values())


def test_a_probe_cut_short_says_so_without_a_warning(monkeypatch):
    monkeypatch.setattr(classification, "PROBE_ITERATIONS", 1)
    labels = np.arange(60) % 3
    assert linear_probe(random((60, 8)), labels, random((60, 8), 1), labels)["converged"] == 0


def test_a_large_training_set_is_drawn_from(monkeypatch):
    monkeypatch.setattr(classification, "PROBE_ROWS", 30)
    rng = np.random.default_rng(2)
    data = random((300, 8)), rng.integers(0, 3, 300), random((200, 8), 1), rng.integers(0, 3, 200)
    runs = [linear_probe(*data, seed=seed) for seed in (0, 0, 1, 2)]
    assert runs[0]["train"] == 30
    assert runs[0] == runs[1]
    assert len({run["accuracy"] for run in runs}) > 1
