"""Which categories are mixed up: against another library, and with a tail of categories that one query has."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from m5jax.evals import confusion
from m5jax.evals.confusion import NOTHING, Mixed


def test_pairs_are_ranked_by_how_many_then_by_share():
    truth = np.asarray([0, 0, 0, 0, 1, 1, 2, 2, 2, 3])
    answers = np.asarray([0, 1, 1, 2, 0, 0, 0, 2, NOTHING, 1])
    assert confusion.mixed_up(truth, answers, 4) == [
        Mixed(1, 0, 2, 1.0, 4),
        Mixed(0, 1, 2, 0.5, 1),
        Mixed(3, 1, 1, 1.0, 9),
        Mixed(2, 0, 1, pytest.approx(1 / 3), 6),
    ]
    assert len(confusion.mixed_up(truth, answers, 99)) == 5


@pytest.mark.parametrize("answers", [[0, 1, 2], [NOTHING] * 3])
def test_nothing_is_mixed_up(answers):
    assert confusion.mixed_up(np.arange(3), np.asarray(answers), 5) == []


def test_no_query_mixes_nothing_up():
    nothing = np.zeros(0, int)
    assert confusion.mixed_up(nothing, nothing, 5) == []
    chosen, table = confusion.matrix(nothing, nothing, 5)
    assert (len(chosen), table.tolist()) == (0, [[0, 0]])


def test_matrix_is_that_of_scikit_learn():
    random = np.random.default_rng(0)
    truth, answers = random.integers(0, 6, 300), random.integers(0, 6, 300)
    chosen, table = confusion.matrix(truth, answers, 10)
    assert table[:-1, :-2].tolist() == confusion_matrix(truth, answers, labels=chosen).tolist()
    assert table[-1].sum() == table[:, -2:].sum() == 0


def test_small_categories_are_others():
    truth = np.asarray([5] * 4 + [9] * 3 + [0, 1, 2])
    answers = np.asarray([5, 9, 0, NOTHING, 9, 9, 5, 5, 2, NOTHING])
    chosen, table = confusion.matrix(truth, answers, 2)
    assert chosen.tolist() == [5, 9]
    assert table.tolist() == [[1, 1, 1, 1], [1, 2, 0, 0], [1, 0, 1, 1]]


def test_an_answer_to_every_query():
    with pytest.raises(ValueError, match="must both be"):
        confusion.mixed_up(np.zeros(2, int), np.zeros(3, int), 1)
    with pytest.raises(ValueError, match="must both be"):
        confusion.matrix(np.zeros((2, 2), int), np.zeros((2, 2), int), 1)
