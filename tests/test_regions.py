"""Regions with boxes: both ways to write them down give the same; what is wrong has a reason, and is never zeros."""

import io
import sys

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from m5product_files import DIM, line, packed, regions, shares

from m5jax import media
from m5jax.media import MediaError
from m5jax.media.regions import K3M_COLUMNS, K3M_ITEMS, VILBERT_ITEMS


def decode(data, rows=36):
    return media.decode_features(data, DIM, rows, 5)


def reason(data):
    with pytest.raises(MediaError) as caught:
        decode(data)
    assert caught.value.reason in media.REASONS
    assert caught.value.detail
    return caught.value.reason


def classified(rows=4, classes=7):
    """An entry with a detector's shares, in K3M's words."""
    shares = np.random.default_rng(1).dirichlet(np.ones(classes), rows).astype(np.float32)
    return regions("7", rows=rows) | {"classes": shares, "attributes": "colour:red", "category": "shoes"}


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize("write", [packed, line])
def test_an_entry_is_its_vectors_and_its_boxes_as_shares(write):
    parts = regions("7", rows=4)
    features, found = decode(write(parts))
    assert (features.dtype, features.shape, found) == (np.float16, (4, DIM + 5), 4)
    np.testing.assert_array_equal(features[:, :DIM], parts["features"].astype(np.float16))
    np.testing.assert_array_equal(features[:, DIM:], shares(parts["boxes"], 100, 50))
    assert media.regions.identity(write(parts)) == ("7", "a shoe")
    first, found = decode(write(parts), rows=3)
    np.testing.assert_array_equal(first, features[:3])
    assert found == 4


@pytest.mark.parametrize(
    ("write", "names"),
    [(packed, VILBERT_ITEMS), (packed, K3M_ITEMS), (line, K3M_COLUMNS)],
    ids=("vilbert", "k3m", "text"),
)
def test_entries_of_other_releases_have_the_shares_of_classes_behind_the_boxes(write, names):
    parts = classified()
    data = write(parts, names)
    features, found = media.decode_features(data, DIM, 36, 5, 7)
    assert (features.dtype, features.shape, found) == (np.float16, (4, DIM + 5 + 7), 4)
    np.testing.assert_array_equal(features[:, : DIM + 5], decode(write(parts, names))[0])  # as when not asked for
    np.testing.assert_array_equal(features[:, DIM + 5 :], parts["classes"].astype(np.float16))
    assert media.regions.identity(data) == ("7", "" if write is line else "a shoe")
    assert media.regions.title(data.rstrip().split(b"\t")[-1]) == b"" or write is packed
    without, _ = media.decode_features(packed(parts), DIM, 36, 5, 7)  # M5Product's have none
    np.testing.assert_array_equal(without, np.pad(features[:, : DIM + 5], ((0, 0), (0, 7))))


def test_classes_are_as_many_as_asked_for_finite_and_not_negative():
    def why(data, classes=7):
        with pytest.raises(MediaError) as caught:
            media.decode_features(data, DIM, 36, 5, classes)
        return caught.value.reason

    for value, expected in ((-0.1, "invalid_classes"), (np.nan, "non_finite")):
        parts = classified()
        parts["classes"][2, 3] = value
        assert why(packed(parts, K3M_ITEMS)) == expected
    assert why(packed(classified(), K3M_ITEMS), classes=8) == "wrong_shape"
    assert why(npy(np.zeros((2, DIM + 5)))) == "wrong_shape"
    rows = np.concatenate([np.ones((2, DIM)), np.tile([0, 0, 1, 1, 1], (2, 1)), np.full((2, 7), 0.125)], 1)
    np.testing.assert_array_equal(media.decode_features(npy(rows), DIM, 36, 5, 7)[0], rows)
    np.testing.assert_array_equal(media.decode_features(npy(rows[:, :-5]), DIM, 36, 0, 7)[0], rows[:, :-5])


def test_boxes_in_npy_files_are_shares_already():
    array = np.concatenate([np.ones((2, DIM)), [[0, 0.25, 0.5, 1, 0.375], [0.1, 0.2, 1.005, 1, 0.7]]], 1)
    features, found = decode(npy(array))
    array[1, DIM + 2] = 1  # rounding is clipped
    np.testing.assert_array_equal(features, array.astype(np.float16))
    assert found == 2
    assert reason(npy(array[:, :-5])) == "wrong_shape"
    assert reason(npy(array[:0])) == "empty"
    for column, value, expected in ((0, np.nan, "non_finite"), (DIM, np.nan, "non_finite"), (DIM, 0.9, "invalid_box")):
        wrong = array.copy()
        wrong[0, column] = value
        assert reason(npy(wrong)) == expected


