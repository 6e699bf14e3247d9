"""Objects of any size, member by member, are what the json module reads whole."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m5jax.catalogues import json_stream
from m5jax.catalogues.catalogue import RowError
from m5jax.errors import DataError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "object.json"
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
        return path

    return write


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.dictionaries(TEXT, VALUES, max_size=5), chunk=st.integers(1, 9), indent=st.sampled_from([None, 1]))
def test_members_are_those_of_the_whole_object(write, monkeypatch, value, chunk, indent):
    monkeypatch.setattr(json_stream, "CHUNK_CHARS", chunk)
    text = json.dumps(value, indent=indent)
    members = list(json_stream.members(write(text)))
    assert [(key, found) for key, found, _ in members] == list(json.loads(text).items())
    assert all(len(json.dumps(found)) <= length or indent for _, found, length in members)


def test_a_key_that_stands_twice_comes_twice_and_a_mark_of_byte_order_is_nothing(write):
    path = write("\ufeff{\"a\": 1, 'a': 2}".replace("'", '"'))
    assert list(json_stream.members(path)) == [("a", 1, 1), ("a", 2, 1)]


def test_a_key_that_stands_twice_in_a_value_costs_this_value(write, monkeypatch):
    monkeypatch.setattr(json_stream, "CHUNK_CHARS", 5)
    path = write('{"a": {"k": 1, "k": 2}, "b": {"k": 1}, "c": [{"x": {"z": 1, "y": 1, "y": 1}}], "d": {"k": 1}}')
    values = {key: value for key, value, _ in json_stream.members(path)}
    assert (values["b"], values["d"]) == ({"k": 1}, {"k": 1})
    for key, twice in (("a", "'k'"), ("c", "'y'")):
        assert isinstance(values[key], RowError)
        assert values[key].reason == "duplicate_key"
        assert twice in values[key].detail


def test_a_place_that_counts_from_the_middle_of_the_file_is_not_told(write, monkeypatch):
    monkeypatch.setattr(json_stream, "CHUNK_CHARS", 50)
    path = write('{"a": "' + "x" * 1000 + '", "b": {"c": tru}}')
    with pytest.raises(DataError) as caught:
        list(json_stream.members(path))
    assert str(caught.value) == f"{path} is not one JSON object after the entry 'b': Expecting value. Copy it anew"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"a": 1',
        '{"a": 1,}',
        '{"a" 1}',
        '{"a": 1} x',
        "{1: 2}",
        '{"a": 1 "b": 2}',
        '{"a": tru}',
        "[" * 9999,
    ],
)
def test_what_is_not_one_object_is_refused_with_the_file_and_the_place(write, text):
    path = write(text)
    with pytest.raises(DataError, match="is not one JSON object") as caught:
        list(json_stream.members(path))
    assert str(path) in str(caught.value)
    assert "after the entry 'a'" in str(caught.value) or '"a"' not in text or text in ('{"a" 1}',)


def test_damage_in_the_middle_comes_after_what_was_whole(write):
    found = json_stream.members(write(b'{"a": {"title": "x"}, "b": {"title": "\xff"}}'))
    with pytest.raises(DataError, match=r"object: not in UTF-8, invalid start byte\. Copy it anew"):
        list(found)
    members = json_stream.members(write('{"a": 1, "b": [' + "[" * 100_000))
    assert next(members) == ("a", 1, 1)
    with pytest.raises(DataError, match="after the entry 'b'"):
        next(members)


def test_a_member_without_end_is_not_read_to_the_end_of_the_file(write, monkeypatch):
    monkeypatch.setattr(json_stream, "CHUNK_CHARS", 100)
    monkeypatch.setattr(json_stream, "MAX_MEMBER_CHARS", 1000)
    path = write('{"a": "' + "x" * 100_000)
    with path.open(encoding="utf-8") as file:
        reader = json_stream._Reader(file)
        reader.take("{")
        reader.value()
        reader.take(":")
        with pytest.raises(ValueError, match="Unterminated"):
            reader.value()
        assert len(file.read()) > 90_000
