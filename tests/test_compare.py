"""Runs side by side: what is subtracted, what is told from chance, what is refused, and how it reads."""

import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from compared import PREFIXES, QUERIES, losers, passport, queries, scores_of, sweeps, two_runs, write_run
from reports import Page

from m5jax import compare, main
from m5jax.comparison.runs import read
from m5jax.comparison.side_by_side import compared
from m5jax.errors import ConfigError, DataError
from m5jax.evals import bootstrap

P1, MAP = "retrieval/category/fused/p@1", "retrieval/category/fused/map@10"
ACCURACY = "classification/probe/fused/accuracy"


def side_by_side(paths):
    return compared(read(tuple(paths)), seed=0)


def row(made, name):
    (found,) = [row for row in made["scores"] if row["name"] == name]
    return found


def test_differences_are_told_from_chance_on_the_same_queries(tmp_path):
    made = side_by_side(two_runs(tmp_path))
    right = np.arange(QUERIES) % 3 == 0
    more = right.copy()
    more[np.flatnonzero(~right)[:10]] = True
    expected = bootstrap.difference(more.astype(float), right.astype(float), np.arange(QUERIES) // 2, 0)
    first, second = row(made, P1)["against"]
    assert first is None
    assert second["difference"] == pytest.approx(10 / QUERIES) == expected.mean
    assert (second["low"], second["high"], second["told"]) == (expected.low, expected.high, True)
    assert row(made, MAP)["against"][1]["low"] is not None
    assert row(made, ACCURACY)["against"][1] == {
        "difference": 0.0, "low": None, "high": None, "told": None, "refused": "",
    }  # fmt: skip
    assert made["warnings"] == []


def test_groups_are_those_of_the_first_run(tmp_path):
    made = side_by_side(two_runs(tmp_path))
    nothing, groups = made["groups"]
    assert nothing == []
    assert [group["name"] for group in groups] == ["head", "tail"]
    right = np.arange(QUERIES) % 3 == 0
    added = np.flatnonzero(~right)[:10]
    for number, group in enumerate(groups):
        assert group["queries"] == QUERIES / 2
        assert group["difference"] == pytest.approx((added % 2 == number).sum() / (QUERIES / 2))


def test_counts_are_shown_and_not_subtracted(tmp_path):
    found = row(side_by_side(two_runs(tmp_path)), "retrieval/category/fused/queries")
    assert found["values"] == [QUERIES, QUERIES]
    assert found["against"] == [None, None]


def test_equal_runs_are_told_to_be_equal(tmp_path):
    kept = queries(np.arange(QUERIES) % 2)
    paths = [write_run(tmp_path / name, scores_of(kept), studies={"losers": losers(kept)}) for name in "ab"]
    made = side_by_side(paths)
    assert row(made, P1)["against"][1]["difference"] == 0
    assert not row(made, P1)["against"][1]["told"]
    assert made["warnings"] == ["b: every score is that of a: is it the same model?"]
    assert made["settings"] == {}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"digest": "b" * 16}, "another gallery"),
        ({"protocol": "trec"}, "another protocol"),
        ({"queries": 9}, "number of queries"),
    ],
)
def test_numbers_with_other_passports_are_not_subtracted(tmp_path, changes, reason):
    kept = queries(np.arange(QUERIES) % 2)
    ours = write_run(tmp_path / "a", scores_of(kept), studies={"losers": losers(kept), "sweeps": sweeps([1, 1, 1])})
    theirs = write_run(
        tmp_path / "b",
        scores_of(kept),
        studies={"losers": losers(kept, **changes), "sweeps": sweeps([1, 1, 1], **changes)},
        passports=dict.fromkeys(PREFIXES, passport(**changes)),
    )
    made = side_by_side([ours, theirs])
    assert reason in row(made, P1)["against"][1]["refused"]
    assert row(made, P1)["against"][1]["difference"] is None
    assert reason in row(made, ACCURACY)["against"][1]["refused"]
    assert made["groups"] == [[], []]
    assert reason in made["studies_refused"]["sweeps"][1]
    assert made["studies"]["sweeps"]["sweeps/missing_image/scores/retrieval/category/p@1/area"] == [1.0, None]
    assert "b: 3 of 3 scores do not compare with those of a" in made["warnings"][0]
    assert not re.search(r"[+-]\d\.\d", compare.table(made | {"command": ""}))


def test_a_run_without_passports_is_not_trusted(tmp_path):
    paths = two_runs(tmp_path)
    (pathlib.Path(paths[1]) / "passports.json").unlink()
    assert "score it again" in row(side_by_side(paths), P1)["against"][1]["refused"]


def test_classifiers_that_learned_from_other_listings_do_not_compare(tmp_path):
    paths = two_runs(tmp_path)
    file = pathlib.Path(paths[1]) / "scores.json"
    scores = json.loads(file.read_text()) | {"classification/probe/fused/train": 99.0}
    file.write_text(json.dumps(scores))
    assert row(side_by_side(paths), ACCURACY)["against"][1]["refused"] == "another number: train"


