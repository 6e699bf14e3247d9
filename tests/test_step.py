"""The training step: numbers against the whole batch and one device, and what happens when they are not finite."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import random_batch
from small import small_config

from m5jax import config as config_lib
from m5jax import optim, sharding, step
from m5jax.models import families
from m5jax.models.interface import Losses

VOCABULARY = 48
TWO = {"inputs__modalities": ("image", "text")}


@functools.cache
def model_of(config):
    return families.build(config, VOCABULARY)


def mesh_of(devices=1, fsdp=1, model=1):
    return sharding.make_mesh(config_lib.Mesh(data=-1, fsdp=fsdp, model=model), jax.devices()[:devices])


def trained(config, mesh, batches, accumulate=1):
    """State and metrics after a step on every batch."""
    optimizer, metrics = optim.optimizer(config), {}
    with jax.set_mesh(mesh):
        state = step.sharded_init(model_of(config), optimizer, 0, mesh)
        train_step = step.make_train_step(model_of(config), optimizer, seed=0, accumulate=accumulate, mesh=mesh)
        for batch in batches:
            placed = jax.device_put(batch, sharding.batch_sharding(mesh))
            state, metrics = train_step(state, placed)
        assert train_step._cache_size() == 1
    return jax.device_get(state), jax.device_get(metrics)


# ---- gradient accumulation


def test_accumulated_gradients_equal_those_of_the_whole_batch():
    config = small_config(inputs__modalities=("image", "text", "table"))
    model = model_of(config)
    rng = np.random.default_rng(0)
    present = rng.random((8, 3)) < 0.6  # unequal counts in every part: sums must be divided by the whole's
    batch = random_batch(config, VOCABULARY, 8, present=present)
    params = jax.jit(model.init)(jax.random.key(0))
    whole, *accumulated = (
        jax.jit(functools.partial(step.gradients, model, key=None, accumulate=parts))(params, batch)
        for parts in (1, 2, 4)
    )
    loss, expected, objectives = whole
    for found_loss, found, found_objectives in accumulated:
        np.testing.assert_allclose(found_loss, loss, rtol=1e-5)
        assert found_objectives.keys() == objectives.keys()
        for name, (total, count) in objectives.items():
            np.testing.assert_allclose(found_objectives[name][0], total, rtol=1e-4, err_msg=name)
            assert found_objectives[name][1] == count
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=5e-6), found, expected)


def test_accumulation_computes_the_counts_without_a_pass_over_the_whole_batch():
    config = small_config(**TWO)
    model, batch = model_of(config), random_batch(config, VOCABULARY, 16)
    abstract = jax.eval_shape(model.init, jax.random.key(0))

    def temporaries(parts):
        lowered = jax.jit(lambda p, b: step.gradients(model, p, b, None, parts)).lower(abstract, batch)
        return lowered.compile().memory_analysis().temp_size_in_bytes

    assert temporaries(8) < 0.6 * temporaries(1)


# ---- devices


BATCHES = [random_batch(small_config(**TWO), VOCABULARY, 16, seed=seed) for seed in range(3)]


@pytest.fixture(scope="module")
def alone():
    return trained(small_config(**TWO, batch_size=16), mesh_of(1), BATCHES)


@pytest.mark.parametrize(
    "axes", [{}, {"fsdp": 8}, {"model": 2, "fsdp": 2}], ids=["data", "fsdp", "data x fsdp x model"]
)
def test_eight_devices_agree_with_one(alone, axes):
    state, metrics = trained(small_config(**TWO, batch_size=16), mesh_of(8, **axes), BATCHES)
    for name, (total, count) in alone[1].items():
        np.testing.assert_allclose(metrics[name], (total, count), rtol=2e-4, atol=1e-5, err_msg=name)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=5e-3, atol=2e-4), state["params"], alone[0]["params"]
    )


def test_parameters_and_moments_are_born_sharded():
    config, mesh = small_config(**TWO, batch_size=16), mesh_of(8, fsdp=4, model=2)
    optimizer = optim.optimizer(config)
    with jax.set_mesh(mesh):
        state = step.sharded_init(model_of(config), optimizer, 0, mesh)
    kernel = state["params"]["fusion"]["stack"]["blocks"]["mlp"]["up"]["kernel"]
    assert kernel.sharding.spec == sharding.P(None, "fsdp", "model")
    assert kernel.addressable_shards[0].data.nbytes * 8 == kernel.nbytes
    (moments,) = (part for part in state["opt_state"] if isinstance(part, optax.ScaleByAdamState))
    assert moments.mu["fusion"]["stack"]["blocks"]["mlp"]["up"]["kernel"].sharding == kernel.sharding

    def init():
        return step.init_state(model_of(config), optimizer, jax.random.key(0))

    places = sharding.shardings(jax.eval_shape(init), mesh)
    memory = jax.jit(init, out_shardings=places).lower().compile().memory_analysis()
    whole = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(jax.eval_shape(init)))
    assert memory.output_size_in_bytes < 0.5 * whole


# ---- the state


def test_a_step_counts_and_is_a_function_of_seed_and_step():
    config = small_config(**TWO, model__dropout=0.3)
    batch = random_batch(config, VOCABULARY, 8)
    first, _ = trained(config, mesh_of(), [batch])
    again, _ = trained(config, mesh_of(), [batch])
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert first["step"] == 1
    assert set(first) == {"params", "opt_state", "step", "counts"}


def test_damaged_listings_are_counted_and_add_nothing():
    config = small_config(**TWO)
    present = np.ones((8, 2), bool)
    present[3] = False
    batch = random_batch(config, VOCABULARY, 8, present=present)
    batch["valid"][3] = False
    state, metrics = trained(config, mesh_of(), [batch])
    assert state["counts"]["damaged"] == 1
    assert metrics["contrastive"][1] == 7


class Exploding:
    """A model of one parameter whose loss is NaN where the batch says so."""

    weights = {"it": 1.0}  # noqa: RUF012  (a stand-in for a dataclass of functions)

    @staticmethod
    def init(key):
        return {"dense": {"kernel": jnp.ones((2, 2))}, "bias": jnp.ones(2)}

    @staticmethod
    def losses(params, batch, key):
        bad = jnp.where(batch["bad"].any(), jnp.nan, 1.0)
        total = (params["dense"]["kernel"] ** 2).sum() * bad + (params["bias"] ** 2).sum()
        return Losses({"it": (total, jnp.ones(()))}, {})

    @staticmethod
    def couple(params, coupled, batch):
        return {}


def test_no_nan_ever_reaches_weights_or_moments():
    config, mesh = small_config(), mesh_of()
    optimizer = optim.optimizer(config)
    with jax.set_mesh(mesh):
        state = step.sharded_init(Exploding, optimizer, 0, mesh)
        train_step = step.make_train_step(Exploding, optimizer, seed=0, accumulate=1, mesh=mesh)
        counts = []
        for bad in [0, 1, 1, 1, 0, 1]:
            before = jax.device_get(state)
            batch = {"bad": np.full(1, bool(bad)), "valid": np.ones(1, bool)}
            state, metrics = train_step(state, batch)
            after = jax.device_get(state)
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((after["params"], after["opt_state"])))
            unchanged = all(
                np.array_equal(a, b)
                for a, b in zip(*map(jax.tree.leaves, (before["params"], after["params"])), strict=True)
            )
            assert unchanged == bool(bad)
            counts.append((int(after["counts"]["skipped_in_a_row"]), int(after["counts"]["skipped"])))
    assert counts == [(0, 0), (1, 1), (2, 2), (3, 3), (0, 3), (1, 4)]
    assert metrics["skipped"][0] == 4
