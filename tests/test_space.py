"""The map of the product space: its arithmetic, its finding, and that no picture covers another."""

import numpy as np
import pytest
from reports import listing, make_scored
from small import small_config

from m5jax.evals import projection
from m5jax.report import space as drawing
from m5jax.studies import space
from m5jax.studies.subject import Subject


def test_axes_are_those_of_most_variance_and_keep_their_sign():
    rng = np.random.default_rng(0)
    plane = np.linalg.qr(rng.normal(size=(6, 6)))[0][:2]
    coordinates = rng.normal(size=(50, 2)) * [3.0, 1.0]
    vectors = coordinates @ plane + 7.0
    found = projection.project(vectors, "pca", 0)
    values = np.linalg.eigvalsh(np.cov(coordinates.T))[::-1]
    assert found.explained == pytest.approx(values / values.sum())
    assert sum(found.explained) == pytest.approx(1.0)
    between = np.linalg.norm(coordinates[:, None] - coordinates, axis=-1)
    np.testing.assert_allclose(np.linalg.norm(found.points[:, None] - found.points, axis=-1), between, atol=1e-9)
    again = projection.project(vectors[::-1], "pca", 0)
    np.testing.assert_allclose(again.points[::-1], found.points, atol=1e-9)


def test_two_far_groups_stay_apart_under_tsne():
    rng = np.random.default_rng(0)
    vectors = np.eye(8)[np.arange(40) % 2] + 0.01 * rng.normal(size=(40, 8))
    found = projection.project(vectors, "tsne", 0)
    assert found.explained is None
    distance = np.linalg.norm(found.points[:, None] - found.points, axis=-1) + np.diag(np.full(40, np.inf))
    assert (distance.argmin(1) % 2 == np.arange(40) % 2).all()


@pytest.mark.parametrize("method", projection.METHODS)
def test_there_is_a_map_of_three_listings_and_none_of_fewer_or_of_one_place(method):
    assert projection.project(np.eye(3), method, 0).points.shape == (3, 2)
    assert projection.project(np.ones((1, 4)), method, 0) is None
    assert projection.project(np.ones((0, 4)), method, 0) is None
    assert projection.project(np.ones((5, 4)), method, 0) is None
    assert projection.project(np.zeros((5, 4)), method, 0) is None
    assert np.isfinite(projection.project(np.asarray([[1.0], [2.0], [4.0]]), method, 0).points).all()
    with pytest.raises(ValueError, match="not finite"):
        projection.project(np.full((5, 4), np.nan), method, 0)


def test_the_level_is_the_first_that_tells_listings_apart():
    assert space.level(["goods > shoe > boot", "goods > watch", "goods", ""]) == ["shoe", "watch", "goods", ""]
    assert space.level(["a > b", "c > b"]) == ["a", "c"]
    assert space.level(["a > b", "a > b", ""]) == ["a > b", "a > b", ""]
    assert space.level(["", ""]) == ["", ""]


def test_what_is_beyond_the_largest_groups_shares_the_last():
    names = [str(n) for n in range(space.GROUPS + 2)] + ["0"]
    groups, group = space.grouped([*names, ""])
    assert groups[0] == "0"
    assert groups[-1] == ""
    assert len(groups) == space.GROUPS + 1
    assert group[0] == group[-2] == 0
    assert group[-1] == space.GROUPS
    assert space.grouped(["a"]) == (["a"], [0])


def subject(folder, listings, vectors=None, **changes):
    config = small_config(**changes)
    scored = make_scored(
        folder, {"gallery": listings}, config, vectors={"gallery": vectors} if vectors is not None else None
    )

    def again(*_):
        raise AssertionError("a map embeds nothing again")

    return scored, Subject(config, scored.prepared, scored.embedded, scored.scores, scored.results, again)


def test_the_finding_is_of_listings_with_an_embedding(tmp_path):
    listings = [listing(n, small_config(), category=("goods", f"kind {n % 2}")) for n in range(20)]
    listings[3] = listing(3, small_config(), present=())
    kinds = np.eye(4)[np.arange(20) % 2] + 0.01 * np.random.default_rng(0).normal(size=(20, 4))
    _, asked = subject(tmp_path, listings, kinds)
    found = space.study(asked)
    assert found["rows"] == [n for n in range(20) if n != 3]
    assert found["groups"] == ["kind 0", "kind 1"]
    assert found["group"] == [n % 2 for n in found["rows"]]
    assert found["near"] == found["near_embedded"] == 1.0
    assert np.ptp(found["points"], axis=0).max() == 1.0
    assert found["passport"]["gallery"] == 19


def test_one_listing_and_one_place_are_skipped_with_the_reason(tmp_path):
    one = [listing(0, small_config())]
    assert "has 1 with an embedding" in space.study(subject(tmp_path / "one", one)[1])["skipped"]
    many = [listing(n, small_config()) for n in range(6)]
    assert "that differ" in space.study(subject(tmp_path / "same", many, np.ones((6, 4)))[1])["skipped"]


def test_pictures_lie_apart_and_inside(tmp_path):
    rng = np.random.default_rng(0)
    places, height = drawing.placed(rng.uniform(size=(3000, 2)) * [1.0, 0.8])
    has = rng.random(3000) < 0.5
    corners = drawing.spread(places, has)
    assert 100 < len(corners) <= drawing.MOST_PICTURES
    assert has[list(corners)].all()
    where = np.asarray(list(corners.values()))
    assert (where >= 0).all()
    assert (where + drawing.SIDE <= [drawing.WIDTH + drawing.CELL, height + drawing.CELL]).all()
    apart = np.abs(where[:, None] - where).max(-1) + np.diag(np.full(len(where), np.inf))
    assert apart.min() >= drawing.SIDE


def test_the_view_draws_every_dot_and_no_picture_of_listings_without(tmp_path):
    listings = [listing(n, small_config(), present=("text", "image") if n % 2 else ("text",)) for n in range(9)]
    scored, asked = subject(tmp_path, listings)
    made = drawing.view(space.study(asked), scored)
    assert sum(len(group.dots) for group in made["groups"]) == 9
    assert {picture.title for picture in made["pictures"]} <= {f"listing {n}" for n in (1, 3, 5, 7)}
    assert made["pictures"]
