"""TF-IDF cosines against the formula written out."""

import math
import re
from collections import Counter

import numpy as np
import pytest

from m5jax.evals import words

TEXTS = ["Red pan X1 x1", "pan, red", "x1 x1 x1 lid", "", "!?", "Blåbär 7", "7 blåbär"]


def slow(texts, left, right):
    counts = [Counter(re.findall(r"\w+", text.lower())) for text in texts]
    idf = {
        word: math.log((1 + len(texts)) / (1 + sum(word in count for count in counts))) + 1
        for word in set().union(*counts)
    }
    vectors = [{word: (1 + math.log(n)) * idf[word] for word, n in count.items()} for count in counts]
    if not vectors[left] or not vectors[right]:
        return -math.inf
    norms = [math.sqrt(sum(weight**2 for weight in vectors[side].values())) for side in (left, right)]
    return sum(weight * vectors[right].get(word, 0.0) for word, weight in vectors[left].items()) / math.prod(norms)


def test_cosines_are_those_of_the_formula():
    left, right = (side.ravel() for side in np.indices((len(TEXTS), len(TEXTS))))
    expected = [slow(TEXTS, a, b) for a, b in zip(left.tolist(), right.tolist(), strict=True)]
    np.testing.assert_allclose(words.cosines(TEXTS, left, right), expected, atol=1e-12)


@pytest.mark.parametrize("texts", [[], ["", "?"]])
def test_without_a_word_or_a_text_there_is_no_score(texts):
    pairs = np.arange(len(texts)), np.full(len(texts), -1)
    assert words.cosines(texts, *pairs).tolist() == [-math.inf] * len(texts)
    assert words.cosines(["a b", "b"], np.asarray([0, -1]), np.asarray([-1, 1])).tolist() == [-math.inf, -math.inf]
