"""Pairs told by a threshold: by hand, against scikit-learn, and where something is missing."""

import math

import numpy as np
import pytest
from sklearn import metrics

from m5jax.evals import matching

NONE = -math.inf


def pairs(*rows):
    """Scores and truths of (score, match) rows."""
    scores, matches = zip(*rows, strict=True)
    return np.asarray(scores, np.float64), np.asarray(matches, bool)


def drawn(seed, count=60, levels=None):
    """Scores of which matches have the higher ones, on average; `levels` makes many equal."""
    rng = np.random.default_rng(seed)
    matches = rng.random(count) < 0.3
    scores = rng.normal(size=count) + matches
    return (scores if levels is None else np.round(scores * levels) / levels), matches


def slow_threshold(scores, matches):
    """Every score tried, from above."""
    best = (-1.0, math.nan)
    for candidate in sorted(set(scores[np.isfinite(scores)]), reverse=True):
        f1 = metrics.f1_score(matches, scores >= candidate)
        best = max(best, (f1, candidate), key=lambda found: found[0])
    return best[1]


def test_a_case_by_hand():
    val = pairs((0.9, 1), (0.8, 0), (0.7, 1), (0.4, 0), (0.2, 1))
    # Called down to .9: 2·1/(1+3); .8: 2/(2+3); .7: 4/(3+3); .4: 4/(4+3); .2: 6/(5+3).
    assert matching.threshold(*val) == 0.2
    found = matching.matching(*val, *pairs((0.9, 1), (0.3, 0), (0.1, 1), (0.0, 0)))
    assert found is not None
    assert found.chosen["f1"] == pytest.approx(6 / 8)
    assert found.scores == pytest.approx(
        {
            "pairs": 4,
            "matches": 2,
            "called": 2,
            "coverage": 1,
            "accuracy": 0.5,
            "precision": 0.5,
            "recall": 0.5,
            "f1": 0.5,
            "macro_f1": 0.5,
            "auc": 3 / 4,  # .9 above both others, .1 above one
        }
    )


@pytest.mark.parametrize("levels", [None, 2])
def test_as_scikit_learn(levels):
    for seed in range(20):
        scores, matches = drawn(seed, levels=levels)
        chosen = matching.threshold(scores, matches)
        assert chosen == slow_threshold(scores, matches)
        found, called = matching.told(scores, matches, chosen), scores >= chosen
        expected = {
            "accuracy": metrics.accuracy_score(matches, called),
            "precision": metrics.precision_score(matches, called),
            "recall": metrics.recall_score(matches, called),
            "f1": metrics.f1_score(matches, called),
            "macro_f1": metrics.f1_score(matches, called, average="macro"),
            "auc": metrics.roc_auc_score(matches, scores),
        }
        assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_of_thresholds_that_do_equally_well_the_highest():
    # 1 of 1 called of 2 matches: 2/3; with two wrong ones and the other match: 4/(4+2) = 2/3.
    assert matching.threshold(*pairs((0.9, 1), (0.8, 0), (0.7, 0), (0.6, 1))) == 0.9


def test_pairs_of_equal_score_are_called_together():
    assert matching.threshold(*pairs((0.5, 0), (0.5, 1), (0.5, 0))) == 0.5


def test_one_class_only():
    assert matching.threshold(*pairs((0.5, 0), (0.4, 0))) is None
    assert matching.matching(*pairs((0.5, 0)), *pairs((0.5, 1))) is None
    assert matching.threshold(*pairs((0.5, 1), (0.4, 1))) == 0.4
    nothing = matching.told(*pairs((0.5, 0), (0.4, 0)), 0.9)
    assert nothing == {"pairs": 2, "matches": 0, "called": 0, "coverage": 1, "accuracy": 1}
    everything = matching.told(*pairs((0.5, 1), (0.4, 1)), 0.9)
    assert everything == {"pairs": 2, "matches": 2, "called": 0, "coverage": 1, "accuracy": 0, "recall": 0, "f1": 0}


def test_no_pair_at_all():
    empty = np.zeros(0), np.zeros(0, bool)
    assert matching.threshold(*empty) is None
    assert matching.told(*empty, 0.5) == {"pairs": 0, "matches": 0, "called": 0}


def test_a_pair_without_embedding_is_never_called_and_stays_missed():
    assert matching.threshold(*pairs((NONE, 1), (0.3, 0))) is None
    scores, matches = pairs((NONE, 1), (0.9, 1), (0.1, 0), (NONE, 0))
    chosen = matching.threshold(scores, matches)
    assert chosen == 0.9
    found = matching.told(scores, matches, chosen)
    assert (found["called"], found["recall"], found["coverage"]) == (1, 0.5, 0.5)
    assert found["auc"] == pytest.approx((2 + 0.5) / 4)  # .9 above two; none ties with none and loses to .1


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_scores_that_are_none_are_refused(broken):
    with pytest.raises(ValueError, match="pair 1 scores"):
        matching.threshold(*pairs((0.5, 1), (broken, 0)))


def test_lengths_that_differ_are_refused():
    with pytest.raises(ValueError, match="one number and one truth"):
        matching.told(np.zeros(2), np.zeros(3, bool), 0.5)
