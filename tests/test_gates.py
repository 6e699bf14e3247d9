"""Initial-interactive fusion against a slow twin, in every mode; what is missing; what is drawn and what is not."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from m5jax.model_settings import Model
from m5jax.models.gates import Gates
from m5jax.models.interface import functional

WIDTH, PARTNERS = 6, 2
THERE = np.array([[1, 1], [1, 0], [0, 0]], bool)
MODES = ("none", "mean", "soft", "hard")


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


INITIAL, INTERACTIVE = random(3, 4, WIDTH), (random(3, 4, WIDTH, seed=1), random(3, 4, WIDTH, seed=2))


def gates(how, per="dimension", temperature=1.0):
    config = Model(width=WIDTH, fuse=how, fuse_per=per, fuse_temperature=temperature)
    init, bind = functional(lambda rngs: Gates(PARTNERS, WIDTH, config, jnp.dtype("float32"), rngs))
    params = init(jax.random.key(0))
    return jax.tree.map(lambda leaf: leaf + random(*leaf.shape, seed=3), params), jax.jit(
        lambda p, key, *x: bind(p)(*x, key)
    )


def twin(how, params, initial, interactive, there, per):
    """One token at a time; of `hard` the choice without noise."""
    out = np.zeros_like(initial)
    for b, own in enumerate(initial):
        for token in range(len(own)):
            versions = np.stack([own[token], *(x[b, token] for x in interactive)])
            taken = [0, *(v + 1 for v in range(PARTNERS) if there[b, v])]
            if how == "none":
                taken = taken[1:] or list(range(1, PARTNERS + 1))
            if how in ("none", "mean"):
                out[b, token] = versions[taken].mean(0)
                continue
            scores = versions.ravel() @ params["score"]["kernel"] + params["score"]["bias"]
            scores = np.broadcast_to(scores.reshape(PARTNERS + 1, -1), versions.shape)[taken]
            shares = special.softmax(scores, 0)
            if how == "hard":
                shares = np.eye(len(taken))[scores.argmax(0)].T
            out[b, token] = (shares * versions[taken]).sum(0)
    return out


@pytest.mark.parametrize("per", ["dimension", "token"])
@pytest.mark.parametrize("how", MODES)
def test_2_evaluation_is_the_slow_twin_and_the_same_every_time(how, per):
    params, fuse = gates(how, per, temperature=0.3)
    arguments = (params, None, INITIAL, INTERACTIVE, THERE)
    found = fuse(*arguments)
    np.testing.assert_allclose(found, twin(how, params, INITIAL, INTERACTIVE, THERE, per), atol=1e-5)
    np.testing.assert_array_equal(found, fuse(*arguments))


def test_a_choice_draws_as_often_as_its_shares_say_and_is_always_one_of_the_versions():
    params, fuse = gates("hard", "token")
    draws = jax.jit(jax.vmap(lambda key: fuse(params, key, INITIAL, INTERACTIVE, THERE)))(
        jax.random.split(jax.random.key(1), 4000)
    )
    versions = np.stack([INITIAL, *INTERACTIVE])
    which = np.abs(draws[:, None] - versions).max(-1).argmin(1)  # [draws, listings, tokens]
    np.testing.assert_allclose(np.take_along_axis(versions, which[0][None, ..., None], 0)[0], draws[0], atol=1e-6)
    scores = (
        np.stack([INITIAL, *INTERACTIVE], 2).reshape(3, 4, -1) @ params["score"]["kernel"] + params["score"]["bias"]
    )
    shares = special.softmax(scores[0], -1)
    found = np.stack([(which[:, 0] == v).mean(0) for v in range(3)], -1)
    np.testing.assert_allclose(found, shares, atol=0.03)
    assert (which[:, 1] != 2).all()  # its second partner is not there
    assert (which[:, 2] == 0).all()


def test_a_sure_gate_is_sure_and_a_cold_one_repeats_itself():
    params, fuse = gates("hard")
    params["score"]["bias"] = params["score"]["bias"].at[:WIDTH].add(100.0)
    np.testing.assert_array_equal(fuse(params, jax.random.key(0), INITIAL, INTERACTIVE, THERE), INITIAL)


@pytest.mark.parametrize("key", [None, 5], ids=["evaluation", "training"])
@pytest.mark.parametrize("temperature", [1.0, 0.25])
def test_a_choice_has_the_gradient_of_its_shares(temperature, key):
    """Straight through: as if the shares of the drawn scores had been taken (Jang et al. 2017, section 2.2)."""
    params, fuse = gates("hard", temperature=temperature)
    key = None if key is None else jax.random.key(key)
    wanted = random(*INITIAL.shape, seed=9)

    def expected(p):
        versions = jnp.stack([INITIAL, *INTERACTIVE], 2)
        scores = versions.reshape(3, 4, -1) @ p["score"]["kernel"] + p["score"]["bias"]
        scores = scores.reshape(versions.shape)
        if key is not None:
            scores = scores + jax.random.gumbel(key, scores.shape)
        allowed = np.concatenate([np.ones((3, 1), bool), THERE], 1)[:, None, :, None]
        shares = jax.nn.softmax(jnp.where(allowed, scores / temperature, -1e30), 2)
        return ((shares * versions).sum(2) * wanted).sum()

    both = (
        jax.jit(jax.grad(lambda p: (fuse(p, key, INITIAL, INTERACTIVE, THERE) * wanted).sum())),
        jax.jit(jax.grad(expected)),
    )
    for ours, theirs in zip(*(jax.tree.leaves(gradient(params)) for gradient in both), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)
        assert np.any(ours)


@pytest.mark.parametrize("how", MODES)
def test_a_partner_that_is_not_there_changes_nothing(how):
    params, fuse = gates(how, temperature=0.5)
    other = (INTERACTIVE[0], np.where(THERE[:, 1, None, None], INTERACTIVE[1], 50.0).astype(np.float32))
    if how in ("soft", "hard"):  # scores hear every version: nothing of a partner's content is in that of an absent one
        params["score"]["kernel"] = params["score"]["kernel"].at[2 * WIDTH :].set(0.0)
    rows = slice(0, 2) if how == "none" else slice(0, 3)  # a title without any partner is what it made of itself
    first, second = (fuse(params, jax.random.key(2), INITIAL, x, THERE)[rows] for x in (INTERACTIVE, other))
    np.testing.assert_array_equal(first, second)


def test_only_gates_have_parameters():
    for how in MODES:
        config = dataclasses.replace(Model(width=WIDTH), fuse=how)
        init, _ = functional(lambda rngs, c=config: Gates(PARTNERS, WIDTH, c, jnp.dtype("float32"), rngs))
        assert bool(init(jax.random.key(0))) == (how in ("soft", "hard"))
