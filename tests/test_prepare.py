"""Preparation end to end: nothing is lost without a reason, whatever dies on the way."""

import collections
import json
import shutil
import subprocess
import sys

import filelock
import hostile_tasks
import numpy as np
import pytest
from media_files import SAMPLES, film, needs_samples, picture, scene, sound
from pyarrow import parquet
from reports import index_row
from small import small_config
from test_media import SPECIAL

from m5jax.data import tokenizer
from m5jax.data.prepared import REJECTIONS
from m5jax.media import decode_jpeg
from m5jax.modalities import NAMES, State
from m5jax.preparing import convert, preparation, prepare


def write_rows(folder, rows):
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    (folder / "catalogue.jsonl").write_bytes(b"\n".join(lines))


def config_for(folder, root, **changes):
    return small_config(data__catalogue=str(folder), data__root=str(root), **changes)


def read_rejections(folder):
    return [json.loads(line) for line in (folder / REJECTIONS).read_text(encoding="utf-8").splitlines()]


def shard_bytes(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.array_record*"))}


@pytest.fixture(scope="module")
def hostile_folder(tmp_path_factory):
    """A catalogue in which all kinds of things are wrong."""
    folder = tmp_path_factory.mktemp("hostile")
    image, video, audio = picture("PNG", scene()), film(), sound("WAV")
    for name, data in {
        "a.png": image,
        "a.mp4": video,
        "a.wav": audio,
        "cut.png": image[:99],
        "nothing.mp4": b"",
    }.items():
        (folder / name).write_bytes(data)
    (folder / "aside").symlink_to("/etc/hostname")
    write_rows(
        folder,
        [
            {"id": "whole", "split": "train", "title": "a red shoe", "attributes": {"colour": "red"}}
            | {"images": "a.png", "videos": "a.mp4", "audios": "a.wav"},
            {"id": "odd text", "split": "train", "title": "\u0000\u202e<mask> \U0001f97f", "source": "鞋店"},
            b'{"id": "half", "title": "\\ud83d"}',
            {"id": "cut", "split": "val", "images": "cut.png", "videos": "nothing.mp4", "audios": "a.wav"},
            {"id": "outside", "split": "train", "title": "x", "images": "../a.png", "videos": "aside"},
            {"id": "nothing", "split": "query", "title": " ", "images": "cut.png"},
            b"not json",
            {"id": "whole", "title": "again"},
            {"id": "film as picture", "split": "val", "title": "y", "images": "a.mp4"},
        ],
    )
    return folder


@pytest.fixture(scope="module")
def hostile(hostile_folder, tmp_path_factory):
    """The same catalogue, prepared by two processes into shards of two listings."""
    before = {path.name: path.lstat() for path in hostile_folder.iterdir()}
    hostile_folder.chmod(0o555)
    root = tmp_path_factory.mktemp("root")
    dials = {"data__shard_listings": 2, "data__max_rejected": 1.0, "data__prepare_workers": 2}
    made = prepare.prepare(config_for(hostile_folder, root, **dials), quiet=True)
    after = {path.name: path.lstat() for path in hostile_folder.iterdir()}
    assert {name: stat.st_mtime_ns for name, stat in after.items()} == {n: s.st_mtime_ns for n, s in before.items()}
    return made


def test_every_row_ends_as_a_record_or_with_its_reason(hostile):
    assert hostile.splits == {"train": 3, "val": 2}
    assert hostile.manifest["rows"] == 9
    ids = {split: hostile.index(split).ids.tolist() for split in hostile.splits}
    assert ids == {"train": ["whole", "odd text", "outside"], "val": ["cut", "film as picture"]}
    assert {
        (row["id"], row["modality"], row["reason"], row["line"], row["file"]) for row in read_rejections(hostile.folder)
    } == {
        ("", "", "invalid_utf8", 3, ""),
        ("", "", "invalid_json", 7, ""),
        ("whole", "", "duplicate_id", 8, ""),
        ("cut", "image", "truncated", 0, "cut.png"),
        ("cut", "video", "empty", 0, "nothing.mp4"),
        ("outside", "image", "outside_root", 0, "../a.png"),
        ("outside", "video", "outside_root", 0, "aside"),
        ("nothing", "image", "truncated", 0, "cut.png"),
        ("nothing", "", "nothing_present", 0, ""),
        ("film as picture", "image", "format_not_allowed", 0, "a.mp4"),
    }
    assert sum(hostile.manifest["rejected"].values()) == 10
    assert hostile.manifest["rejected"]["image/truncated"] == 2


def test_index_states_and_records_agree(hostile):
    for split, total in hostile.splits.items():
        source, index = hostile.records(split), hostile.index(split)
        rows = parquet.read_table(hostile.folder / f"index-{split}.parquet").to_pylist()
        assert len(source) == len(index) == total
        for position in range(total):
            record = source[position]
            shown = {
                "id": index.ids[position],
                "source": index.sources[position],
                "instance_id": index.instance_ids[position],
                "category": index.categories[position],
                "title": index.titles[position],
                "states": index.states[position].tolist(),
            }
            assert shown | rows[position] == rows[position] == index_row(record)
        for m, name in enumerate(NAMES):
            counts = collections.Counter(State(state).name.lower() for state in index.states[:, m])
            assert hostile.manifest["states"][split][name] == counts
    whole = hostile.records("train")[0]
    assert whole.states == (State.PRESENT,) * 5
    assert decode_jpeg(whole.image).shape == (18, 18, 3)
    assert decode_jpeg(whole.video).shape == (4 * 16, 16, 3)
    assert np.isfinite(whole.audio).all()
    odd = hostile.records("train")[1]
    assert (odd.title, odd.source) == ("\u0000\u202e<mask> \U0001f97f", "鞋店")
    assert hostile.records("val")[0].states == (State.CORRUPT, State.ABSENT, State.ABSENT, State.EMPTY, State.PRESENT)


def test_the_result_does_not_depend_on_the_number_of_processes(hostile, hostile_folder, tmp_path):
    dials = {"data__shard_listings": 2, "data__max_rejected": 1.0, "data__prepare_workers": 1}
    alone = prepare.prepare(config_for(hostile_folder, tmp_path, **dials), quiet=True)
    assert alone.manifest == hostile.manifest
    assert shard_bytes(alone.folder) == shard_bytes(hostile.folder)
    for name in (tokenizer.TRAINED, REJECTIONS):
        assert (alone.folder / name).read_bytes() == (hostile.folder / name).read_bytes()


def test_a_complete_folder_is_only_read(hostile, hostile_folder, monkeypatch):
    monkeypatch.setattr(preparation, "Preparation", None)
    monkeypatch.setattr(filelock, "FileLock", None)
    dials = {"data__shard_listings": 2, "data__max_rejected": 0.0, "data__prepare_workers": 7}
    again = prepare.prepare(config_for(hostile_folder, hostile.folder.parent, **dials))
    assert (again.folder, again.manifest) == (hostile.folder, hostile.manifest)


def test_tfds_opens_the_folder_without_tensorflow(hostile):
    code = """
import sys
import tensorflow_datasets as tfds
source = tfds.builder_from_directory(sys.argv[1]).as_data_source("train")
print(len(source), *(example["id"].decode() for example in source), source[0]["audio"].shape, sep="|")
assert "tensorflow" not in sys.modules
"""
    command = [sys.executable, "-c", code, str(hostile.folder)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert shown.strip() == "3|whole|odd text|outside|(16, 16)"


@needs_samples
def test_of_the_sample_files_every_broken_one_is_named_and_the_others_are_kept(tmp_path):
    folder = tmp_path / "samples"
    shutil.copytree(SAMPLES, folder)
    names = [entry["file"] for entry in json.loads((SAMPLES / "manifest.json").read_text())]
    kinds = {name: SPECIAL[name][0] if name in SPECIAL else name.partition("/")[0] for name in names}
    write_rows(folder, [{"id": n, "split": "train", "title": n, f"{kinds[n]}s": [n]} for n in names])
    dials = {"data__max_rejected": 1.0, "data__prepare_workers": 2}
    made = prepare.prepare(config_for(folder, tmp_path / "root", **dials), quiet=True)
    expected = {name: answer for name, answer in SPECIAL.items() if answer[1] != "decoded"}
    assert len(names) == 88
    assert made.splits == {"train": 88}
    lost = {row["file"]: (row["modality"], row["reason"]) for row in read_rejections(made.folder)}
    assert lost == expected
    assert made.manifest["rejected"] == collections.Counter(f"{kind}/{reason}" for kind, reason in expected.values())
    for record in made.records("train"):
        state = State.PRESENT if record.id not in lost else State.CORRUPT
        state = State.EMPTY if lost.get(record.id, ("", ""))[1] == "empty" else state
        assert record.state(kinds[record.id]) == state, record.id


def test_a_decoder_that_dies_costs_one_file(tmp_path, monkeypatch):
    image, video = picture("PNG", scene()), film()
    for name in ("good.png", "segfault.png", "together.png"):
        (tmp_path / name).write_bytes(image)
    for name in ("good.mp4", "hang.mp4", "together.mp4"):
        (tmp_path / name).write_bytes(video)
    rows = [{"id": f"{i}", "title": "x", "images": "good.png", "videos": "good.mp4"} for i in range(20)]
    rows[3]["images"], rows[5]["videos"] = "segfault.png", "hang.mp4"
    rows[9] |= {"images": "together.png", "videos": "together.mp4"}
    write_rows(tmp_path, [row | {"split": "train"} for row in rows])
    monkeypatch.setattr(convert, "run_task", hostile_tasks.run_task)
    monkeypatch.setattr(convert, "probe", hostile_tasks.probe)
    dials = {"data__max_rejected": 1.0, "data__prepare_workers": 2, "data__decode_seconds": 1.0}
    made = prepare.prepare(config_for(tmp_path, tmp_path / "root", **dials), quiet=True)
    lost = {(row["id"], row["modality"]): row["reason"] for row in read_rejections(made.folder)}
    assert lost == {
        ("3", "image"): "decoder_crashed",
        ("5", "video"): "decoder_timeout",
        ("9", "image"): "decoder_crashed",  # each file alone is fine, so nobody knows which one it was
        ("9", "video"): "decoder_crashed",
    }
    source = made.records("train")
    assert [record.id for record in source] == [row["id"] for row in rows]
    for record in source:
        for name in ("image", "video"):
            assert record.state(name) == (State.CORRUPT if (record.id, name) in lost else State.PRESENT)
        assert record.state("text") == State.PRESENT
