"""What only methods of two streams have: how ViLBERT's streams take turns, what CAPTURE compares, what is refused."""

import jax
import numpy as np
import pytest
from small_methods import REGIONS, VOCABULARY, drawn_params, method_batch, small_method

from m5jax.errors import ConfigError
from m5jax.models import families
from m5jax.models.interface import functional
from m5jax.models.vilbert import Vilbert
from m5jax.token_spec import token_specs

UNEQUAL = {"model__tokens__layers": 3, "model__grids__layers": 2, "model__grids__width": 24, "model__fusion__width": 16}
UNEQUAL |= {"model__fusion__layers": 2}


def test_vilberts_streams_of_other_widths_and_depths_take_turns_alike_scanned_and_unrolled():
    found = []
    for scan in (True, False):
        config = small_method("vilbert", **UNEQUAL, model__scan=scan)
        specs = token_specs(config.inputs)
        _, bind = functional(lambda rngs, c=config, s=specs: Vilbert(c, s, VOCABULARY, 0, rngs))
        params = drawn_params(families.build(config, VOCABULARY))
        found.append(jax.jit(lambda p, b, bind=bind: bind(p).encode(b, None))(params, method_batch(config)))
    (scanned, masks), (unrolled, _) = found
    assert {name: x.shape[-1] for name, x in scanned.items()} == {"image": 24, "text": 32}
    for name, mask in masks.items():
        np.testing.assert_allclose(scanned[name][mask], unrolled[name][mask], atol=2e-5)


def test_capture_compares_what_nothing_has_mixed_and_tells_masked_words_by_the_picture():
    config = small_method("capture")
    model, batch = families.build(config, VOCABULARY), method_batch(config)
    params = drawn_params(model)

    @jax.jit
    def told(batch):
        losses = model.losses(params, batch, None)
        return losses.coupled["compared"], losses.separable["masked_language"][0]

    first, words = told(batch)
    second, other_words = told(batch | {"image": batch["image"] | {"values": batch["image"]["values"][::-1]}})
    image, text = config.inputs.modalities.index("image"), config.inputs.modalities.index("text")
    np.testing.assert_array_equal(first[:, text], second[:, text])
    assert np.abs(first[:, image] - second[:, image]).max() > 1e-3
    assert words != other_words


@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [
        ("vilbert", {"inputs__modalities": ("image",)}, "inputs.modalities"),
        ("vilbert", {"model__fusion__layers": 4}, "model.fusion.layers = 4"),
        ("vilbert", {"model__tokens__width": 16}, "model.tokens.width = 16"),
        ("vilbert", {"objective__contrastive": 1.0}, "objective.contrastive"),
        ("lxmert", {"model__grids__width": 16}, "model.grids.width = 16"),
        ("lxmert", {"model__readout": "contrastive"}, "model.readout = 'contrastive'"),
        ("clip", {"objective__masked_language": 1.0}, "objective.masked_language"),
        ("clip", {"objective__matching": 1.0, "inputs__mismatch": 0.5}, "objective.matching"),
        ("capture", {"model__grids__width": 16}, "model.grids.width = 16"),
        ("capture", {"model__fusion__width": 15, "model__fusion__heads": 3}, "model.fusion.heads = 3"),
        ("capture", {"objective__contrastive": 0.0, "model__readout": "contrastive"}, "model.readout"),
    ],
)
def test_settings_that_are_not_the_methods_are_named(name, changes, told):
    with pytest.raises(ConfigError, match=told):
        families.build(small_method(name, REGIONS, **changes), VOCABULARY)
