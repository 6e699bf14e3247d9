"""Whole runs: what they leave behind, how they go on, and how they end."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import runs

from m5jax import run_folder

STEPS = "--config.steps=24"


@pytest.fixture(scope="module")
def finished(three_modalities, tmp_path_factory):
    """The run folder of an unbroken run of six steps, scored after every second one."""
    workdir = tmp_path_factory.mktemp("finished")
    assert runs.run(three_modalities, workdir, "--config.evaluate.every=2") == 0
    return workdir


@pytest.fixture
def own(finished, tmp_path):
    """A copy of that folder, to be spoilt."""
    return shutil.copytree(finished, tmp_path / "own")


def test_a_run_folder_holds_what_scripts_rely_on(finished):
    names = {path.name for path in finished.iterdir()}
    assert {"config.json", "metrics.jsonl", "scores.json", "report.html", "checkpoints", "embeddings"} <= names
    cost = json.loads((finished / "cost.json").read_text())
    assert cost.keys() == {"parameters", "flops", "training_s", "evaluation_s"}
    assert min(cost.values()) > 0
    assert json.loads((finished / "config.json").read_text())["steps"] == 6
    logged = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in logged] == [1, 2, 3, 4, 5, 6]
    assert [row["epoch"] for row in logged] == [step * 8 / 24 for step in range(1, 7)]
    wanted = {"step", "loss", "grad_norm", "contrastive", "examples_per_s", "ms_per_step", "data_wait_ms", "mfu"}
    assert all(wanted <= row.keys() and np.isfinite(list(row.values())).all() for row in logged)
    scores = json.loads((finished / "scores.json").read_text())
    assert {"retrieval/category/fused/map@1", "retrieval/instance/image/p@1"} <= scores.keys()
    assert all(isinstance(value, float | int) for value in scores.values())


def test_the_loss_falls(three_modalities, tmp_path):
    once = ("--config.checkpoint.every=100", "--config.export.after_training=False")
    assert runs.run(three_modalities, tmp_path, "--config.steps=40", *once) == 0
    losses = [row["loss"] for row in runs.rows(tmp_path).values()]
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])


def test_evaluating_the_checkpoint_gives_the_same_scores_again(three_modalities, finished):
    before = (finished / "scores.json").read_text()
    (finished / "scores.json").unlink()
    assert runs.run(three_modalities, finished, "--config.mode=evaluate") == 0
    assert (finished / "scores.json").read_text() == before


def test_a_finished_run_started_again_trains_no_further(three_modalities, finished):
    before = runs.weights(finished)
    two_epochs = ("--config.steps=0", "--config.epochs=2", "--config.data.verify=whole")  # of three batches each
    assert runs.run(three_modalities, finished, *two_epochs) == 0
    assert json.loads((finished / "config.json").read_text())["steps"] == 6
    assert runs.weights(finished) == before
    assert max(runs.rows(finished)) == 6


def test_more_steps_go_on_where_the_run_ended(three_modalities, finished, tmp_path, capsys):
    workdir = tmp_path / "longer"
    constant = ("--config.optimizer.schedule=constant", "--config.optimizer.warmup=0.0")
    assert runs.run(three_modalities, workdir, *constant) == 0
    assert runs.run(three_modalities, workdir, *constant, "--config.steps=9") == 0
    assert "resuming at step 6" in capsys.readouterr().out
    straight = tmp_path / "straight"
    assert runs.run(three_modalities, straight, *constant, "--config.steps=9") == 0
    assert runs.rows(workdir) == runs.rows(straight)
    assert runs.weights(workdir) == runs.weights(straight)


def test_kill_9_at_any_moment_changes_no_number(three_modalities, tmp_path):
    """At least five kills at random moments, start-up and saves included; every number equal to the unbroken run."""
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    with runs.start(three_modalities, straight, STEPS) as process:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
    rng, killed, repeated = random.Random(0), 0, 0
    for _ in range(40):
        reached = max(runs.rows(broken), default=0)
        with runs.start(three_modalities, broken, STEPS) as process:
            runs.wait_for_step(process, broken, reached + rng.randint(1, 4))
            if process.poll() is None and killed < 5:
                process.send_signal(signal.SIGKILL)
                killed += 1
                process.communicate()
                steps = [int(path.stem) for path in (broken / "checkpoints").glob("*.json")]
                repeated = max(repeated, max(runs.rows(broken), default=0) - max(steps, default=0))
                continue
            output, _ = process.communicate(timeout=300)
            assert process.returncode == 0, output
            break
    assert killed >= 5
    assert repeated <= 3  # config.checkpoint.every
    assert runs.rows(broken) == runs.rows(straight)
    assert runs.weights(broken) == runs.weights(straight)


def test_sigterm_saves_ends_with_75_and_the_same_command_goes_on(three_modalities, finished, tmp_path):
    with runs.start(three_modalities, tmp_path, "--config.checkpoint.every=1000", STEPS) as process:
        runs.wait_for_step(process, tmp_path, 4)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 75, output
    saved = max(int(path.stem) for path in (tmp_path / "checkpoints").glob("*.json"))
    assert saved == max(runs.rows(tmp_path))  # no step is repeated
    with runs.start(three_modalities, tmp_path, "--config.checkpoint.every=1000", STEPS) as process:
        output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert f"resuming at step {saved}" in output
    assert sorted(runs.rows(tmp_path)) == list(range(1, 25))


def damage(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def payload(workdir, step):
    return max(
        (workdir / "checkpoints" / str(step)).rglob("*"), key=lambda path: path.is_file() and path.stat().st_size
    )


def test_damaged_checkpoints_fall_back_then_stop_then_start_anew_only_on_request(three_modalities, own, caplog):
    unbroken = runs.weights(own)
    damage(payload(own, 6))
    assert runs.run(three_modalities, own) == 0
    assert "checkpoint 6 is damaged and not used" in caplog.text
    assert runs.weights(own) == unbroken
    for step in (3, 6):
        damage(payload(own, step))
    assert runs.run(three_modalities, own) == 66
    assert runs.run(three_modalities, own, "--config.checkpoint.from_scratch=True") == 0
    assert runs.weights(own) == unbroken
    assert [path.name for path in own.glob("checkpoints-*")]  # moved aside, not deleted


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ("--config.seed=1", 64, "the data changed.*seed 0 -> 1"),
        ("--config.batch_size=16", 64, "batch_size 8 -> 16"),
        ("--config.inputs.text.length=16", 64, "the preprocessing changed"),
        ("--config.data.vocabulary=380", 65, "the records changed"),
        ("--config.data.sampling=square_root", 64, "sampling none -> square_root"),
        ("--config.data.mix=CATALOGUE=1/2", 64, "mix 1 weight none -> 1/2"),
    ],
)
def test_going_on_with_other_data_is_refused(three_modalities, finished, change, code, message, capsys):
    change = change.replace("CATALOGUE", three_modalities.data.catalogue)
    assert runs.run(three_modalities, finished, change) == code
    assert re.search(message, capsys.readouterr().err)


def test_going_on_with_another_model_is_refused_by_parameter(three_modalities, finished, capsys):
    assert runs.run(three_modalities, finished, "--config.model.width=64") == 66
    assert "kernel: saved [" in capsys.readouterr().err


def test_fewer_steps_than_were_trained_are_refused(three_modalities, finished, capsys):
    before = (finished / "config.json").read_text()
    assert runs.run(three_modalities, finished, "--config.steps=4") == 64
    assert "is at step 6 already, beyond config.steps = 4" in capsys.readouterr().err
    assert (finished / "config.json").read_text() == before


def test_from_scratch_begins_anew_once_and_then_goes_on(three_modalities, own):
    """A job that is preempted and started again with the same command must get somewhere."""
    scratch = ("--config.checkpoint.from_scratch=True", "--config.steps=60", "--config.checkpoint.every=30")
    with runs.start(three_modalities, own, *scratch) as process:
        runs.wait_for_step(process, own, 10)  # of the earlier run there are six
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 75, output
    assert "starting from scratch" in output
    with runs.start(three_modalities, own, *scratch) as process:
        output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert "starting from scratch" not in output
    assert "resuming at step" in output


def test_a_held_folder_is_refused_with_73(three_modalities, tmp_path):
    with run_folder.hold(tmp_path):
        assert runs.run(three_modalities, tmp_path) == 73


def test_batches_that_do_not_divide_over_the_devices_are_refused_before_anything_is_computed(
    three_modalities, tmp_path, capsys
):
    assert runs.run(three_modalities, tmp_path, "--config.batch_size=12") == 64
    assert "config.batch_size: 12 listings do not divide over 8 devices" in capsys.readouterr().err


def test_numbers_that_stay_non_finite_stop_the_run_with_70(three_modalities, tmp_path, capsys):
    explode = "--config.optimizer.learning_rate=1e38"
    code = runs.run(three_modalities, tmp_path, "--config.steps=60", explode, "--config.optimizer.warmup=0.0")
    assert code == 70
    assert "updates in a row were not finite" in capsys.readouterr().err
    with np.load(_last_params(tmp_path)) as kept:
        assert all(np.isfinite(kept[name]).all() for name in kept)


def _last_params(workdir):
    """The newest checkpoint's parameters, as an npz beside it."""
    step = max(int(path.stem) for path in (workdir / "checkpoints").glob("*.json"))
    state = ocp.StandardCheckpointer().restore(workdir / "checkpoints" / str(step))
    path = workdir / "params.npz"
    leaves = jax.tree.leaves(state["params"])
    np.savez(path, *leaves)
    return path


def test_scores_during_training_are_kept(finished):
    evaluations = [json.loads(line) for line in (finished / "evaluations.jsonl").read_text().splitlines()]
    assert [row["step"] for row in evaluations] == [2, 4, 6]
    assert all("retrieval/category/fused/p@1" in row for row in evaluations)


def test_training_imports_no_tensorflow_and_no_torch(three_modalities, tmp_path):
    script = (
        "import sys, runs; from m5jax import main\n"
        f"code = main.main({runs.arguments(three_modalities, tmp_path, '--config.steps=1')!r})\n"
        "assert code == 0\n"
        "assert not {'tensorflow', 'torch'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(runs.TESTS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
