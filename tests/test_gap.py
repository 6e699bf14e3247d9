"""The modality gap against hand-worked cones and all pairs; corrections against scikit-learn and known shifts."""

import numpy as np
import pytest
from rankings import random, slow_ranking, unit
from sklearn.covariance import oas

from m5jax.evals import correction, gap

EVERY = np.ones(400, bool)


def two_modalities(listings=400, dim=16, noise=0.3, shift=1.0, stretch=4.0, seed=0):
    """Two views of the same listings, each stretched along an axis and then moved away along another."""
    shared, views = random((listings, dim), seed), {}
    for number, name in enumerate(("image", "text")):
        view = shared + noise * random((listings, dim), seed + 1 + number)
        view[:, 2 + number] *= stretch
        view[:, number] += shift * dim
        views[name] = unit(view).astype(np.float32)
    return views


def test_gap_of_two_hand_worked_cones():
    image, text = np.asarray([[1, 0], [0.6, 0.8]]), np.asarray([[0, 1], [0.8, 0.6]])
    # Centroids (0.8, 0.4) and (0.4, 0.8).
    assert gap.between(image, text) == pytest.approx(
        {"gap": np.sqrt(0.32), "own": (0 + 0.96) / 2, "others": (0.8 + 0.8) / 2}
    )
    assert gap.within(image) == pytest.approx(0.6)


def test_cosines_of_different_listings_are_those_of_all_pairs():
    image, text = (unit(random((30, 5), seed)) for seed in (0, 1))
    off = ~np.eye(30, dtype=bool)
    assert gap.between(image, text)["others"] == pytest.approx((image @ text.T)[off].mean())
    assert gap.within(image) == pytest.approx((image @ image.T)[off].mean())


def test_one_listing_has_no_others():
    one = np.asarray([[1.0, 0.0]])
    assert gap.between(one, one) == {"gap": 0, "own": 1}
    assert gap.within(one) is None


def test_recall_is_that_of_the_full_sort():
    queries, gallery, own = random((40, 6)), random((70, 6), 1), np.random.default_rng(2).integers(0, 70, 40)
    rankings, _ = slow_ranking(queries, gallery, np.ones(40, bool), np.ones(70, bool), np.full(40, -1))
    for k, found in gap.recall(queries, gallery, own, (1, 5, 100)).items():
        assert found == np.mean([listing in ranking[:k] for listing, ranking in zip(own, rankings, strict=True)])
    assert gap.recall(queries, gallery, own, (70,)) == {70: 1.0}


def test_of_twins_the_lower_row_is_found():
    assert gap.recall(np.ones((2, 3)), np.ones((2, 3)), np.arange(2), (1, 2)) == {1: 0.5, 2: 1.0}


def test_embedding_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        gap.recall(np.full((1, 3), np.nan), np.ones((2, 3)), np.zeros(1, int), (1,))
    with pytest.raises(ValueError, match="not finite"):
        correction.fit("whitening", np.full((2, 3), np.nan), np.ones(2, bool))


def test_mean_shift_takes_a_known_shift_away():
    views = two_modalities()
    assert gap.between(*views.values())["gap"] > 1
    shifted = [correction.fit("mean_shift", view, EVERY)(view, EVERY) for view in views.values()]
    assert gap.between(shifted[0], shifted[1])["gap"] < 0.2
    np.testing.assert_allclose(np.linalg.norm(shifted[0], axis=1), 1, rtol=1e-5)


def test_own_listing_is_found_more_often_after_each_correction():
    views, own = two_modalities(), np.arange(400)

    def found(kind):
        sides = {name: correction.fit(kind, view, EVERY)(view, EVERY) for name, view in views.items()}
        return gap.recall(sides["image"], sides["text"], own, (1,))[1]

    raw = gap.recall(views["image"], views["text"], own, (1,))[1]
    assert raw < 0.1
    assert 0.5 < found("mean_shift") < found("whitening") - 0.2


