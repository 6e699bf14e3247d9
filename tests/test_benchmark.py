"""The benchmarks of the input and of search: what scripts read off them, and what they refuse."""

import json
import pathlib
import sys

import benchmark
import numpy as np
import pytest
from benchmarks import retrieval, synthetic
from small import small_config

TINY = str(pathlib.Path(__file__).parent / "tiny.py")
STAGES = {"raw read", "parse", "ids kept beside", "crop, shuffle, mask", "batch", "device put", "(tokenise anew)"}


def run(tmp_path, *arguments):
    options = ("--workers=0", "--seconds=0.1", "--listings=12", f"--config.data.root={tmp_path}")
    return benchmark.main(["input", "--config", TINY, *options, *arguments])


@pytest.mark.parametrize("source", ["raw", "features"])
def test_the_last_line_has_what_scripts_rely_on(source, tmp_path, capsys):
    dim = ("--config.inputs.image.feature_dim=16", "--config.inputs.image.stored=int8")
    dim += ("--config.inputs.image.boxes", "--config.inputs.image.classes=3") if source == "features" else ()
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


def search(*arguments):
    return benchmark.main(["retrieval", "--queries=40", "--gallery=1500", "--dim=8", "--k=7", *arguments])


def test_search_is_measured_without_a_config(capsys):
    assert search() == 0
    made = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (made["mode"], made["exact"], made["matrix_bytes"]) == ("retrieval", True, 4 * 40 * 1500)
    assert made["config"] == {"queries": 40, "gallery": 1500, "dim": 8, "k": 7, "compare": None}
    assert {"commit", "hardware", "versions"} <= made.keys()
    assert min(made["queries_per_s"], made["peak_bytes"], made["device_bytes"]) > 0
    ours = made["searches"]["m5jax"]
    products = 24_410 * 1_197_905 * 768 / (40 * 1500 * 8)
    assert made["tasks"]["coarse"]["seconds"]["m5jax"] == pytest.approx(ours["seconds"] * products)


def test_a_search_that_misses_a_neighbour_is_not_called_exact():
    rng = np.random.default_rng(0)
    gallery, queries = (rng.normal(size=shape).astype(np.float32) for shape in ((50, 4), (3, 4)))
    rows = np.argsort(-(queries.astype(np.float64) @ gallery.T), axis=1)[:, :5]
    assert retrieval._exactness(rows, queries, gallery) == {"exact": True, "sample": 3, "sample_same_rows": 1}
    for wrong in (np.roll(rows, 1, axis=1), np.where(np.arange(5) == 4, rows[:, :1], rows)):
        assert not retrieval._exactness(wrong, queries, gallery)["exact"]


@pytest.mark.parametrize("wrong", ["--queries=0", "--dim=-1"])
def test_a_search_of_nothing_is_refused(wrong, capsys):
    assert search(wrong) == 64
    assert "must be at least 1" in capsys.readouterr().err


def test_what_is_not_installed_is_asked_for(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert search("--compare=faiss") == 64
    assert "m5jax[bench]" in capsys.readouterr().err