def changed(name, where, value):
    parts = regions("7")
    parts[name][where] = value
    return parts


DAMAGE = {
    "a vector with NaN": (changed("features", (1, 2), np.nan), "non_finite"),
    "a vector beyond float16": (changed("features", (1, 2), 1e6), "non_finite"),
    "a box with NaN": (changed("boxes", (1, 2), np.nan), "non_finite"),
    "a box with infinity": (changed("boxes", 1, [0, 0, np.inf, np.inf]), "non_finite"),
    "a box far outside": (changed("boxes", (1, 2), 120), "invalid_box"),
    "a box before the picture": (changed("boxes", (1, 0), -20), "invalid_box"),
    "a box turned round": (changed("boxes", 1, [50, 0, 20, 10]), "invalid_box"),
    "a picture without size": (regions("7", image_w=0), "invalid_box"),
    "a size that is no number": (regions("7", image_h="tall"), "undecodable"),
    "a negative size": (regions("7", image_h=-5), "undecodable"),
    "another count": (regions("7", num_boxes=2), "wrong_shape"),
    "fewer boxes than vectors": (regions("7", boxes=np.zeros((2, 4), np.float32)), "wrong_shape"),
    "boxes with five columns": (regions("7", boxes=np.zeros((3, 5), np.float32)), "wrong_shape"),
    "wider vectors": (regions("7", dim=DIM + 1), "wrong_shape"),
    "no vectors": (regions("7", features=np.zeros((0, DIM), np.float32)), "wrong_shape"),
    "no regions": (regions("7", rows=0), "empty"),
    "vectors that are text": (regions("7", features="not base64!"), "undecodable"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("write", [packed, line])
@pytest.mark.parametrize("name", DAMAGE)
def test_every_damage_has_its_reason(write, name):
    parts, expected = DAMAGE[name]
    assert reason(write(parts)) == expected
    assert media.regions.identity(write(parts))[0] == "7"


def test_a_box_that_stands_out_by_rounding_is_clipped():
    features, _ = decode(packed(changed("boxes", 0, [-0.5, 0, 100.5, 50.2])))
    np.testing.assert_array_equal(features[0, DIM:-1], np.asarray([0, 0, 1, 1], np.float16))
    assert features[0, -1] == 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({b"type": "|O", b"kind": b"O"}, "format_not_allowed"),
        ({b"type": "<i4"}, "format_not_allowed"),
        ({b"type": [["x", "<f4"]], b"kind": b"V"}, "format_not_allowed"),
        ({b"type": None}, "format_not_allowed"),
        ({b"nd": False}, "undecodable"),
        ({b"shape": [3]}, "wrong_shape"),
        ({b"shape": [3, -DIM]}, "truncated"),
        ({b"shape": [3, 1 << 60]}, "truncated"),
        ({b"shape": None}, "wrong_shape"),
        ({b"shape": [3, True]}, "wrong_shape"),
        ({b"data": b"123"}, "truncated"),
        ({b"data": 7}, "truncated"),
    ],
)
def test_of_arrays_only_plain_floats_are_taken(change, expected):
    items = msgpack.unpackb(packed(regions("7")), raw=False)
    array = {key.encode() if isinstance(key, str) else key: value for key, value in items[0].items()}
    assert reason(msgpack.packb([array | change, *items[1:]])) == expected


@pytest.mark.parametrize(
    "data", [b"\x96", b"\x97", packed(regions("7"))[:-9], b"7\t1\t2\n", b"\xff" * 20, b"\x91" * 9999]
)
def test_what_is_no_entry_has_neither_features_nor_an_id(data):
    assert reason(data) == "undecodable"
    with pytest.raises(MediaError):
        media.regions.identity(data)


def test_pickles_are_never_opened():
    parts = regions("7", features=np.asarray([[object()] * DIM] * 3))
    assert reason(packed(parts)) == "format_not_allowed"


def test_without_the_extra_the_reason_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "msgpack", None)
    with pytest.raises(MediaError, match=r"pip install 'm5jax\[m5product\]'") as caught:
        decode(packed(regions("7")))
    assert caught.value.reason == "decoder_missing"
    assert decode(line(regions("7")))[1] == 3  # tables need nothing


@given(position=st.integers(0, 10_000), byte=st.integers(0, 255), write=st.sampled_from([packed, line]))
def test_one_wrong_byte_ends_in_features_or_in_a_reason(position, byte, write):
    data = bytearray(write(regions("7")))
    data[position % len(data)] = byte
    try:
        features, _ = decode(bytes(data))
    except MediaError:  # and nothing else
        return
    assert np.isfinite(features).all()
    assert features[:, DIM:].min() >= 0
    assert features[:, DIM:].max() <= 1
