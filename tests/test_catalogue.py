"""Reading catalogues: no row disappears, none is trusted, and a bad one never costs a good one."""

import collections
import json
import pathlib

import pytest
from conftest import SHARED, needs_shared
from hypothesis import given
from hypothesis import strategies as st

from m5jax.catalogues import catalogue, catalogue_files, layouts
from m5jax.catalogues.catalogue import Listing, Rejection
from m5jax.errors import DataError
from m5jax.media.files import MediaRef

GOOD = {"id": "good", "split": "train", "title": "a shoe"}


def read_lines(folder: pathlib.Path, *lines: bytes | dict) -> list[Listing | Rejection]:
    path = folder / "catalogue.jsonl"
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines))
    return list(catalogue.listings(catalogue_files.rows(path)))


def listing(**fields) -> Listing:
    return catalogue.parse({"id": "x", "split": "train"} | fields)


def refusal(**fields) -> str:
    with pytest.raises(catalogue.RowError) as caught:
        listing(**fields)
    assert caught.value.detail
    return caught.value.reason


BAD_LINES = [
    ("invalid_utf8", b'{"id": "b", "title": "\xff"}'),
    ("invalid_utf8", b'{"id": "b", "title": "cut in half: \\ud83d"}'),
    ("invalid_utf8", b'{"id": "b\\udfff"}'),
    ("invalid_json", b'{"id": "b", '),
    ("invalid_json", b'{"id": "b", "weight": NaN}'),
    ("invalid_json", b'{"id": "b", "weight": -Infinity}'),
    ("invalid_json", b'{"id": "b", "deep": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    ("invalid_json", b'{"id": "b", "many digits": ' + b"9" * 5000 + b"}"),
    ("duplicate_key", b'{"id": "b", "title": "x", "title": "y"}'),
    ("duplicate_key", b'{"id": "b", "attributes": {"size": 1, "size": 2}}'),
    ("not_an_object", b'["id", "b"]'),
    ("not_an_object", b"17"),
    ("not_an_object", b"null"),
    ("row_too_long", b'{"id": "b", "title": "' + b"x" * catalogue.MAX_ROW_BYTES + b'"}'),
    ("missing_id", b'{"title": "x"}'),
    ("missing_id", b'{"id": ""}'),
    ("missing_id", b'{"id": 12}'),
    ("invalid_id", b'{"id": "line\\nbreak"}'),
    ("invalid_id", b'{"id": "' + b"x" * 257 + b'"}'),
    ("duplicate_id", b'{"id": "good"}'),
    ("invalid_split", b'{"id": "b", "split": "test"}'),
    ("invalid_field", b'{"id": "b", "title": 7}'),
    ("text_too_long", b'{"id": "b", "title": "' + b"x" * (catalogue.MAX_TEXT_CHARS + 1) + b'"}'),
    ("too_many_fields", json.dumps({"id": "b", "attributes": [["a", "b"]] * 1025}).encode()),
]


@pytest.mark.parametrize(("reason", "line"), BAD_LINES, ids=lambda value: str(value[:30]))
def test_a_bad_row_is_rejected_with_its_reason_and_costs_no_other(tmp_path, reason, line):
    first, bad, last = read_lines(tmp_path, GOOD, line, {"id": "last", "split": "val"})
    assert isinstance(first, Listing)
    assert isinstance(bad, Rejection)
    assert isinstance(last, Listing)
    assert (first.id, last.id) == ("good", "last")
    assert (bad.reason, bad.line) == (reason, 2)
    assert bad.detail
    assert len(bad.detail) < 1000
    json.dumps(bad.detail, ensure_ascii=False).encode()  # what is written down must be text


def test_a_rejection_names_the_listing_if_its_row_does(tmp_path):
    rows = read_lines(tmp_path, {"id": "b", "title": 7}, {"id": 7}, b"{", {"id": "x" * 300})
    assert all(isinstance(row, Rejection) for row in rows)
    assert [row.id for row in rows] == ["b", "", "", "x" * 256]


def test_of_rows_with_the_same_id_the_first_good_one_stays(tmp_path):
    rows = read_lines(tmp_path, {"id": "a", "split": "never"}, {"id": "a"}, {"id": "a"}, {"id": "a"})
    assert [type(row) for row in rows] == [Rejection, Listing, Rejection, Rejection]
    assert [row.reason for row in rows if isinstance(row, Rejection)] == ["invalid_split"] + ["duplicate_id"] * 2


def test_blank_lines_are_no_rows_but_count_as_lines(tmp_path):
    rows = read_lines(tmp_path, b"", GOOD, b" \t\r", b"", b"broken", b"")
    assert [type(row) for row in rows] == [Listing, Rejection]
    assert rows[1].line == 5


def test_line_ends_and_byte_order_mark_of_windows(tmp_path):
    (row,) = read_lines(tmp_path, b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\r")
    assert row == catalogue.parse(GOOD)


def test_a_separator_inside_a_string_does_not_end_the_row(tmp_path):
    title = "one\u2028two\x0bthree\x85four\x00five"
    path = tmp_path / "catalogue.jsonl"
    path.write_text(json.dumps(GOOD | {"title": title}, ensure_ascii=False), encoding="utf-8")
    (row,) = catalogue.listings(catalogue_files.rows(path))
    assert isinstance(row, Listing)
    assert row.title == title


@given(
    st.lists(
        st.binary(max_size=40) | st.sampled_from([json.dumps(GOOD).encode(), *(line for _, line in BAD_LINES)]),
        max_size=8,
    )
)
def test_rows_in_are_listings_and_rejections_out(tmp_path_factory, lines):
    lines = [line for joined in lines for line in joined.split(b"\n")]
    rows = read_lines(tmp_path_factory.mktemp("rows"), *lines)
    expected = [number for number, line in enumerate(lines, start=1) if line.strip()]
    assert len(rows) == len(expected)
    assert [row.line for row in rows if isinstance(row, Rejection)] == [
        number for number, row in zip(expected, rows, strict=True) if isinstance(row, Rejection)
    ]
    assert len({row.id for row in rows if isinstance(row, Listing)}) == sum(isinstance(row, Listing) for row in rows)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = ("id", "split", "source", "instance_id", "category", "title", "description", "attributes", "images", "audios")


@given(st.dictionaries(st.sampled_from(KEYS), JSON))
def test_any_value_in_any_field_is_taken_or_refused(row):
    try:
        made = catalogue.parse({"id": "x"} | row)
    except catalogue.RowError:
        return
    assert made.split in catalogue.SPLITS
    assert all(isinstance(ref, MediaRef) for ref in (*made.images, *made.videos, *made.audios))
    assert all(isinstance(part, str) for field in made.attributes or () for part in field)
    assert all(isinstance(label, str) for label in made.category)


def test_absent_and_empty_are_not_the_same():
    assert listing(title=None, attributes=None) == listing()
    assert listing().title is None
    assert listing().attributes is None
    assert listing(title="").title == ""
    assert listing(attributes=[]).attributes == ()


def test_tables_are_pairs_or_objects_of_scalars():
    pairs = [["colour", "red"], ["size", 42], ["weight", 1.5], ["new", True], ["colour", "blue"], ["", "no name"]]
    fields = (
        ("colour", "red"),
        ("size", "42"),
        ("weight", "1.5"),
        ("new", "True"),
        ("colour", "blue"),
        ("", "no name"),
    )
    assert listing(attributes=pairs).attributes == fields
    assert listing(attributes=dict(pairs[1:])).attributes == fields[1:]
    assert listing(attributes={"colour": "red", "size": None}).attributes == (("colour", "red"),)


@pytest.mark.parametrize(
    "table", ["red", 7, [["a"]], [["a", "b", "c"]], ["ab"], [["a", ["b"]]], [[None, "b"]], {"a": {}}]
)
def test_other_tables_are_refused(table):
    assert refusal(attributes=table) == "invalid_field"


def test_categories_are_a_label_or_a_path():
    assert listing(category="shoes").category == ("shoes",)
    assert listing(category=["fashion", "shoes"]).category == ("fashion", "shoes")
    assert listing(category=None).category == ()
    for value in (7, False, {}, ["fashion", None]):
        assert refusal(category=value) == "invalid_field"


def test_media_are_files_or_members_of_shards():
    assert listing(images="a.jpg").images == (MediaRef("a.jpg"),)
    assert listing(images=["a.jpg", {"path": "b.jpg", "sha256": "AB"}]).images == (
        MediaRef("a.jpg"),
        MediaRef("b.jpg", sha256="ab"),
    )
    member = {"shard": "images-000.tar", "member": "c.jpg", "width": 7}
    assert listing(images=member).images == (MediaRef("images-000.tar", "c.jpg"),)
    assert str(listing(images=member).images[0]) == "images-000.tar!c.jpg"
    assert listing(images=None, videos=[], audios="") == listing()


@pytest.mark.parametrize(
    "media",
    [7, 0, False, {}, {"path": 7}, {"shard": "a.tar"}, {"member": "a.jpg"}, {"path": "a.jpg", "sha256": 7}],
)
def test_other_media_are_refused(media):
    assert refusal(videos=media) == "invalid_field"
    assert refusal(videos=["a.mp4", media]) == refusal(videos=["a.mp4", ""]) == "invalid_field"


def test_long_texts_are_refused_wherever_they_stand():
    long = "x" * (catalogue.MAX_TEXT_CHARS + 1)
    for fields in ({"description": long}, {"category": [long]}, {"attributes": {"size": long}}, {"source": long}):
        assert refusal(**fields) == "text_too_long"
    assert listing(title=long[1:]).title == long[1:]


def test_find_takes_a_file_or_the_one_listing_file_of_a_folder(tmp_path):
    other = tmp_path / "mine.jsonl"
    other.touch()
    assert catalogue_files.find(other) == other
    assert catalogue_files.find(str(tmp_path)) == other
    (tmp_path / "ground_truth.jsonl").touch()
    known = tmp_path / "products.parquet"
    known.touch()
    assert catalogue_files.find(tmp_path) == known


def test_find_says_what_is_wrong_and_what_to_do(tmp_path):
    with pytest.raises(DataError, match=r"no catalogue at .*missing: set config\.data\.catalogue"):
        catalogue_files.find(tmp_path / "missing")
    with pytest.raises(DataError, match=r"holds no listing file; name one of catalogue\.jsonl"):
        catalogue_files.find(tmp_path)
    for name in ("b.jsonl", "a.jsonl"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"several listing files: a\.jsonl, b\.jsonl; .* or give the file's own path"):
        catalogue_files.find(tmp_path)
    for name in ("catalogue.jsonl", "products.jsonl"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"several listing files: catalogue\.jsonl, products\.jsonl"):
        catalogue_files.find(tmp_path)


def test_derived_splits_never_tear_a_product_apart():
    sides = {"train": "train", "val": "val", "gallery": "evaluate", "query": "evaluate"}
    shares: collections.Counter[str] = collections.Counter()
    for product in range(3000):
        splits = [catalogue.derived_split(f"{product}-{i}", f"product {product}") for i in range(4)]
        assert splits == [catalogue.derived_split(f"{product}-{i}", f"product {product}") for i in range(4)]
        assert len({sides[split] for split in splits}) == 1
        shares.update(splits)
    total = shares.total()
    assert shares["train"] / total == pytest.approx(0.8, abs=0.03)
    assert shares["val"] / total == pytest.approx(0.05, abs=0.02)
    assert shares["gallery"] / total == pytest.approx(0.1, abs=0.02)
    assert shares["query"] / total == pytest.approx(0.05, abs=0.02)


def test_derived_splits_stay_what_they_were():
    before = {"item-1": "train", "item-5": "query", "item-41": "gallery", "item-51": "val"}
    assert {name: catalogue.parse({"id": name}).split for name in before} == before
    assert catalogue.parse({"id": "other", "instance_id": "item-1"}).split == before["item-1"]
    assert listing(split="val").split == "val"


def test_the_digest_changes_with_the_file_and_the_shards_beside_it(tmp_path):
    path = tmp_path / "catalogue.jsonl"
    digests = []
    for name, content in (
        ("catalogue.jsonl", b"{}"),
        ("catalogue.jsonl", b"{} "),
        ("images-000.tar", b"abc"),
        ("images-000.tar", b"abcd"),
        ("images-001.tar", b""),
    ):
        (tmp_path / name).write_bytes(content)
        digests.append(layouts.of_file(path).digest())
        assert layouts.of_file(path).digest() == digests[-1]
    assert len(set(digests)) == 5
    (tmp_path / "notes.txt").write_text("beside the point")
    (tmp_path / "images-001.tar").rename(tmp_path / "images-002.tar")
    renamed = layouts.of_file(path).digest()
    assert renamed not in digests
    (tmp_path / "notes.txt").unlink()
    assert layouts.of_file(path).digest() == renamed


@needs_shared
def test_the_reference_catalogue_is_taken_whole():
    rows = list(catalogue.listings(catalogue_files.rows(SHARED / "data" / "products" / "products.jsonl")))
    listings = [row for row in rows if isinstance(row, Listing)]
    assert (len(listings), len(rows) - len(listings)) == (13_276, 0)
    assert collections.Counter(row.source for row in listings)["fashion"] == 7_554
    assert sum(len(row.images) for row in listings) == 12_474
    assert max(len(row.attributes or ()) for row in listings) == 158


def test_a_line_that_never_ends_is_one_rejection_and_the_next_rows_are_read(tmp_path):
    path = tmp_path / "catalogue.jsonl"
    for length in (catalogue.MAX_ROW_BYTES, 3 * catalogue.MAX_ROW_BYTES + 7):
        path.write_bytes(b'{"id": "a"}\n' + b"x" * length + b'\n{"id": "b"}\n')
        first, long, last = catalogue.listings(catalogue_files.rows(path))
        assert (first.id, last.id) == ("a", "b")
        assert (long.reason, long.line) == ("row_too_long", 2)
    path.write_bytes(b"[" * 5 * catalogue.MAX_ROW_BYTES)
    (only,) = catalogue.listings(catalogue_files.rows(path))
    assert only.reason == "row_too_long"


def test_the_digest_notices_shards_below_the_folder(tmp_path):
    path = tmp_path / "catalogue.jsonl"
    path.write_text('{"id": "a"}\n')
    seen = {layouts.of_file(path).digest()}
    for name, size in (("a.tar", 10), ("deep/b.tar", 10), ("deep/b.tar", 11)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(size))
        seen.add(layouts.of_file(path).digest())
    assert len(seen) == 4
