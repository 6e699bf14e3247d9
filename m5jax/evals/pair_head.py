"""Are two listings one product: a small head on frozen product vectors.

Arrays in, logits out; every method is asked by the same head, whatever made its vectors. A listing without a vector is
never trained on, and its pairs score -inf.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float

from m5jax.evals import heads

HIDDEN = 64


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Pairs of rows of an array of vectors, and whether they are one product.

    Attributes:
      left, right: int [N].
      match: bool [N].
    """

    left: np.ndarray
    right: np.ndarray
    match: np.ndarray

    def __len__(self) -> int:
        return len(self.match)


@dataclasses.dataclass(frozen=True)
class PairHead:
    """Tells whether two vectors show one product: [u; v; |u - v|; u * v] to two classes, one hidden layer (tanh).

    K3M's paper does not say what its head is (arXiv:2109.00895); this is the usual one (Conneau et al., Supervised
    Learning of Universal Sentence Representations, 2017, figure 1). Both orders of a pair are asked and averaged, so
    that left and right do not matter; two classes are one logit, that of a match.
    """

    scale: heads.Scale
    params: heads.Params

    def __call__(
        self, vectors: Float[np.ndarray, "n d"], valid: Bool[np.ndarray, "n"], pairs: Pairs
    ) -> Float[np.ndarray, "p"]:
        """The logit of a match, float64 [P]; -inf where a side has no vector."""
        scaled = self.scale(vectors)
        logits = np.asarray(_logits(self.params, scaled[pairs.left], scaled[pairs.right]), np.float64)
        return np.where(valid[pairs.left] & valid[pairs.right], logits, -np.inf)


def train(
    vectors: Float[np.ndarray, "n d"],
    valid: Bool[np.ndarray, "n"],
    pairs: Pairs,
    better: Callable[[PairHead], float],
    seed: int,
) -> PairHead | None:
    """Trains a pair head.

    Args:
      vectors: of listings, any length.
      valid: whether a listing has one.
      pairs: what to learn from; those that lack a vector are left out.
      better: how well a head does on pairs that it does not learn from; of equal ones the earlier is kept.
      seed: of the first weights and of the batches.

    Returns:
      The head; None without a match or without any other pair to learn from.
    """
    rows = np.flatnonzero(valid[pairs.left] & valid[pairs.right])
    if len(np.unique(pairs.match[rows])) < 2:
        return None
    scale = heads.Scale.fit(vectors[np.unique(np.concatenate([pairs.left[rows], pairs.right[rows]]))])
    scaled, drawn = scale(vectors), rows[heads.batches(len(rows), seed)]
    steps = {"left": pairs.left[drawn], "right": pairs.right[drawn], "match": pairs.match[drawn].astype(np.float32)}
    rng, width = np.random.default_rng([seed, 2]), vectors.shape[1]
    params = {
        "sides": heads.normal(rng, (4, width, HIDDEN), 4 * width),
        "hidden": np.zeros(HIDDEN, np.float32),
        "out": heads.normal(rng, (HIDDEN,), HIDDEN),
        "bias": np.zeros((), np.float32),
    }
    made = _trained(params, scaled, steps)
    return max((PairHead(scale, params) for params in heads.each(made)), key=better)


@jax.jit
def _trained(params: heads.Params, vectors: Float[Array, "n d"], steps: dict[str, Array]) -> heads.Params:
    return heads.trained(lambda params, drawn: loss(params, vectors, drawn), params, steps)


def loss(params: heads.Params, vectors: Float[Array, "n d"], drawn: dict[str, Array]) -> Float[Array, ""]:
    """Mean cross-entropy of some pairs: ``left``, ``right``, ``match`` [B]."""
    logits = _logits(params, vectors[drawn["left"]], vectors[drawn["right"]])
    return optax.sigmoid_binary_cross_entropy(logits, drawn["match"]).mean()


@jax.jit
def _logits(params: heads.Params, u: Float[Array, "p d"], v: Float[Array, "p d"]) -> Float[Array, "p"]:
    first, second, apart, together = params["sides"]
    alike = jnp.abs(u - v) @ apart + (u * v) @ together + params["hidden"]
    one, other = u @ first + v @ second, v @ first + u @ second
    hidden = (jnp.tanh(alike + one) + jnp.tanh(alike + other)) / 2
    return hidden @ params["out"] + params["bias"]
