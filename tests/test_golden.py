"""The other implementations' outputs, from their own weights; and that the check can fail."""

import json
import pathlib
import runpy
import shutil

import numpy as np
import pytest
from conftest import SHARED, needs_shared
from golden import scale
from safetensors import numpy as safetensors_numpy

from m5jax.weights import released

TOOL = pathlib.Path(__file__).parents[1] / "tools" / "check_golden.py"
GOLDEN = SHARED / "golden"
pytestmark = needs_shared


@pytest.fixture(scope="module")
def check():
    return runpy.run_path(str(TOOL))["main"]


@pytest.fixture
def folder(tmp_path):
    """Copies a reference; its files may then be changed."""

    def copy(kind):
        shutil.copytree(GOLDEN / kind, tmp_path / kind)
        for file in (tmp_path / kind).iterdir():
            file.chmod(0o644)
        return tmp_path / kind

    return copy


def change_outputs(folder, **changes):
    with np.load(folder / "outputs.npz") as file:
        outputs = dict(file)
    for name, change in changes.items():
        outputs[name] = change(outputs[name])
    np.savez(folder / "outputs.npz", **outputs)


def result(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_released_scale_and_bert_are_reproduced(check, capsys):
    assert check([str(GOLDEN / "scale"), str(GOLDEN / "bert")]) == 0
    line = result(capsys)
    assert line["passed"]
    release, bert = line["folders"].values()
    assert len(release["differences"]) == 28  # 26 outputs, the total, and the gradients of 175 parameters
    assert set(bert["differences"]) == {"logits", "last_hidden_state"}
    assert max(value for name, value in release["differences"].items() if name != "gradient_norms") < 2e-5


def test_outputs_and_gradients_that_differ_are_told(check, folder, capsys):
    copy, wrong = folder("scale"), ("encoded_audio", "loss_clr", "task_graph")
    change_outputs(copy, **dict.fromkeys(wrong, lambda values: values + 3e-4))
    gradients = json.loads((copy / "gradients.json").read_text())
    changed = "bert.encoder.v_layer.1.intermediate.dense.weight"
    gradients["grad_norm"][changed] *= 1.002
    (copy / "gradients.json").write_text(json.dumps(gradients))
    assert check([str(copy)]) == 1
    out = capsys.readouterr().out
    assert f"of 175 gradient norms, {changed} differs most" in out
    differences = json.loads(out.splitlines()[-1])["folders"][str(copy)]["differences"]
    for name in wrong:
        assert differences[name] == pytest.approx(3e-4, rel=0.1)
    beyond = {name for name, value in differences.items() if value > (1e-3 if name == "gradient_norms" else 2e-4)}
    assert beyond == {*wrong, "gradient_norms"}


def test_an_output_of_nan_or_of_another_name_is_no_agreement(check, folder, capsys):
    copy = folder("bert")
    change_outputs(copy, logits=lambda values: np.full_like(values, np.nan))
    assert check([str(copy)]) == 1
    with np.load(copy / "outputs.npz") as file:
        outputs = dict(file)
    np.savez(copy / "outputs.npz", **{"last_hidden_state": outputs["last_hidden_state"], "new": np.zeros(3)})
    assert check([str(copy)]) == 1
    assert result(capsys)["folders"][str(copy)]["differences"]["new"] is None


def test_other_weights_are_told_and_the_kind_can_be_given(check, folder):
    copy = folder("bert").rename(folder("scale").parent / "my-encoder")
    weights = safetensors_numpy.load_file(copy / "model.safetensors")
    assert check([str(copy), "--kind", "bert"]) == 0
    weights["bert.encoder.layer.0.attention.self.query.weight"] *= 1.1
    safetensors_numpy.save_file(weights, copy / "model.safetensors")
    assert check([str(copy), "--kind", "bert"]) == 1
    assert check([str(copy)]) == 64  # no kind of that name


def test_files_that_are_not_there_or_lack_an_array_are_named(check, folder, capsys):
    copy = folder("scale")
    inputs = dict(np.load(copy / "inputs.npz"))
    np.savez(copy / "inputs.npz", **{name: array for name, array in inputs.items() if name != "image_loc"})
    assert check([str(copy)]) == 65
    (copy / "inputs.npz").write_bytes((copy / "outputs.npz").read_bytes()[:2000])
    assert check([str(copy), str(GOLDEN / "bert")]) == 65
    captured = capsys.readouterr()
    assert "image_loc" in captured.err
    assert "inputs.npz cannot be read" in captured.err
    folders = json.loads(captured.out.splitlines()[-1])["folders"]  # the good one is reported all the same
    assert [folder["passed"] for folder in folders.values()] == [False, True]


def test_gradients_of_nan_are_no_agreement(monkeypatch):
    shapes = {"poolers": {"text": {"dense": {"kernel": np.full((2, 3), np.nan), "bias": np.ones(3)}}}}
    table = released.kernel_and_bias("bert.encoder.t_pooler.dense", "poolers/text/dense")
    norms = {"bert.encoder.t_pooler.dense.weight": 1.0, "bert.encoder.t_pooler.dense.bias": np.sqrt(3.0)}
    monkeypatch.setattr(released, "places_of", lambda _: table)
    assert scale._gradient_differences(norms, shapes)["gradient_norms"][0] == np.inf
