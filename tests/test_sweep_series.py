"""The series of sweeps: which runs, what is shared, what is said of those that fail, and the figure of all models."""

import json
import pathlib

import pytest
from reports import Page
from test_sweeps_report import CATEGORY, finding

from m5jax import config as config_lib
from m5jax import main, settings, source, sweep_settings
from m5jax.config import Config
from m5jax.errors import ConfigError, Preempted, SeriesError
from m5jax.report import sweep_page
from m5jax.series import runs, sweep, sweep_curves
from m5jax.series.runs import Result, RunFailed
from m5jax.tables import base

MODELS = ("everything", "titles alone: inputs.modalities=text", "pictures alone: inputs.modalities=image")
CONFIG = pathlib.Path(__file__).parents[1] / "configs" / "sweep.py"


def frozen(folder, **changes):
    c = base.config(3)
    c.mode, c.workdir = "sweep", str(folder)
    c.inputs.modalities = ("image", "text", "table")
    c.evaluate.sweeps = ("missing_text", "noise_mixed")
    c.evaluate.sweep_ratios = (0.5, 1.0)
    c.sweep.models = MODELS
    c.sweep.seeds = 2
    c.update_from_flattened_dict({path.replace("__", "."): value for path, value in changes.items()})
    return config_lib.freeze(c.to_dict())


class FakeRuns:
    """Stands in for training: scores that depend on the settings, and runs that fail on demand."""

    def __init__(self, fails=lambda config: False, skipped=""):
        self.made, self.fails, self.skipped = [], fails, skipped

    def __call__(self, config):
        self.made.append(config)
        if self.fails(config):
            raise RunFailed("out of luck")
        folder = pathlib.Path(config.workdir)
        folder.mkdir(parents=True, exist_ok=True)
        trained = sum(config.data.corruption.ratios("missing").values()) > 0
        ratios = sorted({0.0, *config.evaluate.sweep_ratios})
        best = 0.2 * len(config.inputs.modalities) + 0.02 * config.seed
        lines = {name: [best * (1 - ratio / 2) + 0.1 * trained for ratio in ratios] for name in config.evaluate.sweeps}
        told = {"skipped": self.skipped} if self.skipped else finding(lines, (CATEGORY,), ratios=ratios)
        (folder / "studies.json").write_text(json.dumps({"sweeps": told}), encoding="utf-8")
        Result({}, 2.0, "a machine", "r" * 64, source.digest(), "abc").write(folder)


def test_every_model_is_trained_clean_and_on_what_it_sees_broken(tmp_path):
    config = frozen(tmp_path)
    attempts = [attempt for attempt in sweep.attempts_of(config) if attempt.seed == 0]
    trained = [(attempt.model, attempt.trained) for attempt in attempts]
    assert trained == [
        ("everything", None),
        ("everything", ("missing_text", 0.5)),
        ("everything", ("noise_mixed", 0.5)),
        ("titles alone", None),
        ("titles alone", ("missing_text", 0.5)),
        ("titles alone", ("noise_mixed", 0.5)),
        ("pictures alone", None),
        ("pictures alone", ("noise_mixed", 0.5)),  # titles it does not see may be missing as they like
    ]
    for attempt in attempts:
        chosen = attempt.config
        assert chosen.mode == "train"
        assert chosen.evaluate.studies == ("sweeps",)
        assert set(chosen.inputs.kept) == {"image", "text", "table"}
        if attempt.trained:
            name, ratio = attempt.trained
            expected = sweep_settings.corruption(name, ratio, config.inputs, ("train",), 0)
            assert chosen.data.corruption == expected  # the same for every model
            assert (chosen.evaluate.sweeps, chosen.evaluate.sweep_ratios) == ((name,), (ratio,))
        else:
            assert not chosen.data.corruption.active(chosen.inputs)
            assert chosen.evaluate.sweep_ratios == (0.5, 1.0)
    assert attempts[3].config.inputs.modalities == ("text",)
    assert len({attempt.config.workdir for attempt in sweep.attempts_of(config)}) == 16


def test_schemes_of_k3m_are_trained_on_by_name(tmp_path):
    attempts = sweep.attempts_of(frozen(tmp_path, evaluate__sweeps=("MMR", "KMR"), sweep__seeds=1))
    trained = [(attempt.model, attempt.trained[0]) for attempt in attempts if attempt.trained]
    seen = [("everything", "MMR"), ("everything", "KMR"), ("titles alone", "MMR"), ("pictures alone", "MMR")]
    assert trained == seen  # of a model that sees no table, none is missing
    chosen = {attempt.config.data.corruption for attempt in attempts if attempt.trained and attempt.trained[0] == "MMR"}
    assert [(one.scheme, one.ratio, one.splits) for one in chosen] == [("MMR", 0.5, ("train",))]


