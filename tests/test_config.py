"""Settings: every mistake is answered with the field, the value and the nearest valid name."""

import dataclasses
import json
import subprocess
import sys
import time

import pytest

from m5jax import config as config_lib
from m5jax import inputs, main, methods, settings
from m5jax.errors import ConfigError

PATHS = [path for path, _, _ in settings.describe(config_lib.Config, "config")]


def changed(path, value):
    values = settings.to_dict(config_lib.Config())
    *sections, name = path.split(".")[1:]
    target = values
    for section in sections:
        target = target[section]
    target[name] = value
    return values


def test_defaults_are_valid_and_survive_the_round_trip():
    assert config_lib.freeze(config_lib.default().to_dict()) == config_lib.Config()


@pytest.mark.parametrize("path", PATHS)
def test_every_setting_mistyped_by_one_letter_is_refused_with_its_name(path):
    name = path.rpartition(".")[2]
    typo = name[0] + name[2:] + name[1] if len(name) > 2 else name + "x"
    with pytest.raises(ConfigError, match=f'did you mean "{name}"' if len(name) > 3 else "unknown setting"):
        config_lib.freeze(changed(f"{path.rpartition('.')[0]}.{typo}", 1))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("config.steps", -1, "at least 0"),
        ("config.steps", 0, "config.epochs = 0: one of them says how long"),
        ("config.epochs", 1.5, "config.steps = 1000 and config.epochs = 1.5"),
        ("config.data.mix", "more", "'more': give a path and a weight"),
        ("config.data.mix", "other=1,more=0", "'more=0'"),
        ("config.data.mix", "more=nan", "'more=nan'"),
        ("config.data.mix", "=1", "'=1'"),
        ("config.data.mix", "s3://more=1", "must be a path"),
        ("config.data.sampling", "balanced", 'did you mean "class_balanced"'),
        ("config.steps", 2.5, "of type int"),
        ("config.steps", True, "of type int"),
        ("config.mode", "trian", 'did you mean "train"'),
        ("config.model.dropout", 1.5, "between 0.0 and 0.9"),
        ("config.model.grids.heads", 5, "must divide config.model.width"),
        ("config.accumulate", 7, "must divide config.batch_size"),
        ("config.inputs.image.patch", 7, "must divide config.inputs.image.size"),
        ("config.inputs.modalities", ("image", "txt"), 'did you mean "text"'),
        ("config.inputs.modalities", (), "at least one modality"),
        ("config.export.subset", ("audio", "vidoe"), "not in config.inputs.modalities"),
        ("config.mesh.model", -1, "at most one axis"),
        ("config.logging.profile", (3,), "two steps"),
        ("config.distributed.process_id", 2, "below config.distributed.num_processes"),
        ("config.distributed.num_processes", 2, "needs config.distributed.coordinator"),
        ("config.optimizer.learning_rate", float("nan"), "at least 0.0"),
        ("config.model", 3, "must be a section"),
    ],
)
def test_values_that_cannot_work_are_refused(path, value, message):
    with pytest.raises(ConfigError, match=message):
        config_lib.freeze(changed(path, value))


def test_command_line_overrides_keep_their_types():
    config = main.parse(
        [
            "m5jax",
            "--config",
            "configs/quickstart.py",
            "--config.steps=7",
            "--config.optimizer.learning_rate=1",
            "--config.inputs.modalities=image,text",
            "--config.evaluate.ks=1,10",
            "--config.model.scan=False",
        ]
    )
    assert config.steps == 7
    assert config.optimizer.learning_rate == 1.0
    assert config.inputs.modalities == ("image", "text")
    assert config.evaluate.ks == (1, 10)
    assert config.model.scan is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "configs/quickstart.py", "--config.lerning_rate=1"], "unknown setting config.lerning_rate"),
        (["--config", "configs/quickstart.py", "--config.model.widht=1"], 'did you mean "config.model.width"'),
        (["--config", "configs/quickstart.py", "--config.steps=many"], "config.steps=many"),
        (["--config", "configs/quickstart.py", "stray"], "unexpected argument 'stray'"),
        (["--config", "configs/nowhere.py"], "nowhere.py"),
        (["--confg", "configs/quickstart.py"], "Did you mean: config"),
        ([], "which config"),
    ],
)
def test_command_line_mistakes_end_with_exit_code_64(arguments, message, capsys):
    assert main.main(["m5jax", *arguments]) == 64
    assert message in capsys.readouterr().err


def test_a_typo_in_a_config_file_is_named(tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(
        "from m5jax import config\n\ndef get_config():\n    c = config.default()\n    c.stpes = 3\n    return c\n"
    )
    assert main.main(["m5jax", "--config", str(path)]) == 64
    assert 'Did you mean "steps"' in capsys.readouterr().err


def test_help_and_mistakes_do_not_wait_for_jax():
    script = (
        "import sys; from m5jax import main\n"
        "main.main(['m5jax', '--help'])\n"
        "assert main.main(['m5jax', '--config', 'configs/quickstart.py', '--config.seeed=1']) == 64\n"
        "assert 'jax' not in sys.modules, 'help imported jax'\n"
    )
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--config.optimizer.learning_rate=" in done.stdout
    assert time.monotonic() - start < 3


def test_digests_tell_settings_apart_by_what_they_change():
    base = inputs.Inputs()
    crop = dataclasses.replace(base, image=dataclasses.replace(base.image, crop=0.9))
    patch = dataclasses.replace(base, image=dataclasses.replace(base.image, patch=16))
    size = dataclasses.replace(base, image=dataclasses.replace(base.image, size=128))
    # A training crop changes nothing that is stored or that a trained model must meet again.
    assert inputs.recorded(crop) == inputs.recorded(base)
    assert inputs.preprocessing(crop) == inputs.preprocessing(base)
    # Patches leave the records alone, but not the model's view.
    assert inputs.recorded(patch) == inputs.recorded(base)
    assert inputs.preprocessing(patch) != inputs.preprocessing(base)
    assert inputs.recorded(size) != inputs.recorded(base)
    # A table that stands in the text is met again too, and how.
    markers = dataclasses.replace(base.table, markers=False)
    alone, stacked = (
        dataclasses.replace(base, modalities=("text",), text=dataclasses.replace(base.text, with_table=with_table))
        for with_table in (False, True)
    )
    assert inputs.preprocessing(dataclasses.replace(stacked, table=markers)) != inputs.preprocessing(stacked)
    assert inputs.preprocessing(dataclasses.replace(alone, table=markers)) == inputs.preprocessing(alone)
    # Settings of a modality that is not in use do not matter.
    text = dataclasses.replace(base, modalities=("text",))
    assert inputs.recorded(text) == inputs.recorded(dataclasses.replace(size, modalities=("text",)))


def test_every_method_reads_the_same_records_so_that_a_leaderboard_prepares_once():
    recorded = set()
    for name in methods.METHODS:
        chosen = config_lib.default()
        chosen.inputs.modalities = ("image", "text", "table")
        methods.apply(chosen, name)
        recorded.add(json.dumps(inputs.recorded(config_lib.freeze(chosen.to_dict()).inputs), sort_keys=True))
    assert len(recorded) == 1
