"""How unevenly listings spread over categories, sources and products."""

import dataclasses

import numpy as np
from jaxtyping import Int

from m5jax.validation.columns import UNKNOWN, Coded

TOPS = (10, 100, 1000)
RARE = 5  # listings; a class with fewer is rare
NAMED = 10  # classes at either end that are named
DECILES = 10


@dataclasses.dataclass(frozen=True)
class Tail:
    """Listings by class: category, source or product.

    Attributes:
      what: the classes.
      classes: how many there are.
      unknown: listings without one.
      gini: Gini coefficient of the sizes; 0 = all alike, towards 1 = nearly all listings in one.
      top: share of the listings that the largest 10, 100, 1000 classes hold, as far as there are more.
      deciles: listings of the smallest class, of that larger than a tenth of the classes, ... of the largest.
      rare: classes with fewer than `RARE` listings.
      largest, smallest: (name, listings); of nameless classes none.
      sizes: listings of each class, largest first.
    """

    what: str
    classes: int
    unknown: int
    gini: float
    top: dict[int, float]
    deciles: list[int]
    rare: int
    largest: list[tuple[str, int]]
    smallest: list[tuple[str, int]]
    sizes: Int[np.ndarray, "classes"]


def tail(what: str, coded: Coded) -> Tail | None:
    """The spread over the classes of a column; None if no listing has one."""
    sizes = coded.sizes
    if not len(sizes):
        return None
    order = np.argsort(-sizes, kind="stable")
    ranked, total = sizes[order], sizes.sum()
    named = [(coded.names[code], int(sizes[code])) for code in order] if len(coded.names) else []
    return Tail(
        what=what,
        classes=len(sizes),
        unknown=int((coded.codes == UNKNOWN).sum()),
        gini=gini(sizes),
        top={most: float(ranked[:most].sum() / total) for most in TOPS if most < len(sizes)},
        deciles=np.quantile(sizes, np.linspace(0, 1, DECILES + 1), method="nearest").tolist(),
        rare=int((sizes < RARE).sum()),
        largest=named[:NAMED],
        smallest=named[NAMED:][-NAMED:],
        sizes=ranked,
    )


def gini(sizes: Int[np.ndarray, "classes"]) -> float:
    """Half the mean difference between two sizes, over the mean size (Gini, Variabilità e mutabilità, 1912)."""
    ascending, n = np.sort(sizes), len(sizes)
    return float(((2 * np.arange(1, n + 1) - n - 1) * ascending).sum() / (n * ascending.sum()))
