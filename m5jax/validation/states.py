"""What listings have of each modality, and which modalities occur together."""

import dataclasses

import numpy as np
from jaxtyping import UInt8

from m5jax import modalities
from m5jax.modalities import State
from m5jax.validation.columns import Columns

ORDER = (State.PRESENT, State.ABSENT, State.EMPTY, State.CORRUPT)


@dataclasses.dataclass(frozen=True)
class Combination:
    """Listings that have exactly these modalities present."""

    names: tuple[str, ...]
    count: int
    share: float


def count(columns: Columns, names: tuple[str, ...]) -> dict[str, dict[str, dict[str, int]]]:
    """Listings by modality, split and state."""
    counts: dict[str, dict[str, dict[str, int]]] = {name: {} for name in names}
    for name, by_split in counts.items():
        for split in columns.splits:
            found = np.bincount(columns.states[columns.rows(split), columns.of(name)], minlength=len(State))
            by_split[split] = {state.name.lower(): int(found[state]) for state in ORDER}
    return counts


def combinations(states: UInt8[np.ndarray, "n m"]) -> list[Combination]:
    """The subsets of modalities that occur, most frequent first."""
    bits = 1 << np.arange(len(modalities.NAMES))
    counts = np.bincount((states == State.PRESENT) @ bits, minlength=2 ** len(bits))
    return [
        Combination(
            tuple(name for name, bit in zip(modalities.NAMES, bits, strict=True) if subset & bit),
            int(counts[subset]),
            float(counts[subset] / len(states)),
        )
        for subset in np.argsort(-counts, kind="stable")
        if counts[subset]
    ]
