"""The launch scripts, as far as they can be tried without a cluster."""

import os
import re
import shlex
import subprocess

import pytest
import runs

LAUNCH = runs.TESTS.parent / "launch"
SCRIPTS = sorted(LAUNCH.glob("*.sh"))


def bash(*arguments, **environment):
    return subprocess.run(
        ["bash", *map(str, arguments)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_parse_and_say_how_they_are_used(script):
    assert bash("-n", script).returncode == 0
    assert re.search(r"^# usage: ", script.read_text(), re.MULTILINE)


def test_the_tpu_script_shows_what_it_would_do_on_all_hosts():
    arguments = ("pod", "us-east5-a", "--config", "configs/catalogue.py", "--config.data.catalogue=/mnt/a b")
    done = bash(LAUNCH / "tpu.sh", *arguments, DRY_RUN="1", REPOSITORY="https://example.org/m5jax.git")
    assert done.returncode == 0, done.stderr
    commands = [shlex.split(line) for line in done.stdout.splitlines()]
    assert all(command[:5] == ["gcloud", "compute", "tpus", "tpu-vm", "ssh"] for command in commands)
    assert all("--worker=all" in command and "--zone=us-east5-a" in command for command in commands)
    (last,) = (part for part in commands[-1] if part.startswith("--command="))
    started = shlex.split(last.removeprefix("--command="))
    assert "--config.data.catalogue=/mnt/a b" in started
    assert started[-1] == "--config.distributed.coordinator=auto"


def test_the_tpu_script_without_arguments_says_how_it_is_used():
    done = bash(LAUNCH / "tpu.sh")
    assert done.returncode == 64
    assert "usage: bash launch/tpu.sh" in done.stderr


def test_an_install_that_fails_is_tried_again_the_next_time(tmp_path):
    """The stamp that saves the next install must not be there if this one failed."""
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for name in ("python", "pip"):
        (tmp_path / ".venv" / "bin" / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / ".venv" / "bin" / name).chmod(0o755)
    (tmp_path / "pyproject.toml").touch()
    done = bash("-c", f"cd {tmp_path} && source {LAUNCH}/environment.sh media")
    assert done.returncode != 0
    assert not [*(tmp_path / ".venv").glob("installed-*")]
