"""Which listing is drawn at which place of the training stream: pure functions of (seed, place), without a state.

An epoch has as many draws as there are listings. `uniform` draws every listing once. In a long tail that shows the
head almost alone; the other choices give each class (a category path, or a source) its quota of the draws:

* class_balanced, by_source: the same to each (Kang et al., arXiv:1910.09217, section 4.1, q = 0);
* square_root: in proportion to the square root of its listings (the same, q = 1/2; Mahajan et al., arXiv:1805.00932).

A listing without a class keeps what it would have, one draw an epoch: nobody knows how rare what it shows is. Within
a class listings take turns in an order of chance, drawn anew for every turn: after whole epochs no listing of a
class was drawn more than once more often than another.
"""

import dataclasses
import functools
import hashlib
import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from grain.transforms import DatasetSelectionMap

from m5jax.errors import DataError

UNIFORM = "uniform"
COLUMNS = {"class_balanced": "category", "square_root": "category", "by_source": "source"}
_EXPONENTS = {"class_balanced": 0.0, "square_root": 0.5, "by_source": 0.0}
_ROUNDS = 6  # of the permutation, each over rows and columns; fewer leave some orders of six rarer than others
_64_BITS = 2**64 - 1


@dataclasses.dataclass(frozen=True)
class Draws:
    """Draws by class. It holds 4 bytes a listing, and travels to worker processes.

    Attributes:
      members: int32 [N], positions of the listings, those of a class behind one another.
      ends: int64 [C], where the listings of each class end in `members`.
      quotas: int64 [C], draws of each class in an epoch, N in all.
      seed: of the order within the classes.
    """

    members: np.ndarray
    ends: np.ndarray
    quotas: np.ndarray
    seed: int

    @functools.cached_property
    def _quota_ends(self) -> np.ndarray:
        return np.cumsum(self.quotas)

    def __len__(self) -> int:
        return len(self.members)

    def position(self, place: int) -> int:
        """The position of the listing that is drawn at a place of the stream, from 0 on without end.

        Places of one epoch are grouped by class: the stream shuffles them.
        """
        epoch, slot = divmod(place, len(self))
        group = int(np.searchsorted(self._quota_ends, slot, side="right"))
        quota, end = int(self.quotas[group]), int(self.ends[group])
        size = end - (int(self.ends[group - 1]) if group else 0)
        turn, rank = divmod(epoch * quota + slot - (int(self._quota_ends[group]) - quota), size)
        key = hashlib.blake2b(b"%d %d %d" % (self.seed, group, turn), digest_size=8).digest()
        return int(self.members[end - size + permuted(rank, size, int.from_bytes(key, "little"))])


def draws(choice: str, classes: np.ndarray, names: Sequence[str], seed: int, chosen: np.ndarray | None = None) -> Draws:
    """The draws of a choice other than uniform.

    Args:
      choice: a key of `COLUMNS`.
      classes: int [N], index into `names` of each listing's class.
      names: of the classes, in a fixed order; "" is that of the listings without any.
      seed: of the order within the classes.
      chosen: int [n], positions of the listings that are drawn from; None = all.

    Raises:
      DataError: no listing has a class.
    """
    chosen = np.arange(len(classes), dtype=np.int32) if chosen is None else chosen.astype(np.int32)
    classes = classes[chosen]
    sizes = np.bincount(classes, minlength=len(names))
    there = np.flatnonzero(sizes)
    known = np.asarray([names[i] != "" for i in there.tolist()])
    if not known.any():
        raise DataError(
            f"config.data.sampling = {choice!r}, but of {len(chosen):,} training listings none has a"
            f" {COLUMNS[choice]}: set it to {UNIFORM!r}"
        )
    return Draws(
        members=chosen[np.argsort(classes, kind="stable")],
        ends=np.cumsum(sizes[there]),
        quotas=quotas(sizes[there], _EXPONENTS[choice], known),
        seed=seed,
    )


def quotas(sizes: np.ndarray, exponent: float, known: np.ndarray) -> np.ndarray:
    """Draws of each class in an epoch, int64 [C], as many in all as there are listings.

    In proportion to size ** exponent, rounded down, what is left to the largest remainders, the first of equal ones;
    where `known` is false it is the size itself. No class gets none: there are at most as many as listings.
    """
    given = np.where(known, 0, sizes).astype(np.int64)
    weights = np.where(known, sizes.astype(np.float64) ** exponent, 0.0)
    total = int(sizes[known].sum())
    exact = total * (weights / math.fsum(weights))  # fsum: the same on every machine
    floors = np.floor(exact).astype(np.int64)
    left = total - int(floors.sum())
    floors[np.argsort(-np.where(known, exact - floors, -1.0), kind="stable")[:left]] += 1
    return given + floors


def permuted(index: int, size: int, key: int) -> int:
    """Where a permutation of range(size) puts an index, without a table of it; every 64-bit key has its own.

    A Feistel network over rows and columns, walked until it is inside (Black and Rogaway, CT-RSA 2002, sections 3
    and 4): at most a row is outside, so that it is hardly ever walked twice.
    """
    rows = math.isqrt(size - 1) + 1
    columns = -(-size // rows)
    while True:
        row, column = divmod(index, columns)
        for number in range(0, 2 * _ROUNDS, 2):
            row = (row + _mixed(key + number, column)) % rows
            column = (column + _mixed(key + number + 1, row)) % columns
        index = row * columns + column
        if index < size:
            return index


def _mixed(key: int, value: int) -> int:
    """64 bits of a key and a value (SplitMix64: Steele, Lea and Flood, OOPSLA 2014)."""
    mixed = (key * 0x9E3779B97F4A7C15 + value * 0xD1342543DE82EF95 + 1) & _64_BITS
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _64_BITS
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _64_BITS
    return mixed ^ (mixed >> 31)


class Mix(DatasetSelectionMap):
    """Several endless streams as one, in an exact ratio: place → (which stream, place in it).

    Of the first n draws the first stream has ceil(n p / P), p parts of P; the others share what is left in the same
    manner. So no stretch of the stream is off by more than a draw a stream, and any place is found without the ones
    before it.
    """

    def __init__(self, weights: Sequence[Fraction]):
        scale = math.lcm(*(weight.denominator for weight in weights))
        self._parts = [int(weight * scale) for weight in weights]

    def __len__(self) -> int:
        return 2**62  # endless, to grain

    def __getitem__(self, place: int) -> tuple[int, int]:
        before, after, rest = place, place + 1, sum(self._parts)
        for stream, part in enumerate(self._parts):
            taken, then = -(-before * part // rest), -(-after * part // rest)
            if then > taken:
                return stream, taken
            before, after, rest = before - taken, after - then, rest - part
        raise AssertionError("the last stream takes what is left")