def test_the_figure_has_every_model_and_the_files_every_number(tmp_path, capsys):
    sweep.make(frozen(tmp_path), fake := FakeRuns())
    assert len(fake.made) == 16
    made = json.loads((tmp_path / "sweep.json").read_text(encoding="utf-8"))
    curves = made["sweeps"]["missing_text"][CATEGORY]
    assert list(curves) == ["everything", "titles alone", "pictures alone"]
    assert [point["ratio"] for point in curves["titles alone"]["test_only"]] == [0, 0.5, 1]
    assert curves["titles alone"]["test_only"][1] == {
        "ratio": 0.5, "mean": pytest.approx(0.1575), "spread": pytest.approx(0.015 / 2**0.5),
        "seeds": {"0": pytest.approx(0.15), "1": pytest.approx(0.165)},
    }  # fmt: skip
    dashed = curves["titles alone"]["in_training"]
    assert [point["ratio"] for point in dashed] == [0, 0.5]  # begins where the other does
    assert dashed[0] == curves["titles alone"]["test_only"][0]
    assert dashed[1]["mean"] == pytest.approx(0.2575)
    assert list(curves["pictures alone"]) == ["test_only"]
    assert made["runs"][2]["trained"] == ["noise_mixed", 0.5]
    assert (made["seconds"], made["hardware"], made["commit"]) == (32.0, ["a machine"], ["abc"])
    said, page = capsys.readouterr().out, (tmp_path / "sweep.md").read_text(encoding="utf-8")
    for text in (said, page):
        assert "missing_text: retrieval/category/p@1" in text
        assert "45.75±1.06" in text
        assert "not all models" not in text
    assert "| titles alone | in training too | 21.00±1.41 | 25.75±1.06 | - |" in page
    assert "| chance |  | 10.00 | 10.00 | 10.00 |" in page
    shown = Page((tmp_path / "sweep.html").read_text(encoding="utf-8"))
    assert shown.attributes("aria-label") == ["missing titles", "anything wrong"]
    lines = [values["class"] for tag, values in shown.elements if tag == "polyline"]
    assert lines == [
        "line k0 solid", "line k0 dashed", "line k1 solid", "line k1 dashed", "line k2 solid", "line chance",
        "line k0 solid", "line k0 dashed", "line k1 solid", "line k1 dashed", "line k2 solid", "line k2 dashed",
        "line chance",
    ]  # fmt: skip
    rows = shown.tables[0]
    assert rows[4][0] == "titles alone"
    assert rows[5] == ["titles alone, trained on it", "0.210± 0.014", "0.258± 0.011", "–"]
    sweep.make(frozen(tmp_path), fake)
    assert len(fake.made) == 16  # everything was there


def test_one_seed_has_no_spread_and_no_training_no_second_line(tmp_path):
    sweep.make(frozen(tmp_path, sweep__seeds=1, sweep__training_ratios=(0.0,)), fake := FakeRuns())
    assert len(fake.made) == 3
    made = json.loads((tmp_path / "sweep.json").read_text(encoding="utf-8"))
    assert {tuple(lines) for models in made["sweeps"]["noise_mixed"].values() for lines in models.values()} == {
        ("test_only",)
    }
    assert made["sweeps"]["noise_mixed"][CATEGORY]["everything"]["test_only"][0]["spread"] is None
    assert not [name for name in Page((tmp_path / "sweep.html").read_text()).attributes("class") if "spread" in name]


def test_a_run_that_fails_is_reported_and_the_others_go_on(tmp_path, capsys):
    unlucky = FakeRuns(lambda config: config.inputs.modalities == ("text",) and config.seed == 1)
    with pytest.raises(
        SeriesError, match="sweeps: 3 of 16 runs failed: titles alone, seed 1; titles alone, trained on"
    ):
        sweep.make(frozen(tmp_path), unlucky)
    made = json.loads((tmp_path / "sweep.json").read_text(encoding="utf-8"))
    assert [row["failed"] for row in made["runs"]].count("out of luck") == 3
    assert made["sweeps"]["missing_text"][CATEGORY]["titles alone"]["test_only"][0]["seeds"] == {"0": 0.2}
    assert "failed: titles alone, seed 1: out of luck" in capsys.readouterr().out
    sweep.make(frozen(tmp_path), fake := FakeRuns())
    assert len(fake.made) == 3
    with pytest.raises(SeriesError, match="16 of 16"):
        sweep.make(frozen(tmp_path / "none"), FakeRuns(lambda config: True))
    assert "There is nothing to draw" in (tmp_path / "none" / "sweep.html").read_text(encoding="utf-8")


