"""Timers, the ceiling that utilisation is measured against, and the trace window."""

import time

import pytest

from m5jax import profiling


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
