"""TFDS opens what m5jax prepared, by path and by name, and prepares the M5Product release; without TensorFlow."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from m5product_files import DIM, regions, write_layout
from small import small_config
from test_m5product import RELEASE, product

from m5jax.data import records
from m5jax.data.prepared import REJECTIONS, SETS
from m5jax.data.records import MEDIA, Record, RecordCodec
from m5jax.errors import DataError
from m5jax.inputs import STORED
from m5jax.modalities import State
from m5jax.preparing import prepare, tfds_m5product

SMALL = RELEASE | {f"inputs__{name}__feature_dim": dim for name, dim in (("image", DIM), ("video", 3), ("audio", 3))}
SMALL |= {"inputs__image__stored": "int8", "inputs__video__stored": "bfloat16"}
INPUTS = small_config(**SMALL).inputs


def same(left, right):
    """Whether two examples of TFDS are equal, arrays with their types."""
    assert left.keys() == right.keys()
    for key, value in left.items():
        if isinstance(value, dict):
            same(value, right[key])
        else:
            assert type(value) is type(right[key]), key
            assert getattr(value, "dtype", None) == getattr(right[key], "dtype", None), key
            np.testing.assert_array_equal(value, right[key])


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """A release with a bit of everything: parts missing, parts broken, sets, and products that are lost."""
    folder = tmp_path_factory.mktemp("release")
    products = {str(i): product(title=f"shoe {i}", pv=f"size#:#{i}#;#colour#:#红") for i in range(12)}
    products |= {"12": product(title="", pv="-"), "13": "no product", "14": product(pv=7)}
    database = [regions(str(i), rows=i % 3 + 1, seed=i) for i in range(8)]
    write_layout(folder, products, database=database, pretrain_ids=[*map(str, range(9))], gallery_c_ids=["9", "12"])
    for name in ("video", "audio"):
        (folder / f"{name}_feature").mkdir()
    for i in range(4):
        np.save(folder / "video_feature" / f"{i}.npy", np.full((i + 1, 3), i, np.float16))
        np.save(folder / "audio_feature" / f"{2 * i}.npy", np.full((80, 3), i, np.float32))
    (folder / "video_feature" / "4.npy").write_bytes(b"broken")
    return folder


@pytest.fixture(scope="module")
def ours(release, tmp_path_factory):
    return prepare.prepare(config_for(release, tmp_path_factory.mktemp("ours")), quiet=True)


def config_for(release, root):
    places = {"data__catalogue": str(release), "data__root": str(root), "data__max_rejected": 0.5}
    return small_config(**SMALL | places)


def builder(release, folder):
    """The builder of the release, and what it is told."""
    limits = tfds_m5product.Data(prepare_workers=1, max_rejected=0.5, vocabulary=300)
    chosen = tfds_m5product.M5ProductConfig(name="small", inputs=INPUTS, data=limits)
    told = {
        "download_dir": folder / "downloads",
        "download_config": tfds.download.DownloadConfig(manual_dir=release),
    }
    return tfds.builder("m5product", config=chosen, data_dir=folder), told


def test_the_builder_s_examples_are_those_that_we_prepare(release, ours, tmp_path):
    built, told = builder(release, tmp_path)
    built.download_and_prepare(**told)
    theirs = built.as_data_source()
    expected = tfds.builder_from_directory(ours.folder).as_data_source()
    assert {split: len(source) for split, source in theirs.items()} == ours.splits == {"train": 12, "gallery": 1}
    for split, source in expected.items():
        for left, right in zip(source, theirs[split], strict=True):
            same(left, right)
    assert built.info.metadata["rejected"] == {"not_an_object": 1, "nothing_present": 1}
    assert built.info.metadata["rows_in"] == 15
    lost = [json.loads(line) for line in (built.data_path / REJECTIONS).read_text().splitlines()]
    assert {(row["id"], row["reason"]) for row in lost if row["lost"]} == {
        ("13", "not_an_object"),
        ("12", "nothing_present"),
        ("14", "invalid_field"),
        ("4", "format_not_allowed"),
    }
    assert (built.data_path / SETS).is_file()


def test_the_builder_stops_where_we_stop_and_takes_nothing_but_the_release(release, tmp_path):
    built, told = builder(release, tmp_path)
    built.builder_config.data = tfds_m5product.Data(prepare_workers=1, max_rejected=0.1)
    with pytest.raises(DataError, match=r"max_rejected = 0\.1"):
        built.download_and_prepare(**told)
    told["download_config"] = tfds.download.DownloadConfig(manual_dir=tmp_path)
    with pytest.raises(DataError, match=r"no M5Product release: it has no id_info_dict\.json"):
        built.download_and_prepare(**told)
    assert not built.data_path.exists()


def test_the_named_configurations_are_the_release_s_features_and_its_media(tmp_path):
    shapes = {
        name: {
            key: (feature.shape, feature.np_dtype)
            for key, feature in tfds.builder(f"m5product/{name}", data_dir=tmp_path).info.features.items()
            if key in MEDIA
        }
        for name in ("features", "raw")
    }
    vectors = {"image": 2048 + 5, "video": 1024, "audio": 751}
    assert shapes["features"] == {key: ((None, dim), np.float16) for key, dim in vectors.items()}
    assert {key: shape for key, (shape, _) in shapes["raw"].items()} == {"image": (), "video": (), "audio": (None, 64)}


SCRIPT = """
import socket, sys
import grain
import tensorflow_datasets as tfds
from absl import flags
from m5jax.preparing import tfds_m5product

