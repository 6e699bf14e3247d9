"""What the rest of m5jax sees of a model: pure functions over a plain nested dict of arrays.

Flax NNX is the language in which layers are written; nothing outside this package meets it.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Key

from m5jax.objectives.numerics import SumCount

Params = dict[str, Any]
Batch = dict[str, Any]
Objectives = dict[str, SumCount]
Embeddings = dict[str, tuple[Float[Array, "b d"], Bool[Array, "b"]]]


@dataclasses.dataclass(frozen=True)
class Losses:
    """What a model makes of a batch in training.

    Attributes:
      separable: objectives that are sums over listings; those of two half batches add up to the whole's.
      coupled: float arrays [B, ...] from which objectives that compare listings with each other are computed, by
        `Model.couple`, over the whole batch.
    """

    separable: Objectives
    coupled: dict[str, Array]


@dataclasses.dataclass(frozen=True)
class Model:
    """A network bound to its configuration.

    Attributes:
      init: key -> params, float32.
      losses: (params, batch, key or None) -> Losses.
      couple: (params, coupled, batch) -> objectives over the whole batch.
      weights: weight of each objective in the total; one without a weight is shown, not minimised.
      embed: (params, batch, subsets) -> for every named subset of modalities float32 [B, D] unit vectors and bool
        [B], false (and a zero vector) where a listing has none of them.
      agreement: (params, batch) -> the harmony matrix S of every listing, float32 [B, M, M]; None for a model
        without.
      classify: (params, batch) -> logits of the categories, float32 [B, C]; None for a model without a classifier.
      flops: floating-point operations of a forward pass of one listing with everything present.
    """

    init: Callable[[Key[Array, ""]], Params]
    losses: Callable[[Params, Batch, Key[Array, ""] | None], Losses]
    couple: Callable[[Params, dict[str, Array], Batch], Objectives]
    weights: dict[str, float]
    embed: Callable[[Params, Batch, Mapping[str, tuple[str, ...]]], Embeddings]
    agreement: Callable[[Params, Batch], Float[Array, "b m m"]] | None
    classify: Callable[[Params, Batch], Float[Array, "b c"]] | None
    flops: float


def functional(make: Callable[[nnx.Rngs], nnx.Module]) -> tuple[Callable[[Array], Params], Callable[[Params], Any]]:
    """A module's constructor as `init(key) -> params` and `bind(params) -> module`."""
    graphdef, _ = nnx.split(nnx.eval_shape(lambda: make(nnx.Rngs(0))))

    def init(key: Array) -> Params:
        return nnx.to_pure_dict(nnx.split(make(nnx.Rngs(params=key)))[1])

    def bind(params: Params) -> Any:
        return nnx.merge(graphdef, params)

    return init, bind


def total_loss(weights: dict[str, float], means: dict[str, Float[Array, ""]]) -> Float[Array, ""]:
    """The weighted sum of the objectives' means."""
    return sum((weights[name] * value for name, value in means.items() if name in weights), start=jnp.zeros(()))
