"""Weights of others: everything finds its place or nothing is loaded, and no file is ever executed."""

import json
import pickle
import struct

import jax
import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

from m5jax import config as config_lib
from m5jax import presets
from m5jax.errors import CheckpointError, ConfigError
from m5jax.models import families
from m5jax.weights import huggingface, places, released, tensors

VOCABULARY = 40


def small(preset=presets.scale_released, **lengths):
    """A released network, small, with tables of positions as long as its sequences."""
    c = config_lib.default()
    preset(c)
    c.model.width, c.model.projection = 16, 8
    for tower in (c.model.tokens, c.model.grids, c.model.fusion):
        tower.layers, tower.heads, tower.hidden = 2, 2, 24
    for name in ("image", "video", "audio"):
        c.inputs[name].source, c.inputs[name].feature_rows, c.inputs[name].feature_dim = "features", 3, 5
    c.inputs.image.boxes = True
    c.inputs.text.length, c.inputs.table.length = lengths.get("text", 6), 8
    return config_lib.freeze(c.to_dict())


@pytest.fixture(scope="module")
def params():
    return jax.device_get(jax.jit(families.build(small(), VOCABULARY).init)(jax.random.key(0)))


def state_dict(params, table):
    """The parameters as PyTorch would save them."""
    leaves = places.leaves(params)
    made = {}
    for name, place in table.items():
        part = np.asarray(leaves[place.path][place.index])
        shape = places.their_shape(leaves[place.path], place)
        made[name] = np.ascontiguousarray(part.reshape(shape[::-1]).T if place.inputs else part.reshape(shape))
    return made


@pytest.fixture
def file(params, tmp_path):
    """Saves a state dict of the release, with changes."""

    def save(drop=(), **changes):
        made = state_dict(params, released.places_of(params))
        made = {name: values for name, values in made.items() if name not in drop}
        made |= {name.replace("__", "."): values for name, values in changes.items()}
        safetensors_numpy.save_file(made, tmp_path / "weights.safetensors")
        return tmp_path / "weights.safetensors"

    return save


def zeros(params):
    return jax.tree.map(np.zeros_like, params)


def test_every_parameter_comes_back_from_a_state_dict(params, file):
    loaded, report = released.load(file(), zeros(params))
    jax.tree.map(np.testing.assert_array_equal, loaded, params)
    assert not report.dropped
    assert not report.missing
    # Every element of every parameter has exactly one place.
    counted = sum(np.prod(places.part(places.leaves(params)[p.path], p)) for p in released.places_of(params).values())
    assert counted == sum(leaf.size for leaf in jax.tree.leaves(params))


def test_what_the_release_never_reads_is_dropped_by_name_and_a_prefix_of_training_is_taken_off(params, file):
    dead = {"bert__pv_embeddings__LayerNorm__bias": np.zeros(16, np.float32)}
    _, report = released.load(file(**dead), zeros(params))
    assert report.dropped == ("bert.pv_embeddings.LayerNorm.bias",)
    path = file()
    prefixed = {f"module.{name}": values for name, values in safetensors_numpy.load_file(path).items()}
    safetensors_numpy.save_file(prefixed, path)
    loaded, _ = released.load(path, zeros(params))
    jax.tree.map(np.testing.assert_array_equal, loaded, params)


def test_a_partial_match_is_refused_by_name(params, file):
    with pytest.raises(CheckpointError, match=r"missing: bert\.encoder\.t_pooler\.dense\.bias;"):
        released.load(file(drop=["bert.encoder.t_pooler.dense.bias"]), zeros(params))
    deeper = {"bert__encoder__layer__2__output__dense__bias": np.zeros(16, np.float32)}
    with pytest.raises(CheckpointError, match=r"of unknown name: bert\.encoder\.layer\.2\.output\.dense\.bias"):
        released.load(file(**deeper), zeros(params))


@pytest.mark.parametrize("shape", [(16, 24), (24, 15), (384,)])
def test_a_wrong_shape_is_refused_by_name_even_with_as_many_numbers(params, file, shape):
    wrong = {"bert__encoder__layer__0__intermediate__dense__weight": np.zeros(shape, np.float32)}
    with pytest.raises(CheckpointError, match=r"layer\.0\.intermediate\.dense\.weight is .* needs \[24, 16\]"):
        released.load(file(**wrong), zeros(params))


def test_an_untied_head_is_refused(params, file):
    embedding = np.asarray(params["vocabulary"]["embedding"])
    assert released.load(file(cls__predictions__decoder__weight=embedding), zeros(params))
    with pytest.raises(CheckpointError, match=r"cls\.predictions\.decoder\.weight differs"):
        released.load(file(cls__predictions__decoder__weight=embedding + 1), zeros(params))


def test_a_network_of_other_blocks_is_told_what_to_set(params, file):
    other = families.build(small(lambda c: None), VOCABULARY)
    with pytest.raises(CheckpointError, match=r"belongs to embedders/text/norm.*model.blocks='released'|does not fit"):
        released.load(file(), jax.device_get(other.init(jax.random.key(0))))


# ---- files


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return (open, ("exploded", "w"))


def test_a_pickle_is_never_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bombs = {f"{n}.bin": pickle.dumps(Bomb(), protocol=n) for n in (2, 3, 4, 5)} | {"new.bin": b"PK\x03\x04rest"}
    for name, data in bombs.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(CheckpointError, match=r"is a PyTorch pickle.*bin_to_safetensors"):
            tensors.read(tmp_path / name)
    assert not (tmp_path / "exploded").exists()


