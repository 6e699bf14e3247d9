"""The layout of the M5Product release becomes listings: nothing lost without a reason, nothing made up."""

import sys

import hostile_tasks
import numpy as np
import pytest
from m5product_files import line, regions, write_layout, write_lmdb
from small import small_config

from m5jax.catalogues import layouts, m5product, m5product_regions
from m5jax.catalogues.catalogue import Listing, Rejection
from m5jax.errors import ConfigError, DataError
from m5jax.media.files import MediaRef
from m5jax.media.pool import KillablePool

RELEASE = {f"inputs__{name}__source": "features" for name in ("image", "video", "audio")}
RELEASE |= {"inputs__image__boxes": True, "inputs__image__feature_dim": 6}
INPUTS = small_config(**RELEASE).inputs


class InProcess:
    """Stands in for the pool: quick, for what is not about processes."""

    def map(self, function, items):
        return map(function, items)


def product(title="a shoe", pv="colour#:#red", label="shoes", **more):
    return {"title": title, "pv": pv, "label": label, "url": "https://nowhere", "video": ""} | more


def read(folder, products, inputs=INPUTS, **content):
    """Listings, what was lost, and notes, of a release that is written first."""
    info = write_layout(folder, products, **content)
    rows = list(layouts.find(info).read(inputs, InProcess(), quiet=True))
    listings = [row for row in rows if isinstance(row, Listing)]
    others = [row for row in rows if isinstance(row, Rejection)]
    return listings, [row for row in others if row.lost], [row for row in others if not row.lost]


def reasons(rows):
    return [(row.id, row.reason) for row in rows]


def test_a_product_is_a_listing_with_what_lies_beside_it(tmp_path):
    for folder, names in (("video_feature", ["1", "2"]), ("audio_feature", ["2"])):
        (tmp_path / folder).mkdir()
        for name in names:
            np.save(tmp_path / folder / f"{name}.npy", np.zeros((2, 3)))
    products = {"1": product(), "2": product(pv="-", label=""), "3": product(title="")}
    listings, lost, notes = read(tmp_path, products, database=[regions("3"), regions("1")], query_ids=["1"])
    assert (lost, notes) == ([], [])
    assert listings == [
        Listing(
            "1",
            "query",
            category=("shoes",),
            title="a shoe",
            attributes=(("colour", "red"),),
            images=(MediaRef("features.lmdb", "00000001"),),
            videos=(MediaRef("video_feature/1.npy"),),
        ),
        Listing(
            "2",
            "train",
            title="a shoe",
            videos=(MediaRef("video_feature/2.npy"),),
            audios=(MediaRef("audio_feature/2.npy"),),
        ),
        Listing(
            "3",
            "train",
            category=("shoes",),
            title="",
            attributes=(("colour", "red"),),
            images=(MediaRef("features.lmdb", "00000000"),),
        ),
    ]


def test_without_lists_splits_are_derived_as_ever(tmp_path):
    listings, _, _ = read(tmp_path, {str(i): product() for i in range(100)})
    assert {row.split for row in listings} == {"train", "val", "gallery", "query"}


def test_of_lines_and_values_the_first_of_an_id_counts_and_every_bad_one_is_named(tmp_path):
    database = [regions("1"), b"garbage", regions("1"), regions("2")]
    table = line(regions("2")) + b"\n" + line(regions("3")) + b"\t".join([b"", *[b"x"] * 6]) + b"\n\xff\t\n"
    tables = {"regions-0.tsv": table, "regions-1.tsv": line(regions("3")) + b"4\tcut"}
    listings, lost, _ = read(tmp_path, {i: product() for i in "1234"}, database=database, tables=tables)
    size = len(line(regions("2")))
    assert [row.images for row in listings] == [
        (MediaRef("features.lmdb", "00000000"),),
        (MediaRef("features.lmdb", "00000003"),),  # not the same picture's line in the table
        (MediaRef("regions-0.tsv", f"{size + 1}:{size}"),),
        (MediaRef("regions-1.tsv", f"{size}:5"),),  # corrupt, which is found when it is decoded
    ]
    assert [(row.id, row.reason, row.modality, row.file.partition("!")[0]) for row in lost] == [
        ("", "undecodable", "image", "features.lmdb"),
        ("1", "duplicate_id", "image", "features.lmdb"),
        ("", "missing_id", "image", "regions-0.tsv"),
        ("", "invalid_utf8", "image", "regions-0.tsv"),
        ("3", "duplicate_id", "image", "regions-1.tsv"),
    ]


def test_lines_longer_than_an_entry_are_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(m5product_regions, "MAX_ENTRY_BYTES", 400)
    long = line(regions("1", rows=50))
    tables = {"regions.tsv": long + line(regions("2"))}
    listings, lost, _ = read(tmp_path, {"1": product(), "2": product()}, tables=tables)
    assert [row.images for row in listings] == [
        (),
        (MediaRef("regions.tsv", f"{len(long)}:{len(line(regions('2')))}"),),
    ]
    assert [(row.reason, row.file) for row in lost] == [("row_too_long", f"regions.tsv!0:{len(long)}")]


def test_a_quoted_title_is_what_the_csv_module_takes_it_for(tmp_path):
    tables = {"regions.tsv": line(regions("1", title='"a ""red"" shoe"')) + line(regions("2", title='"'))}
    listings, _, _ = read(tmp_path, {}, tables=tables)
    assert [row.title for row in listings] == ['a "red" shoe', '"']


