"""Every subset of the modalities from one pass: the same vectors as one by one, at the price of the encoders once."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import random_batch
from flax import nnx
from small import small_config

from m5jax.models import families, layers
from m5jax.models.fusion import Fusion
from m5jax.models.scale_network import Scale

VOCABULARY, LISTINGS = 50, 12
ALL = ("image", "text", "table", "video", "audio")
SUBSETS = {"+".join(some): some for size in range(1, 6) for some in itertools.combinations(ALL, size)}


def some_present(seed=0):
    """Listings that lack this and that; the first has everything, the last nothing."""
    present = np.random.default_rng(seed).random((LISTINGS, len(ALL))) < 0.7
    present[0], present[-1] = True, False
    return present


def test_31_subsets_at_once_are_the_31_one_by_one():
    """The twin: each subset as the only thing that the listings have, everything there is fused."""
    config, present = small_config(model__fusion__layers=2), some_present()
    model = families.build(config, VOCABULARY)
    params = jax.jit(model.init)(jax.random.key(0))
    found = jax.jit(lambda p, b: model.embed(p, b, SUBSETS))(
        params, random_batch(config, VOCABULARY, LISTINGS, 1, present)
    )
    assert set(found) == set(SUBSETS)
    whole = jax.jit(lambda p, b: model.embed(p, b, {"all": ALL})["all"])
    for title, subset in SUBSETS.items():
        shown = present & [name in subset for name in ALL]
        vectors, valid = whole(params, random_batch(config, VOCABULARY, LISTINGS, 1, shown))
        np.testing.assert_array_equal(found[title][1], valid, err_msg=title)
        np.testing.assert_array_equal(valid, shown.any(1))
        np.testing.assert_allclose(found[title][0], vectors, atol=3e-6, err_msg=title)


@pytest.mark.parametrize("changes", [{}, {"model__scan": False}, {"model__blocks": "released"}])
def test_the_tokens_that_are_read_are_those_of_the_whole_stack(changes):
    for depth in (1, 3):
        config = small_config(model__fusion__layers=depth, **changes).model
        tower = layers.Stack(config.fusion, layers.fusion_layout(config), config, jnp.float32, nnx.Rngs(0))
        states = jax.random.normal(jax.random.key(1), (4, 9, config.width))
        mask = np.random.default_rng(0).random((4, 9)) < 0.6
        np.testing.assert_allclose(tower(states, mask, None, (0, 5)), tower(states, mask, None)[:, [0, 5]], atol=2e-6)


def test_encoders_run_once_and_the_fusion_once_a_subset(monkeypatch):
    """Counted while it runs, not while it is traced."""
    ran = {"encode": 0, "fuse": 0}

    def counted(what, function):
        def run(*args, **kwargs):
            jax.debug.callback(lambda: ran.update({what: ran[what] + 1}))
            return function(*args, **kwargs)

        return run

    monkeypatch.setattr(Scale, "encode", counted("encode", Scale.encode))
    monkeypatch.setattr(Fusion, "__call__", counted("fuse", Fusion.__call__))
    config = small_config()
    model = families.build(config, VOCABULARY)
    params, batch = jax.jit(model.init)(jax.random.key(0)), random_batch(config, VOCABULARY, 4)
    jax.block_until_ready(jax.jit(lambda p, b: model.embed(p, b, SUBSETS))(params, batch))
    jax.effects_barrier()
    assert ran == {"encode": 1, "fuse": 31}


def test_program_and_memory_do_not_grow_with_the_subsets():
    config = small_config()
    model = families.build(config, VOCABULARY)
    abstract, batch = jax.eval_shape(model.init, jax.random.key(0)), random_batch(config, VOCABULARY, 8)

    def compiled(subsets):
        return jax.jit(lambda p, b: model.embed(p, b, subsets)).lower(abstract, batch).compile()

    few, all_of_them = compiled(dict(list(SUBSETS.items())[:2])), compiled(SUBSETS)
    assert all_of_them.cost_analysis()["flops"] < 1.02 * few.cost_analysis()["flops"]
    vectors = len(SUBSETS) * 8 * config.model.width * 4
    grown = all_of_them.memory_analysis().temp_size_in_bytes - few.memory_analysis().temp_size_in_bytes
    assert grown <= 2 * vectors
