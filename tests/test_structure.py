"""Means of spans and the star attention against slow twins; tables with nothing in them; one triple at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from m5jax.model_settings import Model
from m5jax.model_settings import Structure as Settings
from m5jax.models.interface import functional
from m5jax.models.structure import Structure, own_triple, span_means

WIDTH, TRIPLES = 6, 3
#                    CLS  p  p  v SEP  p  v  v  of the third: no value      of a table with nothing but markers
SPANS = np.array([[0, 1, 1, 2, 0, 3, 4, 4, 5, 0], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0], [2, 1, 0, 0, 6, 5, 5, 0, 0, 0]])


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


STATES = random(3, 10, WIDTH)


@jax.jit
def means(states):
    return span_means(states, SPANS, TRIPLES)


def test_properties_and_values_are_the_means_of_their_own_tokens():
    properties, values, there = means(STATES)
    np.testing.assert_array_equal(there, [[1, 1, 0], [0, 0, 0], [1, 0, 1]])
    for b, spans in enumerate(SPANS):
        for k in range(TRIPLES):
            for found, number in ((properties, 2 * k + 1), (values, 2 * k + 2)):
                rows = STATES[b][spans == number]
                np.testing.assert_allclose(found[b, k], rows.mean(0) if len(rows) else 0.0, atol=1e-6)
    gradient = jax.jit(jax.grad(lambda states: means(states)[0][0, 0].sum()))(STATES)
    np.testing.assert_allclose(gradient[0].sum(-1), np.where(SPANS[0] == 1, WIDTH / 2, 0.0), atol=1e-6)


def star(heads, slope=0.01):
    config = Model(width=WIDTH, structure=Settings(heads=heads, slope=slope))
    init, bind = functional(lambda rngs: Structure(WIDTH, config, jnp.dtype("float32"), rngs))
    params = jax.tree.map(lambda leaf: leaf + random(*leaf.shape, seed=leaf.size), init(jax.random.key(0)))
    return params, jax.jit(lambda p, *x: bind(p)(*x))


CENTRE, PROPERTIES, VALUES = random(3, WIDTH), random(3, TRIPLES, WIDTH, seed=1), random(3, TRIPLES, WIDTH, seed=2)
THERE = np.array([[1, 1, 1], [0, 0, 0], [1, 0, 1]], bool)


def twin(p, heads, slope):
    out = CENTRE.astype(np.float64)
    for b in range(3):
        rows = [k for k in range(TRIPLES) if THERE[b, k]]
        for head in range(heads if rows else 0):
            mixed = np.stack(
                [
                    np.concatenate([CENTRE[b], PROPERTIES[b, k], VALUES[b, k]]) @ p["triple"]["kernel"][:, head]
                    + p["triple"]["bias"][head]
                    for k in rows
                ]
            )
            shares = special.softmax(np.where(mixed > 0, mixed, slope * mixed) @ p["score"][head])
            out[b] += shares @ mixed @ p["out"]["kernel"][head]
    return out


@pytest.mark.parametrize(("heads", "slope"), [(1, 0.01), (3, 0.2)])
def test_the_star_is_its_slow_twin_and_adds_nothing_where_there_are_no_triples(heads, slope):
    params, aggregate = star(heads, slope)
    found = aggregate(params, CENTRE, PROPERTIES, VALUES, THERE)
    np.testing.assert_allclose(found, twin(params, heads, slope), atol=1e-5)
    np.testing.assert_array_equal(found[1], CENTRE[1])


def test_what_is_not_there_is_not_heard_and_the_gradient_is_finite():
    params, aggregate = star(2)

    @jax.jit
    @jax.value_and_grad
    def total(p, values, there=THERE):
        return jnp.square(aggregate(p, CENTRE, PROPERTIES, values, there)).sum()

    first, gradient = total(params, VALUES)
    second, same = total(params, np.where(THERE[..., None], VALUES, 9.0))
    assert first == second
    for leaf, other in zip(jax.tree.leaves(gradient), jax.tree.leaves(same), strict=True):
        assert np.isfinite(leaf).all()
        assert np.any(leaf)
        np.testing.assert_array_equal(leaf, other)
    _, nothing = jax.value_and_grad(lambda p: aggregate(p, CENTRE, PROPERTIES, VALUES, np.zeros_like(THERE)).sum())(
        params
    )
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(nothing))


def test_a_triple_sees_itself_and_counts_from_its_own_start():
    alone = jax.jit(own_triple)(SPANS)
    for b, spans in enumerate(SPANS):
        triple = (spans + 1) // 2
        for i in range(len(spans)):
            np.testing.assert_array_equal(alone.seen[b, i], (triple == triple[i]) & (triple[i] > 0))
            if triple[i]:
                assert alone.positions[b, i] == (triple[:i] == triple[i]).sum()
