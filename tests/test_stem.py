"""The convolutional stem: against the compiler's convolution, with patches that are not shown, inside the network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import random_batch
from flax import nnx
from small import small_config
from test_scale import VOCABULARY, Compiled

from m5jax.errors import ConfigError
from m5jax.models import flops, stem
from m5jax.token_spec import token_specs

STEM = {"model__stem": "convolutions", "inputs__image__size": 32}


def made(**changes):
    config = small_config(**STEM | changes)
    spec = token_specs(config.inputs)["image"]
    return stem.Stem(spec, config.model, jnp.dtype("float32"), nnx.Rngs(0)), spec


def pixels(spec, count=2, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *spec.grid)).astype(np.uint8)


def slow(module, values):
    """The same by `jax.lax.conv_general_dilated`."""
    x = jnp.asarray(values, jnp.float32) / 127.5 - 1.0
    for convolution, normalise in zip(module.convolutions, module.norms, strict=True):
        kernel = convolution.kernel[...].reshape(3, 3, x.shape[-1], -1)
        x = jax.lax.conv_general_dilated(
            x, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        x = jax.nn.gelu(normalise(x + convolution.bias[...]), approximate=False)
    return module.project(x).reshape(len(x), -1, x.shape[-1])


@pytest.mark.parametrize("patch", [2, 8])
def test_nine_shifts_and_a_product_are_a_convolution(patch):
    module, spec = made(inputs__image__patch=patch)
    assert len(module.convolutions) == {2: 1, 8: 3}[patch]
    values = pixels(spec)
    states = module(values, jnp.ones((2, spec.length), bool))
    assert states.shape == (2, spec.length, 32)
    np.testing.assert_allclose(states, slow(module, values), atol=2e-5)


def test_of_a_patch_that_is_not_shown_no_pixel_reaches_any_state():
    module, spec = made()
    shown = np.ones((2, spec.length), bool)
    shown[0, 5] = shown[1, 0] = False
    values, other = pixels(spec), pixels(spec, seed=1)
    size = spec.block[0]
    row, column = divmod(5, spec.grid[1] // size)
    changed = values.copy()
    place = np.s_[row * size : (row + 1) * size, column * size : (column + 1) * size]
    changed[0][place], changed[1, :size, :size] = other[0][place], other[1, :size, :size]
    assert (changed != values).any(axis=(1, 2, 3)).all()
    np.testing.assert_array_equal(module(changed, shown), module(values, shown))
    assert (module(changed, np.ones_like(shown)) != module(values, np.ones_like(shown))).any()


def test_the_network_trains_through_it():
    both = {"inputs__modalities": ("image", "text")}
    config = small_config(**STEM | both)
    network = Compiled(config)
    params = network.init(jax.random.key(0))
    batch = random_batch(config, VOCABULARY, 4)
    (loss, _), gradient = network.value_and_grad(params, batch)
    assert np.isfinite(loss)
    image = gradient["embedders"]["image"]
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(image))
    assert len(image["stem"]["convolutions"]) == 3
    assert "project" not in image
    plain = small_config(inputs__image__size=32, **both)
    spec = token_specs(config.inputs)["image"]
    patches = 2 * spec.sequence * spec.dim * 32
    assert network.model.flops - Compiled(plain).model.flops == flops.stem(spec, 32) - patches


def test_its_operations_by_formula_equal_xlas():
    module, spec = made(model__width=128, inputs__image__patch=4)
    shapes = jax.ShapeDtypeStruct((4, *spec.grid), np.uint8), jax.ShapeDtypeStruct((4, spec.length), np.bool_)
    counted = jax.jit(module).lower(*shapes).cost_analysis()["flops"]  # before the compiler computes things twice
    assert 1.0 <= counted / (4 * flops.stem(spec, 128)) < 1.25


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__blocks": "released"}, "needs pixels"),
        ({"model__share": True}, "needs pixels"),
        ({"inputs__image__source": "features"}, "needs pixels"),
        ({"inputs__image__patch": 4, "model__width": 33, "model__tokens__heads": 1}, "must divide|divide"),
        ({"inputs__image__size": 24, "inputs__image__patch": 12}, "patch = 12 must be a power of two"),
    ],
)
def test_what_does_not_go_with_it_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        small_config(**STEM | changes)
