"""What holds of every method that papers compare with: everything learns, nothing absent is seen, all is finite."""

import functools

import jax
import numpy as np
import pytest
from small_methods import PRESENT, VOCABULARY, drawn_params, method_batch, small_method, with_other_content
from test_scale import Compiled

from m5jax import config as config_lib
from m5jax import optim, sharding
from m5jax.models import families
from m5jax.models.interface import total_loss
from m5jax.objectives import numerics

NAMES = ("image_only", "bert", "vl_bert", "visualbert", "uniter", "vilbert", "lxmert", "clip", "capture")
DETECTED = {"source": "features", "feature_rows": 36, "feature_dim": 2048, "boxes": True}
PIXELS = {"size": 16, "patch": 8}
SHALLOW = {f"model__{tower}__layers": 1 for tower in ("tokens", "grids", "fusion")} | {"model__scan": False}


class Subsets(dict):
    """Each modality, both and neither; hashable, as static arguments must be."""

    def __init__(self):
        super().__init__(image=("image",), text=("text",), both=("image", "text"), neither=())

    def __hash__(self):
        return 0


@functools.cache
def method(name):
    """A method in the size of the tests: configuration, functions, parameters and a batch."""
    config = small_method(name, **SHALLOW)
    compiled = Compiled(config)
    return config, compiled, drawn_params(compiled.model), method_batch(config)


def check_finite(*trees):
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(trees))


every = pytest.mark.parametrize("name", NAMES)


@every
def test_every_parameter_learns(name):
    config, compiled, params, batch = method(name)
    (loss, objectives), gradient = compiled.value_and_grad(params, batch)
    check_finite(loss, objectives, gradient)
    assert loss > 0
    assert compiled.model.weights.keys() <= objectives.keys()
    assert set(compiled.model.weights) == {
        objective for objective in objectives if getattr(config.objective, objective, 0) > 0
    }
    silent = [optim.path_of(keys) for keys, leaf in jax.tree_util.tree_leaves_with_path(gradient) if not np.any(leaf)]
    assert silent == []


@every
def test_what_no_mask_shows_changes_neither_loss_nor_gradient_bit_for_bit(name):
    _, compiled, params, batch = method(name)
    (loss, _), gradient = compiled.value_and_grad(params, batch)
    (other_loss, _), other_gradient = compiled.value_and_grad(params, with_other_content(batch))
    assert loss == other_loss
    jax.tree.map(np.testing.assert_array_equal, gradient, other_gradient)


@every
def test_nothing_selected_and_nothing_there_are_finite(name):
    config, compiled, params, batch = method(name)
    unselected = {
        part: arrays | {"masked": arrays["masked"] | {"valid": np.zeros_like(arrays["masked"]["valid"])}}
        for part, arrays in batch.items()
        if part in ("image", "text")
    }
    (loss, objectives), gradient = compiled.value_and_grad(params, batch | unselected)
    check_finite(loss, objectives, gradient)
    assert not any(np.any(objectives[task]) for task in ("masked_language", "masked_region") if task in objectives)
    (loss, objectives), gradient = compiled.value_and_grad(params, method_batch(config, present=np.zeros_like(PRESENT)))
    check_finite(objectives)
    assert loss == 0
    assert not any(map(np.any, jax.tree.leaves(gradient)))


@every
def test_one_listing_with_pixels_and_dropout_is_finite(name):
    config = small_method(name, PIXELS, model__dropout=0.1, **SHALLOW)
    compiled, batch = Compiled(config), method_batch(config, present=PRESENT[:1])
    params = drawn_params(compiled.model)
    (loss, objectives), gradient = compiled.value_and_grad(params, batch, jax.random.key(1))
    check_finite(loss, objectives, gradient)


@every
def test_a_subset_is_the_listing_without_the_rest_and_knows_no_neighbours(name):
    config, compiled, params, batch = method(name)
    found = compiled.embed(params, batch, Subsets())
    names = config.inputs.modalities
    alone = {part: PRESENT & [part == "image", part == "text"] for part in ("image", "text")}
    for subset, present in (alone | {"both": PRESENT}).items():
        there = present[:, [column for column, part in enumerate(("image", "text")) if part in names]].any(1)
        vectors, valid = found[subset]
        np.testing.assert_array_equal(valid, there)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), there, atol=1e-5)
        hidden = method_batch(config, present=present) if subset != "both" else with_other_content(batch)
        shuffled = jax.tree.map(lambda x: x[::-1], hidden)
        np.testing.assert_allclose(compiled.embed(params, shuffled, Subsets())["both"][0][::-1], vectors, atol=2e-6)
    assert not found["neither"][1].any()


@every
def test_flops_by_formula_equal_the_count_of_the_unrolled_model(name):
    config = small_method(name, model__scan=False, model__width=256)
    model, batch = families.build(config, VOCABULARY), method_batch(config)

    def loss(params, batch):
        losses = model.losses(params, batch, None)
        objectives = losses.separable | model.couple(params, losses.coupled, batch)
        return total_loss(model.weights, {name: numerics.mean(total) for name, total in objectives.items()})

    params = jax.eval_shape(model.init, jax.random.key(0))
    counted = jax.jit(loss).lower(params, batch).cost_analysis()["flops"] / len(PRESENT)
    assert 1.0 <= counted / model.flops < 1.08  # elementwise work is counted, too


@every
def test_no_large_array_is_without_a_place(name):
    config = small_method(name, DETECTED, model__width=256)
    params = jax.eval_shape(families.build(config, 4096).init, jax.random.key(0))
    tree = sharding.shardings(params, sharding.make_mesh(config_lib.Mesh(fsdp=8)))
    whole = [
        optim.path_of(keys)
        for (keys, leaf), place in zip(jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(tree), strict=True)
        if leaf.size >= sharding.LARGE and "fsdp" not in str(place.spec)
    ]
    assert whole == []
