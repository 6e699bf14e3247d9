"""Preparation that is stopped, killed, repeated, shared or mended: it ends with the same folder, or says why not."""

import json
import multiprocessing
import sys

import hostile_tasks
import pytest
from media_files import film, picture
from small import small_config
from test_prepare import config_for, read_rejections, shard_bytes, write_rows

from m5jax.catalogues import toy
from m5jax.data import tokenizer
from m5jax.data.prepared import MANIFEST, REJECTIONS
from m5jax.errors import DataError
from m5jax.media import pool
from m5jax.preparing import plan, preparation, prepare

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def in_process(monkeypatch):
    """Conversion in this process: quick, for what is not about processes."""

    class NoPool:
        def __init__(self, *arguments):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def map(self, function, items):
            return map(function, items)

    monkeypatch.setattr(pool, "KillablePool", NoPool)


def spawn(function, *arguments):
    process = SPAWN.Process(target=function, args=arguments)
    process.start()
    return process


@pytest.mark.parametrize("moment", ["while reading", "in a shard", "after a shard", "before the manifest"])
def test_a_killed_preparation_goes_on_where_it_was(catalogue_folder, tmp_path, moment, in_process):
    dials = {"inputs__modalities": ("image", "text", "table"), "data__shard_listings": 4}
    config = config_for(catalogue_folder, tmp_path / "killed", **dials)
    process = spawn(hostile_tasks.prepare_until_killed, config, moment)
    process.join(timeout=120)
    assert process.exitcode == -9
    (folder,) = (tmp_path / "killed").iterdir()
    assert not (folder / MANIFEST).exists()
    parts = {path.stem for path in (folder / "parts").glob("*.json")}
    written = {path: path.stat().st_mtime_ns for path in folder.glob("*.array_record-?????-of-?????")}
    assert len(parts) == {"while reading": 0, "before the manifest": 12}.get(moment, 2)
    assert (folder / plan.PLAN).exists() == (moment != "while reading")
    assert len(written) == len(parts) + (moment == "after a shard")
    resumed = prepare.prepare(config, quiet=True)
    assert resumed.folder == folder
    assert not [*folder.rglob("*.tmp")]
    assert sum(path.stat().st_mtime_ns == time for path, time in written.items()) == len(parts)
    unbroken = prepare.prepare(config_for(catalogue_folder, tmp_path / "unbroken", **dials), quiet=True)
    assert resumed.manifest == unbroken.manifest
    assert shard_bytes(resumed.folder) == shard_bytes(unbroken.folder)


def test_shards_that_were_damaged_since_are_made_again(catalogue_folder, tmp_path, in_process):
    dials = {"inputs__modalities": ("image", "text"), "data__shard_listings": 8}
    config = config_for(catalogue_folder, tmp_path, **dials)
    made = prepare.prepare(config, quiet=True)
    good = shard_bytes(made.folder)
    (made.folder / MANIFEST).unlink()
    paths = sorted(made.folder.glob("*.array_record*"))
    paths[0].write_bytes(b"")
    paths[1].unlink()
    (made.folder / "parts" / "val-00000.json").write_bytes(b"")
    assert prepare.prepare(config, quiet=True).manifest == made.manifest
    assert shard_bytes(made.folder) == good


def test_two_processes_prepare_a_folder_once(catalogue_folder, tmp_path):
    dials = {"inputs__modalities": ("text",), "data__max_rejected": 1.0}
    config = config_for(catalogue_folder, tmp_path / "root", **dials)
    notes = tmp_path / "notes"
    notes.mkdir()
    both = [spawn(hostile_tasks.prepare_and_note, config, notes) for _ in range(2)]
    for process in both:
        process.join(timeout=120)
    assert [process.exitcode for process in both] == [0, 0]
    assert len([*notes.iterdir()]) == 1
    (folder,) = (tmp_path / "root").iterdir()
    assert (
        sum(json.loads((folder / MANIFEST).read_text())["shard_lengths"]["train"]) == 19
    )  # of 24 listings five have no title


