"""Mean harmony matrices against a loop over listings."""

import numpy as np
import pytest

from m5jax.data.index import Index
from m5jax.embed import Embeddings
from m5jax.evals.suite import Split
from m5jax.report.agreement import agreements

NAMES = ("image", "text", "audio")


def split(labels, present, matrices):
    text = np.asarray([""] * len(labels), object)
    index = Index(text, text, text, np.asarray(labels, object), text, np.zeros((len(labels), 5), np.uint8))
    valid = {name: np.asarray(present)[:, number] for number, name in enumerate(NAMES)}
    return Split(index, Embeddings({name: np.zeros((len(labels), 2)) for name in NAMES}, valid, matrices))


@pytest.fixture
def splits():
    rng = np.random.default_rng(0)
    labels = ["shoe", "hat", "shoe", "", "hat", "shoe", "rare"]
    present = rng.random((7, 3)) < 0.7
    present[:, 2] = [False, False, False, True, False, False, False]
    matrices = rng.normal(size=(7, 3, 3)).astype(np.float32)
    return [split(labels[:4], present[:4], matrices[:4]), split(labels[4:], present[4:], matrices[4:])]


def test_mean_is_over_the_listings_that_have_both(splits):
    found = agreements(splits, NAMES, 2)
    assert [(a.title, a.listings) for a in found] == [("All held-out listings", 7), ("shoe", 3), ("hat", 2)]
    for one in found:
        for i, row in enumerate(NAMES):
            for j, column in enumerate(NAMES):
                values = [
                    part.embeddings.harmony[n, i, j]
                    for part in splits
                    for n in range(len(part.index))
                    if part.embeddings.valid[row][n] and part.embeddings.valid[column][n]
                    if one.title in ("All held-out listings", part.index.categories[n])
                ]
                expected = pytest.approx(np.mean(values), abs=1e-6) if values else None
                assert one.values[i][j] == expected, (one.title, row, column)


def test_modality_that_no_listing_of_a_category_has_gives_no_number(splits):
    assert agreements(splits, NAMES, 1)[1].values[2] == [None, None, None]


def test_model_without_harmony_gives_nothing(splits):
    bare = [split(list(part.index.categories), np.ones((len(part.index), 3), bool), None) for part in splits]
    assert agreements(bare, NAMES, 2) == []
    assert agreements([], NAMES, 2) == []