def test_whitening_leaves_unit_covariance(monkeypatch):
    vectors = two_modalities()["image"]
    centred = vectors.astype(np.float64) - vectors.mean(0, dtype=np.float64)
    plain = np.cov(centred.T, bias=True)
    fitted = correction.fit("whitening", vectors, EVERY)
    assert fitted.shrinkage == correction.LEAST_SHRINKAGE
    shrunk = 0.9 * plain + 0.1 * np.trace(plain) / 16 * np.eye(16)
    np.testing.assert_allclose(fitted.matrix @ shrunk @ fitted.matrix, np.eye(16), atol=1e-4)
    monkeypatch.setattr(correction, "LEAST_SHRINKAGE", 0.0)
    fitted = correction.fit("whitening", vectors, EVERY)
    covariance, shrinkage = oas(centred)
    assert fitted.shrinkage == pytest.approx(shrinkage)
    np.testing.assert_allclose(fitted.matrix @ covariance @ fitted.matrix, np.eye(16), atol=1e-4)
    white = (vectors - fitted.mean) @ fitted.matrix
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(16), atol=0.15)
    np.testing.assert_allclose(white.mean(0), 0, atol=1e-4)


def test_fewer_listings_than_dimensions_can_be_whitened():
    vectors = unit(random((5, 64))).astype(np.float32)
    fitted = correction.fit("whitening", vectors, np.ones(5, bool))
    assert correction.LEAST_SHRINKAGE < fitted.shrinkage <= 1
    np.testing.assert_allclose(np.linalg.norm(fitted(vectors, np.ones(5, bool)), axis=1), 1, rtol=1e-4)
    assert np.linalg.cond(fitted.matrix) < 100


@pytest.mark.parametrize("kind", correction.KINDS)
def test_absent_stays_absent_and_is_not_fitted_on(kind):
    vectors, valid = two_modalities()["image"], np.arange(400) % 3 > 0
    expected = correction.fit(kind, vectors[valid], EVERY[valid])
    vectors[~valid] = np.nan
    fitted = correction.fit(kind, vectors, valid)
    np.testing.assert_array_equal(fitted.matrix, expected.matrix)
    assert fitted.listings == valid.sum()
    moved = fitted(vectors, valid)
    assert not moved[~valid].any()
    np.testing.assert_allclose(moved[valid], expected(vectors[valid], EVERY[valid]), atol=1e-6)


@pytest.mark.parametrize("kind", correction.KINDS)
def test_what_has_no_spread_is_left_without_a_division_by_zero(kind):
    same, there = np.tile(unit(np.ones((1, 3))).astype(np.float32), (4, 1)), np.ones(4, bool)
    with np.errstate(all="raise"):
        coinciding = correction.fit(kind, same, there)
        assert not coinciding(same, there).any()
        np.testing.assert_array_equal(coinciding.matrix, np.eye(3))
        nothing = correction.fit(kind, same, ~there)
        np.testing.assert_allclose(nothing(same, there), same, rtol=1e-6)
        zeros = correction.fit(kind, 0 * same, there)
        assert not zeros(0 * same, there).any()
    assert nothing.listings == 0


def test_unknown_correction_is_refused():
    with pytest.raises(ValueError, match="choose from mean_shift, whitening"):
        correction.fit("shift", np.ones((1, 2)), np.ones(1, bool))


def test_saved_corrections_are_the_same_again_to_the_byte(tmp_path):
    fitted = {name: correction.fit("whitening", view, EVERY) for name, view in two_modalities().items()}
    for name in ("a", "b"):
        correction.save(tmp_path / name, fitted)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    loaded = correction.load(tmp_path / "a")
    assert loaded.keys() == fitted.keys()
    for name, one in fitted.items():
        for field, value in vars(one).items():
            np.testing.assert_array_equal(getattr(loaded[name], field), value)
