"""The series of runs that fills a table: what is run, what is shared, and what is said of what was found."""

import dataclasses
import json
import math
import pathlib
import re
import shutil
import subprocess

import pytest
from test_tables_paper import frozen

from m5jax import config as config_lib
from m5jax import source
from m5jax.catalogues.layouts import find
from m5jax.errors import ConfigError, Preempted, SeriesError
from m5jax.preparing.prepare import prepare
from m5jax.series import runs
from m5jax.series.runs import Result, RunFailed
from m5jax.tables import layout, series
from m5jax.tables.layout import PRETRAIN
from m5jax.tables.paper import TABLES


class FakeRuns:
    """Stands in for training: scores that depend on the settings, and runs that fail on demand."""

    def __init__(self, fails=lambda config: False, records="r" * 64):
        self.made, self.fails, self.records = [], fails, records

    def __call__(self, config):
        self.made.append(config)
        if self.fails(config):
            raise RunFailed("out of luck")
        score = (len(config.inputs.modalities) + 0.1 * config.seed) / 10
        names = {measure.score for table in TABLES.values() for measure in layout.measures(table)}
        scores = {name: score if "/fused/" in name else score / 2 for name in names}
        folder = config.workdir
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
        Result(scores, 2.0, "a machine", self.records, source.digest(), "abc").write(folder)


def write_again(path, **changes):
    """Changes fields of a result; None: leaves the field out."""
    fields = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps({name: value for name, value in fields.items() if value is not None}), encoding="utf-8")


def table_of(folder, number):
    return json.loads((folder / f"table-{number}.json").read_text(encoding="utf-8"))


def test_equal_runs_are_shared_between_rows_seeds_and_tables(tmp_path):
    fake = FakeRuns()
    series.make(frozen(3, tmp_path), fake)
    assert len(fake.made) == len({config.workdir for config in fake.made}) == 5 * 2 * 2
    series.make(frozen(3, tmp_path), fake)
    assert len(fake.made) == 20  # everything was there
    series.make(frozen(6, tmp_path), fake)
    assert len(fake.made) == 20 + 3 * 2 * 2  # its row "both" is the last of table 3
    series.make(frozen(10, tmp_path), fake)
    assert len(fake.made) == 32 + 1 * 2 * 2
    series.make(frozen(3, tmp_path, table__seeds=3), fake)
    assert len(fake.made) == 36 + 5 * 2
    series.make(frozen(3, tmp_path, steps=201), fake)
    assert len(fake.made) == 46 + 5 * 2 * 2


def test_the_table_holds_means_spreads_and_every_number(tmp_path, capsys):
    series.make(frozen(3, tmp_path), FakeRuns())
    said, page, numbers = capsys.readouterr().out, (tmp_path / "table-3.md").read_text(), table_of(tmp_path, 3)
    for text in (said, page):
        assert "47.70/65.10" in text
        assert "10.50±0.71/10.50±0.71" in text  # one modality, seeds 0 and 1: 10 and 11 percent
        assert "+Image over Text: Acc +10.00 ± 0.00 better; mAP@1 pre-trained +10.00" in text
        assert "82.11" in text
        assert "+Audio, fused over text: coarse mAP@1 pre-trained" in text
        assert "; coarse mAP@10 pre-trained +25.25 ± 0.35 better; coarse mAP@10 fine-" in text
        assert "of these 52, about 3" in text
    row = numbers["rows"][1]
    assert row["row"] == "+Image"
    assert row["paper_percent"]["mAP@1"] == [51.47, 67.02]
    assert row["mean_and_spread_percent"]["Acc"][0] == pytest.approx([20.5, math.sqrt(0.5)])
    assert [seed["scores"]["mAP@1"] for seed in row["seeds"]] == [[0.2, 0.2], pytest.approx([0.21, 0.21])]
    assert row["seeds"][1]["seed"] == 1
    assert row["seeds"][0]["pretrain"]["folder"].startswith("pretrain-")
    assert len(row["seeds"][0]["finetune"]["settings_sha256"]) == 64
    assert [claim.split(":")[0] for claim in numbers["claims"]][3:6] == [
        "+Audio over +Video",
        "+Audio, fused over image",
        "+Audio, fused over text",
    ]
    last = numbers["rows"][-1]["seeds"][0]["compared"]
    assert last["pretrain/retrieval/instance/fused/map@10"] == 0.5
    assert last["finetune/retrieval/category/audio/map@10"] == 0.25
    assert (numbers["hardware"], numbers["seconds"], numbers["settings"]["steps"]) == (["a machine"], 40.0, 200)


def test_a_row_that_fails_is_reported_and_the_others_go_on(tmp_path, capsys):
    unlucky = FakeRuns(
        lambda config: config.seed == 1 and config.inputs.modalities == ("text",) and "pretrain" in config.workdir
    )
    with pytest.raises(SeriesError, match="table 3: 1 of 10 runs failed: Text, seed 1") as raised:
        series.make(frozen(3, tmp_path), unlucky)
    assert raised.value.exit_code == 69
    assert len(unlucky.made) == 19  # its fine-tuning was not tried
    said = capsys.readouterr().out
    assert "here, 1 of 2 seeds" in said
    assert "failed: Text, seed 1: out of luck" in said
    row = table_of(tmp_path, 3)["rows"][0]
    assert [seed["failed"] for seed in row["seeds"]] == [None, "out of luck"]
    assert row["mean_and_spread_percent"]["Acc"][0] == [pytest.approx(10.0), None]
    series.make(frozen(3, tmp_path), fake := FakeRuns())  # the same command makes what is missing
    assert len(fake.made) == 2