def test_many_keys_are_read_in_turns(tmp_path, monkeypatch):
    monkeypatch.setattr(m5product_regions, "KEYS_AT_ONCE", 3)
    monkeypatch.setattr(m5product_regions, "VALUES_AT_ONCE", 2)
    listings, lost, _ = read(tmp_path, {}, database=[regions(str(i)) for i in range(10)])
    assert [row.id for row in listings] == [str(i) for i in range(10)]
    assert lost == []


def test_a_value_that_ends_its_reader_costs_itself_alone(tmp_path, monkeypatch):
    info = write_layout(tmp_path, {}, database=[regions("0"), regions("1", title="segfault"), regions("2")])
    monkeypatch.setattr(m5product_regions, "_identities", hostile_tasks.identities)
    with KillablePool(1, 60, hostile_tasks.no_initializer) as processes:
        rows = list(m5product.read(info, INPUTS, processes, quiet=True))
    assert [row.id for row in rows if isinstance(row, Listing)] == ["0", "2"]
    (lost,) = [row for row in rows if isinstance(row, Rejection) and row.lost]
    assert (lost.reason, lost.modality, lost.file) == ("decoder_crashed", "image", "features.lmdb!00000001")


@pytest.mark.parametrize("damage", ["text", "cut", "empty", "a link"])
def test_a_database_that_cannot_be_read_stops_with_its_name(tmp_path, damage):
    info = write_layout(tmp_path / "release", {"1": product()}, database=[regions(str(i)) for i in range(100)])
    path = info.parent / "features.lmdb"
    if damage == "a link":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.write_bytes({"text": b"text" * 9999, "cut": path.read_bytes()[:20_000], "empty": b""}[damage])
    with pytest.raises(DataError, match=r"features\.lmdb cannot be read"):
        list(m5product.read(info, INPUTS, InProcess(), quiet=True))


def test_without_the_extra_the_error_says_what_to_install(tmp_path, monkeypatch):
    info = write_layout(tmp_path, {"1": product()}, database=[regions("1")])
    for library in ("lmdb", "msgpack"):
        with monkeypatch.context() as without:
            without.setitem(sys.modules, library, None)
            with pytest.raises(DataError, match=r"pip install 'm5jax\[m5product\]'"):
                list(m5product.read(info, INPUTS, InProcess(), quiet=True))
    no_pictures = small_config(inputs__modalities=("text", "table")).inputs
    monkeypatch.setitem(sys.modules, "lmdb", None)
    assert len(list(m5product.read(info, no_pictures, InProcess(), quiet=True))) == 1


def test_settings_that_do_not_fit_are_named(tmp_path):
    info = write_layout(tmp_path, {})
    with pytest.raises(ConfigError) as caught:
        m5product.read(info, small_config().inputs, InProcess(), quiet=True)
    for setting in ("image.source=features", "image.boxes=True", "video.source=features", "audio.source=features"):
        assert f"config.inputs.{setting}" in str(caught.value)
    m5product.read(info, small_config(inputs__modalities=("text",)).inputs, InProcess(), quiet=True)
    with pytest.raises(ConfigError, match=r"config\.inputs\.image\.boxes=True needs"):
        small_config(inputs__image__boxes=True)


def test_the_layout_is_told_by_its_files(tmp_path):
    info = write_layout(tmp_path / "release", {})
    assert layouts.find(tmp_path / "release").path == info
    assert layouts.find(str(info)).path == info
    (tmp_path / "lost").mkdir()
    (tmp_path / "lost" / "regions.tsv").touch()
    with pytest.raises(DataError, match=r"holds regions\.tsv .* but no id_info_dict\.json"):
        layouts.find(tmp_path / "lost")
    (tmp_path / "lost" / "catalogue.jsonl").touch()
    assert layouts.find(tmp_path / "lost").path.name == "catalogue.jsonl"
    with pytest.raises(DataError, match="no catalogue at"):
        layouts.find(tmp_path / "nowhere")


def test_the_digest_is_that_of_every_part(tmp_path):
    info, digests = write_layout(tmp_path, {}), []
    changes = [
        lambda: None,
        lambda: info.write_text('{"1": {}}'),
        lambda: write_lmdb(tmp_path / "features.lmdb", [b"one"]),
        lambda: (tmp_path / "regions.tsv").write_bytes(b"1"),
        lambda: (tmp_path / "label_list.json").write_text("[]"),
        lambda: (tmp_path / "query_ids.json").write_text("[]"),
        lambda: (tmp_path / "val_ids.json").write_text("[]"),
        lambda: (tmp_path / "val_ids.json").write_text("[ ]"),
        lambda: (tmp_path / "video_feature").mkdir() or (tmp_path / "video_feature" / "1.npy").touch(),
        lambda: (tmp_path / "video_feature" / "1.npy").write_bytes(b"1"),
        lambda: (tmp_path / "video_feature" / "1.npy").rename(tmp_path / "video_feature" / "2.npy"),
    ]
    for change in changes:
        change()
        digests.append(layouts.find(info).digest())
        assert layouts.find(info).digest() == digests[-1]
    assert len(set(digests)) == len(changes)


@pytest.mark.parametrize("values", ["[1.5]", "7", '"abc"', "[", '["\\ud83d"]', "[null]"])
def test_a_list_that_is_none_stops_with_its_name(tmp_path, values):
    info = write_layout(tmp_path, {})
    (tmp_path / "query_ids.json").write_text(values)
    with pytest.raises(DataError, match=r"query_ids\.json cannot be used"):
        list(m5product.read(info, INPUTS, InProcess(), quiet=True))


def test_numbers_as_ids_in_a_list_are_their_digits(tmp_path):
    listings, _, notes = read(tmp_path, {"12": product()}, query_ids=[12])
    assert [row.split for row in listings] == ["query"]
    assert notes == []
