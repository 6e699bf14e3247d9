"""Objectives against loops in float64, and their behaviour where something is missing."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from m5jax.objectives import numerics
from m5jax.objectives.contrastive import contrastive as pair_losses
from m5jax.objectives.contrastive import pair_total
from m5jax.objectives.harmony import agreement_shares, harmony
from m5jax.objectives.masked import masked_blocks, masked_tokens


def random(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def contrastive(embeddings, present, temperature, logit_scale, loss_scale, negatives="cross_modal"):
    """(sum, count) of every pair."""
    found = pair_losses(embeddings, present, temperature, logit_scale, negatives)
    return {(i, j): pair_total(loss * loss_scale[:, i, j], present, i, j) for (i, j), loss in found.items()}


# ---- harmony


def harmony_by_hand(vectors, present):
    """The released computation for one listing, in a loop: cosine, times row softmax, rows to unit length."""
    size = len(vectors)
    matrix = np.zeros((size, size))
    for i in range(size):
        if not present[i]:
            continue
        row = np.zeros(size)
        for j in range(size):
            if present[j]:
                row[j] = vectors[i] @ vectors[j] / max(np.linalg.norm(vectors[i]) * np.linalg.norm(vectors[j]), 1e-12)
        shares = np.exp(row) * present
        row = row * shares / shares.sum()
        matrix[i] = row / max(np.linalg.norm(row), 1e-12)
    return matrix


def test_harmony_equals_the_loop_for_all_31_subsets():
    subsets = np.array(list(itertools.product([False, True], repeat=5))[1:])
    vectors = np.maximum(random((31, 5, 8)), 0)
    expected = np.stack([harmony_by_hand(v.astype(np.float64), p) for v, p in zip(vectors, subsets, strict=True)])
    np.testing.assert_allclose(harmony(jnp.array(vectors), jnp.array(subsets)), expected, atol=1e-6)


def test_harmony_of_identical_and_of_orthogonal_embeddings():
    everything = jnp.ones((1, 5), bool)
    same = harmony(jnp.tile(random((1, 1, 8)), (1, 5, 1)), everything)
    np.testing.assert_allclose(same, np.full((1, 5, 5), 1 / math.sqrt(5)), atol=1e-6)
    np.testing.assert_allclose(harmony(jnp.eye(5)[None], everything), np.eye(5)[None], atol=1e-6)


def test_harmony_of_four_aligned_embeddings_and_one_of_noise():
    # The released weights: 0.56 for the aligned, 1 for the odd one out, next to nothing between them.
    vectors = np.zeros((1, 5, 64), np.float32)
    vectors[0, :4] = np.abs(random(64)) + 0.05 * random((4, 64), 1)
    vectors[0, 4] = random(64, 2)
    vectors[0, 4] -= vectors[0, 4] @ vectors[0, 0] / (vectors[0, 0] @ vectors[0, 0]) * vectors[0, 0] * 0.98
    diagonal = np.diagonal(harmony(jnp.array(vectors), jnp.ones((1, 5), bool))[0])
    assert np.all(diagonal[:4] < 0.6)
    assert diagonal[4] > 0.98


def shares_by_hand(vectors, present, temperature):
    names = np.flatnonzero(present)
    unit = {m: vectors[m] / np.linalg.norm(vectors[m]) for m in names}
    agreement = [np.mean([unit[m] @ unit[n] for n in names if n != m] or [0.0]) for m in names]
    shares = np.zeros(len(present))
    shares[names] = np.exp(np.array(agreement) / temperature)
    return shares / shares.sum()


def test_agreement_shares_equal_the_loop_for_all_31_subsets():
    subsets = np.array(list(itertools.product([False, True], repeat=5))[1:])
    vectors = np.asarray(random((31, 5, 8)))
    expected = np.stack([shares_by_hand(v.astype(np.float64), p, 0.2) for v, p in zip(vectors, subsets, strict=True)])
    found = agreement_shares(jnp.where(subsets[..., None], vectors, jnp.nan), jnp.array(subsets), jnp.float32(0.2))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_what_agrees_with_nothing_says_little_and_nothing_present_says_nothing():
    vectors = jnp.array([[[1.0, 0, 0], [1, 0.1, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 0], [0, 0, 1]]])
    shares = agreement_shares(vectors, jnp.array([[True, True, True], [False, False, False]]), jnp.float32(0.1))
    assert shares[0, 2] < 0.02
    assert not shares[1].any()


def test_harmony_gradient_is_finite_with_zero_vectors_and_absent_modalities():
    vectors = jnp.zeros((3, 5, 8)).at[0].set(random((5, 8)))
    present = jnp.array([[True] * 5, [True, False, True, False, False], [False] * 5])
    gradient = jax.grad(lambda v: harmony(v, present).sum())(vectors)
    assert np.isfinite(gradient).all()


# ---- contrastive


def contrastive_by_hand(embeddings, present, temperature, logit_scale, loss_scale):
    """Per pair: every listing that has both against all that have the other one, both directions."""
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=-1, keepdims=True), 1e-12)
    totals = {}
    for i, j in itertools.combinations(range(embeddings.shape[1]), 2):
        total, count = 0.0, 0
        for b in range(len(unit)):
            if not (present[b, i] and present[b, j]):
                continue
            both = []
            for mine, other in ((i, j), (j, i)):
                logits = np.array([unit[b, mine] @ unit[k, other] for k in range(len(unit)) if present[k, other]])
                logits = logits / temperature * logit_scale[b, i, j]
                own = unit[b, mine] @ unit[b, other] / temperature * logit_scale[b, i, j]
                both.append(np.log(np.exp(logits).sum()) - own)
            total, count = total + loss_scale[b, i, j] * np.mean(both), count + 1
        totals[i, j] = (total, count)
    return totals


@pytest.mark.parametrize("seed", range(3))
def test_contrastive_equals_the_loop(seed):
    rng = np.random.default_rng(seed)
    embeddings, present = random((9, 4, 6), seed), rng.random((9, 4)) < 0.6
    logit_scale, loss_scale = rng.random((9, 4, 4)), rng.random((9, 4, 4))
    expected = contrastive_by_hand(embeddings.astype(np.float64), present, 0.2, logit_scale, loss_scale)
    found = contrastive(embeddings, jnp.array(present), jnp.array(0.2), jnp.array(logit_scale), jnp.array(loss_scale))
    assert found.keys() == expected.keys()
    for pair, (total, count) in expected.items():
        np.testing.assert_allclose(found[pair], (total, count), rtol=2e-5, atol=1e-6)


def test_contrastive_of_indifferent_embeddings_is_log_of_the_candidates():
    ones = jnp.ones((7, 2, 2))
    found = contrastive(jnp.ones((7, 2, 3)), jnp.ones((7, 2), bool), jnp.array(1.0), ones, ones)
    np.testing.assert_allclose(numerics.mean(found[0, 1]), math.log(7), rtol=1e-6)


def test_contrastive_ignores_absent_content_in_value_and_gradient_bit_for_bit():
    present = jnp.array(np.random.default_rng(0).random((8, 5)) < 0.5)
    ones = jnp.ones((8, 5, 5))

    def loss(embeddings):
        return sum(total for total, _ in contrastive(embeddings, present, jnp.array(0.1), ones, ones).values())

    first = jnp.array(random((8, 5, 6)))
    second = jnp.where(present[..., None], first, jnp.array(random((8, 5, 6), 1)) * 1e6)
    (a, gradient_a), (b, gradient_b) = (jax.value_and_grad(loss)(e) for e in (first, second))
    assert a == b
    np.testing.assert_array_equal(gradient_a, gradient_b)
    assert not np.asarray(gradient_a)[~np.asarray(present)].any()


def test_contrastive_does_not_depend_on_the_order_of_the_batch():
    embeddings, present = random((8, 3, 6)), np.random.default_rng(0).random((8, 3)) < 0.7
    scale, order = np.random.default_rng(1).random((8, 3, 3)), np.random.default_rng(2).permutation(8)
    straight = contrastive(embeddings, jnp.array(present), jnp.array(0.1), jnp.array(scale), jnp.array(scale))
    mixed = contrastive(
        embeddings[order], jnp.array(present[order]), jnp.array(0.1), jnp.array(scale[order]), jnp.array(scale[order])
    )
    for pair, value in straight.items():
        np.testing.assert_allclose(mixed[pair], value, rtol=1e-5)


def test_contrastive_with_nothing_present_is_zero_with_zero_gradient():
    nothing, ones = jnp.zeros((4, 2), bool), jnp.ones((4, 2, 2))

    def loss(embeddings):
        return numerics.mean(contrastive(embeddings, nothing, jnp.array(0.1), ones, ones)[0, 1])

    value, gradient = jax.value_and_grad(loss)(jnp.zeros((4, 2, 3)))
    assert value == 0
    assert not gradient.any()


# ---- masked


def test_masked_tokens_equal_the_loop():
    logits, valid = random((3, 4, 11)), np.random.default_rng(0).random((3, 4)) < 0.5
    targets, scale = np.random.default_rng(1).integers(0, 11, (3, 4)), np.array([1.0, 0.5, 2.0], np.float32)
    total = 0.0
    for b, k in zip(*np.nonzero(valid), strict=True):
        row = logits[b, k].astype(np.float64) * scale[b]
        total += 3.0 * (np.log(np.exp(row).sum()) - row[targets[b, k]])
    found = masked_tokens(logits, jnp.array(targets), jnp.array(valid), jnp.array(scale), jnp.full(3, 3.0))
    np.testing.assert_allclose(found, (total, valid.sum()), rtol=1e-5)


def test_masked_blocks_equal_the_loop():
    predictions, targets = random((3, 4, 7)), random((3, 4, 7), 1) * 5 + 2
    valid, scale = np.random.default_rng(0).random((3, 4)) < 0.5, np.array([1.0, 0.5, 2.0], np.float32)
    total = 0.0
    for b, k in zip(*np.nonzero(valid), strict=True):
        target = targets[b, k].astype(np.float64)
        target = (target - target.mean()) / np.sqrt(target.var() + 0.01)
        total += np.mean((predictions[b, k] * scale[b] - target) ** 2)
    found = masked_blocks(predictions, targets, jnp.array(valid), jnp.array(scale), jnp.ones(3), 0.01)
    np.testing.assert_allclose(found, (total, valid.sum()), rtol=1e-5)


def test_targets_of_one_scale_and_offset_cost_the_same():
    predictions, targets, valid = random((2, 3, 64)), random((2, 3, 64), 1), jnp.ones((2, 3), bool)
    plain = masked_blocks(predictions, targets, valid, jnp.ones(2), jnp.ones(2), 1e-6)
    unit_norm = masked_blocks(predictions, targets / 32 + 1, valid, jnp.ones(2), jnp.ones(2), 1e-6)
    np.testing.assert_allclose(unit_norm, plain, rtol=1e-2)


def test_nothing_selected_is_zero_not_nan_even_beside_garbage():
    nothing = jnp.zeros((2, 3), bool)
    garbage = jnp.full((2, 3, 5), jnp.nan)
    total, count = masked_blocks(jnp.zeros((2, 3, 5)), garbage, nothing, jnp.ones(2), jnp.ones(2), 1e-6)
    assert (total, count) == (0, 0)
    assert numerics.mean((total, count)) == 0


# ---- numerics


def test_normalise_is_smooth_at_zero():
    assert not jax.grad(lambda x: numerics.normalise(x).sum())(jnp.zeros(4)).any()
    np.testing.assert_allclose(jnp.linalg.norm(numerics.normalise(jnp.array(random((5, 4)))), axis=-1), 1, rtol=1e-6)


def test_sums_and_counts_of_halves_add_up():
    values, mask = random(10), np.random.default_rng(0).random(10) < 0.5
    halves = [numerics.masked_sum(values[part], mask[part]) for part in (slice(0, 4), slice(4, 10))]
    np.testing.assert_allclose(numerics.add(*halves), numerics.masked_sum(values, mask), rtol=1e-6)
