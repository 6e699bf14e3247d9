"""A product of the M5Product release: what is wrong with one of its fields costs that field."""

import json

import pytest
from m5product_files import regions
from test_m5product import product, read, reasons

from m5jax.catalogues import m5product
from m5jax.catalogues.catalogue import MAX_FIELDS, MAX_TEXT_CHARS, Listing
from m5jax.media.files import MediaRef


@pytest.mark.parametrize(
    ("pv", "fields"),
    [
        (None, None),
        ("", None),
        ("-", None),
        ("无", None),
        ("a#:#1#;#b#:#2", [("a", "1"), ("b", "2")]),
        ("a#:#1#;#", [("a", "1")]),
        ("#;##;#a#:#1", [("a", "1")]),
        ("a#:#1#;#b", [("a", "1"), ("b", "")]),
        ("a#:##;#b#:# #;#c#:#3", [("a", ""), ("b", " "), ("c", "3")]),
        ("#:#red", [("", "red")]),
        ("a#:#b#:#c", [("a", "b#:#c")]),
        ("#:#", []),
        ("just text", [("just text", "")]),
        ("a#:#1#;#a#:#1", [("a", "1"), ("a", "1")]),
    ],
)
def test_pairs_keep_their_structure_whatever_is_wrong_with_them(pv, fields):
    assert m5product.split_pairs(pv) == fields


def test_what_is_left_out_without_loss_is_noted(tmp_path):
    products = {"1": product(pv="a#:##;#b#:#1"), "2": product(label="hats"), "3": product()}
    lists = {"label_list": ["shoes"], "query_ids": ["1", "9"], "gallery_ids": {"1": "shoes", "2": "shoes"}}
    listings, lost, notes = read(tmp_path, products, database=[regions("4", title="a hat")], **lists)
    assert lost == []
    assert [(row.id, row.split) for row in listings] == [
        ("1", "query"),
        ("2", "gallery"),
        ("3", "train"),
        ("4", "train"),
    ]
    assert listings[0].attributes == (("a", ""), ("b", "1"))  # which converting a listing leaves out and notes
    assert listings[1].category == ("hats",)
    assert listings[3] == Listing("4", "train", title="a hat", images=(MediaRef("features.lmdb", "00000000"),))
    assert reasons(notes) == [
        ("2", "unknown_label"),
        ("4", "not_in_info"),
        ("1", "several_splits"),
        ("9", "unknown_id"),
    ]
    assert all(note.detail for note in notes)


def test_a_bad_product_costs_no_other(tmp_path):
    bad = {
        "text": "just text",
        "long": product(url="x" * (1 << 20)),
        "x" * 300: product(),
        "": product(),
        "half \ud83d": product(),
    }
    text = (
        json.dumps({"1": product()} | bad | {"2": product()})[:-1] + ', "1": {}, "twice": {"pv": 1, "pv": 2}, "3": {}}'
    )
    listings, lost, notes = read(tmp_path, text)
    assert [row.id for row in listings] == ["1", "2", "3"]
    assert reasons(lost) == [
        ("text", "not_an_object"),
        ("long", "row_too_long"),
        ("x" * 256, "invalid_id"),
        ("", "missing_id"),
        ("half ?", "invalid_utf8"),
        ("1", "duplicate_id"),
        ("twice", "duplicate_key"),
    ]
    assert [row.line for row in lost] == [2, 3, 4, 5, 6, 8, 9]
    assert notes == []
    for row in lost:
        json.dumps([row.id, row.detail], ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("field", "value", "modality", "reason"),
    [
        ("title", 7, "text", "invalid_field"),
        ("title", "half \ud83d", "text", "invalid_utf8"),
        ("title", "x" * (MAX_TEXT_CHARS + 1), "text", "text_too_long"),
        ("pv", ["x"], "table", "invalid_field"),
        ("pv", "\ud83d#:#1", "table", "invalid_utf8"),
        ("pv", "#;#".join(["a#:#1"] * (MAX_FIELDS + 1)), "table", "too_many_fields"),
    ],
)
def test_a_bad_title_or_table_is_corrupt_and_the_rest_of_the_product_stays(tmp_path, field, value, modality, reason):
    text = json.dumps({"1": product(**{field: value})})
    (tmp_path / "video_feature").mkdir()
    (tmp_path / "video_feature" / "1.npy").touch()
    (listing,), lost, notes = read(tmp_path, text, database=[regions("1")])
    assert lost == notes == []  # told once, when the listing is converted
    (why,) = listing.corrupt
    assert (why.id, why.reason, why.modality, why.lost) == ("1", reason, modality, True)
    json.dumps(why.detail, ensure_ascii=False).encode()
    assert listing.images == (MediaRef("features.lmdb", "00000000"),)
    assert listing.videos == (MediaRef("video_feature/1.npy"),)
    assert listing.category == ("shoes",)
    assert listing.title == (None if field == "title" else "a shoe")
    assert listing.attributes == (None if field == "pv" else (("colour", "red"),))


@pytest.mark.parametrize(
    ("label", "category", "reason"),
    [
        (5, ("5",), None),
        (0, ("0",), None),
        ("", (), None),
        (None, (), None),
        (["shoes"], (), "invalid_field"),
        (0.5, (), "invalid_field"),
        ("half \ud83d", (), "invalid_utf8"),
    ],
)
def test_a_label_that_is_none_costs_the_category_alone(tmp_path, label, category, reason):
    (listing,), lost, notes = read(tmp_path, json.dumps({"1": product(label=label)}))
    assert (listing.title, listing.category, listing.corrupt, lost) == ("a shoe", category, (), [])
    assert reasons(notes) == ([("1", reason)] if reason else [])


def test_a_bad_first_entry_takes_neither_a_good_second_one_nor_the_regions_with_it(tmp_path):
    text = '{"1": 7, "1": {"title": "a shoe"}, "2": [], "1": {"title": "late"}}'
    listings, lost, notes = read(tmp_path, text, database=[regions("1"), regions("2", title="a hat")], query_ids=["2"])
    assert listings == [
        Listing("1", "train", title="a shoe", images=(MediaRef("features.lmdb", "00000000"),)),
        Listing("2", "query", title="a hat", images=(MediaRef("features.lmdb", "00000001"),)),
    ]
    assert reasons(lost) == [("1", "not_an_object"), ("2", "not_an_object"), ("1", "duplicate_id")]
    assert reasons(notes) == [("2", "not_in_info")]
