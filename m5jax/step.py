"""The training step: pure functions of the state, the batch and nothing else.

The state is ``{"params", "opt_state", "step", "counts"}``, plain arrays; the step's randomness is
``fold_in(key(seed), step)``, so nothing random is ever stored.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from m5jax import sharding
from m5jax.models.interface import Batch, Losses, Model, Objectives, Params, total_loss
from m5jax.objectives import numerics

State = dict[str, Any]
Metrics = dict[str, numerics.SumCount]


def init_state(model: Model, optimizer: optax.GradientTransformation, key: Array) -> State:
    """The state before the first step."""
    params = model.init(key)
    return {
        "params": params,
        "opt_state": optimizer.init(params),
        "step": jnp.zeros((), jnp.int32),
        # Updates not made because they were not finite, in a row and in all; listings whose record was damaged.
        "counts": {name: jnp.zeros((), jnp.int32) for name in ("skipped_in_a_row", "skipped", "damaged")},
    }


def sharded_init(model: Model, optimizer: optax.GradientTransformation, seed: int, mesh: jax.sharding.Mesh) -> State:
    """The first state, every array born in its place: no device ever holds what it does not keep."""

    def init() -> State:
        return init_state(model, optimizer, jax.random.key(seed))

    places = sharding.shardings(jax.eval_shape(init), mesh)
    return jax.jit(init, out_shardings=places)()


def make_train_step(
    model: Model, optimizer: optax.GradientTransformation, *, seed: int, accumulate: int, mesh: jax.sharding.Mesh
) -> jax.stages.Wrapped:
    """A jitted (state, batch) -> (state, metrics) that donates its state; metrics are (sum, count)."""

    def train_step(state: State, batch: Batch) -> tuple[State, Metrics]:
        key = jax.random.fold_in(jax.random.key(seed), state["step"])
        loss, grads, objectives = gradients(model, state["params"], batch, key, accumulate)
        norm = optax.tree.norm(grads)
        updates, opt_state = optimizer.update(grads, state["opt_state"], state["params"])
        new = {"params": optax.apply_updates(state["params"], updates), "opt_state": opt_state}
        finite = jnp.isfinite(loss) & jnp.isfinite(norm)
        # A non-finite update is not made at all; multiplying it by zero would keep the NaN.
        kept = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, {name: state[name] for name in new})
        before = state["counts"]
        counts = {
            "skipped_in_a_row": jnp.where(finite, 0, before["skipped_in_a_row"] + 1),
            "skipped": before["skipped"] + ~finite,
            "damaged": before["damaged"] + (~batch["valid"]).sum(dtype=jnp.int32),
        }
        single = {"loss": loss, "grad_norm": norm} | counts
        metrics = objectives | {name: (value, jnp.ones(())) for name, value in single.items()}
        return kept | {"step": state["step"] + 1, "counts": counts}, metrics

    def abstract() -> State:
        return init_state(model, optimizer, jax.random.key(seed))

    places = sharding.shardings(jax.eval_shape(abstract), mesh)
    return jax.jit(
        train_step,
        in_shardings=(places, sharding.batch_sharding(mesh)),
        out_shardings=(places, sharding.replicated(mesh)),
        donate_argnums=0,
    )


def gradients(
    model: Model, params: Params, batch: Batch, key: Array | None, accumulate: int
) -> tuple[Array, Params, Objectives]:
    """Loss, gradient and objectives of a batch, in `accumulate` micro-batches.

    The result is that of the whole batch for every objective, up to rounding and to the random numbers of
    dropout: sums are divided by the counts of the whole batch, and the objectives that compare listings with
    each other see all of them, their gradient reaching the micro-batches through the coupled arrays (Gao et al.
    2021, GradCache). That costs the encoders one more forward pass.
    """
    if accumulate == 1:
        (loss, objectives), grads = jax.value_and_grad(_whole, argnums=1, has_aux=True)(model, params, batch, key)
        return loss, grads, objectives

    micros = jax.tree.map(lambda x: _split(x, accumulate), batch)
    keys = None if key is None else jax.random.split(key, accumulate)

    def forward(micro: tuple) -> dict[str, Array]:
        return model.losses(params, *micro).coupled

    coupled = jax.lax.map(forward, (micros, keys))

    def couple(params: Params, coupled: dict[str, Array]) -> tuple[Array, Objectives]:
        whole = jax.tree.map(_join, coupled)
        objectives = model.couple(params, whole, batch)
        return total_loss(model.weights, _means(objectives)), objectives

    (loss, objectives), (grads, pull) = jax.value_and_grad(couple, argnums=(0, 1), has_aux=True)(params, coupled)
    # Counts depend on masks alone: everything else of this pass is dead code to the compiler.
    counts = {name: count for name, (_, count) in model.losses(params, batch, None).separable.items()}

    def micro_loss(
        params: Params, micro: Batch, pull: dict[str, Array], key: Array | None
    ) -> tuple[Array, tuple[Array, Objectives]]:
        losses: Losses = model.losses(params, micro, key)
        means = {name: total / jnp.maximum(counts[name], 1.0) for name, (total, _) in losses.separable.items()}
        pulled = sum(jnp.vdot(losses.coupled[name], pull[name]) for name in pull)
        loss = total_loss(model.weights, means)
        return loss + pulled, (loss, losses.separable)

    def body(carry: tuple, micro: tuple) -> tuple[tuple, None]:
        (_, (loss, separable)), grads = jax.value_and_grad(micro_loss, has_aux=True)(params, *micro)
        return jax.tree.map(jnp.add, carry, (grads, loss, separable)), None

    zeros = {name: (jnp.zeros(()), jnp.zeros(())) for name in counts}
    (grads, loss, separable), _ = jax.lax.scan(body, (grads, loss, zeros), (micros, pull, keys))
    return loss, grads, separable | objectives


def _whole(model: Model, params: Params, batch: Batch, key: Array | None) -> tuple[Array, Objectives]:
    losses = model.losses(params, batch, key)
    objectives = losses.separable | model.couple(params, losses.coupled, batch)
    return total_loss(model.weights, _means(objectives)), objectives


def _means(objectives: Objectives) -> dict[str, Array]:
    return {name: numerics.mean(total) for name, total in objectives.items()}


def _split(x: Array, parts: int) -> Array:
    """[B, ...] -> [parts, B / parts, ...], every part taken evenly from all of B, so from all devices."""
    return jnp.swapaxes(x.reshape(-1, parts, *x.shape[1:]), 0, 1)


def _join(x: Array) -> Array:
    """Undoes `_split`."""
    return jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:])
