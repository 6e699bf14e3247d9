"""Processes that crash, hang or are abandoned: what they cost, and what they leave behind."""

import itertools
import multiprocessing
import os
import pathlib
import subprocess
import sys
import time

import hostile_tasks as tasks
import pytest

from m5jax.media import pool
from m5jax.media.pool import Failure, KillablePool


def run(function, items, workers=2, seconds=30.0):
    with KillablePool(workers, seconds, tasks.no_initializer) as processes:
        return list(processes.map(function, items))


def alive(folder):
    """Processes among those noted in the folder that still run."""
    living = []
    for path in folder.iterdir():
        try:
            os.kill(int(path.name), 0)
            living.append(path.name)
        except ProcessLookupError:
            continue
    return living


def test_results_come_in_order_whoever_is_first():
    assert run(tasks.square_later, range(100)) == [n * n for n in range(100)]
    assert run(tasks.square, []) == []


def test_a_crash_and_a_hang_among_a_hundred_items_cost_exactly_these():
    items = [*range(100)]
    items[37], items[71] = "segfault", "hang"
    results = run(tasks.square_or_die, items, seconds=1.0)
    assert len(results) == 100
    assert results[37] == Failure("decoder_crashed", "the decoding process ended with exit code -11")
    assert results[71] == Failure("decoder_timeout", "not done within 1 s")
    assert [results[n] for n in range(100) if n not in (37, 71)] == [n * n for n in range(100) if n not in (37, 71)]


def test_neighbours_that_crash_are_told_apart():
    items = ["exit", 1, "exit", "segfault", 2, "unpicklable", 3]
    results = run(tasks.square_or_die, items)
    assert [r.reason if isinstance(r, Failure) else r for r in results] == [
        *("decoder_crashed", 1, "decoder_crashed", "decoder_crashed", 4, "decoder_crashed", 9)
    ]
    assert results[0].detail.endswith("exit code 3")


def test_what_the_function_raises_is_the_callers():
    with pytest.raises(KeyError, match="the function's own error"):
        run(tasks.square_or_die, [*range(20), "raise", *range(20)])


def test_a_chunk_that_is_slow_as_a_whole_loses_nothing_and_teaches_shorter_ones(tmp_path):
    count = 5 * pool.CHUNK
    with KillablePool(1, 0.35, tasks.note_process, (tmp_path,)) as processes:
        assert list(processes.map(tasks.slow_square, range(count))) == [n * n for n in range(count)]
    # One process at the start, and one for each long chunk that was sent before the first of them was found slow.
    assert len(list(tmp_path.iterdir())) <= 1 + 3


def test_no_more_is_read_ahead_than_the_processes_need():
    numbers = itertools.count()
    with KillablePool(1, 30.0, tasks.no_initializer) as processes:
        results = processes.map(tasks.square, numbers)
        assert [next(results) for _ in range(3)] == [0, 1, 4]
        assert next(numbers) <= 3 * pool.CHUNK


@pytest.mark.parametrize("how", ["finished", "abandoned", "failed"])
def test_no_process_outlives_the_context(tmp_path, how):
    items = [*range(40), "raise" if how == "failed" else "hang" if how == "abandoned" else 41]
    with KillablePool(2, 30.0, tasks.note_process, (tmp_path,)) as processes:
        results = processes.map(tasks.square_or_die, items)
        assert [next(results) for _ in range(20)] == [n * n for n in range(20)]
        if how == "finished":
            assert len(list(results)) == 21
        elif how == "failed":
            with pytest.raises(KeyError):
                list(results)
    assert any(tmp_path.iterdir())
    assert not alive(tmp_path)


def test_no_process_outlives_a_parent_that_is_killed(tmp_path):
    parent = multiprocessing.get_context("spawn").Process(target=tasks.hold_processes, args=(tmp_path,))
    parent.start()
    deadline = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(alive(tmp_path)) == 2
    parent.kill()
    parent.join()
    while alive(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(tmp_path)


def test_a_context_that_is_never_used_starts_no_process(tmp_path):
    with KillablePool(2, 30.0, tasks.note_process, (tmp_path,)):
        pass
    assert not any(tmp_path.iterdir())


def test_a_script_without_a_guarded_main_part_is_told_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from m5jax.media import pool\nimport hostile_tasks as tasks\npool.START_SECONDS = 4\n"
        "with pool.KillablePool(1, 30.0, tasks.no_initializer) as processes:\n"
        "    print(list(processes.map(tasks.square, [3])))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(pathlib.Path(__file__).parent)}
    command = [sys.executable, str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "no decoding process could be started" in done.stderr
