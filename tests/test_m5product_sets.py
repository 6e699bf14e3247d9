"""Lists of ids and raw media of the M5Product release: every set is told, and a product is never on two sides."""

import json

import importers
import pytest
from m5product_files import regions, write_layout
from small import small_config
from test_m5product import INPUTS, InProcess, product, read, reasons

from m5jax.catalogues import layouts, m5product_sets
from m5jax.catalogues.catalogue import Listing, Member
from m5jax.errors import ConfigError, DataError
from m5jax.media.files import MediaRef
from m5jax.modalities import State
from m5jax.preparing import prepare

RAW = small_config().inputs


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("pretrain", "train"),
        ("train", "train"),
        ("gallery_c", "gallery"),
        ("query_fg", "query"),
        ("coarse-query", "query"),
        ("val", "val"),
        ("classification_train", "train"),
        ("clustering_test", "val"),
        ("subset_v2", ""),
        ("contest", ""),
    ],
)
def test_a_word_in_the_name_of_a_set_tells_the_split(name, split):
    assert m5product_sets.split_of(name) == split


def test_a_product_may_be_in_many_sets_and_is_in_one_split(tmp_path):
    lists = {
        "pretrain_ids": ["1", "2", "5"],
        "gallery_c_ids": {"3": "shoes", "2": "shoes", "4": "shoes"},
        "gallery_fg_ids": {"4": 17, "3": "red sandal"},
        "query_fg_ids": {"4": 17},
        "classification_test_ids": [5, "5"],
        "subset_ids": ["1", "5"],
    }
    listings, lost, notes = read(tmp_path, {i: product() for i in "123456"}, **lists)
    assert lost == []
    assert [(row.split, row.instance_id) for row in listings] == [
        ("train", ""),
        ("gallery", ""),  # what is searched does not train
        ("gallery", "red sandal"),
        ("query", "17"),
        ("val", ""),
        ("train", ""),
    ]
    assert {(row.id, row.reason) for row in notes} == {(i, "several_splits") for i in "245"}
    members = list(layouts.find(tmp_path).beside())
    assert members == [
        Member(name.removesuffix("_ids"), str(i))
        for name in sorted(
            lists, key=lambda name: ["query", "gallery", "val", "train", ""].index(m5product_sets.split_of(name))
        )
        for i in dict.fromkeys(map(str, lists[name]))
    ]


def test_lists_that_tell_no_split_leave_splits_derived_and_still_tell_of_unknown_ids(tmp_path):
    products = {str(i): product() for i in range(100)}
    listings, _, notes = read(tmp_path, products, subset_ids=["1", "900"])
    assert {row.split for row in listings} == {"train", "val", "gallery", "query"}
    assert reasons(notes) == [("900", "unknown_id")]
    assert "subset_ids.json" in notes[0].detail


def test_a_damaged_list_stops_with_its_name_and_every_list_is_in_the_digest(tmp_path):
    info = write_layout(tmp_path, {"1": product()})
    before = layouts.find(info).digest()
    (tmp_path / "query_fg_ids.json").write_text('{"1": "half \\ud83d"}')
    assert layouts.find(info).digest() != before
    for way in (lambda: layouts.find(info).read(INPUTS, InProcess(), quiet=True), layouts.find(info).beside):
        with pytest.raises(DataError, match=r"query_fg_ids\.json cannot be used"):
            list(way())


def media(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"media")


def test_media_are_found_by_id_or_by_what_they_were_fetched_from(tmp_path):
    media(tmp_path, "images/1.png", "images/1.jpg", "images/O1CN!!0-item_pic.jpg", "images/..jpg", "videos/1.mp4")
    media(tmp_path, "videos/2.clip", "audios/2.mp3", "secret.jpg")
    products = {
        "1": product(),
        "2": product(
            url="https://img.nowhere/imgextra/https://img.nowhere/i1/O1CN!!0-item_pic.jpg?x=1", video="x/2.clip"
        ),
        "3": product(url=["https://img.nowhere/other.jpg", "https://img.nowhere/1.png"]),
        "4": product(url="https://img.nowhere/secret.jpg"),
        "../secret": product(url="images/../../secret.jpg"),
        "": product(url=""),
    }
    listings, lost, _ = read(tmp_path, products, RAW, database=[regions("1"), regions("9")])
    files = {row.id: [*row.images, *row.videos, *row.audios] for row in listings}
    assert files == {
        "1": [MediaRef("images/1.jpg"), MediaRef("videos/1.mp4")],
        "2": [MediaRef("images/O1CN!!0-item_pic.jpg"), MediaRef("videos/2.clip"), MediaRef("audios/2.mp3")],
        "3": [MediaRef("images/1.png")],
        "4": [],
        "../secret": [],
    }
    assert reasons(lost) == [("", "missing_id")]


