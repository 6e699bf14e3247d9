"""The M5Product release from its own files to records, batches and a training step."""

import base64
import json
import shutil

import lmdb
import msgpack
import numpy as np
import pytest
import runs
from conftest import SHARED, needs_shared
from m5product_files import DIM, line, regions, shares, write_layout
from test_m5product import RELEASE, product
from test_prepare import config_for, read_rejections, shard_bytes

from m5jax.catalogues import layouts
from m5jax.data.transforms import Transform
from m5jax.errors import DataError
from m5jax.modalities import State
from m5jax.preparing import prepare
from m5jax.token_spec import token_specs

GOLDEN = SHARED / "golden" / "m5product_layout"
WHOLE = RELEASE | {"inputs__image__feature_dim": 2048}
P, A, E, C = State.PRESENT, State.ABSENT, State.EMPTY, State.CORRUPT


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    return prepare.prepare(config_for(GOLDEN, tmp_path_factory.mktemp("golden"), **WHOLE), quiet=True)


def all_records(prepared):
    return {record.id: record for split in prepared.splits for record in prepared.records(split)}


def value(key):
    """Features, boxes, height, width of a value of the reference LMDB, read by the libraries themselves."""
    database = lmdb.open(str(GOLDEN / "features.lmdb"), subdir=False, readonly=True, lock=False)
    with database, database.begin() as transaction:
        features, boxes, _, height, width, identity, _ = msgpack.unpackb(transaction.get(key), raw=False)
    arrays = [
        np.frombuffer(array["data"] if "data" in array else array[b"data"], np.float32).reshape(-1, columns)
        for array, columns in ((features, 2048), (boxes, 4))
    ]
    return identity, *arrays, height, width


@needs_shared
def test_the_release_as_it_is_becomes_records(golden):
    products = json.loads((GOLDEN / "id_info_dict.json").read_text(encoding="utf-8"))
    assert golden.splits == {"gallery": 5, "query": 3}
    assert golden.manifest["rejected"] == golden.manifest["noted"] == {}
    for split in golden.splits:
        assert golden.index(split).ids.tolist() == json.loads((GOLDEN / f"{split}_ids.json").read_text())
    records = all_records(golden)
    assert records.keys() == products.keys()
    for identity, record in records.items():
        asked = products[identity]
        assert (record.title, record.category) == (asked["title"], (asked["label"],))
        pairs = [tuple(pair.split("#:#")) for pair in asked["pv"].split("#;#")] if asked["pv"] != "-" else []
        assert record.fields == tuple(pairs)
        expected = {"image": P, "text": P, "table": P if pairs else A}
        for name, rows in (("video", 12), ("audio", 80)):
            path = GOLDEN / f"{name}_feature" / f"{identity}.npy"
            expected[name] = P if path.exists() else A
            if path.exists():
                np.testing.assert_array_equal(getattr(record, name), np.load(path)[:rows].astype(np.float16))
        assert record.states == tuple(expected.values())
    assert sum(record.state("table") == A for record in records.values()) == 1


@needs_shared
def test_regions_of_the_release_are_those_of_its_lmdb(golden):
    records = all_records(golden)
    counts = set()
    for position in range(8):
        identity, features, boxes, height, width = value(f"{position:08}".encode())
        image = records.pop(identity).image
        assert image.dtype == np.float16
        np.testing.assert_array_equal(image[:, :2048], features.astype(np.float16))
        np.testing.assert_array_equal(image[:, 2048:], shares(boxes, width, height))
        counts.add(len(image))
    assert not records
    assert counts == {21, 36}


@needs_shared
def test_tables_give_the_same_records_as_the_lmdb(golden, tmp_path):
    folder = tmp_path / "m5product_layout"
    shutil.copytree(GOLDEN, folder, ignore=shutil.ignore_patterns("features.lmdb"))
    tables = prepare.prepare(config_for(folder, tmp_path / "root", **WHOLE), quiet=True)
    with_lmdb, without, checked = all_records(golden), all_records(tables), 0
    for row in (folder / "regions.tsv").read_text(encoding="utf-8").splitlines():
        identity, width, height, _, boxes, features, title = row.split("\t")
        record = without[identity]
        assert record.title == title
        np.testing.assert_array_equal(record.image, with_lmdb[identity].image)
        vectors = np.frombuffer(base64.b64decode(features), np.float32).reshape(-1, 2048)
        np.testing.assert_array_equal(record.image[:, :2048], vectors.astype(np.float16))
        corners = np.frombuffer(base64.b64decode(boxes), np.float32).reshape(-1, 4)
        np.testing.assert_array_equal(record.image[:, 2048:], shares(corners, int(width), int(height)))
        checked += 1
    assert checked == 3
    absent = [identity for identity, record in without.items() if record.state("image") == A]
    assert len(absent) == 5  # without regions a product is a listing without picture
    assert shard_bytes(tables.folder).keys() == shard_bytes(golden.folder).keys()


