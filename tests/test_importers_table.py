"""Tables: columns of any name, and CSV that any hand or program may have damaged (R34)."""

import csv
import io
import pathlib
import random
import tempfile

import importers
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from importers import delimited
from importing import read, reasons

from m5jax.catalogues.catalogue import MAX_ROW_BYTES, MAX_TEXT_CHARS
from m5jax.errors import ConfigError, DataError
from m5jax.media.files import MediaRef

TABLE = (
    "sku,name,photo,more photos,department,type,colour,size,margin\n"
    'a1,"Sandal, red",a.jpg,b.jpg | c.jpg,Shoes > Sandals,Flat,red,38,0.4\n'
    "a2,,,,,,,,\n"
    "a3,=1+1,,-1.5,,,@blue,+3,\n"
)


def table(tmp_path, content, name="t.csv", **options):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read("table", path, **options)


def columns(**mapping):
    """The option, of `key=column` or `key=(column, column)`."""
    return tuple(
        (key, name) for key, names in mapping.items() for name in ([names] if isinstance(names, str) else names)
    )


SHOP = columns(id="sku", title="name", images=("photo", "more photos"), category=("department", "type"))


def test_columns_become_keys_and_unnamed_ones_are_left_alone_and_named(tmp_path):
    listings, rejections, notes = table(
        tmp_path, TABLE, columns=SHOP, attributes=("size", "colour"), source_name="corner shop"
    )
    sandal, bare, formula = listings.values()
    assert rejections == []
    assert (sandal.id, sandal.title, sandal.source) == ("a1", "Sandal, red", "corner shop")
    assert sandal.images == tuple(map(MediaRef, ("a.jpg", "b.jpg", "c.jpg")))
    assert sandal.category == ("Shoes", "Sandals", "Flat")
    assert sandal.attributes == (("size", "38"), ("colour", "red"))
    assert (bare.title, bare.images, bare.category, bare.attributes) == (None, (), (), None)
    assert (formula.title, formula.attributes) == ("=1+1", (("size", "+3"), ("colour", "@blue")))
    assert formula.images == (MediaRef("-1.5"),)
    (note,) = notes
    assert note.reason == "column_not_used"
    assert "margin" in note.detail


def test_a_star_takes_every_other_column_into_the_table(tmp_path):
    listings, _, notes = table(tmp_path, TABLE, columns=SHOP, attributes=("*",))
    assert listings["a1"].attributes == (("colour", "red"), ("size", "38"), ("margin", "0.4"))
    assert notes == []


def test_columns_called_like_keys_need_no_naming(tmp_path):
    content = (
        "id;title;attributes;split;instance_id\n"
        'x;Hat;"[[""felt"", ""grey""]]";val;p1\n'
        'y;Hat;"{""felt"": 3, ""none"": null}";;\n'
        "z;Hat;felt: grey;;\n"
        "w;Hat;7;;\n"
    )
    listings, rejections, _ = table(tmp_path, content, delimiter=";")
    assert (listings["x"].split, listings["x"].instance_id) == ("val", "p1")
    assert listings["x"].attributes == (("felt", "grey"),)
    assert listings["y"].attributes == (("felt", "3"),)
    assert reasons(rejections) == ["invalid_json", "invalid_field"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": columns(titel="name")}, "'titel' is not one of"),
        ({"columns": columns(title="names")}, "no column 'names' but sku, name"),
        ({"columns": columns(title=("name", "type"))}, "title is one column, and 'name' has been named"),
        ({"columns": columns(id="sku"), "attributes": ("shade",)}, "no column 'shade'"),
        ({}, "no column 'id': name it with --column id=COLUMN. There are sku, name"),
        ({"delimiter": ";"}, "--delimiter says what separates columns"),
        ({"delimiter": ";;"}, "must be one character"),
        ({"delimiter": '"'}, "must be one character"),
    ],
)
def test_columns_that_are_not_there_are_an_error_that_names_those_that_are(options, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        table(tmp_path, TABLE, **options)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "there is no line in the file"),
        (b"\n\r\n", "there is no line in the file"),
        (b"id,title,title\n", "several columns named 'title'"),
        ("id,title\n".encode("utf-16"), "must be UTF-8"),
        ("id,title\nx,y\n".encode("utf-16-le"), "NUL"),
        ("id,größe\n".encode("latin-1"), "must be UTF-8"),
        (b"id,title\rx,y\r", "Lines end in LF or CR LF"),
        (b"\x00\x01\x02", "NUL"),
        (b'id,"title\nx,y\n', "unexpected end of data"),
    ],
)
def test_a_header_that_nobody_can_rely_on_stops_at_once(content, message, tmp_path):
    with pytest.raises(DataError, match=message):
        table(tmp_path, content)


