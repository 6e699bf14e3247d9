"""Timers, the ceiling that utilisation is measured against, and the trace window."""

import time

import jax
import jax.numpy as jnp
import pytest

from m5jax import config as config_lib
from m5jax import profiling, sharding


def test_times_are_per_step_and_waiting_is_part_of_them():
    timer = profiling.StepTimer(10)
    for _ in range(4):
        with timer.waiting():
            time.sleep(0.01)
        time.sleep(0.01)
    times = timer.read(14)
    assert 20 <= times["ms_per_step"] < 200
    assert 10 <= times["data_wait_ms"] <= times["ms_per_step"]
    assert timer.read(15)["data_wait_ms"] == 0


def test_pauses_do_not_count():
    timer = profiling.StepTimer(0)
    with timer.paused():
        time.sleep(0.5)
    assert timer.read(1)["ms_per_step"] < 400


def test_ceiling_is_a_plausible_speed():
    assert 1e8 < profiling.matmul_ceiling("float32", size=128, repeats=2) < 1e16


@pytest.mark.parametrize(("window", "steps"), [((2, 3), [2, 3]), ((), []), ((0, 0), [0])])
def test_trace_covers_its_window(window, steps, tmp_path, monkeypatch):
    running, traced = [], []
    monkeypatch.setattr(profiling.jax.profiler, "start_trace", lambda folder: running.append(folder))
    monkeypatch.setattr(profiling.jax.profiler, "stop_trace", running.clear)
    trace = profiling.Trace(window, tmp_path)
    for step in range(6):
        trace.at(step)
        traced += [step] if running else []
    trace.close()
    assert traced == steps
    assert not running


def test_what_does_not_fit_is_said_with_the_ways_out():
    assert profiling.fits(3 << 20, 4 << 20) == "fits: 3 MiB of 4 MiB per device"
    assert profiling.fits(5 << 20, 4 << 20).startswith("DOES NOT FIT: 5 MiB of 4 MiB per device. Set config.accumulate")
    assert "cannot be told" in profiling.fits(1, None)
    # A CPU's devices share the machine's memory.
    assert 1 << 24 < profiling.memory_of(jax.devices()[0]) * jax.local_device_count() < 1 << 46


def test_a_sharded_state_counts_what_one_device_holds():
    tree = {"params": {"dense": {"kernel": jax.ShapeDtypeStruct((1024, 1024), jnp.float32)}}}
    mib = {}
    for ways in (1, 8):
        places = sharding.shardings(tree, sharding.make_mesh(config_lib.Mesh(fsdp=ways)))
        said = profiling.describe_state(tree, places, jax.devices()[0])
        assert said.startswith("1,048,576 parameters; weights and optimizer: fits: ")
        mib[ways] = int(said.split("fits: ")[1].split()[0])
    assert mib == {1: 4, 8: 0}  # half a MiB, rounded down
