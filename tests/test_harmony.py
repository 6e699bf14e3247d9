"""The harmony weights: the released ones against a loop, ours against what the paper says they are for."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

from m5jax.objectives.harmony import agreement, agreement_shares, barrier, free, harmony


def random(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


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


def test_harmony_of_a_zero_vector_is_a_zero_row():
    vectors = jnp.array(random((1, 5, 8))).at[0, 2].set(0.0)
    found = np.asarray(harmony(vectors, jnp.ones((1, 5), bool))[0])
    assert not found[2].any()
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1, 1, 0, 1, 1], atol=1e-5)


def test_harmony_of_four_aligned_embeddings_and_one_of_noise():
    # The released weights: 0.56 for the aligned, 1 for the odd one out, next to nothing between them.
    vectors = np.zeros((1, 5, 64), np.float32)
    vectors[0, :4] = np.abs(random(64)) + 0.05 * random((4, 64), 1)
    vectors[0, 4] = random(64, 2)
    vectors[0, 4] -= vectors[0, 4] @ vectors[0, 0] / (vectors[0, 0] @ vectors[0, 0]) * vectors[0, 0] * 0.98
    diagonal = np.diagonal(harmony(jnp.array(vectors), jnp.ones((1, 5), bool))[0])
    assert np.all(diagonal[:4] < 0.6)
    assert diagonal[4] > 0.98


def planted(seed=0, listings=80, noisy=20, spread=0.4):
    """Embeddings of listings whose four modalities agree, but for the last one of the first `noisy` listings."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(listings, 1, 32)) + spread * rng.normal(size=(listings, 4, 32))
    vectors[:noisy, 3] = vectors[listings - noisy :, 3]  # another listing's, never its own
    return vectors.astype(np.float32)


def agreement_by_hand(vectors, present):
    """2 sigmoid(2 z) of a pair's cosine among all listings that have it, brought to mean 1; means on the diagonal."""
    size = vectors.shape[1]
    weights = np.zeros((len(vectors), size, size))
    unit = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    for i, j in itertools.permutations(range(size), 2):
        rows = np.flatnonzero(present[:, i] & present[:, j])
        if not len(rows):
            continue
        cosines = np.array([unit[b, i] @ unit[b, j] for b in rows])
        raw = 2 / (1 + np.exp(-2 * (cosines - cosines.mean()) / np.sqrt(cosines.var() + 1e-12)))
        weights[rows, i, j] = raw / raw.mean()
    for b, i in np.argwhere(present):
        others = [j for j in range(size) if j != i and present[b, j]]
        weights[b, i, i] = np.mean([weights[b, i, j] for j in others]) if others else 1.0
    return weights


def test_agreement_equals_the_loop_whatever_is_missing():
    present = np.random.default_rng(1).random((40, 5)) < 0.6
    vectors = random((40, 5, 8))
    found = agreement(jnp.where(present[..., None], vectors, jnp.nan), jnp.array(present))
    np.testing.assert_allclose(found, agreement_by_hand(vectors.astype(np.float64), present), atol=2e-4)


def test_agreement_suppresses_planted_noise_where_released_weights_reward_it():
    vectors, present = jnp.array(planted()), jnp.ones((80, 4), bool)
    noisy = np.arange(80) < 20
    ours, theirs = np.asarray(agreement(vectors, present)), np.asarray(harmony(vectors, present))
    for pair in (0, 1, 2):
        assert ours[noisy, pair, 3].mean() < 0.2 * ours[~noisy, pair, 3].mean()
        np.testing.assert_allclose(ours[:, pair, 3].mean(), 1, rtol=1e-5)  # the pair keeps its share of the objective
    assert ours[noisy, 3, 3].mean() < 0.2 * ours[~noisy, 3, 3].mean()
    assert theirs[noisy, 3, 3].mean() > 1.5 * theirs[~noisy, 3, 3].mean()  # finding 5 of the specification


def test_free_weights_start_at_one_and_settle_at_one_over_the_loss():
    present = jnp.array([[True, True], [True, False]])
    start = free(jnp.zeros((2, 2)), present)
    np.testing.assert_array_equal(start, [[[1, 1], [1, 1]], [[1, 0], [0, 0]]])
    losses = jnp.array([0.8, 3.0])  # of a clean pair and of a noisy one
    matrix = jnp.zeros(2)

    def total(matrix):
        weights = 2 * jax.nn.sigmoid(matrix)
        return (weights * losses + barrier(weights)).sum()

    for _ in range(400):
        matrix = matrix - 0.5 * jax.grad(total)(matrix)
    np.testing.assert_allclose(2 * jax.nn.sigmoid(matrix), 1 / losses, rtol=1e-2)
    assert not jnp.isnan(jax.grad(lambda w: barrier(w).sum())(jnp.zeros(2))).any()


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
