"""The leaderboard: which runs, at what budget, what is said of those that fail, and the table of all methods."""

import json
import pathlib

import pytest
from reports import Page

from m5jax import config as config_lib
from m5jax import main, methods, settings, source
from m5jax.errors import ConfigError, Preempted, SeriesError
from m5jax.leaderboard import claims, series
from m5jax.methods import METHODS
from m5jax.report import leaderboard as page
from m5jax.schemes import SCHEMES
from m5jax.series.runs import Result, RunFailed

CONFIGS = pathlib.Path(__file__).parents[1] / "configs"
CHOSEN = ("image_only", "vilbert", "vilbert+pkg", "scale", "k3m")
RATIOS = [0.0, 0.5, 1.0]


def frozen(folder, **changes):
    c = config_lib.default()
    c.mode, c.workdir = "leaderboard", str(folder)
    c.inputs.modalities = ("image", "text", "table")
    c.model.pool, c.model.stem = "mean", "patch"
    c.leaderboard.methods, c.leaderboard.seeds = CHOSEN, 2
    c.update_from_flattened_dict({path.replace("__", "."): value for path, value in changes.items()})
    return config_lib.freeze(c.to_dict())


def method_of(config):
    """Which of the chosen methods a run is of."""
    knows = "+pkg" if config.inputs.text.with_table else ""
    return "image_only" if config.model.family == "unimodal" else config.model.family + knows


class FakeRuns:
    """Stands in for training: a score that grows with the place in `CHOSEN` and the seed; runs fail on demand."""

    def __init__(self, fails=lambda config: False):
        self.made, self.fails = [], fails

    def __call__(self, config):
        self.made.append(config)
        if self.fails(config):
            raise RunFailed("exit code 70, NumericError: step 30: 10 updates in a row were not finite")
        score = 0.1 + 0.1 * CHOSEN.index(method_of(config)) + 0.01 * config.seed
        folder = pathlib.Path(config.workdir)
        folder.mkdir(parents=True, exist_ok=True)
        curve = [score, score / 2, score / 4]
        lines = {
            "test_only": {"classification/accuracy": curve, "alignment/macro_f1": curve, "answers/rank@10": curve},
            "in_training": {"classification/accuracy": [score] * 3, "alignment/macro_f1": [None] * 3},
        }
        robustness = {
            "ratios": RATIOS,
            "chance": {"alignment/macro_f1": 0.25},
            "schemes": dict.fromkeys(SCHEMES, lines),
            "passport": {"digest": "a"},
        }
        (folder / "studies.json").write_text(json.dumps({"robustness": robustness}), encoding="utf-8")
        scores = {"retrieval/category/fused/p@1": score, "classification/probe/fused/accuracy": score}
        if "table" in config.inputs.modalities:
            scores["clustering/fused/nmi"] = score
        cost = {"parameters": 1_500_000, "flops": 2.5e6, "training_s": 7.0 + config.seed, "evaluation_s": 3.0}
        Result(scores, 10.0, "a machine", "r" * 64, source.digest(), "abc", cost).write(folder)


def board_of(folder):
    return json.loads((folder / "leaderboard.json").read_text(encoding="utf-8"))


