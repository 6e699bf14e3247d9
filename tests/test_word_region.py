"""Optimal transport of words to regions against its definition: loops, assignments, linear programmes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from m5jax.objectives.word_region import SHARPNESS, STEPS, transport, word_region

plan_of = jax.jit(transport, static_argnums=3)
value_and_grad = jax.jit(jax.value_and_grad(lambda words, *rest: word_region(words, *rest)[0].sum(), argnums=(0, 1)))


def by_loops(cost, steps=STEPS):
    """One listing's plan, in double precision: every proximal step rescales rows, then columns."""
    rows, columns = cost.shape
    plan, right = np.ones((rows, columns)), np.full(columns, 1 / columns)
    for _ in range(steps):
        scaled = np.exp(-cost / SHARPNESS) * plan
        left = np.array([1 / rows / sum(scaled[i, j] * right[j] for j in range(columns)) for i in range(rows)])
        right = np.array([1 / columns / sum(scaled[i, j] * left[i] for i in range(rows)) for j in range(columns)])
        plan = left[:, None] * scaled * right[None]
    return plan


def best(cost):
    """The least cost of a plan, by a linear programme."""
    rows, columns = cost.shape
    moves = np.zeros((rows + columns, rows, columns))
    for i in range(rows):
        moves[i, i] = 1
    for j in range(columns):
        moves[rows + j, :, j] = 1
    shares = [1 / rows] * rows + [1 / columns] * columns
    return optimize.linprog(cost.ravel(), A_eq=moves.reshape(rows + columns, -1), b_eq=shares).fun


def listings():
    """Costs of three listings of up to 4 words and 6 regions, and which there are, here and there between others."""
    rng = np.random.default_rng(0)
    rows = np.array([[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0]], bool)
    columns = np.array([[1, 1, 1, 1, 1, 1], [0, 1, 1, 0, 1, 0], [1, 1, 0, 0, 0, 0]], bool)
    return rng.uniform(0, 2, (3, 4, 6)).astype(np.float32), rows, columns


def test_plans_equal_the_loops_and_show_only_what_is_there():
    cost, rows, columns = listings()
    plans = np.asarray(plan_of(cost, rows, columns, STEPS))
    for n in (0, 1):
        there = np.ix_(rows[n], columns[n])
        np.testing.assert_allclose(plans[n][there], by_loops(cost[n][there]), atol=1e-6)
        np.testing.assert_allclose(plans[n].sum(0)[columns[n]], 1 / columns[n].sum(), atol=1e-6)
        assert plans[n].sum() == pytest.approx(1, abs=1e-6)
    assert not plans[2].any()


def test_more_steps_come_to_the_least_cost():
    cost, rows, columns = listings()
    for n in (0, 1):
        there = np.ix_(rows[n], columns[n])
        costs = [float((plan_of(cost, rows, columns, steps)[n] * cost[n]).sum()) for steps in (STEPS, 20 * STEPS)]
        least = best(cost[n][there].astype(np.float64))
        assert costs[0] == pytest.approx(least, abs=0.05)
        assert costs[1] == pytest.approx(least, abs=2e-3)


def test_where_words_are_regions_the_plan_is_the_assignment():
    rng = np.random.default_rng(1)
    words = rng.normal(size=(1, 5, 8)).astype(np.float32)
    order = rng.permutation(5)
    regions = 3.0 * words[:, order]  # cosines do not see the length
    everything = np.ones((1, 5), bool)
    unit = words[0] / np.linalg.norm(words[0], axis=-1, keepdims=True)
    cost = 1 - unit @ unit[order].T
    found, assigned = optimize.linear_sum_assignment(cost)
    np.testing.assert_array_equal(order[assigned], found)
    plan = np.asarray(plan_of(jnp.asarray(cost[None]), everything, everything, STEPS))[0]
    np.testing.assert_array_equal(plan.argmax(1), assigned)
    np.testing.assert_allclose(plan[found, assigned], 0.2, atol=1e-3)
    sums, counts = word_region(jnp.asarray(words), jnp.asarray(regions), everything, everything)
    assert sums[0] == pytest.approx(0, abs=1e-3)
    assert counts[0] == 1


def test_the_gradient_is_that_of_the_cost_under_a_fixed_plan():
    rng = np.random.default_rng(2)
    _, rows, columns = listings()
    words, regions = (rng.normal(size=(3, n, 4)).astype(np.float32) for n in (4, 6))
    garbage = np.where(rows[..., None], words, np.nan), np.where(columns[..., None], regions, np.nan)
    (value, gradient) = value_and_grad(*garbage, rows, columns)
    unit = [x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (words, regions)]
    cost = 1 - np.einsum("bld,bnd->bln", *unit)
    plan = np.asarray(plan_of(cost, rows, columns, STEPS))
    assert value == pytest.approx((plan * cost).sum(), abs=1e-5)
    # d(-cosine) of a word: minus what the regions' directions have across its own, over its length.
    pulled = np.einsum("bln,bnd->bld", plan, unit[1])
    across = pulled - unit[0] * (pulled * unit[0]).sum(-1, keepdims=True)
    expected = -across / np.linalg.norm(words, axis=-1, keepdims=True)
    np.testing.assert_allclose(gradient[0], np.where(rows[..., None], expected, 0.0), atol=1e-5)
    assert np.isfinite(gradient[1]).all()
    assert not gradient[0][2].any()


def test_states_of_zero_and_listings_without_either_side_are_finite():
    zeros = np.zeros((2, 3, 4), np.float32)
    for rows in (np.ones((2, 3), bool), np.zeros((2, 3), bool)):
        value, gradient = value_and_grad(zeros, zeros, rows, rows)
        assert np.isfinite(value)
        assert not np.any(gradient[0])
        assert float(word_region(zeros, zeros, rows, rows)[1].sum()) == (2 if rows.any() else 0)
