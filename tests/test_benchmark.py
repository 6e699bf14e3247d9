"""The benchmark of the input: what scripts read off it, and what it refuses."""

import json
import pathlib

import benchmark
import pytest
from benchmarks import synthetic
from small import small_config

TINY = str(pathlib.Path(__file__).parent / "tiny.py")
STAGES = {"raw read", "parse", "ids kept beside", "crop, shuffle, mask", "batch", "device put", "(tokenise anew)"}


def run(tmp_path, *arguments):
    options = ("--workers=0", "--seconds=0.1", "--listings=12", f"--config.data.root={tmp_path}")
    return benchmark.main(["input", "--config", TINY, *options, *arguments])


@pytest.mark.parametrize("source", ["raw", "features"])
def test_the_last_line_has_what_scripts_rely_on(source, tmp_path, capsys):
    dim = ("--config.inputs.image.feature_dim=16", "--config.inputs.image.stored=int8")
    assert run(tmp_path, f"--config.inputs.image.source={source}", *dim, "--step=50") == 0
    made = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert made["mode"] == "input"
    assert made["config"]["inputs"]["image"]["source"] == source
    assert {"commit", "hardware", "versions", "examples_per_s_per_core", "bytes_per_example"} <= made.keys()
    assert set(made["stages_us"]) == STAGES
    (row,) = made["workers"]
    assert row["workers"] == 0
    assert min(row["examples_per_s"], row["mb_per_s"], row["cpu_s_per_1000"], row["first_batch_s"]) > 0
    assert made["ratio_to_step"] == pytest.approx(row["examples_per_s"] / 50)
    assert made["bytes_per_example"] < 5000


def test_a_pattern_leaves_out_its_share_and_shortens_the_rest(tmp_path):
    inputs = small_config(
        inputs__image__source="features", inputs__video__source="features", inputs__audio__source="features",
        inputs__image__feature_dim=4, inputs__video__feature_dim=4, inputs__audio__feature_dim=4,
    ).inputs  # fmt: skip
    for name, absent in (("full", 0), ("m5product", 0.2), ("half-absent", 0.5)):
        synthetic.write(tmp_path / name, inputs, 300, synthetic.PATTERNS[name])
        rows = [json.loads(line) for line in (tmp_path / name / "catalogue.jsonl").read_text().splitlines()]
        silent = ["videos" not in row for row in rows]
        assert silent == ["audios" not in row for row in rows]
        assert sum(silent) / 300 == pytest.approx(absent, abs=0.08 if absent else 0)
        assert all(row["title"] and row["attributes"] and row["images"] for row in rows)


def test_raw_media_are_made_as_well(tmp_path):
    synthetic.write(tmp_path / "raw", small_config().inputs, 2, synthetic.PATTERNS["full"])
    assert len([path for path in (tmp_path / "raw").glob("*/*") if path.stat().st_size > 500]) == 6


@pytest.mark.parametrize(
    "wrong", ["--workers=one", "--workers=-1", "--listings=2", "--step=fast", "--config.inputs.imag=1"]
)
def test_what_cannot_be_measured_is_refused_before_anything_is_made(wrong, tmp_path, capsys):
    assert run(tmp_path, wrong) == 64
    assert "ConfigError" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
