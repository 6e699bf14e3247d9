"""The paper's tables: their values, and what their rows change."""

import dataclasses
import pathlib

import numpy as np
import pytest
from small import small_config
from test_tokenizer import trained
from test_transforms import WHOLE

from m5jax import config as config_lib
from m5jax import main, settings
from m5jax.data.transforms import Transform
from m5jax.modalities import NAMES, State
from m5jax.tables import base, series
from m5jax.tables.layout import FINETUNE, PRETRAIN
from m5jax.tables.paper import PRODUCTS, TABLES

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