def broken_catalogue(folder, broken, total=20):
    for i in range(total):
        data = picture("PNG")
        (folder / f"{i}.png").write_bytes(data[:50] if i < broken else data)
    write_rows(folder, [{"id": f"{i}", "split": "train", "title": "x", "images": f"{i}.png"} for i in range(total)])


def test_too_many_rejections_stop_with_counts_until_the_files_are_mended(tmp_path, in_process):
    broken_catalogue(tmp_path, broken=3)
    config = config_for(tmp_path, tmp_path / "root", data__max_rejected=0.14)
    with pytest.raises(DataError) as caught:
        prepare.prepare(config, quiet=True)
    (folder,) = (tmp_path / "root").iterdir()
    assert caught.value.exit_code == 65
    for part in ("3 of 20 listings", "config.data.max_rejected = 0.14", "3 image/truncated", str(folder / REJECTIONS)):
        assert part in str(caught.value)
    assert [row["file"] for row in read_rejections(folder)] == ["0.png", "1.png", "2.png"]
    assert not (folder / MANIFEST).exists()
    broken_catalogue(tmp_path, broken=2)
    mended = prepare.prepare(config, quiet=True)
    assert mended.folder == folder
    assert [row["file"] for row in read_rejections(folder)] == ["0.png", "1.png"]


def test_bad_rows_count_against_all_rows_not_against_the_first_shard(tmp_path, in_process, monkeypatch):
    monkeypatch.setattr(preparation, "EARLY_STOP_LISTINGS", 10)
    rows = [{"id": f"{i}", "split": "train", "title": "x"} for i in range(60)]
    write_rows(tmp_path, [*rows, *(b"not json" for _ in range(5))])
    dials = {"data__max_rejected": 0.1, "data__shard_listings": 10}
    made = prepare.prepare(config_for(tmp_path, tmp_path / "root", **dials), quiet=True)
    assert made.splits == {"train": 60}
    write_rows(tmp_path, [*rows, *(b"not json" for _ in range(7))])
    with pytest.raises(DataError, match="7 of 67 listings"):
        prepare.prepare(config_for(tmp_path, tmp_path / "root", **dials), quiet=True)


def test_a_missing_decoder_stops_instead_of_counting_every_file_as_broken(tmp_path, in_process, monkeypatch):
    write_rows(tmp_path, [{"id": "a", "split": "train", "title": "x", "videos": "a.mp4"}])
    (tmp_path / "a.mp4").write_bytes(film())
    monkeypatch.setitem(sys.modules, "av", None)
    config = config_for(tmp_path, tmp_path / "root", data__max_rejected=1.0)
    with pytest.raises(DataError, match=r"pip install 'm5jax\[media\]', or leave it out of config.inputs.modalities"):
        prepare.prepare(config, quiet=True)
    monkeypatch.undo()


def test_what_became_of_a_catalogue_is_said_by_state_and_reason(tmp_path, in_process, capsys):
    broken_catalogue(tmp_path, broken=2)
    prepare.prepare(config_for(tmp_path, tmp_path / "root"))
    said = capsys.readouterr().out
    assert "prepared 20 listings from 20 rows" in said
    assert "image  18 present, 2 corrupt" in said
    assert "rejected 2 image/truncated" in said


def test_a_limit_that_is_just_kept_does_not_stop(tmp_path, in_process):
    broken_catalogue(tmp_path, broken=3)
    prepare.prepare(config_for(tmp_path, tmp_path / "root", data__max_rejected=0.15), quiet=True)


def test_every_rejected_row_counts_even_of_one_id(tmp_path, in_process):
    write_rows(tmp_path, [{"id": "same", "split": "train", "title": "x"}] * 10)
    with pytest.raises(DataError, match=r"9 of 10 listings(?s:.*)9 listing/duplicate_id"):
        prepare.prepare(config_for(tmp_path, tmp_path / "root", data__max_rejected=0.5), quiet=True)


