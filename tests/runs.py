"""Whole runs, in this process or in one that can be killed."""

import json
import os
import pathlib
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
from xla import QUICK

from m5jax import main, writers

TESTS = pathlib.Path(__file__).parent
CONFIG = str(TESTS / "tiny.py")


def arguments(config, workdir, *more, file=CONFIG):
    """The command line of the tiny configuration on the catalogue that `config` has prepared."""
    return [
        "m5jax",
        f"--config={file}",
        f"--config.data.catalogue={config.data.catalogue}",
        f"--config.data.root={config.data.root}",
        f"--config.workdir={workdir}",
        *more,
    ]


def run(config, workdir, *more, file=CONFIG):
    """Runs in this process; returns the exit code."""
    return main.main(arguments(config, workdir, *more, file=file))


def start(config, workdir, *more, devices=1):
    """Starts a process of its own, with so many virtual devices."""
    flags = f"--xla_force_host_platform_device_count={devices} {QUICK}"
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": flags,
        "PYTHONPATH": str(TESTS),
        "JAX_COMPILATION_CACHE_DIR": str(pathlib.Path(config.data.root) / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    command = [sys.executable, "-m", "m5jax.main", *arguments(config, workdir, *more)[1:]]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def zeros(opened):
    """Parameters in the shapes of an open run's network: where their values make no difference, none are drawn."""
    return jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(opened.model.init, jax.random.key(0)))


def rows(workdir):
    """The metrics of a run by step, without what differs from run to run: times."""
    timed = ("ms_per_step", "data_wait_ms", "examples_per_s", "mfu")
    logged = writers.read_jsonl(pathlib.Path(workdir) / "metrics.jsonl")
    return {row["step"]: {name: value for name, value in row.items() if name not in timed} for row in logged}


def weights(workdir):
    """The digest of the final weights."""
    return json.loads((pathlib.Path(workdir) / "embeddings" / "manifest.json").read_text())["facts"]["model"]


def wait_for_step(process, workdir, step, limit_s=120):
    """Waits until a step is logged, or the process has ended."""
    deadline = time.monotonic() + limit_s
    while process.poll() is None and max(rows(workdir), default=0) < step:
        assert time.monotonic() < deadline, "the run does not get on"
        time.sleep(0.01)
