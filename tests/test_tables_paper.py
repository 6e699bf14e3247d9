"""The paper's tables: their values, what their rows change, and the series that fills them."""

import dataclasses
import json
import math
import pathlib

import numpy as np
import pytest
from small import small_config
from test_tokenizer import trained
from test_transforms import WHOLE

from m5jax import config as config_lib
from m5jax import main, settings
from m5jax.data.transforms import Transform
from m5jax.errors import ConfigError, Preempted, SeriesError
from m5jax.modalities import NAMES, State
from m5jax.tables import base, layout, runs, series
from m5jax.tables.layout import FINETUNE, PRETRAIN, Column, Measure, Outcome, Row, Table
from m5jax.tables.paper import PRODUCTS, TABLES
from m5jax.tables.runs import Result, RunFailed

NUMBERS = sorted(TABLES)
CONFIGS = pathlib.Path(__file__).parents[1] / "configs" / "tables"


def frozen(number, folder, **changes):
    c = base.config(number)
    c.workdir = str(folder)
    c.table.seeds = 2
    c.update_from_flattened_dict({path.replace("__", "."): value for path, value in changes.items()})
    return config_lib.freeze(c.to_dict())


def values_of(number, name):
    return next(row for row in TABLES[number].rows if row.name == name).paper


class FakeRuns:
    """Stands in for training: scores that depend on the settings, and runs that fail on demand."""

    def __init__(self, fails=lambda config: False):
        self.made, self.fails = [], fails

    def __call__(self, config):
        self.made.append(config)
        if self.fails(config):
            raise RunFailed("out of luck")
        score = (len(config.inputs.modalities) + 0.1 * config.seed) / 10
        measures = {m.score for table in TABLES.values() for column in table.columns for m in column.measures}
        folder = config.workdir
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
        Result(dict.fromkeys(measures, score), 2.0, "a machine", "r" * 64, "c" * 64).write(folder)


def table_of(folder, number):
    return json.loads((folder / f"table-{number}.json").read_text(encoding="utf-8"))


# ---- the paper's values


def test_tables_are_those_of_the_paper():
    assert NUMBERS == [3, 4, 5, 6, 7, 8, 10]
    assert {number: len(table.rows) for number, table in TABLES.items()} == {3: 5, 4: 13, 5: 9, 6: 4, 7: 2, 8: 2, 10: 2}
    choices = config_lib.Table.__dataclass_fields__["number"].metadata["choices"]
    assert sorted(choices) == NUMBERS


@pytest.mark.parametrize(
    ("number", "row", "column", "values"),
    [
        (3, "Text", "mAP@1", (47.70, 65.10)),
        (3, "+Table", "Prec@10", (28.99, 34.36)),
        (3, "+Audio", "mAP@5", (63.17, 73.02)),
        (4, "I+A", "Acc", (27.67,)),
        (4, "I+T+A", "Prec@10", (33.32, 42.93)),
        (4, "I+Tab+A+V", "mAP@10", (50.41, 51.89)),
        (5, "CLIP", "NMI", (81.75,)),
        (5, "SCALE", "Purity", (75.81,)),
        (6, "masked", "mAP@5", (71.59,)),
        (7, "token", "Prec@5", (47.02,)),
        (8, "stacked", "mAP@10", (70.49,)),
        (10, "complete only", "Prec@5", (38.02, 47.63)),
    ],
)
def test_values_are_those_printed(number, row, column, values):
    assert values_of(number, row)[column] == values


def test_every_row_has_a_value_of_every_measure_but_of_ours():
    for table in TABLES.values():
        columns = [column for column in table.columns if column is not PRODUCTS]
        for row in table.rows:
            for values in filter(None, (row.paper, row.whole)):
                assert {title: len(found) for title, found in values.items()} == {
                    column.title: len(column.measures) for column in columns
                }
                assert all(0 < value < 100 for found in values.values() for value in found)


def test_the_same_model_has_the_same_values_in_every_table():
    best = values_of(3, "+Audio")
    assert {title: values[-1:] for title, values in best.items()} == values_of(6, "both")
    assert values_of(6, "both") == values_of(7, "entity") == values_of(8, "separate")
    assert best == values_of(10, "all")
    for short, name in (("I+T", "+Image"), ("I+T+Tab", "+Table"), ("I+T+Tab+V", "+Video"), ("I+T+Tab+A+V", "+Audio")):
        coarse = {title: values[0] for title, values in values_of(4, short).items()}
        assert coarse == {title: values[-1] for title, values in values_of(3, name).items()}


