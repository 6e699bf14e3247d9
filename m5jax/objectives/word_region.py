"""Which words go with which regions: what it costs to carry the ones to the others (UNITER, section 3.2, WRA)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from m5jax.objectives.masked import PerListing
from m5jax.objectives.numerics import normalise

STEPS, SHARPNESS = 50, 0.5  # of the paper's code: proximal steps, and the weight of a step


def word_region(
    words: Float[Array, "b l d"],
    regions: Float[Array, "b n d"],
    words_mask: Bool[Array, "b l"],
    regions_mask: Bool[Array, "b n"],
) -> PerListing:
    """The cost of the best plan that carries a listing's words to its regions, all words alike and all regions alike.

    A step from a word to a region costs 1 - their cosine. The plan is a constant for the gradient, as by the envelope
    theorem that of the minimum would have it. A listing without words or without regions has no cost, and is not
    counted.
    """
    shown = words_mask[:, :, None] & regions_mask[:, None, :]
    one, other = (
        normalise(jnp.where(mask[..., None], states.astype(jnp.float32), 0.0))
        for states, mask in ((words, words_mask), (regions, regions_mask))
    )
    cost = 1.0 - jnp.einsum("bld,bnd->bln", one, other)
    plan = transport(jax.lax.stop_gradient(cost), words_mask, regions_mask)
    return jnp.where(shown, plan * cost, 0.0).sum((1, 2)), shown.any((1, 2)).astype(jnp.float32)


def transport(
    cost: Float[Array, "b l n"], rows: Bool[Array, "b l"], columns: Bool[Array, "b n"], steps: int = STEPS
) -> Float[Array, "b l n"]:
    """A plan of least cost that moves equal shares from all rows to equal shares of all columns.

    Inexact proximal point method (Xie et al., A Fast Proximal Point Method for Computing Exact Wasserstein Distance,
    UAI 2019, algorithm 1, one inner step): unlike Sinkhorn's, it goes on towards the exact plan.

    Args:
      cost: what a move costs.
      rows, columns: which there are; the plan is zero elsewhere, and all zero if there are none of either.
      steps: proximal steps.
    """
    shown = (rows[:, :, None] & columns[:, None, :]).astype(jnp.float32)
    kernel = shown * jnp.exp(-cost / SHARPNESS)
    given, taken = (mask / jnp.maximum(mask.sum(-1, keepdims=True), 1) for mask in (rows, columns))

    def step(_: int, state: tuple[Array, Array]) -> tuple[Array, Array]:
        plan, right = state
        scaled = kernel * plan
        left = _over(given, jnp.einsum("bln,bn->bl", scaled, right))
        right = _over(taken, jnp.einsum("bln,bl->bn", scaled, left))
        return left[:, :, None] * scaled * right[:, None, :], right

    return jax.lax.fori_loop(0, steps, step, (shown, taken))[0]


def _over(share: Float[Array, "b n"], total: Float[Array, "b n"]) -> Float[Array, "b n"]:
    """What brings a total to its share; zero where there is nothing to bring there."""
    there = total > 0
    return jnp.where(there, share / jnp.where(there, total, 1.0), 0.0)
