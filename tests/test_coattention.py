"""Co-attention against a slow twin; what is absent on one side; its size; where its parameters live."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from m5jax import config as config_lib
from m5jax import optim, sharding
from m5jax.model_settings import Model, Tower
from m5jax.models.coattention import CoStack
from m5jax.models.interface import functional
from m5jax.models.layers import BERT, PRE_NORM

TEXT, GRID, BETWEEN = Tower(1, 2, 24, 12), Tower(1, 2, 10, 8), Tower(2, 4, 0, 16)
CONFIG = Model(width=12)


def stack(layout=BERT, config=CONFIG, text=TEXT, grid=GRID, between=BETWEEN):
    return functional(lambda rngs: CoStack(between, text, grid, layout, config, jnp.dtype("float32"), rngs))


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def drawn(init):
    """Parameters of no special values, so that biases and norms matter."""
    flat, tree = jax.tree.flatten(jax.eval_shape(init, jax.random.key(0)))
    return jax.tree.unflatten(tree, [0.3 * random(*leaf.shape, seed=n) for n, leaf in enumerate(flat)])


MASKS = np.array([[1, 1, 1, 1, 0], [1, 0, 1, 1, 0], [0] * 5], bool), np.array([[1, 0, 1], [0] * 3, [1] * 3], bool)
STREAMS = random(3, 5, 12), random(3, 3, 8, seed=1)


# ---- the slow twin: one query at a time


def gelu(x):
    return x * 0.5 * (1 + special.erf(x / np.sqrt(2)))


def normed(x, p):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-12) * p["scale"] + p["bias"]


def gathered(own, other, mask, p):
    out = np.zeros_like(own)
    if not mask.any():
        return out
    for token, x in enumerate(own):
        for head in range(4):
            query = x @ p["query"]["kernel"][:, head] + p["query"]["bias"][head]
            keys = other[mask] @ p["kv"]["kernel"][:, 0, head] + p["kv"]["bias"][0, head]
            values = other[mask] @ p["kv"]["kernel"][:, 1, head] + p["kv"]["bias"][1, head]
            out[token] += special.softmax(keys @ query / np.sqrt(len(query))) @ values @ p["out"]["kernel"][head]
        out[token] += p["out"]["bias"]
    return out


def one_side(own, other, mask, p):
    x = normed(own + gathered(own, other, mask, p["attention"]), p["norm_attention"])
    hidden = gelu(x @ p["mlp"]["up"]["kernel"] + p["mlp"]["up"]["bias"])
    return normed(x + hidden @ p["mlp"]["down"]["kernel"] + p["mlp"]["down"]["bias"], p["norm_mlp"])


def twin(params, text, grid, text_mask, grid_mask):
    for layer in range(2):
        p = jax.tree.map(lambda leaf, layer=layer: np.asarray(leaf, np.float64)[layer], params["blocks"])
        text, grid = one_side(text, grid, grid_mask, p["text"]), one_side(grid, text, text_mask, p["grid"])
    return text, grid


@pytest.mark.parametrize("scan", [True, False])
def test_co_attention_is_its_slow_twin_whatever_is_absent(scan):
    init, bind = stack(config=dataclasses.replace(CONFIG, scan=scan))
    params = drawn(init)
    found = jax.jit(lambda p: bind(p)(*STREAMS, *MASKS, None))(params)
    for b in range(3):
        expected = twin(
            params, STREAMS[0][b].astype(np.float64), STREAMS[1][b].astype(np.float64), *(m[b] for m in MASKS)
        )
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours[b], theirs, atol=2e-5)


@pytest.mark.parametrize("layout", [BERT, PRE_NORM], ids=["post_norm", "pre_norm"])
def test_what_is_absent_changes_nothing_and_leaves_the_gradient_finite(layout):
    init, bind = stack(layout)
    params = drawn(init)

    @jax.jit
    @jax.value_and_grad
    def total(p, streams):
        text, grid = bind(p)(*streams, *MASKS, None)
        return sum(jnp.where(m[..., None], x, 0.0).sum() for x, m in zip((text, grid), MASKS, strict=True))

    value, gradient = total(params, STREAMS)
    other = [np.where(m[..., None], x, 7.0) for x, m in zip(STREAMS, MASKS, strict=True)]
    again, gradient_again = total(params, other)
    assert value == again
    for leaf, same in zip(jax.tree.leaves(gradient), jax.tree.leaves(gradient_again), strict=True):
        assert np.isfinite(leaf).all()
        np.testing.assert_array_equal(leaf, same)


def full_size():
    """K3M's and ViLBERT's sizes: widths 768 and 1024, six layers of 1024 with 8 heads."""
    text, grid = Tower(12, 12, 3072), Tower(6, 8, 1024, 1024)
    init, _ = stack(config=Model(width=768), text=text, grid=grid, between=Tower(6, 8, 0, 1024))
    return jax.eval_shape(init, jax.random.key(0))


def test_8_six_layers_at_full_size_have_85_06_million_parameters():
    assert sum(leaf.size for leaf in jax.tree.leaves(full_size())) == 85_060_608


def test_every_large_parameter_has_a_place():
    mesh = sharding.make_mesh(config_lib.Mesh(data=2, fsdp=2, model=2))
    tree = sharding.shardings(full_size(), mesh)
    places = {optim.path_of(keys): str(leaf.spec) for keys, leaf in jax.tree_util.tree_leaves_with_path(tree)}
    assert places["blocks/text/attention/query/kernel"] == "P(None, 'fsdp', 'model')"
    assert places["blocks/grid/attention/kv/kernel"] == "P(None, 'fsdp', None, 'model')"
    assert places["blocks/grid/mlp/down/kernel"] == "P(None, 'model', 'fsdp')"
    assert all("fsdp" in place for path, place in places.items() if path.endswith("kernel"))
