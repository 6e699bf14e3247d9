"""One writer per run folder, and a folder that cannot be written is refused at once."""

import os
import signal
import stat
import subprocess
import sys
import time

import pytest

from m5jax import run_folder
from m5jax.errors import RunFolderError

HOLD = (
    "import sys, time; from m5jax import run_folder\n"
    "with run_folder.hold(sys.argv[1]): print('held', flush=True); time.sleep(60)"
)


def holder(path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_and_told_who_holds_the_folder(tmp_path):
    with holder(tmp_path) as process:
        try:
            with (
                pytest.raises(RunFolderError, match=f'in use by.*"pid": {process.pid}') as error,
                run_folder.hold(tmp_path),
            ):
                pass
            assert error.value.exit_code == 73
        finally:
            process.kill()


def test_the_folder_is_free_the_moment_its_holder_is_killed(tmp_path):
    with holder(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while True:
        try:
            with run_folder.hold(tmp_path) as folder:
                assert folder.path == tmp_path
            return
        except RunFolderError:
            assert time.monotonic() < deadline


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot be written"), run_folder.hold(tmp_path / "file" / "run"):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(RunFolderError, match="cannot be written"), run_folder.hold(tmp_path):
        pass


def test_nothing_but_the_lock_stays_behind(tmp_path):
    with run_folder.hold(tmp_path):
        assert (tmp_path / "owner.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
