"""What is swept, by name, and the models of a series of sweeps: the section `config.sweep`.

A sweep is corruption of one kind, of one modality or of several, at growing ratios: "missing_image", "noise_text",
"noise_image+text", each of these drawn by itself, or "missing_mixed", every modality that records hold; or one of K3M's
schemes: "TMR", "MNR" (`schemes.SCHEMES`).

Nothing here imports jax.
"""

import dataclasses
from collections.abc import Sequence

from m5jax import schemes
from m5jax.errors import ConfigError
from m5jax.inputs import CORRUPTIONS, Corruption, Inputs
from m5jax.settings import setting, suggest

MIXED = "mixed"


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Missing and noise, at test only and in training too, for several models (mode=sweep)."""

    models: tuple[str, ...] = setting(
        ("everything",),
        'models in one figure: each a name, or "name: setting=value; setting=value" with what differs, as in'
        ' "photo alone: inputs.modalities=image" (a list as image+text)',
    )
    training_ratios: tuple[float, ...] = setting(
        (0.5,), "ratios of config.evaluate.sweeps at which models are trained, too", low=0.0, high=1.0
    )
    seeds: int = setting(1, "runs of every model, of seeds config.seed, config.seed + 1, ...", low=1)


MOST_MODELS = 8  # that a figure tells apart


def models(texts: Sequence[str]) -> dict[str, dict[str, str]]:
    """The models of `config.sweep.models`: by name, what differs, as path below config -> value, both as written.

    Raises:
      ConfigError: one has no name, or a name twice; a change is no setting=value; there are none, or too many.
    """
    where, found = "config.sweep.models", {}
    for text in texts:
        name, _, changes = (part.strip() for part in text.partition(":"))
        pairs = [pair.partition("=") for pair in changes.split(";") if pair.strip()]
        for path, equals, value in pairs:
            if not (path.strip() and equals and value.strip()):
                raise ConfigError(f"{where} has {path.strip()!r} in {text!r}: write setting=value, with ; in between")
        if not name or name in found:
            raise ConfigError(f"{where} has {text!r}: every model needs a name of its own, as in photo: setting=value")
        found[name] = {path.strip(): value.strip() for path, _, value in pairs}
    if not 1 <= len(found) <= MOST_MODELS:
        raise ConfigError(f"{where} names {len(found)} models: a figure shows 1 to {MOST_MODELS}")
    return found


def names(inputs: Inputs) -> tuple[str, ...]:
    """Every sweep of one modality that the model sees, and of all together; what could not change a thing left out."""
    several = len(inputs.kept) > 1  # the only modality a listing has does not go missing
    of = (*inputs.shown, *([MIXED] if several else []))
    return tuple(f"{kind}_{what}" for kind in CORRUPTIONS if several or kind == "noise" for what in of)


def corruption(name: str, ratio: float, inputs: Inputs, splits: Sequence[str], seed: int) -> Corruption:
    """What a sweep does at a ratio: the same to every model whose records hold the same modalities.

    Args:
      name: of the sweep.
      ratio: from 0 to 1, of every modality that it is about; of a scheme, of the listings.
      inputs: what records hold.
      splits: on which it acts.
      seed: which listings.

    Raises:
      ConfigError: no sweep is called so.
    """
    if name in schemes.SCHEMES:
        return Corruption(scheme=name, ratio=ratio, splits=tuple(splits), seed=seed)
    ratios = {f"{kind}_{modality}": ratio for kind, of in [_parts(name, inputs)] for modality in of}
    return dataclasses.replace(Corruption(splits=tuple(splits), seed=seed, last_of="recorded"), **ratios)


def check(sweeps: Sequence[str], ratios: Sequence[float], splits: Sequence[str], inputs: Inputs) -> None:
    """Raises ConfigError for `config.evaluate.sweeps` that cannot be made."""
    for name in sweeps:
        if name not in schemes.possible(inputs.kept):
            _parts(name, inputs)
    for what, value, fix in (
        ("sweep_ratios", ratios, "a ratio above 0"),
        ("sweep_splits", splits, "the split that is corrupted"),
    ):
        if not any(value):
            raise ConfigError(f"config.evaluate.{what} = {tuple(value)} must name {fix}")


def _parts(name: str, inputs: Inputs) -> tuple[str, tuple[str, ...]]:
    """Kind and modalities of a sweep."""
    kind, _, what = name.partition("_")
    of = inputs.kept if what == MIXED else tuple(what.split("+"))
    if kind not in CORRUPTIONS or not set(of) <= set(inputs.kept):
        known = [f"{kind}_{what}" for kind in CORRUPTIONS for what in (*inputs.kept, MIXED)]
        known += schemes.possible(inputs.kept)
        raise ConfigError(
            f"config.evaluate.sweeps names {name!r}{suggest(name, known)}: it must be one of {', '.join(known)}, or of"
            " several modalities, as in missing_image+text"
        )
    return kind, of
