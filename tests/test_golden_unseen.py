"""`tools/check_golden.py` for weights, sizes and inputs that it has never seen, against a slow twin of the release."""

import json
import re
import runpy

import golden_folders
import numpy as np
import pytest
import released_twin
import test_golden
from conftest import needs_shared
from safetensors import numpy as safetensors_numpy

LENGTHS = {"text": 7, "table": 9, "image": 5, "video": 4, "audio": 6}
DEAD = re.compile(
    r"bert\.(pv_embeddings|encoder\.(pv|video)_layer|cross_encoder\.pooler|\w+_pooler)\..*|cls\.\w+_weight_fc\..*"
    r"|cls\.predictions\.decoder\..*"
)


def bert_config(**changes):
    sizes = {"vocab_size": 31, "hidden_size": 21, "num_hidden_layers": 1, "num_attention_heads": 3}
    sizes |= {"intermediate_size": 26, "max_position_embeddings": 19, "type_vocab_size": 2, "hidden_act": "gelu"}
    return sizes | changes


def scale_config(**changes):
    sizes = {"v_num_hidden_layers": 1, "v_num_attention_heads": 1, "v_intermediate_size": 17, "bi_hidden_size": 13}
    for size, prefix in enumerate(("v", "video", "audio"), 6):
        sizes |= {f"{prefix}_feature_size": size, f"{prefix}_target_size": size}
    return bert_config(max_video_len=11, max_audio_len=8) | sizes | changes


def cross_config(**changes):
    return {"num_hidden_layers": 1, "num_attention_heads": 7, "max_position_embeddings": 44} | changes


@pytest.fixture(scope="module")
def check():
    return runpy.run_path(str(test_golden.TOOL))["main"]


@pytest.fixture
def scale(tmp_path):
    """Writes a folder of the kind.

    `masks` by modality, others are drawn; `edit` changes the inputs; `name` says how a tensor is called, or drops it.
    """

    def write(config, cross, lengths=LENGTHS, size=4, masks=(), edit=None, name=str):
        rng = np.random.default_rng(7)
        weights = golden_folders.draw(golden_folders.scale_shapes(config, cross), rng)
        inputs = golden_folders.scale_inputs(config, lengths, size, dict(masks), rng)
        if edit:
            edit(inputs)
        files = {"config.json": config, "cross_config.json": cross, "inputs.npz": inputs}
        files["outputs.npz"] = released_twin.scale_outputs(weights, config, cross, inputs)
        files["weights.safetensors"] = {name(old): tensor for old, tensor in weights.items() if name(old)}
        return golden_folders.write(tmp_path / "scale", files)

    return write


@pytest.fixture
def bert(tmp_path):
    """Writes a folder of the kind; `outputs` are those that the network has."""

    def write(config, inputs, name=str, outputs=("last_hidden_state", "logits")):
        weights = golden_folders.draw(golden_folders.bert_shapes(config), np.random.default_rng(8))
        computed = released_twin.bert_outputs(weights, config, inputs)
        files = {"config.json": config, "inputs.npz": inputs, "outputs.npz": {key: computed[key] for key in outputs}}
        files["model.safetensors"] = {name(old): tensor for old, tensor in weights.items() if name(old)}
        return golden_folders.write(tmp_path / "bert", files)

    return write


@needs_shared
@pytest.mark.parametrize(("kind", "file"), [("scale", "weights.safetensors"), ("bert", "model.safetensors")])
def test_the_twin_is_the_reference(kind, file):
    folder = test_golden.GOLDEN / kind
    weights = safetensors_numpy.load_file(folder / file)
    configs = [json.loads((folder / "config.json").read_text())]
    if kind == "scale":
        configs.append(json.loads((folder / "cross_config.json").read_text()))
    shapes = getattr(golden_folders, f"{kind}_shapes")(*configs)
    assert shapes == {name: tensor.shape for name, tensor in weights.items()}
    with np.load(folder / "inputs.npz") as inputs, np.load(folder / "outputs.npz") as file:
        expected = dict(file)
        found = getattr(released_twin, f"{kind}_outputs")(weights, *configs, dict(inputs))
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=0, atol=1e-5, err_msg=name)


