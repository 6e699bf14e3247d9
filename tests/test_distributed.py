"""Two real processes: they train, gather and save as one, and one process goes on from what they saved."""

import os
import socket
import subprocess

import numpy as np
import pytest
import runs

from m5jax import distributed, run_folder

SHORT = ("--config.distributed.heartbeat_s=10", "--config.logging.hang_s=120")


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def start_two(config, workdir, *more, second=()):
    port = free_port()
    return [
        runs.start(
            config,
            workdir,
            *more,
            *SHORT,
            *(second if process else ()),
            f"--config.distributed.coordinator=localhost:{port}",
            "--config.distributed.num_processes=2",
            f"--config.distributed.process_id={process}",
            devices=2,
        )
        for process in range(2)
    ]


def finish(processes, limit_s=240):
    outputs = [process.communicate(timeout=limit_s)[0] for process in processes]
    return [process.returncode for process in processes], outputs


@pytest.fixture(scope="module")
def both(three_modalities, tmp_path_factory):
    """The run folders of the same six steps on two processes of two devices and on one process of four."""
    two, one = tmp_path_factory.mktemp("two"), tmp_path_factory.mktemp("one")
    codes, outputs = finish(start_two(three_modalities, two))
    assert codes == [0, 0], outputs
    codes, outputs = finish([runs.start(three_modalities, one, devices=4)])
    assert codes == [0], outputs
    return two, one


def test_two_processes_compute_what_one_does(both):
    two, one = (runs.rows(workdir) for workdir in both)
    assert two.keys() == one.keys()
    for step, row in one.items():
        for name, value in row.items():
            np.testing.assert_allclose(two[step][name], value, rtol=1e-4, atol=1e-6, err_msg=f"{name} at {step}")


def test_two_processes_export_and_score_every_listing_once(both):
    two, one = (np.load(workdir / "embeddings" / "embeddings-00000.npy") for workdir in both)
    np.testing.assert_allclose(two, one, atol=1e-4)
    assert (both[0] / "embeddings" / "ids.txt").read_text() == (both[1] / "embeddings" / "ids.txt").read_text()


def test_one_process_goes_on_from_a_checkpoint_of_two(three_modalities, both):
    two, one = both
    for workdir in (two, one):
        codes, outputs = finish([runs.start(three_modalities, workdir, "--config.steps=9", devices=4)])
        assert codes == [0], outputs
        assert "resuming at step 6" in outputs[0]
    for step in (7, 8, 9):
        np.testing.assert_allclose(runs.rows(two)[step]["loss"], runs.rows(one)[step]["loss"], rtol=1e-4)


def test_the_device_table_comes_first_and_disagreement_ends_both(three_modalities, tmp_path):
    codes, outputs = finish(start_two(three_modalities, tmp_path, second=("--config.seed=5",)))
    assert outputs[0].startswith("process 0: 2 x cpu (device 0-1)\nprocess 1: 2 x cpu")
    assert codes == [64, 64]
    assert "processes disagree about the configuration: [1] differ from process 0" in outputs[0]


def test_sigterm_to_one_of_two_saves_on_both_at_the_same_step(three_modalities, tmp_path):
    processes = start_two(three_modalities, tmp_path, "--config.steps=400", "--config.checkpoint.every=1000")
    runs.wait_for_step(processes[0], tmp_path, 3)
    processes[1].terminate()
    codes, outputs = finish(processes)
    assert codes == [75, 75], outputs
    saved = [int(path.stem) for path in (tmp_path / "checkpoints").glob("*.json")]
    assert len(saved) == 1
    assert saved == [max(runs.rows(tmp_path))]


def test_a_killed_process_takes_the_other_along(three_modalities, tmp_path):
    processes = start_two(three_modalities, tmp_path, "--config.steps=4000")
    runs.wait_for_step(processes[0], tmp_path, 3)
    processes[1].kill()
    codes, _ = finish(processes, limit_s=60)
    assert 0 not in codes


def test_one_process_alone_needs_no_coordinator():
    assert distributed.share() == (0, 1)
    assert distributed.from_lead(7) == 7
    distributed.barrier("alone")
    distributed.require_agreement({"configuration": "ab" * 32})
    assert distributed.device_table() == "process 0: 8 x cpu (device 0-7)"


def test_the_local_launcher_starts_them_and_passes_the_exit_code_on(three_modalities, tmp_path):
    script = runs.TESTS.parent / "launch" / "local.sh"
    command = ["bash", str(script), "2", *runs.arguments(three_modalities, tmp_path, *SHORT, "--config.stpes=1")[1:]]
    environment = os.environ | {"PYTHONPATH": str(runs.TESTS)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 64
    assert 'did you mean "config.steps"' in done.stderr


def test_the_local_launcher_waits_until_its_processes_have_saved(three_modalities, tmp_path):
    script = runs.TESTS.parent / "launch" / "local.sh"
    command = ["bash", str(script), "2", *runs.arguments(three_modalities, tmp_path, *SHORT, "--config.steps=4000")[1:]]
    environment = os.environ | {"PYTHONPATH": str(runs.TESTS), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as job:
        runs.wait_for_step(job, tmp_path, 3)
        job.terminate()
        output, _ = job.communicate(timeout=120)
    assert job.returncode == 75, output
    assert [*(tmp_path / "checkpoints").glob("*.json")]


def test_a_folder_that_is_held_is_refused_on_every_process(three_modalities, tmp_path):
    with run_folder.hold(tmp_path):
        codes, outputs = finish(start_two(three_modalities, tmp_path), limit_s=60)
    assert codes == [73, 73], outputs
