"""Which tokens the masked objectives select, drawn per listing from its own generator (seed, step, listing).

Every function fills arrays of a static capacity K: `positions` int32 [K] and `valid` bool [K], valid entries
first. Positions of invalid entries are 0 and never count.
"""

import functools
from collections.abc import Collection, Sequence

import numpy as np

from m5jax.data.tokenizer import Tokenizer

Selection = dict[str, np.ndarray]
KEPT = 0.1  # share of the selected pieces, and of a picture's selected blocks, that the model sees as they are


def select(rng: np.random.Generator, candidates: np.ndarray, rate: float, capacity: int) -> Selection:
    """A share `rate` of the candidate positions int [n], at least one if there is any, at most `capacity`."""
    return _filled(_chosen(rng, candidates, rate, capacity), capacity)


def mask_blocks(
    rng: np.random.Generator, candidates: np.ndarray, rate: float, capacity: int, kept: float = 0.0
) -> Selection:
    """Masked regions, frames or sound (SCALE, section 3.3): a selection whose blocks the model hides.

    Args:
      candidates: positions int [n] of the blocks that are there, ascending.
      rate, capacity: as `select`.
      kept: the chance of a selected block to stay in sight, a target all the same; `KEPT` for pictures.

    Returns:
      the selection with `hidden` bool [K], a part of its valid entries.
    """
    chosen = select(rng, candidates, rate, capacity)
    hidden = chosen["valid"] & (rng.random(capacity) >= kept) if kept else chosen["valid"]
    return chosen | {"hidden": hidden}


def mask_language(
    rng: np.random.Generator, ids: np.ndarray, rate: float, capacity: int, tokenizer: Tokenizer
) -> tuple[np.ndarray, Selection]:
    """Masked language modelling (BERT, section 3.1): 80 % of the selected become MASK, 10 % another piece, 10 % stay.

    Args:
      ids: int32 [L]; special ids are never selected, and never what another piece is.
      rate, capacity: as `select`.

    Returns:
      the corrupted copy of ids int32 [L], and the selection with its `targets` int32 [K], the original ids.
    """
    positions = _chosen(rng, (~tokenizer.is_special[ids]).nonzero()[0], rate, capacity)
    fate = rng.random(len(positions))
    other = tokenizer.pieces[rng.integers(len(tokenizer.pieces), size=len(positions))]
    hidden = np.where(fate < 0.8, tokenizer.special.mask, other)
    corrupted = ids.copy()
    corrupted[positions] = np.where(fate < 1 - KEPT, hidden, ids[positions])
    chosen = _filled(positions, capacity)
    return corrupted, chosen | {"targets": ids[chosen["positions"]]}


def mask_entities(
    rng: np.random.Generator,
    ids: np.ndarray,
    entities: Sequence[Collection[int]],
    rate: float,
    capacity: int,
    tokenizer: Tokenizer,
) -> tuple[np.ndarray, Selection]:
    """Masked entity modelling (SCALE, section 3.3): whole names or whole values of a table become MASK.

    Unknown pieces of an entity are hidden with it, but nothing has to tell them: they are no valid position.

    Args:
      ids: int32 [L].
      entities: per field two collections of positions, those of its name and those of its value; a share `rate` of
        the fields, at least one, gives one of the two, by a coin. One that the capacity cannot hold is skipped.

    Returns:
      as `mask_language`.
    """
    fields, taken = len(entities) // 2, []
    if rate and fields:
        for field in rng.permutation(fields)[: max(1, round(rate * fields))].tolist():
            entity = entities[2 * field + int(rng.integers(2))]
            if len(taken) + len(entity) <= capacity:
                taken.extend(entity)
    hidden = np.asarray(sorted(taken), np.int64)
    chosen = _filled(hidden[~tokenizer.is_special[ids[hidden]]], capacity)
    corrupted = ids.copy()
    corrupted[hidden] = tokenizer.special.mask
    return corrupted, chosen | {"targets": ids[chosen["positions"]]}


def _chosen(rng: np.random.Generator, candidates: np.ndarray, rate: float, capacity: int) -> np.ndarray:
    """The positions that `select` selects, in the order of the candidates."""
    count = min(len(candidates), capacity, max(1, round(rate * len(candidates)))) if rate else 0
    if not count:
        return candidates[:0]
    first = rng.random(len(candidates)).argsort()[:count]  # any `count` of them, in a third of the time of `choice`
    first.sort()
    return candidates[first]


def _filled(positions: np.ndarray, capacity: int) -> Selection:
    filled = np.zeros(capacity, np.int32)
    filled[: len(positions)] = positions
    return {"positions": filled, "valid": leading(len(positions), capacity)}


@functools.lru_cache(1 << 14)
def leading(count: int, length: int) -> np.ndarray:
    """Which of `length` entries are the first `count`: bool [length], the same array every time, read-only."""
    first = np.arange(length) < count
    first.flags.writeable = False
    return first
