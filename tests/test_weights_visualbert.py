"""A VisualBERT's weights: everything finds its place or nothing is loaded."""

import json

import jax
import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy
from small_methods import VOCABULARY, drawn_params, small_method
from test_weights import state_dict

from m5jax.errors import CheckpointError, ConfigError
from m5jax.models import families
from m5jax.weights import huggingface, places, visualbert

REGIONS = {"source": "features", "feature_rows": 5, "feature_dim": 16}


@pytest.fixture(scope="module")
def params():
    return drawn_params(families.build(small_method("visualbert", REGIONS), VOCABULARY))


def places_of(params):
    return visualbert.stream_places(params) | visualbert.head_places(params)


@pytest.fixture
def folder(params, tmp_path):
    """A folder as Hugging Face has it, with changes to tensors, their names and the configuration."""

    def save(drop=(), config=(), names=lambda name: name, **more):
        made = state_dict(params, places_of(params)) | more
        made = {names(name): values for name, values in made.items() if name not in drop}
        safetensors_numpy.save_file(made, tmp_path / huggingface.WEIGHTS)
        (tmp_path / huggingface.CONFIG).write_text(json.dumps({"num_attention_heads": 2} | dict(config)))
        return tmp_path

    return save


def test_a_visualbert_fills_all_but_the_last_layer_of_the_match(params, folder):
    drawn = jax.tree.map(lambda leaf: leaf + 1, params)
    loaded, report = visualbert.load(folder(), drawn)
    own = {path for path in places.leaves(params) if path.startswith("matcher/predict")}
    assert {place.path for place in places_of(params).values()} == places.leaves(params).keys() - own
    for path, leaf in places.leaves(loaded).items():
        np.testing.assert_array_equal(leaf, places.leaves(drawn if path in own else params)[path])
    assert (report.dropped, report.missing) == ((), ())


def test_heads_are_taken_where_both_have_them_under_any_prefix(params, folder):
    two = {"cls.seq_relationship.weight": np.zeros((2, 32), np.float32)}
    tied = {"cls.predictions.decoder.weight": np.asarray(params["vocabulary"]["embedding"])}

    def prefixed(name):
        return name if name.startswith("cls.") else f"visual_bert.{name}"

    _, report = visualbert.load(folder(names=prefixed, **two, **tied), params)
    assert (report.dropped, report.missing) == (("cls.seq_relationship.weight",), ())
    heads = visualbert.head_places(params)
    loaded, report = visualbert.load(folder(drop=heads), jax.tree.map(lambda leaf: leaf + 1, params))
    assert not report.missing
    np.testing.assert_array_equal(loaded["matcher"]["dense"]["bias"], params["matcher"]["dense"]["bias"] + 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"drop": ["embeddings.visual_projection.bias"]}, r"missing: embeddings\.visual_projection\.bias"),
        ({"encoder.layer.7.output.dense.bias": np.zeros(32, np.float32)}, r"unknown name: encoder\.layer\.7"),
        ({"config": {"bypass_transformer": True}}, r"bypass_transformer = true"),
        ({"config": {"hidden_act": "relu"}}, r"hidden_act = 'relu'"),
        ({"cls.predictions.decoder.weight": np.ones((VOCABULARY, 32), np.float32)}, r"they are one parameter here"),
    ],
)
def test_another_network_is_refused_by_name(params, folder, changes, message):
    with pytest.raises(CheckpointError, match=message):
        visualbert.load(folder(**changes), params)


def test_a_berts_weights_are_for_a_method_with_an_encoder_of_the_title(params, folder):
    with pytest.raises(ConfigError, match=r"a BERT's weights are for the text"):
        huggingface.load(folder(), params)
