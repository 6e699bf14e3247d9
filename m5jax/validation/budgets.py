"""How much of titles and tables the token budgets of the configuration cut off."""

import dataclasses

import numpy as np
from jaxtyping import Int

from m5jax import modalities
from m5jax.data import tokenizer
from m5jax.data.prepared import Prepared
from m5jax.data.transforms import Transform
from m5jax.validation.columns import Columns

SAMPLE = 20_000  # listings whose records are read: their shares are known to 1 % with 99.5 % confidence
WHOLE = (0.95, 0.99)  # shares of the listings to be left whole by a suggested budget


@dataclasses.dataclass(frozen=True)
class Lengths:
    """How long something is, over the listings that have it: mean, median, 95 %, 99 %, and the largest."""

    mean: float
    median: int
    p95: int
    p99: int
    largest: int


@dataclasses.dataclass(frozen=True)
class Budget:
    """One sequence of tokens and its budget, over the listings of the sample that have it.

    Attributes:
      name: the modality.
      listings: of the sample, that have it.
      length: the budget, `config.inputs.NAME.length`, special tokens included.
      tokens: how long it is before it is cut.
      cut: listings of which the budget cuts something.
      lost: share of all tokens that are cut off.
      suggested: by share of the listings, the smallest budget that leaves so many whole.
    """

    name: str
    listings: int
    length: int
    tokens: Lengths
    cut: int
    lost: float
    suggested: dict[float, int]

    @property
    def share(self) -> float:
        """Of the listings, those that are cut."""
        return self.cut / self.listings


def sample(columns: Columns, most: int = SAMPLE) -> Int[np.ndarray, "s"]:
    """Rows evenly spaced over all splits, at most `most`."""
    return np.unique(np.linspace(0, len(columns) - 1, min(most, len(columns))).astype(int))


def find(prepared: Prepared, columns: Columns, rows: Int[np.ndarray, "s"]) -> list[Budget]:
    """The budgets of the token sequences in use, by the records of some rows."""
    transform = Transform(prepared.inputs, tokenizer.load(prepared.tokenizer_path))
    names = [name for name in prepared.inputs.modalities if modalities.TABLE[name].kind == modalities.TEXT_KIND]
    counts: dict[str, list[int]] = {name: [] for name in names}
    sources = {split: prepared.records(split) for split in columns.splits}
    for row in rows.tolist() if names else ():
        split, position = columns.place(row)
        record = sources[split][position]
        for name, kept in counts.items():
            kept.append(transform.tokens(name, record))
    budgets = []
    for name, kept in counts.items():
        lengths = np.asarray([count for count in kept if count], np.int64)
        if len(lengths):
            budgets.append(_budget(name, getattr(prepared.inputs, name).length, lengths))
    return budgets


def _budget(name: str, length: int, counts: np.ndarray) -> Budget:
    over = np.maximum(counts - length, 0)
    return Budget(
        name=name,
        listings=len(counts),
        length=length,
        tokens=lengths(counts),
        cut=int((over > 0).sum()),
        lost=float(over.sum() / counts.sum()),
        suggested={share: int(np.quantile(counts, share, method="inverted_cdf")) for share in WHOLE},
    )


def lengths(counts: Int[np.ndarray, "n"]) -> Lengths:
    """Of at least one count."""
    median, p95, p99, largest = np.quantile(counts, (0.5, 0.95, 0.99, 1.0), method="inverted_cdf").tolist()
    return Lengths(float(counts.mean()), median, p95, p99, largest)
