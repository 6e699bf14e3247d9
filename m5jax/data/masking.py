"""Which tokens the masked objectives select, drawn per listing from its own generator (seed, step, listing).

Every function fills arrays of a static capacity K: `positions` int32 [K] and `valid` bool [K], valid entries
first. Positions of invalid entries are 0 and never count.
"""

import numpy as np

from m5jax.data import tokenizer

Selection = dict[str, np.ndarray]


def select(rng: np.random.Generator, candidates: np.ndarray, rate: float, capacity: int) -> Selection:
    """A share `rate` of the candidate positions int [n], at least one if there is any, at most `capacity`."""
    count = min(len(candidates), capacity, max(1, round(rate * len(candidates)))) if rate else 0
    return _filled(np.sort(rng.choice(candidates, count, replace=False)) if count else candidates[:0], capacity)


def mask_language(
    rng: np.random.Generator, ids: np.ndarray, candidates: np.ndarray, rate: float, capacity: int, vocabulary: int
) -> tuple[np.ndarray, Selection]:
    """Masked language modelling (BERT, section 3.1): 80 % of the selected become MASK, 10 % another piece, 10 % stay.

    Returns:
      the corrupted copy of ids int32 [L], and the selection with its `targets` int32 [K], the original ids.
    """
    chosen = select(rng, candidates, rate, capacity)
    positions = chosen["positions"][chosen["valid"]]
    fate, other = rng.random(len(positions)), rng.integers(tokenizer.VALUE + 1, vocabulary, len(positions))
    corrupted = ids.copy()
    corrupted[positions] = np.where(fate < 0.8, tokenizer.MASK, np.where(fate < 0.9, other, ids[positions]))
    return corrupted, chosen | {"targets": ids[chosen["positions"]]}


def mask_entities(
    rng: np.random.Generator, ids: np.ndarray, entities: list[np.ndarray], rate: float, capacity: int
) -> tuple[np.ndarray, Selection]:
    """Masked entity modelling (SCALE, section 3.3): whole names or whole values of a table become MASK.

    Args:
      ids: int32 [L].
      entities: per field two arrays of positions, those of its name and those of its value; a share `rate` of
        the fields, at least one, gives one of the two, by a coin. One that the capacity cannot hold is skipped.

    Returns:
      as `mask_language`.
    """
    fields, taken = len(entities) // 2, []
    if rate and fields:
        for field in rng.permutation(fields)[: max(1, round(rate * fields))]:
            entity = entities[2 * field + rng.integers(2)]
            if sum(map(len, taken)) + len(entity) <= capacity:
                taken.append(entity)
    positions = np.sort(np.concatenate([np.zeros(0, np.int64), *taken]).astype(np.int64))
    chosen = _filled(positions, capacity)
    corrupted = ids.copy()
    corrupted[positions] = tokenizer.MASK
    return corrupted, chosen | {"targets": ids[chosen["positions"]]}


def _filled(positions: np.ndarray, capacity: int) -> Selection:
    filled = np.zeros(capacity, np.int32)
    filled[: len(positions)] = positions
    return {"positions": filled, "valid": np.arange(capacity) < len(positions)}