def test_a_length_that_looks_like_a_pickle_is_a_length(tmp_path):
    """The first bytes of a safetensors file are its header's length: 640 is 80 02, as a pickle of protocol 2 begins."""
    path = tmp_path / "x.safetensors"
    for padding in range(400, 900):
        safetensors_numpy.save_file({"a": np.ones(2, np.float32)}, path, metadata={"note": "x" * padding})
        if path.read_bytes()[:2] == b"\x80\x02":
            break
    assert path.read_bytes()[:2] == b"\x80\x02"
    assert set(tensors.read(path)) == {"a"}


def test_a_cut_file_is_told_at_every_length(file):
    path = file()
    data = path.read_bytes()
    for length in (0, 7, 8, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError, match=r"weights\.safetensors"):
            tensors.read(path)
    with pytest.raises(CheckpointError, match=r"is cut: tensor \S+ ends beyond the file"):
        tensors.read(path)


@pytest.mark.parametrize(
    "header", [b"[]", b'{"a": 3}', b'{"a": {}}', b"{" * 50, b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}']
)
def test_headers_that_cannot_be_are_refused(tmp_path, header):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 8)
    with pytest.raises(CheckpointError, match=r"bad\.safetensors"):
        tensors.read(path)


def test_nan_is_refused_by_name_and_half_precision_is_taken(tmp_path):
    path = tmp_path / "x.safetensors"
    safetensors_numpy.save_file({"a": np.ones(3, np.float16), "ids": np.arange(3)}, path)
    found = tensors.read(path)
    assert {name: values.dtype for name, values in found.items()} == {"a": np.float32}
    safetensors_numpy.save_file({"fine": np.ones(2, np.float32), "bad": np.array([1, np.nan], np.float32)}, path)
    with pytest.raises(CheckpointError, match="tensor bad holds NaN"):
        tensors.read(path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        tensors.read(tmp_path / "absent.safetensors")


# ---- BERT


def bert_places(params):
    return huggingface.encoder_places(params) | huggingface.head_places()


@pytest.fixture
def bert(params, tmp_path):
    """A folder as Hugging Face has it, with changes to the tensors and the configuration."""

    def save(drop=(), config=(), names=lambda name: name, **more):
        made = state_dict(params, bert_places(params)) | more
        made = {names(name): values for name, values in made.items() if name not in drop}
        safetensors_numpy.save_file(made, tmp_path / huggingface.WEIGHTS)
        facts = {"hidden_act": "gelu", "layer_norm_eps": 1e-12, "num_attention_heads": 2} | dict(config)
        (tmp_path / huggingface.CONFIG).write_text(json.dumps(facts))
        return tmp_path

    return save


def test_a_bert_fills_text_encoder_vocabulary_and_head_alone(params, bert):
    drawn = jax.tree.map(lambda leaf: leaf + 1, params)
    loaded, report = huggingface.load(bert(), drawn)
    filled = {place.path for place in bert_places(params).values()}
    for path, leaf in places.leaves(loaded).items():
        np.testing.assert_array_equal(leaf, places.leaves(params if path in filled else drawn)[path])
    assert len(report.matched) == len(bert_places(params))


def test_names_of_other_versions_and_deeper_encoders_are_taken(params, bert):
    def old(name):
        return name.removeprefix("bert.").replace("LayerNorm.weight", "LayerNorm.gamma")

    deeper = {"bert.encoder.layer.7.output.dense.bias": np.zeros(16, np.float32)}
    loaded, report = huggingface.load(bert(names=old, **deeper), zeros(params))
    assert report.dropped == ("bert.encoder.layer.7.output.dense.bias",)
    np.testing.assert_array_equal(
        loaded["embedders"]["text"]["norm"]["scale"], params["embedders"]["text"]["norm"]["scale"]
    )


def test_less_than_most_of_a_bert_is_refused(params, bert):
    names = [name for name in sorted(huggingface.encoder_places(params)) if ".layer." in name]
    assert huggingface.load(bert(drop=names[:1]), zeros(params))[1].missing == (names[0],)
    with pytest.raises(CheckpointError, match=r"more than 95% are needed; missing are"):
        huggingface.load(bert(drop=names[:3]), zeros(params))


def test_a_bert_without_head_is_enough_and_one_without_vocabulary_is_not(params, bert):
    head = sorted(huggingface.head_places())
    assert huggingface.load(bert(drop=head), zeros(params))[1].missing == tuple(head)
    words = "bert.embeddings.word_embeddings.weight"
    with pytest.raises(CheckpointError, match=r"all embeddings .* missing are bert\.embeddings\.word_embeddings"):
        huggingface.load(bert(drop=[words]), zeros(params))
    # The tied head holds the same numbers.
    tied = {"cls.predictions.decoder.weight": np.asarray(params["vocabulary"]["embedding"])}
    loaded, _ = huggingface.load(bert(drop=[words], **tied), zeros(params))
    np.testing.assert_array_equal(loaded["vocabulary"]["embedding"], params["vocabulary"]["embedding"])


def test_a_bert_is_of_no_use_without_text(bert, params):
    with pytest.raises(ConfigError, match=r"config\.inputs\.modalities must have text"):
        huggingface.load(bert(), {"encoders": {}})


@pytest.mark.parametrize(
    ("name", "value"),
    [("hidden_act", "relu"), ("num_attention_heads", 4), ("layer_norm_eps", 1e-5), ("is_decoder", True)],
)
def test_a_bert_that_computes_otherwise_is_refused(params, bert, name, value):
    with pytest.raises(CheckpointError, match=rf"{name} = {value!r}"):
        huggingface.load(bert(config={name: value}), zeros(params))
