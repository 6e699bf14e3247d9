"""What a listing is recognised by: alike where a person would call it the same, and nowhere else."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image
from reports import jpeg

from m5jax import media
from m5jax.data import fingerprints
from m5jax.data.records import Record
from m5jax.modalities import NAMES
from m5jax.validation.near import MOST


def content(name, **fields):
    return fingerprints.of(Record("x", **fields)).content[NAMES.index(name)]


@pytest.mark.parametrize("other", ["RED  Shoe", " red\tshoe\n", "ｒｅｄ　ｓｈｏｅ", "Red shoe"])
def test_titles_are_the_same_but_for_case_blanks_and_compatibility_forms(other):
    assert content("text", title=other) == content("text", title="red shoe") != 0


@pytest.mark.parametrize("other", ["red shoes", "redshoe", "réd shoe", "red shoe."])
def test_other_titles_are_others(other):
    assert content("text", title=other) != content("text", title="red shoe")


def test_rows_of_a_table_are_compared_in_any_order():
    rows = (("colour", "red"), ("size", "4"))
    assert content("table", fields=rows) == content("table", fields=(("Size", "4"), ("colour", " RED"))) != 0
    assert content("table", fields=rows) != content("table", fields=(("colour", "4"), ("size", "red")))
    assert content("table", fields=(("a", "bc"),)) != content("table", fields=(("ab", "c"),))


def test_what_is_not_there_has_no_fingerprint():
    assert fingerprints.of(Record("x")) == fingerprints.Fingerprints((0,) * 5)
    assert content("text", title="") == content("table", fields=()) == content("video") == 0


def test_rows_and_different_values_of_a_table_are_counted():
    found = fingerprints.of(Record("x", fields=(("a", "Yes"), ("b", "yes"), ("b", "no"))))
    assert (found.fields, found.values) == (3, 2)


def smooth(seed, side=72):
    """A picture of large shapes."""
    small = np.random.default_rng(seed).integers(50, 200, (8, 8, 3)).astype(np.uint8)
    return Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC, box=(1, 1, 7, 7))


def encoded(image, quality=95):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def apart(one, other):
    return sum((a ^ b).bit_count() for a, b in zip(one, other, strict=True))


def test_difference_hash_says_which_of_two_neighbours_is_brighter():
    image = smooth(0)
    pixels = image.convert("F").resize((17, 16), Image.Resampling.LANCZOS).load()
    bits = [int(pixels[x + 1, y] > pixels[x, y] + 1) for y in range(16) for x in range(16)]
    words = tuple(int("".join(map(str, bits[start : start + 64])), 2) for start in range(0, 256, 64))
    assert fingerprints.difference_hash(image) == words


def kept(data):
    """The fingerprint of a seller's picture, by what a record keeps of it."""
    return fingerprints.of(Record("x", image=media.encode_jpeg(media.decode_image(data, 72)))).picture


CHANGES = {
    "compressed": lambda image: encoded(image, 75),
    "half as large": lambda image: encoded(image.resize((160, 160))),
    "darker": lambda image: encoded(image.point(lambda value: 0.9 * value)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_picture_that_looks_the_same_has_nearly_the_same_hash(change):
    images = [smooth(seed, 320) for seed in range(20)]
    hashes = [kept(encoded(image)) for image in images]
    changed = [kept(CHANGES[change](image)) for image in images]
    assert np.mean([apart(one, other) <= MOST for one, other in zip(hashes, changed, strict=True)]) >= 0.9
    assert min(apart(one, other) for one, other in itertools.combinations(hashes, 2)) > 60


def test_spread_tells_a_picture_of_one_colour():
    plain = Image.new("RGB", (72, 72), (40, 90, 200))
    assert fingerprints.of(Record("x", image=encoded(plain, 30))).spread < 5
    plain.paste((40, 90, 120), (20, 20, 40, 40))
    assert fingerprints.of(Record("x", image=encoded(plain))).spread > 60


def test_features_are_compared_as_they_are_and_have_no_picture():
    rows = np.ones((3, 4), np.float16)
    found, other = (fingerprints.of(Record("x", image=array)) for array in (rows, rows * 2))
    assert found.picture == (0, 0, 0, 0)
    assert found.content[0] == fingerprints.of(Record("y", image=rows.copy())).content[0] != other.content[0]


def test_every_medium_counts():
    film, noise = jpeg(64, 16), np.ones((4, 16), np.float16)
    assert content("video", video=film) == content("image", image=film) != 0
    assert content("audio", audio=noise) != content("audio", audio=-noise)