def test_runs_that_do_not_tell_of_sweeps_are_named(tmp_path, capsys):
    with pytest.raises(SeriesError, match="16 of 16"):
        sweep.make(frozen(tmp_path), FakeRuns(skipped="no query has an answer"))
    assert "there is nothing to score: no query has an answer" in capsys.readouterr().out
    sweep.make(frozen(tmp_path / "whole"), FakeRuns())
    next((tmp_path / "whole").glob("clean-*/studies.json")).write_text("{")
    with pytest.raises(SeriesError, match="1 of 16"):
        sweep.make(frozen(tmp_path / "whole"), FakeRuns())
    assert "delete its folder, and it is made anew" in capsys.readouterr().out


def test_an_interrupted_series_goes_on_where_it_was(tmp_path):
    fake = FakeRuns()

    def stopped(config):
        if len(fake.made) == 5:
            raise Preempted("asked to stop")
        fake(config)

    with pytest.raises(Preempted):
        sweep.make(frozen(tmp_path), stopped)
    sweep.make(frozen(tmp_path), fake)
    assert len(fake.made) == 16


def test_models_that_were_not_asked_the_same_are_pointed_out(tmp_path, capsys):
    sweep.make(frozen(tmp_path), FakeRuns())
    path = next(tmp_path.glob("clean-*/studies.json"))
    told = json.loads(path.read_text(encoding="utf-8"))
    told["sweeps"]["listings"]["query"] += 1
    path.write_text(json.dumps(told), encoding="utf-8")
    sweep.make(frozen(tmp_path), FakeRuns())
    assert "not all models were asked the same" in capsys.readouterr().out
    assert sweep_curves.alike([])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sweep__models": ("a", "a")}, "every model needs a name of its own"),
        ({"sweep__models": (": inputs.modalities=text",)}, "every model needs a name of its own"),
        ({"sweep__models": ("a: inputs.modalities",)}, "write setting=value"),
        ({"sweep__models": ("a: inputs.modalites=text",)}, r'config\.inputs\.modalites \(did you mean "inputs\.modal'),
        ({"sweep__models": ("a: inputs=text",)}, r"config\.inputs = 'text' must be a section"),
        ({"sweep__models": ("a: steps=many",)}, r"config\.steps = 'many' must be of type int"),
        (
            {"sweep__models": ("a: inputs.modalities=audio",)},
            "'a' sees audio, of which records hold only image, text, table",
        ),
        ({"sweep__models": ()}, "names 0 models"),
        ({"sweep__models": tuple("abcdefghi")}, "names 9 models: a figure shows 1 to 8"),
        ({"data__corruption__noise_text": 0.5}, "decides what is corrupted"),
        ({"distributed__coordinator": "here:1"}, r"leave config\.distributed alone"),
    ],
)
def test_settings_that_contradict_each_other_stop_the_series_before_its_first_run(tmp_path, changes, message):
    fake = FakeRuns()
    with pytest.raises(ConfigError, match=message):
        sweep.make(frozen(tmp_path, **changes), fake)
    assert fake.made == []


def test_changes_of_a_model_have_the_type_of_their_setting():
    for path, text, value in (
        ("inputs.modalities", "image+ text", ("image", "text")),
        ("evaluate.ks", "1+10", ("1", "10")),  # which `build` makes numbers
        ("inputs.drop_modality", "0.3", 0.3),
        ("steps", "40", 40),
        ("evaluate.probe", "True", True),
        ("model.readout", "agreement", "agreement"),
    ):
        assert settings.parse(Config, path, text) == value
    found = sweep_settings.models(["a: steps=3; inputs.modalities=image+text", "b", "c:"])
    assert found == {"a": {"steps": "3", "inputs.modalities": "image+text"}, "b": {}, "c": {}}


def test_the_configuration_of_the_command_is_complete(tmp_path):
    config = main.parse(["m5jax", f"--config={CONFIG}", f"--config.workdir={tmp_path}"])
    attempts = sweep.attempts_of(config)
    assert len(attempts) == 36
    assert {attempt.config.inputs.drop_modality for attempt in attempts} == {0.0, 0.3}
    assert runs.read(attempts[0].config.workdir) is None


def test_a_page_of_hostile_names_is_text(tmp_path):
    made = {"models": ["<script>x</script>"], "chance": {CATEGORY: 0.1}, "notes": ["<img src=x>"], "sweeps": {}}
    page = Page(sweep_page.render(made))
    assert "script" not in {tag for tag, _ in page.elements}
    assert "<img src=x>" in page.text