@needs_shared
def test_a_run_trains_on_the_release(tmp_path):
    folder = tmp_path / "release"
    shutil.copytree(GOLDEN, folder)
    folder.chmod(0o755)
    gallery = json.loads((folder / "gallery_ids.json").read_text())
    for name, ids in (("gallery", gallery[:1]), ("train", gallery[1:])):
        (folder / f"{name}_ids.json").unlink(missing_ok=True)
        (folder / f"{name}_ids.json").write_text(json.dumps(ids))
    config = config_for(folder, tmp_path / "root")
    workdir = tmp_path / "run"
    dials = (
        "--config.inputs.modalities=image,text",
        "--config.inputs.image.source=features",
        "--config.inputs.image.boxes",
        "--config.export.after_training=False",
        "--config.steps=1",
        "--config.batch_size=8",
        "--config.evaluate.batch_size=8",
    )
    assert runs.run(config, workdir, *dials) == 0
    row = runs.rows(workdir)[1]
    assert np.isfinite(row["loss"])
    assert row["masked_region"] > 0


def damaged(**changes):
    return regions("x", **changes)


NAN = np.full((3, 4), np.nan, np.float32)
REGIONS = {
    "whole": (damaged(), P, None),
    "nan box": (damaged(boxes=NAN), C, "non_finite"),
    "outside": (damaged(boxes=np.full((3, 4), 900, np.float32)), C, "invalid_box"),
    "wide": (damaged(dim=DIM + 1), C, "wrong_shape"),
    "rowless": (damaged(rows=0), E, "empty"),
    "miscounted": (damaged(num_boxes=9), C, "wrong_shape"),
    "many": (damaged(rows=5), P, "too_many_rows"),
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """Everything that can be wrong with features, in one release; what is noted stops nothing."""
    root = tmp_path_factory.mktemp("broken")
    folder = root / "release"
    entries = [parts | {"image_id": name} for name, (parts, _, _) in REGIONS.items()]
    products = {name: product() for name in [*REGIONS, "absent"]}
    half = len(entries) // 2
    content = {"database": entries[:half], "tables": {"regions.tsv": b"".join(map(line, entries[half:]))}}
    write_layout(folder, products, **content, train_ids=[])
    for name in ("video", "audio"):
        (folder / f"{name}_feature").mkdir()
        np.save(folder / f"{name}_feature" / "whole.npy", np.ones((200, 4), np.float32))
        np.save(folder / f"{name}_feature" / "wide.npy", np.ones((2, 5), np.float32))
        (folder / f"{name}_feature" / "outside.npy").touch()
        (folder / f"{name}_feature" / "many.npy").write_bytes(b"\x93NUMPY")
    dials = RELEASE | {f"inputs__{name}__feature_dim": 4 for name in ("video", "audio")}
    config = config_for(folder, root / "root", **dials, inputs__image__feature_rows=4, data__max_rejected=1.0)
    return config, prepare.prepare(config, quiet=True)


def test_states_are_told_apart_and_every_loss_has_its_reason(broken):
    config, made = broken
    records = all_records(made)
    assert {name: record.state("image") for name, record in records.items()} == {
        name: state for name, (_, state, _) in REGIONS.items()
    } | {"absent": A}
    for name in ("video", "audio"):
        states = {identity: record.state(name) for identity, record in records.items()}
        assert states == dict.fromkeys(states, A) | {"whole": P, "wide": C, "outside": E, "many": C}
    found = {
        (row["id"], row["reason"], row["lost"]) for row in read_rejections(made.folder) if row["modality"] == "image"
    }
    assert found == {
        (name, reason, reason != "too_many_rows") for name, (_, _, reason) in REGIONS.items() if reason is not None
    }
    assert made.manifest["noted"] == {"image/too_many_rows": 1}
    assert made.manifest["rejected"] == {
        "image/non_finite": 1,
        "image/invalid_box": 1,
        "image/wrong_shape": 2,
        "image/empty": 1,
        "video/wrong_shape": 1,
        "video/empty": 1,
        "video/undecodable": 1,
        "audio/wrong_shape": 1,
        "audio/empty": 1,
        "audio/undecodable": 1,
    }
    np.testing.assert_array_equal(records["many"].image[:, :DIM], REGIONS["many"][0]["features"][:4].astype(np.float16))
    assert len(records["whole"].video) == config.inputs.video.feature_rows


def test_batches_hold_boxes_beside_vectors(broken):
    config, made = broken
    transform = Transform(config.inputs, prepare.tokenizer.load(made.tokenizer_path))
    spec = token_specs(config.inputs)["image"]
    assert (spec.grid, spec.geometry, spec.length) == ((4, DIM), 5, 4)
    records = all_records(made)
    for arrays in (transform.evaluation, lambda record: transform.training(record, np.random.default_rng(0))):
        image = arrays(records["whole"])["image"]
        assert {name: image[name].shape for name in ("values", "boxes", "mask")} == {
            "values": (4, DIM), "boxes": (4, 5), "mask": (4,),
        }  # fmt: skip
        assert image["boxes"].dtype == np.float16
        np.testing.assert_array_equal(image["values"][:3], records["whole"].image[:, :DIM])
        np.testing.assert_array_equal(image["boxes"][:3], records["whole"].image[:, DIM:])
        assert not image["boxes"][3].any()
        assert image["mask"].tolist() == [True, True, True, False]
        for absent in ("absent", "wide"):
            image = arrays(records[absent])["image"]
            assert not any(image[name].any() for name in ("values", "boxes", "mask"))


def test_notes_stop_nothing_and_losses_do(tmp_path, capsys):
    folder = tmp_path / "release"
    products = {"1": product(pv="a#:##;#b#:#1"), "2": product()}
    write_layout(folder, products, database=[regions("1", rows=5), regions("3")], train_ids=["9"])
    few = {"inputs__image__feature_rows": 4, "data__max_rejected": 0.0}
    made = prepare.prepare(config_for(folder, tmp_path / "root", **RELEASE, **few))
    assert made.splits == {"train": 3}
    shown = capsys.readouterr().out
    assert "prepared 3 listings from 3 rows" in shown
    for reason in ("table/field_without_value", "image/too_many_rows", "listing/not_in_info", "listing/unknown_id"):
        assert f"noted 1 {reason}" in shown
    assert "rejected" not in shown.replace("rejections.jsonl", "")
    assert len(read_rejections(made.folder)) == 4
    write_layout(folder, products | {"4": []})
    with pytest.raises(DataError, match=r"1 of 4 listings .* config\.data\.max_rejected = 0"):
        prepare.prepare(config_for(folder, tmp_path / "root", **RELEASE, **few))


def test_what_is_lost_of_a_product_is_counted_and_is_no_row_of_its_own(tmp_path, capsys):
    folder = tmp_path / "release"
    products = {"1": product(title=7), "2": product(pv=["x"]), "3": product(), "4": product(pv="a#:#")}
    database = [*map(regions, "124"), *[b"garbage"] * 3]
    write_layout(folder, products, database=database, train_ids=["1", "2", "3", "4"])
    made = prepare.prepare(config_for(folder, tmp_path / "root", **RELEASE, data__max_rejected=1.0))
    records = all_records(made)
    assert [records[identity].state("text") for identity in "1234"] == [C, P, P, P]
    assert [records[identity].state("table") for identity in "1234"] == [P, C, P, E]
    assert [records[identity].state("image") for identity in "1234"] == [P, P, A, P]
    assert made.manifest["rows"] == 4
    assert made.manifest["rejected"] == {
        "text/invalid_field": 1, "table/invalid_field": 1, "image/undecodable": 3,
    }  # fmt: skip
    assert made.manifest["noted"] == {"table/field_without_value": 1}
    shown = capsys.readouterr().out
    assert "prepared 4 listings from 4 rows" in shown
    assert "3 image entries name no listing: of the absent, up to as many are corrupt" in shown
    with pytest.raises(DataError, match=r"3 of 4 listings .* config\.data\.max_rejected = 0\.7"):
        prepare.prepare(config_for(folder, tmp_path / "other", **RELEASE, data__max_rejected=0.7), quiet=True)


def test_prepared_once_the_release_is_not_read_again(broken, monkeypatch):
    config, made = broken
    monkeypatch.setattr(layouts.Release, "read", None)
    assert prepare.prepare(config, quiet=True).folder == made.folder