def test_where_the_paper_contradicts_itself_a_note_says_so():
    """By definition mAP@1 = Prec@1; three rows differ, and nothing else does."""
    odd = set()
    for number, table in TABLES.items():
        for row in table.rows:
            for values in (row.paper, row.whole):
                if "Prec@1" in values and values["Prec@1"] != values["mAP@1"]:
                    odd.add((number, row.name))
                    noted = [n for n in table.notes if f"{values['mAP@1'][-1]:.2f}" in n and row.name in n]
                    assert noted, (number, row.name)
    assert odd == {(3, "+Audio"), (6, "neither"), (8, "stacked")}
    whole = {row.name: row.whole for row in (*TABLES[3].rows, *TABLES[5].rows)}
    assert whole["Text"]["Acc"] != whole["BERT (text)"]["Acc"]
    assert any("82.11" in note for note in TABLES[3].notes)
    assert values_of(4, "I+A")["Acc"] == values_of(5, "Image only")["Acc"]
    assert any("27.67" in note for note in TABLES[4].notes)


# ---- what rows change


@pytest.mark.parametrize("number", NUMBERS)
def test_the_config_file_gives_the_table_and_every_row_is_valid(number, tmp_path):
    file = CONFIGS / f"table{number}.py"
    config = main.parse(["m5jax", "--config", str(file)])
    assert (config.mode, config.table.number, config.workdir) == ("table", number, "runs/tables")
    assert f"--config configs/tables/table{number}.py" in file.read_text()
    assert f"Table {number} " in file.read_text()
    for row in TABLES[number].rows:
        assert series._why_not(config, row) == ("" if row.change else "another method")
        for stage, chosen in series.stages_of(config, row, 1).items():
            assert config_lib.freeze(settings.to_dict(chosen)) == chosen
            assert (chosen.mode, chosen.seed) == ("train", 1)
            assert chosen.inputs.kept == NAMES  # one folder of records for all
            assert stage in chosen.workdir


def test_fine_tuning_is_classification_alone_from_the_pretrained_weights(tmp_path):
    stages = series.stages_of(frozen(3, tmp_path), TABLES[3].rows[-1], 0)
    before, tuned = stages[PRETRAIN], stages[FINETUNE]
    assert tuned.initialize.run == before.workdir
    assert (tuned.objective.classification, tuned.model.readout, tuned.inputs.mask_rate) == (1.0, "dense", 0.0)
    weights = {
        name: value for name, value in vars(tuned.objective).items() if name.startswith(("masked", "contrastive"))
    }
    assert len(weights) == 6
    assert set(weights.values()) == {0.0}
    assert before.objective.classification == 0.0
    assert before.objective.contrastive > 0.0
    assert (tuned.steps, before.steps) == (80, 200)


@pytest.mark.parametrize(
    ("number", "row", "path", "value"),
    [
        (3, "+Table", "inputs.modalities", ("image", "text", "table")),
        (4, "I+Tab+A+V", "inputs.modalities", ("image", "table", "video", "audio")),
        (6, "neither", "objective.harmony", "off"),
        (6, "contrastive", "objective.harmony_on", ("contrastive",)),
        (7, "token", "inputs.table.masking", "token"),
        (8, "stacked", "inputs.text.with_table", True),
        (8, "stacked", "inputs.modalities", ("image", "text", "video", "audio")),
        (8, "stacked", "inputs.text.length", 80),
        (10, "complete only", "data.complete_only", True),
    ],
)
def test_a_row_changes_what_it_is_about(number, row, path, value, tmp_path):
    config = frozen(number, tmp_path, inputs__text__length=32, inputs__table__length=48)
    found = series.stages_of(config, next(r for r in TABLES[number].rows if r.name == row), 0)[PRETRAIN]
    for name in path.split("."):
        found = getattr(found, name)
    assert found == value


def test_a_stacked_table_follows_the_title_in_one_sequence(tmp_path):
    words = trained(tmp_path)
    changes = {"inputs__text__length": 60, "inputs__table__length": 60, "inputs__table__shuffle": False}
    apart = Transform(small_config(**changes).inputs, words).evaluation(WHOLE)
    names = ("image", "text", "video", "audio")
    stacked = Transform(small_config(inputs__modalities=names, inputs__text__with_table=True, **changes).inputs, words)
    arrays = stacked.evaluation(WHOLE)
    assert "table" not in arrays
    title, table = (apart[name]["ids"][apart[name]["mask"]].tolist() for name in ("text", "table"))
    assert arrays["text"]["ids"][arrays["text"]["mask"]].tolist() == [*title, *table[1:]]  # one CLS
    states = dict(zip(NAMES, WHOLE.states, strict=True)) | {"text": State.ABSENT}
    untitled = dataclasses.replace(WHOLE, states=tuple(states.values()), title="", description="")
    assert stacked.evaluation(untitled)["text"]["mask"].sum() == len(table)
    trained_on = stacked.training(WHOLE, np.random.default_rng(0))["text"]
    assert trained_on["masked"]["valid"].any()


