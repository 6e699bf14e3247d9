"""Schedule and optimizer: shapes of the rate, and which parameters move."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import small_config

from m5jax import optim

PARAMS = {
    "encoders": {"image": {"dense": {"kernel": jnp.ones((3, 3)), "bias": jnp.ones(3)}}},
    "norm": {"scale": jnp.ones(3)},
}


@pytest.mark.parametrize(("shape", "middle"), [("cosine", 0.5), ("linear", 0.5), ("constant", 1.0)])
def test_schedule_rises_and_falls(shape, middle):
    config = small_config(steps=100, optimizer__schedule=shape, optimizer__warmup=0.1, optimizer__learning_rate=2.0)
    rate = optim.schedule(config)
    assert rate(0) == pytest.approx(0.2)  # the first batch is not thrown away
    rising = [float(rate(i)) for i in range(10)]
    np.testing.assert_allclose(rising, 2.0 * np.arange(1, 11) / 10, rtol=1e-5)
    assert rate(55) == pytest.approx(2.0 * middle, rel=1e-5)
    assert rate(99) < 0.05 or shape == "constant"


@pytest.mark.parametrize("warmup", [0.0, 0.01, 1.0])
def test_schedule_without_and_with_only_warm_up_is_finite(warmup):
    rate = optim.schedule(small_config(steps=5, optimizer__warmup=warmup))
    assert all(0 < float(rate(i)) <= 1e-3 * (1 + 1e-6) for i in range(5))


def test_final_scale_is_where_the_rate_ends():
    config = small_config(steps=50, optimizer__final_scale=0.1, optimizer__learning_rate=1.0)
    assert optim.schedule(config)(50) == pytest.approx(0.1, rel=1e-5)


def moved(config, gradient=0.0):
    """How far every parameter moves in one step under a constant gradient."""
    optimizer = optim.optimizer(config)
    updates, _ = optimizer.update(
        jax.tree.map(lambda p: jnp.full_like(p, gradient), PARAMS), optimizer.init(PARAMS), PARAMS
    )
    return {
        optim.path_of(keys): float(jnp.abs(leaf).max()) for keys, leaf in jax.tree_util.tree_leaves_with_path(updates)
    }


def test_only_matrices_decay():
    moves = moved(small_config(steps=10, optimizer__weight_decay=0.1, optimizer__learning_rate=1.0))
    assert moves["encoders/image/dense/kernel"] == pytest.approx(0.1)
    assert moves["encoders/image/dense/bias"] == moves["norm/scale"] == 0


def test_frozen_parameters_stay_and_do_not_count_in_the_clipped_norm():
    frozen = small_config(optimizer__freeze="encoders/.*", optimizer__weight_decay=0.5)
    moves = moved(frozen, gradient=1.0)
    assert moves["encoders/image/dense/kernel"] == moves["encoders/image/dense/bias"] == 0
    assert moves["norm/scale"] > 0
    seen = []
    chain = optim.optimizer(frozen)
    huge = {"encoders": jax.tree.map(lambda p: p * 1e6, PARAMS["encoders"]), "norm": {"scale": jnp.full(3, 1e-3)}}
    for gradient in (huge, huge | {"encoders": jax.tree.map(jnp.zeros_like, PARAMS["encoders"])}):
        _, state = chain.update(gradient, chain.init(PARAMS), PARAMS)
        seen.append(state[2].mu["norm"]["scale"])
    np.testing.assert_array_equal(*seen)


def test_the_gradient_is_clipped_to_its_norm():
    config = small_config(optimizer__clip=1.0)
    optimizer = optim.optimizer(config)
    gradient = jax.tree.map(lambda p: jnp.full_like(p, 100.0), PARAMS)
    _, state = optimizer.update(gradient, optimizer.init(PARAMS), PARAMS)
    norm = np.sqrt(sum((np.asarray(m) ** 2).sum() for m in jax.tree.leaves(state[2].mu))) / (1 - 0.9)
    assert norm == pytest.approx(1.0, rel=1e-5)


def test_patterns_match_whole_paths():
    assert optim.matching("norm/scale", PARAMS)["norm"]["scale"]
    assert not optim.matching("norm", PARAMS)["norm"]["scale"]
    assert not any(jax.tree.leaves(optim.matching("", PARAMS)))