def test_a_catalogue_that_is_mostly_broken_is_not_read_to_its_end(tmp_path, in_process, monkeypatch):
    monkeypatch.setattr(preparation, "EARLY_STOP_LISTINGS", 10)
    broken_catalogue(tmp_path, broken=8)
    config = config_for(tmp_path, tmp_path / "root", data__max_rejected=0.5, data__shard_listings=4)
    with pytest.raises(DataError, match="8 of 12 listings"):
        prepare.prepare(config, quiet=True)
    (folder,) = (tmp_path / "root").iterdir()
    assert len(shard_bytes(folder)) == 3


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "holds no usable listing"),
        ([b"not json", {"id": ""}], r"holds no usable listing(?s:.*)1 listing/invalid_json(?s:.*)1 listing/missing_id"),
        ([{"id": "x", "title": ""}], r"no listing with anything present(?s:.*)1 listing/nothing_present"),
    ],
)
def test_a_catalogue_of_nothing_is_an_error_that_says_so(tmp_path, in_process, rows, message):
    write_rows(tmp_path, rows)
    with pytest.raises(DataError, match=message) as caught:
        prepare.prepare(config_for(tmp_path, tmp_path / "root", data__max_rejected=1.0), quiet=True)
    assert str(tmp_path / "catalogue.jsonl") in str(caught.value)
    (folder,) = (tmp_path / "root").iterdir()
    assert len(read_rejections(folder)) == len(rows)


def test_a_split_whose_listings_were_all_lost_is_no_split(tmp_path, in_process):
    write_rows(tmp_path, [{"id": "a", "split": "val", "title": "x"}, {"id": "b", "split": "train", "title": ""}])
    made = prepare.prepare(config_for(tmp_path, tmp_path / "root", data__max_rejected=1.0), quiet=True)
    assert made.splits == {"val": 1}
    assert tokenizer.load(made.tokenizer_path).encode("x")  # trained on what there is


def test_a_catalogue_of_pictures_still_gets_a_tokenizer(tmp_path, in_process):
    (tmp_path / "a.png").write_bytes(picture("PNG"))
    write_rows(tmp_path, [{"id": "a", "split": "train", "images": "a.png"}])
    made = prepare.prepare(config_for(tmp_path, tmp_path / "root"), quiet=True)
    words = tokenizer.load(made.tokenizer_path)
    assert words.decode(words.encode("鞋 shoe")) == "鞋 shoe"


def test_what_decides_the_records_decides_the_folder(tmp_path, monkeypatch):
    class Stub:
        def __init__(self, config, found, folder, quiet, runner):
            self.folder = folder

        def run(self, facts):
            (self.folder / MANIFEST).write_text(json.dumps({"format": facts["format"], "facts": facts}))

    monkeypatch.setattr(preparation, "Preparation", Stub)
    write_rows(tmp_path, [{"id": "a", "title": "x"}])

    def folder(**changes):
        return prepare.prepare(config_for(tmp_path, tmp_path / "root", **changes)).folder

    first = folder()
    for same in (
        {"inputs__image__crop": 1.0, "inputs__mask_rate": 0.0, "inputs__text__length": 30, "inputs__image__patch": 4},
        {"data__prepare_workers": 5, "data__decode_seconds": 1.0, "batch_size": 64, "data__max_rejected": 1.0},
    ):
        assert folder(**same) == first
    others = [
        folder(inputs__image__size=24),
        folder(inputs__audio__mels=8),
        folder(inputs__modalities=("text",)),
        folder(data__vocabulary=500),
        folder(data__shard_listings=7),
    ]
    write_rows(tmp_path, [{"id": "a", "title": "y"}])
    others.append(folder())
    assert len({first, *others}) == 7


def test_the_embedded_catalogue_is_made_once_for_its_dials(tmp_path, monkeypatch):
    made = []

    def make(dials, folder, workers, advance):
        folder.mkdir(parents=True)
        (folder / "catalogue.jsonl").touch()
        made.append(dials)

    monkeypatch.setattr(toy, "make", make)
    config = small_config(data__root=str(tmp_path))
    path = prepare.find_catalogue(config, quiet=True).path
    assert prepare.find_catalogue(config, quiet=True).path == path
    assert path.is_relative_to(tmp_path)
    other = prepare.find_catalogue(small_config(data__root=str(tmp_path), data__toy__seed=1), quiet=True).path
    assert other != path
    assert [dials.seed for dials in made] == [0, 1]
