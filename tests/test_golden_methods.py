"""The methods that papers compare with, from other implementations' weights; what is told where these do not fit."""

import json

import pytest
from conftest import needs_shared
from safetensors import numpy as safetensors_numpy
from test_golden import GOLDEN, check, folder, result  # noqa: F401  fixtures

pytestmark = needs_shared
OUTPUTS = {
    "clip": {"text_embeds", "image_embeds", "logits_per_image", "loss"},
    "lxmert": {"language_output", "vision_output", "pooled_output"},
    "vilbert": {"text_sequence", "image_sequence", "text_pooled", "image_pooled"},
    "visualbert": {"last_hidden_state", "pooler_output"},
}
WEIGHTS = {"clip": "model.safetensors", "lxmert": "model.safetensors", "vilbert": "weights.safetensors"}


def test_every_output_of_every_method_is_reproduced(check, capsys):  # noqa: F811
    assert check([str(GOLDEN / kind) for kind in OUTPUTS]) == 0
    folders = {name.rsplit("/")[-1]: found["differences"] for name, found in result(capsys)["folders"].items()}
    assert {kind: set(differences) for kind, differences in folders.items()} == OUTPUTS
    assert max(max(differences.values()) for differences in folders.values()) < 1e-5


@pytest.mark.parametrize(
    ("kind", "tensor"),
    [
        ("clip", "vision_model.embeddings.patch_embedding.weight"),
        ("lxmert", "encoder.x_layers.1.visual_attention.att.key.bias"),
        ("vilbert", "encoder_tri.c_layer.1.biattention.value2.weight"),
    ],
)
def test_a_tensor_that_is_missing_unknown_or_of_another_shape_is_named(check, folder, capsys, kind, tensor):  # noqa: F811
    copy = folder(kind)
    weights = safetensors_numpy.load_file(copy / WEIGHTS[kind])
    name = tensor.removeprefix("encoder_tri.")

    def told(changed):
        safetensors_numpy.save_file(changed, copy / WEIGHTS[kind])
        assert check([str(copy)]) == 66
        return capsys.readouterr().err

    rest = {key: value for key, value in weights.items() if key != tensor}
    assert f"{name}; of unknown name: none" in told(rest)
    assert "missing: none; of unknown name: encoder.more.weight" in told(
        weights | {"encoder.more.weight": rest.popitem()[1]}
    )
    assert name in told(weights | {tensor: weights[tensor][:-1]})


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("clip", {"vision_config": {"hidden_act": "gelu"}}),
        ("clip", {"text_config": {"layer_norm_eps": 1e-6}}),
        ("lxmert", {"hidden_act": "relu"}),
        ("lxmert", {"visual_pos_dim": 5}),
        ("vilbert", {"t_biattention_id": [1, 3]}),
        ("vilbert", {"v_hidden_act": "relu"}),
    ],
)
def test_a_configuration_of_another_computation_is_told(check, folder, capsys, kind, change):  # noqa: F811
    copy = folder(kind)
    config = json.loads((copy / "config.json").read_text())
    ((name, value),) = change.items()
    config[name] = config[name] | value if isinstance(value, dict) else value
    (copy / "config.json").write_text(json.dumps(config))
    assert check([str(copy)]) == 66
    error = capsys.readouterr().err
    assert name in error
    assert (str(value) if not isinstance(value, dict) else next(iter(value))) in error