def refuse(*given):
    raise AssertionError("something looks for a network")

def identity(example):
    return example["id"].decode(), len(example["image"]), example["fields"]["value"]

if __name__ == "__main__":
    socket.socket.connect = refuse
    flags.FLAGS.mark_as_parsed()
    data_dir, release = sys.argv[1:]
    source = tfds.data_source("m5jax/mine", split="train", data_dir=data_dir)
    loader = grain.MapDataset.source(source).map(identity).to_iter_dataset()
    print(*loader.mp_prefetch(grain.MultiprocessingOptions(num_workers=2)), sep="\\n")
    told = {
        "download_dir": data_dir,
        "download_config": tfds.download.DownloadConfig(manual_dir=release),
    }
    limits = tfds_m5product.Data(prepare_workers=1, max_rejected=0.5, vocabulary=300)
    titles = tfds_m5product.Inputs(modalities=("text",))
    config = {"config": tfds_m5product.M5ProductConfig(name="titles", inputs=titles, data=limits)}
    tfds.data_source("m5product", data_dir=data_dir, builder_kwargs=config, download_and_prepare_kwargs=told)
    print(len(tfds.data_source("m5product/titles", split="gallery", data_dir=data_dir)))
    assert "tensorflow" not in sys.modules
"""


def test_by_name_with_workers_and_without_tensorflow_or_a_network(release, ours, tmp_path):
    """`tools/prepare.py --output DATA_DIR/m5jax/NAME/1.0.0` makes a folder that has a name."""
    (tmp_path / "data" / "m5jax" / "mine").mkdir(parents=True)
    (tmp_path / "data" / "m5jax" / "mine" / "1.0.0").symlink_to(ours.folder)
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "data"), str(release)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:12] == [str((r.id, len(r.image), [v.encode() for _, v in r.fields])) for r in ours.records("train")]
    assert lines[-1] == "1"


@pytest.mark.parametrize("stored", STORED)
def test_every_feature_of_a_record_reads_the_same_through_tfds(tmp_path, stored):
    """Lists that differ in length, empty ones among them, all states, and no medium at all."""
    inputs = small_config(**SMALL | {f"inputs__{name}__stored": stored for name in MEDIA}).inputs
    rng = np.random.default_rng(0)
    made = [
        Record(
            id=f"鞋-{i}",
            source="shop" * (i % 2),
            instance_id=f"p{i}",
            category=("goods", "shoes", "红")[: i % 4],
            states=tuple(State((i + m) % 4) for m in range(5)),
            title="a\x00b" * i,
            description="🥿",
            fields=tuple((f"n{j}", "v" * j) for j in range(i % 3)),
            **{
                name: rng.normal(size=(i % 3, dim)).astype(np.float16)
                for name, dim in (("image", DIM + 5), ("video", 3), ("audio", 3))
            },
        )
        for i in range(12)
    ]
    codec = RecordCodec(inputs)
    for shard in range(2):
        path = tmp_path / records.shard_name("train", shard, 2)
        records.write_shard(path, [codec.encode(record) for record in made[shard * 5 : 5 + shard * 7]])
    records.write_tfds_metadata(tmp_path, codec, {"train": [5, 7]})
    for record, example in zip(made, tfds.builder_from_directory(tmp_path).as_data_source("train"), strict=True):
        for name in ("id", "source", "instance_id", "title", "description"):
            assert example[name].decode() == getattr(record, name)
        assert [label.decode() for label in example["category"]] == [*record.category]
        assert example["states"].tolist() == [*record.states]
        fields = [(n.decode(), v.decode()) for n, v in zip(*example["fields"].values(), strict=True)]
        assert fields == [*record.fields]
        decoded = codec.decode(codec.encode(record))
        for name in MEDIA:
            rows = getattr(decoded, name)
            assert example[name].dtype == (np.float16 if stored == "float16" else np.uint8)
            assert example[name].shape[0] == len(rows)
            assert example[name].tobytes() == rows.tobytes()  # a view of the dtype that `feature_rows` tells
