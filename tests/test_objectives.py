"""Objectives against loops in float64, and their behaviour where something is missing."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from m5jax.objectives import numerics
from m5jax.objectives.classification import classification
from m5jax.objectives.contrastive import contrastive as pair_losses
from m5jax.objectives.contrastive import pair_total
from m5jax.objectives.masked import masked_blocks, masked_tokens


def random(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def contrastive(embeddings, present, temperature, logit_scale, loss_scale, negatives="cross_modal"):
    """(sum, count) of every pair."""
    found = pair_losses(embeddings, present, temperature, logit_scale, negatives)
    return {(i, j): pair_total(loss * loss_scale[:, i, j], present, i, j) for (i, j), loss in found.items()}


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


def simclr_by_hand(embeddings, present, temperature, logit_scale):
    """The released form of one pair: 2B rows, each against all others of both modalities; absent rows left out."""
    unit = embeddings / np.linalg.norm(embeddings, axis=-1, keepdims=True)
    totals = {}
    for i, j in itertools.combinations(range(embeddings.shape[1]), 2):
        rows = [(b, m) for m in (i, j) for b in range(len(unit)) if present[b, m]]
        total = 0.0
        both = [b for b in range(len(unit)) if present[b, i] and present[b, j]]
        for b, (mine, other) in itertools.product(both, ((i, j), (j, i))):
            scale = logit_scale[b, i, j] / temperature
            logits = [unit[b, mine] @ unit[k, m] * scale for k, m in rows if (k, m) != (b, mine)]
            total += 0.5 * (np.log(np.exp(logits).sum()) - unit[b, mine] @ unit[b, other] * scale)
        totals[i, j] = (total, len(both))
    return totals


def test_simclr_negatives_equal_the_loop():
    rng = np.random.default_rng(0)
    embeddings, present, scale = random((7, 3, 6)), rng.random((7, 3)) < 0.7, rng.random((7, 3, 3))
    expected = simclr_by_hand(embeddings.astype(np.float64), present, 0.2, scale)
    ones = jnp.ones((7, 3, 3))
    found = contrastive(embeddings, jnp.array(present), jnp.array(0.2), jnp.array(scale), ones, "simclr")
    for pair, total in expected.items():
        np.testing.assert_allclose(found[pair], total, rtol=2e-5, atol=1e-6)


def test_simclr_of_indifferent_embeddings_is_log_of_2b_minus_1():
    ones = jnp.ones((7, 2, 2))
    found = contrastive(jnp.ones((7, 2, 3)), jnp.ones((7, 2), bool), jnp.array(1.0), ones, ones, "simclr")
    np.testing.assert_allclose(numerics.mean(found[0, 1]), math.log(13), rtol=1e-6)


def test_contrastive_of_indifferent_embeddings_is_log_of_the_candidates():
    ones = jnp.ones((7, 2, 2))
    found = contrastive(jnp.ones((7, 2, 3)), jnp.ones((7, 2), bool), jnp.array(1.0), ones, ones)
    np.testing.assert_allclose(numerics.mean(found[0, 1]), math.log(7), rtol=1e-6)


@pytest.mark.parametrize("negatives", ["cross_modal", "simclr"])
def test_contrastive_ignores_absent_content_in_value_and_gradient_bit_for_bit(negatives):
    present = jnp.array(np.random.default_rng(0).random((8, 5)) < 0.5)
    ones = jnp.ones((8, 5, 5))

    def loss(embeddings):
        found = contrastive(embeddings, present, jnp.array(0.1), ones, ones, negatives)
        return sum(total for total, _ in found.values())

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
        total += np.log(np.exp(row).sum()) - row[targets[b, k]]
    found = masked_tokens(logits, jnp.array(targets), jnp.array(valid), jnp.array(scale))
    np.testing.assert_allclose(summed(found), (total, valid.sum()), rtol=1e-5)
    np.testing.assert_array_equal(found[1], valid.sum(1))  # of every listing


def summed(total):
    """Of all listings together."""
    return total[0].sum(), total[1].sum()


@pytest.mark.parametrize("flat", [0.01, None])
def test_masked_blocks_equal_the_loop(flat):
    predictions, targets = random((3, 4, 7)), random((3, 4, 7), 1) * 5 + 2
    valid, scale = np.random.default_rng(0).random((3, 4)) < 0.5, np.array([1.0, 0.5, 2.0], np.float32)
    total = 0.0
    for b, k in zip(*np.nonzero(valid), strict=True):
        target = targets[b, k].astype(np.float64)
        if flat is not None:
            target = (target - target.mean()) / np.sqrt(target.var() + flat)
        total += np.mean((predictions[b, k] * scale[b] - target) ** 2)
    found = masked_blocks(predictions, targets, jnp.array(valid), jnp.array(scale), flat)
    np.testing.assert_allclose(summed(found), (total, valid.sum()), rtol=1e-5)


def test_targets_of_one_scale_and_offset_cost_the_same():
    predictions, targets, valid = random((2, 3, 64)), random((2, 3, 64), 1), jnp.ones((2, 3), bool)
    plain = masked_blocks(predictions, targets, valid, jnp.ones(2), 1e-6)
    unit_norm = masked_blocks(predictions, targets / 32 + 1, valid, jnp.ones(2), 1e-6)
    np.testing.assert_allclose(summed(unit_norm), summed(plain), rtol=1e-2)


def test_nothing_selected_is_zero_not_nan_even_beside_garbage():
    nothing = jnp.zeros((2, 3), bool)
    garbage = jnp.full((2, 3, 5), jnp.nan)
    total, count = summed(masked_blocks(jnp.zeros((2, 3, 5)), garbage, nothing, jnp.ones(2), 1e-6))
    assert (total, count) == (0, 0)
    assert numerics.mean((total, count)) == 0


# ---- classification


def test_classification_equals_the_loop_over_the_labelled():
    logits, labels = random((6, 5)), np.array([0, 4, -1, 2, -1, 1])
    scores = logits.astype(np.float64) - np.log(np.exp(logits.astype(np.float64)).sum(1, keepdims=True))
    known = labels >= 0
    found = classification(jnp.array(logits), jnp.array(labels))
    expected = (-scores[known, labels[known]].sum(), 4)
    np.testing.assert_allclose(found["classification"], expected, rtol=1e-5)
    np.testing.assert_allclose(found["accuracy"], ((logits.argmax(1) == labels)[known].sum(), 4))


# ---- numerics


def test_normalise_is_smooth_at_zero():
    assert not jax.grad(lambda x: numerics.normalise(x).sum())(jnp.zeros(4)).any()
    np.testing.assert_allclose(jnp.linalg.norm(numerics.normalise(jnp.array(random((5, 4)))), axis=-1), 1, rtol=1e-6)


def test_sums_and_counts_of_halves_add_up():
    values, mask = random(10), np.random.default_rng(0).random(10) < 0.5
    halves = [numerics.masked_sum(values[part], mask[part]) for part in (slice(0, 4), slice(4, 10))]
    np.testing.assert_allclose(numerics.add(*halves), numerics.masked_sum(values, mask), rtol=1e-6)
