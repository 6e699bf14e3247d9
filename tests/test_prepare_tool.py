"""`tools/prepare.py`: what scripts can rely on."""

import json
import pathlib

import prepare as tool
import pytest
from media_files import picture
from test_prepare import write_rows

from m5jax.config import default, freeze
from m5jax.errors import ConfigError
from m5jax.preparing import prepare

CONFIG = pathlib.Path(__file__).parents[1] / "configs" / "catalogue.py"
SMALL = ("--config.data.vocabulary=300", "--config.inputs.image.size=16", "--config.data.shard_listings=3")


@pytest.fixture
def mixed(tmp_path):
    """Ten rows: seven listings, one of which loses its picture, and three that are none."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "a.png").write_bytes(picture("PNG"))
    (folder / "cut.png").write_bytes(picture("PNG")[:60])
    rows = [{"id": f"{i}", "split": "train", "title": f"shoe {i}", "images": "a.png"} for i in range(6)]
    rows += [{"id": "cut", "split": "val", "title": "x", "images": "cut.png"}]
    write_rows(folder, [*rows, b"not json", {"id": "0", "title": "again"}, {"id": "bare", "title": " "}])
    return folder


def run(capsys, folder, output, *flags, source="catalogue"):
    code = tool.main([f"--source={source}", f"--input={folder}", f"--output={output}", *SMALL, *flags])
    return code, json.loads(capsys.readouterr().out.splitlines()[-1])


def test_the_last_line_accounts_for_every_row_and_the_digest_knows_no_workers(mixed, tmp_path, capsys):
    code, said = run(capsys, mixed, tmp_path / "one", "--workers=1", "--max-rejected=0.5")
    assert code == 0
    assert said["rejected"] == {"invalid_json": 1, "duplicate_id": 1, "nothing_present": 1}
    assert said["rows_in"] == 10 == said["records"] + sum(said["rejected"].values())
    assert said["lost"] == {"image/truncated": 1}
    assert said["states"]["image"] == {"present": 6, "corrupt": 1}
    assert said["states"]["audio"] == {"absent": 7}
    assert run(capsys, mixed, tmp_path / "two", "--workers=2", "--max-rejected=0.5") == (0, said)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "one").iterdir()}
    assert run(capsys, mixed, tmp_path / "one", "--max-rejected=0.5") == (0, said)  # it is all there
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "one").iterdir()} == before
    assert run(capsys, mixed, tmp_path / "one", "--max-rejected=0.5", "--overwrite") == (0, said)
    assert (tmp_path / "one" / "manifest.json").stat().st_mtime_ns != before[tmp_path / "one" / "manifest.json"]


def test_above_the_limit_it_ends_with_65_and_the_counts(mixed, tmp_path, capsys):
    code, said = run(capsys, mixed, tmp_path / "out", "--max-rejected=0.1")
    assert code == 65
    assert "were rejected or lost a file" in said["error"]
    assert said["rejected"]["invalid_json"] == 1


def test_a_dry_run_reads_all_decodes_some_and_writes_nothing(mixed, tmp_path, capsys):
    before = sorted(mixed.rglob("*"))
    code, said = run(capsys, mixed, tmp_path / "out", "--dry-run")
    assert code == 0
    assert not (tmp_path / "out").exists()
    assert sorted(mixed.rglob("*")) == before
    assert (said["rows_in"], said["listings"], said["sample"]) == (10, 8, 8)
    assert (said["rejected"], said["lost"]) == ({"invalid_json": 1, "duplicate_id": 1}, {})
    assert (said["sample_rejected"], said["sample_lost"]) == ({"nothing_present": 1}, {"image/truncated": 1})
    assert 0 < said["hours"] < 1
    assert 0 < said["bytes"] < 100_000


def test_a_folder_of_something_else_is_neither_used_nor_emptied(mixed, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    code, said = run(capsys, mixed, other, "--overwrite", "--max-rejected=0.5")
    assert code == 65
    assert "thesis.txt" in said["error"]
    assert (other / "thesis.txt").exists()
    run(capsys, mixed, tmp_path / "out", "--max-rejected=0.5")
    code, said = run(capsys, mixed, tmp_path / "out", "--max-rejected=0.5", "--config.data.vocabulary=301")
    assert (code, "another vocabulary" in said["error"]) == (65, True)


@pytest.mark.parametrize("name", ["manifest.json", "plan/thesis.jsonl", "parts/a.json", "vocab.txt", "a.jpg"])
@pytest.mark.parametrize("flags", [(), ("--overwrite",)])
def test_what_somebody_else_calls_as_we_do_is_theirs(mixed, tmp_path, capsys, name, flags):
    theirs = tmp_path / "theirs" / name
    theirs.parent.mkdir(parents=True)
    theirs.write_text("[]")
    code, said = run(capsys, mixed, tmp_path / "theirs", "--max-rejected=0.5", *flags)
    assert code == 65
    assert "which no preparation wrote" in said["error"]
    assert [path for path in (tmp_path / "theirs").rglob("*") if path.is_file()] == [theirs]
    assert theirs.read_text() == "[]"


@pytest.mark.parametrize(
    "flags", [("--config.data.max_rejcted=1",), ("--wrokers=3",), ("--max-rejected=2",), ("--column=x=y",)]
)
def test_a_mistake_in_the_settings_ends_with_64(mixed, tmp_path, capsys, flags):
    assert run(capsys, mixed, tmp_path / "out", *flags)[0] == 64
    assert not (tmp_path / "out").exists()


def test_a_prepared_folder_is_a_catalogue_for_inputs_that_it_was_prepared_for(mixed, tmp_path, capsys):
    _, said = run(capsys, mixed, tmp_path / "out", "--max-rejected=0.5")

    def configured(**inputs):
        config = default()
        config.data.catalogue, config.inputs.image.size = str(tmp_path / "out"), 16
        config.inputs.update(inputs)
        return freeze(config.to_dict())

    made = prepare.prepare(configured(modalities=("image", "text")))
    assert made.manifest["digest"] == said["digest"]
    assert made.splits == {"train": 6, "val": 1}
    with pytest.raises(ConfigError, match=r"config.inputs.image.size = 32, but .* was prepared with 16"):
        prepare.prepare(configured(modalities=("image",), image={"size": 32}))
    with pytest.raises(ConfigError, match="was prepared without video, audio: it has image, text, table"):
        prepare.prepare(configured())
