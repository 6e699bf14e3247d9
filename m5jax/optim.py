"""The optimizer: AdamW with a schedule, and which parameters decay or stay frozen, by path."""

import re

import jax
import optax

from m5jax.config import Config
from m5jax.models.interface import Params


def path_of(keys: tuple) -> str:
    """The path of a leaf in a tree, as "encoders/image/stack/norm/scale"."""
    return jax.tree_util.keystr(keys, simple=True, separator="/")


def matching(pattern: str, params: Params) -> Params:
    """A tree of bools: does the whole path of the parameter match? An empty pattern matches nothing."""
    expression = re.compile(pattern)
    return jax.tree_util.tree_map_with_path(
        lambda keys, _: bool(pattern) and expression.fullmatch(path_of(keys)) is not None, params
    )


def schedule(config: Config) -> optax.Schedule:
    """Learning rate by step: linear warm-up to the peak, then cosine, linear or constant."""
    chosen = config.optimizer
    warmup = round(chosen.warmup * config.steps)
    rest, peak = max(1, config.steps - warmup), chosen.learning_rate
    after = {
        "cosine": lambda: optax.cosine_decay_schedule(peak, rest, chosen.final_scale),
        "linear": lambda: optax.linear_schedule(peak, peak * chosen.final_scale, rest),
        "constant": lambda: optax.constant_schedule(peak),
    }[chosen.schedule]()
    # The first step already moves: a rate of 0 would throw a batch away.
    rise = optax.linear_schedule(peak / max(1, warmup), peak, max(1, warmup - 1))
    return optax.join_schedules([rise, after], [warmup])


def optimizer(config: Config) -> optax.GradientTransformation:
    """AdamW (Loshchilov and Hutter 2019): frozen parameters add nothing to the norm that is clipped, and stay."""
    chosen = config.optimizer

    def frozen(params: Params) -> Params:
        return matching(chosen.freeze, params)

    def decaying(params: Params) -> Params:
        return matching(chosen.decay, params)

    return optax.chain(
        optax.masked(optax.set_to_zero(), frozen),
        optax.clip_by_global_norm(chosen.clip) if chosen.clip else optax.identity(),
        optax.scale_by_adam(chosen.b1, chosen.b2, chosen.eps),
        optax.add_decayed_weights(chosen.weight_decay, decaying),
        optax.masked(optax.set_to_zero(), frozen),
        optax.scale_by_learning_rate(schedule(config)),
    )