SECOND = {  # what stands in the second of three rows, and why it is none
    "latin-1": ("m,größe,x\n".encode("latin-1"), "invalid_utf8"),
    "latin-1 in a text of two lines": ('m,"a\ngröße",x\n'.encode("latin-1"), "invalid_utf8"),
    "NUL": (b"m,a\0b,x\n", "invalid_field"),
    "too few cells": (b"m,x\n", "ragged_row"),
    "too many cells": (b"m,x,y,z\n", "ragged_row"),
    "text behind a quote": (b'm,"big" shoe,x\n', "unbalanced_quotes"),
    "open quote": (b'm,"big shoe,x\n', "unbalanced_quotes"),
    "open quote in the last cell": (b'm,big shoe,"x\n', "unbalanced_quotes"),
    "open quote at the id": (b'"m,big shoe,x\n', "unbalanced_quotes"),
    "only a quote": (b'"\n', "unbalanced_quotes"),
    "carriage return": (b"m,a\rb,x\n", "invalid_field"),
    "long cell": (b"m," + b"x" * (MAX_TEXT_CHARS + 1) + b",x\n", "text_too_long"),
    "long cell in quotes": (b'm,"' + b"x" * 140_000 + b'",x\n', "text_too_long"),
    "long line": (b"m," + b"x," * (MAX_ROW_BYTES // 2) + b"\n", "row_too_long"),
    "no id": (b",x,y\n", "missing_id"),
}


@pytest.mark.parametrize("ends", [b"\n", b"\r\n"])
@pytest.mark.parametrize("name", SECOND)
def test_a_bad_row_costs_itself_alone(name, ends, tmp_path):
    row, reason = SECOND[name]
    content = b'\xef\xbb\xbfid,title,size\na,Shoe,\nEND"z","TV 32""","say ""hi"""\n'.replace(b"END", row)
    listings, rejections, _ = table(tmp_path, content.replace(b"\n", ends), attributes=("size",))
    assert [(rejection.reason, rejection.line) for rejection in rejections] == [(reason, 3)]
    assert {listing.id: listing.title for listing in listings.values()} == {"a": "Shoe", "z": 'TV 32"'}
    assert listings["z"].attributes == (("size", 'say "hi"'),)


def test_lines_in_quotes_are_text_unless_they_are_rows(tmp_path):
    content = (
        "id,title,size\n"
        '10,"Two lines,\nred, soft, warm",38\n'  # as many cells as a row has, and no id
        '11,"open,39\n'
        "12,Hat,40\n"
        '13,TV 32",41\n'  # would close it
        "14,Hat,42\n"
    )
    listings, rejections, _ = table(tmp_path, content)
    assert listings["10"].title == "Two lines,\nred, soft, warm"
    assert listings["13"].title == 'TV 32"'
    assert set(listings) == {"10", "12", "13", "14"}
    assert [(rejection.reason, rejection.line) for rejection in rejections] == [("unbalanced_quotes", 4)]


def test_one_quote_too_many_or_too_few_never_costs_another_row():
    rng = random.Random(0)
    words = ("red", "big, soft", 'TV 32"', 'say "hi"', "", "größe")
    for trial in range(300):
        rows = [[f"a-{n}", rng.choice(words), rng.choice(words)] for n in range(8)]
        lines = [_line(row, rng.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))) for row in rows]
        hit = rng.randrange(len(lines))
        place = rng.randrange(len(lines[hit]))
        remove = lines[hit][place] == '"' and trial % 2
        lines[hit] = lines[hit][:place] + ("" if remove else '"') + lines[hit][place + bool(remove) :]
        found = _read("id,title,size\n" + "".join(lines))
        assert len(found) == len(rows)
        assert [cells for n, cells in enumerate(found) if n != hit] == [row for n, row in enumerate(rows) if n != hit]


def _line(row, quoting):
    line = io.StringIO(newline="")
    csv.writer(line, quoting=quoting, lineterminator="\n").writerow(row)
    return line.getvalue()


def _read(text):
    """Cells of each record in a text, or None."""
    with tempfile.NamedTemporaryFile(suffix=".csv") as file:
        path = pathlib.Path(file.name)
        path.write_bytes(text.encode())
        found = delimited.rows(path, ",", delimited.header(path, ","), "id")
        return [[cell or "" for cell in cells.values()] if isinstance(cells, dict) else None for _, cells in found]


@settings(max_examples=60)
@given(
    st.lists(
        st.lists(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0")), min_size=2, max_size=2)
    )
)
def test_what_a_csv_writer_wrote_is_read_as_it_was(rows):
    """The slow twin is Python's writer: cells of any text, lines within cells."""
    rows = [[f"{n}", *row] for n, row in enumerate(rows)]
    text = "id,title,size\n" + "".join(_line(row, csv.QUOTE_ALL) for row in rows)
    assert _read(text) == rows


def parquet(tmp_path, **columns):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def test_parquet_tells_empty_from_absent_and_has_lists_and_numbers(tmp_path):
    path = parquet(
        tmp_path,
        number=pa.array([7, 8, None]),
        title=["", None, "x"],
        photos=[["a.jpg", "b.jpg"], None, []],
        weight=[1.5, None, 2.0],
        attributes=pa.array([[{"name": "a", "value": "b"}], None, None]),
    )
    listings, rejections, _ = read("table", path, columns=columns(id="number", images="photos"), attributes=("weight",))
    assert (listings["7"].title, listings["8"].title) == ("", None)
    assert listings["7"].images == (MediaRef("a.jpg"), MediaRef("b.jpg"))
    assert listings["7"].attributes == (("a", "b"), ("weight", "1.5"))
    assert listings["8"].attributes is None
    assert reasons(rejections) == ["missing_id"]


def test_a_damaged_parquet_file_is_no_table(tmp_path):
    path = parquet(tmp_path, id=["a"])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        importers.open_catalogue("table", path, importers.Options())
