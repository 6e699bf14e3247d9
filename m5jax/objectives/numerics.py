"""Arithmetic that stays finite, in value and gradient, where there is nothing to compute from."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

SumCount = tuple[Float[Array, ""], Float[Array, ""]]
"""A metric as a sum and the number of things summed, so that parts of a batch add up exactly."""

EPS = 1e-12


def normalise(x: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
    """Rows of unit length; a zero row stays zero with zero gradient (x / |x| would give NaN there)."""
    square = (x * x).sum(-1, keepdims=True)
    there = square > EPS
    return x * jnp.where(there, jax.lax.rsqrt(jnp.where(there, square, 1.0)), 0.0)


def masked_sum(values: Float[Array, "*n"], mask: Bool[Array, "*n"]) -> SumCount:
    """Sum of the values where the mask holds, and how many they are; the others may be anything."""
    return jnp.where(mask, values, 0.0).sum(), mask.sum().astype(jnp.float32)


def mean(total: SumCount) -> Float[Array, ""]:
    """Sum over count; 0 if nothing was summed."""
    return total[0] / jnp.maximum(total[1], 1.0)


def add(*totals: SumCount) -> SumCount:
    """Sums and counts, each added up."""
    return sum((t[0] for t in totals), jnp.zeros(())), sum((t[1] for t in totals), jnp.zeros(()))