def assert_reproduced(check, folder, capsys):
    """Every output is compared, and within its limit."""
    code = check([str(folder)])
    captured = capsys.readouterr()
    assert code == 0, captured.out + captured.err
    (found,) = json.loads(captured.out.splitlines()[-1])["folders"].values()
    with np.load(folder / "outputs.npz") as outputs:
        assert found["differences"].keys() == set(outputs.files)


def test_unequal_depths_odd_heads_token_types_gaps_and_prefixed_names(check, scale, capsys):
    masks = {name: np.ones((4, length + (name in released_twin.GRIDS)), int) for name, length in LENGTHS.items()}
    for mask in masks.values():
        mask[0, 2] = mask[1, 1:3] = mask[2, 3:] = 0
    config = scale_config(v_num_hidden_layers=3, type_vocab_size=3, bi_hidden_size=6)
    folder = scale(config, cross_config(num_hidden_layers=2), masks=masks, name="module.{}".format)
    with np.load(folder / "inputs.npz") as inputs:
        assert inputs["pv_token_type_ids"].max() == 2
        assert all((inputs[name] >= 0).any() for name in inputs if name.endswith(("_label", "_labels")))
    assert_reproduced(check, folder, capsys)


def test_one_listing_of_one_region_and_three_tokens_with_nothing_selected(check, scale, capsys):
    def nothing(inputs):
        for name in inputs:
            if name.endswith(("_labels", "_label")):
                inputs[name][:] = -1

    lengths = {"text": 3, "table": 2, "image": 1, "video": 1, "audio": 1}
    folder = scale(
        scale_config(type_vocab_size=1, num_hidden_layers=2),
        cross_config(max_position_embeddings=11),  # just as many as there are tokens
        lengths,
        size=1,
        masks={"video": np.array([[1, 0]])},
        edit=nothing,
        name=lambda name: "" if DEAD.fullmatch(name) else name,
    )
    assert_reproduced(check, folder, capsys)
    with np.load(folder / "outputs.npz") as outputs:
        assert not any(outputs[f"loss_{name}"] for name in ("mlm", "mem", "mrm", "mfm", "mam", "clr"))
    test_golden.change_outputs(folder, fused_cls_video=lambda values: values + np.eye(*values.shape) * 4e-4)
    assert check([str(folder)]) == 1
    differences = test_golden.result(capsys)["folders"][str(folder)]["differences"]
    assert [name for name, value in differences.items() if value > 2e-4] == ["fused_cls_video"]


def test_listings_of_a_global_token_alone_and_labels_of_few_modalities(check, scale, capsys):
    def edges(inputs):
        inputs["masked_lm_labels"][:] = inputs["image_label"][:] = -1
        inputs["masked_em_labels"][0] = 0  # the first word of the vocabulary is a label like any other

    only = np.array([[1, 1, 1, 1, 1, 1], [1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]])
    config = scale_config(hidden_size=24, v_num_attention_heads=4, v_intermediate_size=50)
    # What the release does not read of the fusion's configuration may say anything.
    cross = cross_config(num_attention_heads=2, intermediate_size=5, hidden_act="relu", vocab_size=512)
    assert_reproduced(check, scale(config, cross, masks={"image": only}, edit=edges), capsys)


def test_bert_without_prefix_of_more_positions_and_token_types(check, bert, capsys):
    ids, types, mask = golden_folders.tokens(np.random.default_rng(9), size=4, length=6, vocabulary=31, types=3)
    mask[0, 2] = mask[1, 0] = 0
    folder = bert(
        bert_config(num_hidden_layers=3, type_vocab_size=3, max_position_embeddings=50),
        {"input_ids": ids, "token_type_ids": types, "attention_mask": mask},
        name=lambda name: name.removeprefix("bert."),
    )
    assert_reproduced(check, folder, capsys)
    test_golden.change_outputs(folder, logits=lambda values: values + 3e-4)
    assert check([str(folder)]) == 1


def test_a_bert_of_one_type_without_a_head_for_one_text_of_three_tokens(check, bert, capsys):
    ids, _, mask = golden_folders.tokens(np.random.default_rng(9), size=1, length=3, vocabulary=31, types=1)
    folder = bert(
        bert_config(type_vocab_size=1),
        {"input_ids": ids, "attention_mask": mask},
        name=lambda name: "" if name.startswith("cls.") else name,
        outputs=("last_hidden_state",),
    )
    assert_reproduced(check, folder, capsys)
