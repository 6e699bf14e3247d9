"""The converter of PyTorch files: what it takes and refuses. Whole conversions are tested where torch is installed."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

TOOL = pathlib.Path(__file__).parents[1] / "tools" / "bin_to_safetensors.py"
MODULE = importlib.util.spec_from_file_location("bin_to_safetensors", TOOL)
assert MODULE is not None
assert MODULE.loader is not None
tool = importlib.util.module_from_spec(MODULE)
MODULE.loader.exec_module(tool)
ONES = np.ones(3)


def test_without_torch_it_says_what_to_install(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"anything")
    code = (
        "import runpy, sys; sys.modules['torch'] = None; sys.argv = sys.argv[1:];"
        " runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [sys.executable, "-c", code, str(TOOL), str(tmp_path / "model.bin"), str(tmp_path / "model.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert 'torch is not installed: pip install "torch>=2.6" safetensors numpy' in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["model.bin"]


@pytest.mark.parametrize("nested", [False, True])
def test_names_lose_the_prefix_of_data_parallel_training(nested):
    state = {"module.a.weight": ONES, "b": ONES, "encoder.module.c": ONES}
    loaded = {"state_dict": state, "epoch": 3} if nested else state
    assert [*tool.named_tensors(loaded, np.ndarray)] == ["a.weight", "b", "encoder.module.c"]


@pytest.mark.parametrize(
    ("loaded", "message"),
    [
        ([ONES], "holds a list"),
        ({}, "holds a dict, not a dict of tensors"),
        ({"w": ONES, "epoch": 3}, "'epoch' is a int"),
        ({7: ONES}, "7 is a ndarray"),
        ({"w": ONES, "module.w": ONES}, "'w' is there twice, once as 'module.w'"),
    ],
)
def test_what_is_no_state_dict_is_refused(loaded, message):
    with pytest.raises(tool.Refused, match=message):
        tool.named_tensors(loaded, np.ndarray)


def test_a_file_comes_out_as_it_went_in(tmp_path, capsys):
    torch = pytest.importorskip("torch")
    from safetensors.numpy import load_file

    tied, table = torch.randn(5, 3), torch.randn(4, 2)
    torch.save(
        {"module.embed": tied, "module.head": tied, "turned": table.T, "count": torch.tensor(3)}, tmp_path / "a.bin"
    )
    assert tool.main([str(tmp_path / "a.bin"), str(tmp_path / "a.safetensors")]) == 0
    found = load_file(tmp_path / "a.safetensors")
    assert set(found) == {"embed", "head", "turned", "count"}
    for name, expected in {"embed": tied, "head": tied, "turned": table.T, "count": torch.tensor(3)}.items():
        np.testing.assert_array_equal(found[name], expected.numpy())
    assert "embed  [5, 3]  float32" in capsys.readouterr().out
    assert tool.main([str(tmp_path / "a.bin"), str(tmp_path / "a.safetensors")]) == 2
    assert "exists already" in capsys.readouterr().err


class Harmful:
    """Runs a command where somebody unpickles it."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_no_code_in_a_file_runs(tmp_path, capsys):
    torch = pytest.importorskip("torch")
    torch.save({"w": torch.ones(2), "x": Harmful(f"touch {tmp_path / 'harmed'}")}, tmp_path / "a.bin")
    assert tool.main([str(tmp_path / "a.bin"), str(tmp_path / "a.safetensors")]) == 2
    assert "holds more than weights" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]