def test_an_interrupted_series_goes_on_where_it_was(tmp_path):
    fake = FakeRuns()

    def stopped(config):
        if len(fake.made) == 7:
            raise Preempted("asked to stop")
        fake(config)

    with pytest.raises(Preempted):
        series.make(frozen(3, tmp_path), stopped)
    series.make(frozen(3, tmp_path), fake)
    assert len(fake.made) == 20


def test_a_catalogue_without_a_modality_leaves_the_rows_out_that_need_it(tmp_path, capsys):
    fake = FakeRuns()
    series.make(frozen(3, tmp_path, inputs__modalities=("image", "text", "table")), fake)
    assert {config.inputs.kept for config in fake.made} == {("image", "text", "table")}
    assert len(fake.made) == 3 * 2 * 2
    assert "not run: +Audio: config.inputs.modalities has no audio, video" in capsys.readouterr().out
    series.make(frozen(7, tmp_path, inputs__modalities=("image", "text")), fake)
    series.make(frozen(8, tmp_path, inputs__modalities=("image",)), fake)
    assert len(fake.made) == 12
    assert "entity over token: not known" not in capsys.readouterr().out


def test_runs_of_different_code_are_pointed_out(tmp_path, capsys):
    series.make(frozen(7, tmp_path), FakeRuns())
    assert "different versions" not in capsys.readouterr().out
    write_again(next(tmp_path.glob("pretrain-*/result.json")), code="d" * 64)
    series.make(frozen(7, tmp_path), FakeRuns())
    assert "different versions of the code" in capsys.readouterr().out


def test_runs_of_other_code_than_todays_are_pointed_out_with_their_commits(tmp_path, capsys):
    series.make(frozen(7, tmp_path), FakeRuns())
    assert "other code" not in capsys.readouterr().out
    assert table_of(tmp_path, 7)["commit"] == ["abc"]
    ran = sorted(tmp_path.glob("*/result.json"))
    for path in ran:
        write_again(path, code="d" * 64, commit="old")
    write_again(ran[0], commit=None)  # as results were before they had one
    earlier = runs.read(ran[0].parent)
    assert earlier is not None
    assert earlier.commit is None
    series.make(frozen(7, tmp_path), fake := FakeRuns())
    assert fake.made == []
    said = capsys.readouterr().out
    assert "made by other code than today's (commit: not known, old)" in said
    assert "different versions" not in said
    assert table_of(tmp_path, 7)["commit"] == [None, "old"]


def test_the_source_is_named_by_its_files_and_by_its_commit_if_there_is_one(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "PACKAGE", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / "a.py").write_text("1")
    before = source.digest()
    assert source.digest() == before
    assert source.commit() is None
    (tmp_path / "a.py").write_text("2")
    assert source.digest() != before
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a", "commit", "-qm", "a"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    assert re.fullmatch("[0-9a-f]{40}", source.commit() or "")
    (tmp_path / "a.py").write_text("3")
    assert (source.commit() or "").endswith("-dirty")


def test_runs_on_other_records_than_the_catalogue_has_today_are_pointed_out(catalogue_folder, tmp_path, capsys):
    root, folder = tmp_path / "catalogue", tmp_path / "tables"
    shutil.copytree(catalogue_folder, root)
    changes = {"data__catalogue": str(root), "data__root": str(tmp_path / "data")}
    config = frozen(7, folder, inputs__modalities=("text", "table"), **changes)
    row = series.stages_of(config, TABLES[7].rows[0], 0)[PRETRAIN]
    fake = FakeRuns(records=prepare(row, quiet=True).manifest["digest"])
    series.make(config, fake)
    assert "other records" not in capsys.readouterr().out
    with find(root).path.open("a", encoding="utf-8") as file:
        file.write('{"id": "one-more", "title": "one more"}\n')
    series.make(config, fake)
    assert f"made from other records than {tmp_path / 'data'} has of {root} as it is now" in capsys.readouterr().out
    shutil.rmtree(root)
    series.make(config, fake)
    assert "other records" in capsys.readouterr().out
    assert len(fake.made) == 8


def test_a_damaged_result_is_named_and_not_used(tmp_path):
    series.make(frozen(7, tmp_path), FakeRuns())
    one = next(tmp_path.glob("finetune-*/result.json"))
    one.write_text("{")
    with pytest.raises(SeriesError):
        series.make(frozen(7, tmp_path), FakeRuns())
    assert str(one) in table_of(tmp_path, 7)["notes"][-1]


def test_settings_that_contradict_each_other_stop_the_series_before_its_first_run(tmp_path):
    fake = FakeRuns()
    with pytest.raises(ConfigError, match=r"config\.distributed"):
        series.make(frozen(3, tmp_path, distributed__coordinator="here:1"), fake)
    with pytest.raises(ConfigError, match="must divide"):
        series.make(dataclasses.replace(frozen(3, tmp_path), accumulate=7), fake)
    assert fake.made == []


def test_a_run_that_ends_without_a_result_fails_with_its_last_error(tmp_path):
    config = frozen(3, tmp_path, data__catalogue=str(tmp_path / "nowhere"))
    chosen = series.stages_of(config, TABLES[3].rows[0], 0)[PRETRAIN]
    with pytest.raises(RunFailed, match=r"exit code 65, DataError: .*no catalogue at"):
        runs.run(chosen)
    folder = pathlib.Path(chosen.workdir)
    assert config_lib.freeze(json.loads((folder / runs.SETTINGS).read_text())) == chosen
    assert runs.read(folder) is None