def test_a_score_that_one_run_lacks_is_counted(tmp_path):
    kept = queries(np.arange(QUERIES) % 2)
    ours = write_run(tmp_path / "a", scores_of(kept, **{"clustering/fused/nmi": 0.5}))
    made = side_by_side([ours, write_run(tmp_path / "b", scores_of(kept))])
    assert row(made, "clustering/fused/nmi")["values"] == [0.5, None]
    assert "b: 1 scores are not in both this run and a" in made["warnings"]
    assert row(made, P1)["against"][1]["told"] is None  # neither was asked query by query


def test_settings_that_differ_are_named_but_folders_are_not(tmp_path):
    changes = {"optimizer.learning_rate": 0.5, "workdir": "elsewhere", "logging.every": 3}
    kept = queries(np.arange(QUERIES) % 2)
    paths = [
        write_run(tmp_path / "a", scores_of(kept)),
        write_run(tmp_path / "b", scores_of(kept), config=changes),
    ]
    assert side_by_side(paths)["settings"] == {"config.optimizer.learning_rate": [0.001, 0.5]}
    (tmp_path / "b" / "config.json").unlink()
    assert side_by_side(paths)["settings"]["config.seed"] == [0, None]


def test_three_runs_are_all_told_from_the_first(tmp_path):
    kept = [queries(np.arange(QUERIES) % n == 0) for n in (2, 3, 4)]
    paths = [write_run(tmp_path / str(n), scores_of(k), studies={"losers": losers(k)}) for n, k in enumerate(kept)]
    _, second, third = row(side_by_side(paths), P1)["against"]
    assert second["difference"] == pytest.approx(1 / 3 - 1 / 2)
    assert third["difference"] == pytest.approx(1 / 4 - 1 / 2)


def test_bad_input_is_refused_by_name(tmp_path):
    paths = two_runs(tmp_path)
    with pytest.raises(ConfigError, match="two or more"):
        read((paths[0],))
    with pytest.raises(ConfigError, match="twice"):
        read((paths[0], f"{tmp_path}/b/../a"))
    with pytest.raises(ConfigError, match=r"c/scores\.json is not there; score the run with .*--config\.workdir"):
        read((paths[0], str(tmp_path / "c")))
    scores = tmp_path / "b" / "scores.json"
    for text, message in (("{", "cannot be read"), ("[]", "list"), ('{"a": NaN}', "NaN"), ('{"a": "x"}', "'x'")):
        scores.write_text(text)
        with pytest.raises(DataError, match=message):
            read(tuple(paths))


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path):
    kept = queries(np.arange(QUERIES) % 2)
    paths = [write_run(tmp_path / parent / "run", scores_of(kept)) for parent in ("x", "y")]
    assert [run.name for run in read(tuple(paths))] == ["x/run", "y/run"]


def test_the_command_writes_page_and_json_without_jax(tmp_path):
    first, second = two_runs(tmp_path)
    arguments = ["--config.mode=compare", f"--config.compare.runs={first},{second}", f"--config.workdir={tmp_path}/out"]
    script = (
        "import sys\nfrom m5jax import main\ncode = main.main(sys.argv)\n"
        "assert 'jax' not in sys.modules and 'sklearn' not in sys.modules\nsys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"category/fused/p@1 +0\.333 +0\.500 \+0\.167\*", done.stdout)
    made = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert [run["name"] for run in made["runs"]] == ["a", "b"]
    shown = Page((tmp_path / "out" / "compare.html").read_text(encoding="utf-8"))
    assert shown.ids("section") == [
        "summary", "scores", "whom", "sweeps", "studies", "settings", "passports", "reproduce",
    ]  # fmt: skip
    assert "b 50\u202f%, a 33\u202f%; +16.7 points, more than chance (95 % between" in shown.text
    assert [values["class"] for tag, values in shown.elements if tag == "polyline"] == ["line k0", "line k1"]
    assert shown.captioned("retrieval/category/fused")["p@1"][0] == "0.333"


def test_mistakes_on_the_command_line_end_with_64(tmp_path, capsys):
    assert main.main(["m5jax", "--config.mode=compare", f"--config.workdir={tmp_path}/out"]) == 64
    assert "two or more scored runs" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main.main(["m5jax", "--config.mode=compare", "--config.compare.run=x"]) == 64
    assert "config.compare.runs" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["runs/a-1.2,/x/b:c", "('runs/a-1.2', '/x/b:c')", '["runs/a-1.2", "/x/b:c"]'])
def test_a_list_of_paths_is_given_with_commas(text):
    config = main.parse(["m5jax", "--config.mode=compare", f"--config.compare.runs={text}"])
    assert config.compare.runs == ("runs/a-1.2", "/x/b:c")


@pytest.mark.parametrize("text", ["1,5", "(1, 5)", "[1,5]"])
def test_a_list_of_numbers_is_given_with_commas(text):
    config = main.parse(["m5jax", "--config.mode=compare", f"--config.evaluate.ks={text}"])
    assert config.evaluate.ks == (1, 5)