def test_token_masking_hides_pieces_of_the_table_wherever_they_are(tmp_path):
    words = trained(tmp_path)
    changes = {"inputs__table__length": 60, "inputs__mask_rate": 0.3, "inputs__table__shuffle": False}
    token = Transform(small_config(inputs__table__masking="token", **changes).inputs, words)
    entity = Transform(small_config(**changes).inputs, words)
    whole = entity.evaluation(WHOLE)["table"]["ids"]
    kept = 0
    for seed in range(30):
        table = token.training(WHOLE, np.random.default_rng(seed))["table"]
        positions = table["masked"]["positions"][table["masked"]["valid"]]
        np.testing.assert_array_equal(table["masked"]["targets"][table["masked"]["valid"]], whole[positions])
        assert not words.is_special[whole[positions]].any()
        kept += int((table["ids"][positions] == whole[positions]).sum())
        entities = entity.training(WHOLE, np.random.default_rng(seed))["table"]
        hidden = entities["masked"]["positions"][entities["masked"]["valid"]]
        assert (entities["ids"][hidden] == words.special.mask).all()
    assert kept > 0  # a tenth of the pieces stays in sight, an entity never does


# ---- the series


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
    row = numbers["rows"][1]
    assert row["row"] == "+Image"
    assert row["paper_percent"]["mAP@1"] == [51.47, 67.02]
    assert row["mean_and_spread_percent"]["Acc"][0] == pytest.approx([20.5, math.sqrt(0.5)])
    assert [seed["scores"]["mAP@1"] for seed in row["seeds"]] == [[0.2, 0.2], pytest.approx([0.21, 0.21])]
    assert row["seeds"][1]["seed"] == 1
    assert row["seeds"][0]["pretrain"]["folder"].startswith("pretrain-")
    assert len(row["seeds"][0]["finetune"]["settings_sha256"]) == 64
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
    one = next(tmp_path.glob("pretrain-*/result.json"))
    one.write_text(one.read_text().replace("c" * 64, "d" * 64))
    series.make(frozen(7, tmp_path), FakeRuns())
    assert "different versions of the code" in capsys.readouterr().out


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


# ---- what differences say


@pytest.mark.parametrize(
    ("differences", "says"),
    [
        ([], "not known"),
        ([2.0], "+2.00 of one seed: not told from chance"),
        ([1.0, 2.0, 3.0], "+2.00 ± 1.00 better"),
        ([-1.0, -2.0, -3.0], "-2.00 ± 1.00 worse"),
        ([1.0, -1.0, 3.0], "+1.00 ± 2.00 no difference beyond the spread"),
        ([0.0, 0.0], "+0.00 ± 0.00 no difference beyond the spread"),
    ],
)
def test_a_difference_counts_only_beyond_its_spread(differences, says):
    assert layout.verdict(differences) == says


def test_differences_are_taken_seed_by_seed():
    measure = Measure(FINETUNE, "accuracy")
    rows = tuple(Row(name, None, {"Acc": (1.0,)}) for name in ("a", "b"))
    table = Table(0, "", (Column("Acc", (measure,)),), rows, claims=(("b", ("a",)),))
    outcomes = {
        "a": Outcome({0: {measure: 0.1}, 1: {measure: 0.9}, 2: {measure: 0.5}}),
        "b": Outcome({0: {measure: 0.2}, 1: {measure: 1.0}}),
    }
    assert layout.claims(table, outcomes) == ["b over a: Acc +10.00 ± 0.00 better"]
    assert layout.claims(table, {"a": outcomes["a"], "b": Outcome()}) == ["b over a: not known, for want of runs"]


def test_cells_are_aligned_and_escaped():
    cells = [["", "", "Acc"], ["a|b", "paper", "1.00"], ["", "here", "10.00±1.00"]]
    assert layout.as_text(cells).splitlines() == [
        "                   Acc",
        "a|b  paper        1.00",
        "     here   10.00±1.00",
    ]
    assert layout.as_markdown(cells).splitlines()[2] == "| a\\|b | paper | 1.00 |"
