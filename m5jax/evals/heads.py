"""What the small heads on frozen product vectors share: how they are trained.

A head is trained by Adam in `PARTS` parts, and of the heads after each part the one that validation prefers is kept.
Float32; everything random comes from a seed.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
from jaxtyping import Array, Float, Int

Params = dict[str, Any]

PARTS, STEPS = 4, 30  # parts of the training, and steps of each
BATCH = 256
RATE, DECAY = 3e-3, 1e-2


@dataclasses.dataclass(frozen=True)
class Scale:
    """Brings every number of a vector to mean 0 and deviation 1 over the rows it was fitted on."""

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def fit(cls, vectors: Float[np.ndarray, "n d"]) -> "Scale":
        """Of some rows, at least one; a number that never varies stays 0."""
        deviation = vectors.std(axis=0)
        return cls(vectors.mean(axis=0), np.where(deviation > 1e-6, deviation, np.inf))

    def __call__(self, vectors: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        """The rows, scaled."""
        return ((vectors - self.mean) / self.deviation).astype(np.float32)


def trained(loss: Callable[[Params, Any], Array], params: Params, steps: Any) -> Params:
    """Trains; pure, for use inside jit.

    Args:
      loss: of parameters and of what a step is given.
      params: to begin with.
      steps: what each step is given, arrays [PARTS * STEPS, ...].

    Returns:
      The parameters after every part, arrays [PARTS, ...].
    """
    rule = optax.adamw(optax.cosine_decay_schedule(RATE, PARTS * STEPS), weight_decay=DECAY)

    def step(state: Any, drawn: Any) -> tuple[Any, None]:
        params, moments = state
        updates, moments = rule.update(jax.grad(loss)(params, drawn), moments, params)
        return (optax.apply_updates(params, updates), moments), None

    def part(state: Any, drawn: Any) -> tuple[Any, Params]:
        state, _ = jax.lax.scan(step, state, drawn)
        return state, state[0]

    parts = jax.tree.map(lambda of: of.reshape(PARTS, STEPS, *of.shape[1:]), steps)
    return jax.lax.scan(part, (params, rule.init(params)), parts)[1]


def each(made: Params) -> list[Params]:
    """What `trained` gives, part by part."""
    return [jax.tree.map(lambda of, part=part: np.asarray(of[part]), made) for part in range(PARTS)]


def normal(rng: np.random.Generator, shape: tuple[int, ...], inputs: float) -> Float[np.ndarray, "..."]:
    """Normal numbers of variance one over the inputs."""
    return (rng.normal(size=shape) / np.sqrt(inputs)).astype(np.float32)


def batches(rows: int, seed: int) -> Int[np.ndarray, "s b"]:
    """Positions of the rows of every step: every row once, then every row again, each time in another order."""
    rng, steps = np.random.default_rng(seed), PARTS * STEPS
    rounds = -(-steps * BATCH // rows)
    return np.concatenate([rng.permutation(rows) for _ in range(rounds)])[: steps * BATCH].reshape(steps, BATCH)