def test_methods_differ_in_what_is_their_own_and_in_nothing_else(tmp_path):
    config = frozen(tmp_path, optimizer__learning_rate=3e-3, accumulate=2, leaderboard__methods=())
    attempts = series.attempts_of(config)
    assert [attempt.method for attempt in attempts] == [*METHODS, *METHODS]  # a whole table first, then the next seed
    assert len({attempt.config.workdir for attempt in attempts}) == 2 * len(METHODS)
    given = settings.to_dict(config)
    for attempt in attempts:
        values = settings.to_dict(attempt.config)
        for path in methods.EQUAL:
            here, there = values, given
            for name in path.split("."):
                here, there = here[name], there[name]
            assert here == there, (attempt.method, path)
        assert attempt.config.inputs.kept == ("image", "text", "table")
        assert attempt.config.inputs.shown == tuple(
            n for n in config.inputs.modalities if n in METHODS[attempt.method].sees
        )
        assert attempt.config.mode == "train"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a leaderboard whose runs all came to their end."""
    folder = tmp_path_factory.mktemp("leaderboard")
    series.make(frozen(folder), FakeRuns())
    return folder


def test_the_table_has_every_method_with_spread_cost_and_the_papers_orders(finished):
    board = board_of(finished)
    cell = board["cells"][claims.CATEGORY]["vilbert"]
    assert cell == {
        "mean": pytest.approx(0.205),
        "spread": pytest.approx(0.01 / 2**0.5),
        "seeds": {"0": 0.2, "1": pytest.approx(0.21)},
    }
    assert board["best"][claims.CATEGORY] == "k3m"
    assert list(board["cells"]["scores/clustering/fused/nmi"]) == ["scale", "k3m"]
    assert "scores/retrieval/instance/fused/p@1" not in board["columns"]  # no run has it
    assert board["methods"]["vilbert+pkg"]["sees"] == ["image", "text", "table"]
    assert board["methods"]["k3m"]["cost"]["training_s"] == 7.5
    damaged = board["cells"]["damaged/test_only/answers/rank@10"]["k3m"]
    assert damaged["mean"] == pytest.approx(0.505 / 2)  # at half of the listings, over all schemes
    assert board["cells"]["damaged/clean/answers/rank@10"]["k3m"]["mean"] == pytest.approx(0.505)
    assert "damaged/in_training/answers/rank@10" not in board["cells"]
    assert "damaged/in_training/alignment/macro_f1" not in board["cells"]
    assert [at["mean"] for at in board["damage"]["in_training"]["classification/accuracy"]["KMR"]["k3m"]] == [
        pytest.approx(0.505)
    ] * 3
    said = {claim["claim"]: claim["verdicts"][claims.ACCURACY] for claim in board["claims"]}
    assert said["K3M over ViLBERT+PKG"] == {"verdict": "+20.00 ± 0.00 better", "holds": True}
    aligned = next(column for column in board["paper"] if column["title"] == "F1")
    assert (aligned["percent"]["k3m"], aligned["percent"]["scale"]) == (93.2, None)
    assert said["SCALE over Image-only"]["verdict"].startswith("+30.00")
    order = next(order for order in board["orders"] if order["title"] == "mAP@1" and "SCALE" in order["source"])
    assert (order["same"], order["pairs"]) == (3, 3)  # of Image-only, ViLBERT and SCALE
    assert (board["seconds"], board["hardware"], board["commit"]) == (100.0, ["a machine"], ["abc"])
    text = (finished / "leaderboard.md").read_text(encoding="utf-8")
    assert "| ViLBERT+PKG | image+text+table | 30.5±0.7 |" in text
    assert "| **50.5±0.7** |" in text
    assert "| chance |  | – | – | – | – | 25.0 | – | – |" in text
    assert "| K3M | image+text+table | 1.50 | 2.5 | 8 | 3 |" in text
    assert "SCALE over ViLBERT (SCALE, table 5): in 2 of 2 columns" in text


def test_the_page_has_the_table_and_a_figure_for_every_scheme(finished):
    shown = Page((finished / "leaderboard.html").read_text(encoding="utf-8"))
    assert shown.attributes("aria-label").count("TMR: titles missing") == 4  # two lines, of three and of one score
    assert len(shown.attributes("aria-label")) == 4 * len(SCHEMES)
    looks = [values["class"] for tag, values in shown.elements if tag == "polyline"][:4]
    assert looks == ["line k1 dashed", "line k1 solid", "line k4 solid", "line k0 solid"]
    assert page.drawn(["clip", "bert"]) == {"clip": "k0 solid", "bert": "k1 solid"}


def test_a_method_that_diverges_is_reported_and_the_others_go_on(tmp_path, capsys):
    unlucky = FakeRuns(lambda config: config.model.family == "scale")
    with pytest.raises(SeriesError, match="2 of 10 runs failed: SCALE, seed 0; SCALE, seed 1") as raised:
        series.make(frozen(tmp_path), unlucky)
    assert raised.value.exit_code == 69
    assert len(unlucky.made) == 10
    assert "failed: SCALE, seed 0: exit code 70, NumericError" in capsys.readouterr().out
    board = board_of(tmp_path)
    assert board["methods"]["scale"]["cost"] == {}
    assert "scale" not in board["cells"][claims.CATEGORY]
    assert [run["failed"] is None for run in board["runs"] if run["method"] == "scale"] == [False, False]
    series.make(frozen(tmp_path), fake := FakeRuns())  # the same command makes what is missing
    assert [config.model.family for config in fake.made] == ["scale", "scale"]


def test_an_interrupted_leaderboard_shows_what_it_has_and_goes_on(tmp_path):
    fake = FakeRuns()

    def stopped(config):
        if len(fake.made) == 3:
            raise Preempted("asked to stop")
        fake(config)

    with pytest.raises(Preempted):
        series.make(frozen(tmp_path), stopped)
    assert list(board_of(tmp_path)["cells"][claims.CATEGORY]) == ["image_only", "vilbert", "vilbert+pkg"]
    assert "not yet run: 7" in board_of(tmp_path)["notes"]
    series.make(frozen(tmp_path), fake)
    assert len(fake.made) == 10


def test_methods_of_a_modality_that_is_not_there_are_left_out(tmp_path):
    series.make(frozen(tmp_path, inputs__modalities=("image", "text")), fake := FakeRuns())
    assert {method_of(config) for config in fake.made} == {"image_only", "vilbert"}
    assert "left out: K3M: config.inputs.modalities has no table" in board_of(tmp_path)["notes"]
    with pytest.raises(ConfigError, match="none of the methods"):
        series.make(frozen(tmp_path, inputs__modalities=("video",)), fake)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_can_be_run_by_its_name(name):
    config = main.parse(["m5jax", "--config", f"{CONFIGS / 'method.py'}:{name}"])
    assert config.inputs.shown == tuple(n for n in ("image", "text", "table") if n in METHODS[name].sees)
    assert config.optimizer.learning_rate == 2e-3


def test_a_name_that_no_method_has_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r'vilber \(did you mean "vilbert"'):
        main.parse(["m5jax", "--config", f"{CONFIGS / 'method.py'}:vilber"])


def test_studies_of_modalities_alone_need_their_scores(tmp_path):
    with pytest.raises(ConfigError, match="has grid, losers, gap, of every modality alone"):
        frozen(tmp_path, evaluate__alone=False)
    assert not frozen(tmp_path, evaluate__alone=False, evaluate__studies=("matching",)).evaluate.alone
