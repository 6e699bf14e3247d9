"""A run that stands still ends with exit 71 and the stacks of its threads."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys, time
from m5jax.watchdog import watchdog
with watchdog(0.4, first=2.0) as dog:
    {body}
print("done")
"""


def run(body):
    script = SCRIPT.format(body=body)
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("body", "doing"),
    [
        ("time.sleep(30)", "starting"),
        ("dog.beat('fetching batch 7'); time.sleep(30)", "fetching batch 7"),
        ("dog.beat('saving', factor=2); time.sleep(30)", "saving"),
    ],
)
def test_no_progress_ends_the_process_and_says_where(body, doing):
    ended = run(body)
    assert ended.returncode == 71
    assert f"while {doing}; stacks of all threads follow" in ended.stderr
    assert 'File "<string>"' in ended.stderr


def test_a_loop_that_beats_is_left_alone():
    ended = run("[(dog.beat('step'), time.sleep(0.1)) for _ in range(12)]")
    assert ended.returncode == 0
    assert ended.stdout == "done\n"


def test_a_longer_task_gets_its_factor():
    ended = run("dog.beat('evaluating', factor=10); time.sleep(1.2)")
    assert ended.returncode == 0


def test_an_interpreter_that_cannot_switch_threads_is_ended_too():
    # re.match on this pattern holds the interpreter lock for hours: only the C timer can end it.
    ended = run("import re; dog.beat('matching'); re.match('(a*)*b', 'a' * 40)")
    assert ended.returncode != 0
    assert "Timeout" in ended.stderr