@pytest.mark.parametrize("url", [7, {"a": "b"}, ["x", 7]])
def test_what_media_were_fetched_from_costs_the_modality_alone(tmp_path, url):
    for folder in ("images", "videos", "audios"):
        (tmp_path / folder).mkdir()
    (listing,), lost, _ = read(tmp_path, json.dumps({"1": product(url=url)}), RAW)
    assert lost == []
    assert [(why.modality, why.reason) for why in listing.corrupt] == [("image", "invalid_field")]
    assert (listing.title, listing.images) == ("a shoe", ())


def test_a_file_whose_name_is_no_text_is_no_product_s(tmp_path):
    for folder in ("images", "videos", "audios"):
        (tmp_path / folder).mkdir()
    with open(bytes(tmp_path / "images") + b"/\xff.jpg", "wb"):
        pass
    (listing,), _, _ = read(tmp_path, json.dumps({"1": product(url="x/\udcff.jpg")}), RAW)
    assert listing.images == ()


def test_media_and_features_go_together_as_the_sources_say(tmp_path):
    media(tmp_path, "images/1.jpg", "video_feature/1.npy", "audio_feature/1.npy", "videos/1.mp4")
    info, values = write_layout(tmp_path, {"1": product()}), {"video": "features", "audio": "features"}
    inputs = small_config(**{f"inputs__{name}__source": value for name, value in values.items()}).inputs
    (listing,) = [row for row in layouts.find(info).read(inputs, InProcess(), quiet=True) if isinstance(row, Listing)]
    refs = (listing.images, listing.videos, listing.audios)
    assert [str(ref) for (ref,) in refs] == ["images/1.jpg", "video_feature/1.npy", "audio_feature/1.npy"]
    with pytest.raises(ConfigError, match=r"audio\.source=features, or put media into .*audios") as caught:
        layouts.find(info).read(small_config().inputs, InProcess(), quiet=True)
    assert "image" not in str(caught.value)
    digest = layouts.find(info).digest()
    media(tmp_path, "images/2.jpg")
    assert layouts.find(info).digest() != digest


def test_raw_pictures_and_sets_come_out_of_a_preparation(tmp_path, catalogue_folder):
    picture = next((catalogue_folder / "images").iterdir())
    folder = tmp_path / "release"
    write_layout(folder, {"1": product(), "2": product()}, pretrain_ids=["1", "2"], subset_ids=["2"])
    (folder / "images").mkdir()
    (folder / "images" / f"2{picture.suffix}").write_bytes(picture.read_bytes())
    config = small_config(
        inputs__modalities=("image", "text", "table"), data__catalogue=str(folder), data__root=str(tmp_path / "root")
    )
    made = prepare.prepare(config, quiet=True)
    assert made.states("train")[:, 0].tolist() == [State.ABSENT, State.PRESENT]
    assert made.manifest["beside"] == {"pretrain": 2, "subset": 1}


def test_the_importer_takes_the_release_and_nothing_else(tmp_path):
    info = write_layout(tmp_path / "release", {"1": product()})
    for path in (info, info.parent):
        assert importers.open_catalogue("m5product", path, importers.Options()).path == info
    (tmp_path / "catalogue.jsonl").touch()
    for path in (tmp_path, tmp_path / "catalogue.jsonl"):
        with pytest.raises(DataError, match=r"no M5Product release: it has no id_info_dict\.json"):
            importers.open_catalogue("m5product", path, importers.Options())
