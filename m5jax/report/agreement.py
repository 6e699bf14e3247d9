"""Which modalities agree: the harmony matrices of many listings, averaged."""

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from m5jax.evals.suite import Split


@dataclasses.dataclass(frozen=True)
class Agreement:
    """The mean harmony matrix of some listings.

    Attributes:
      title: which listings.
      listings: how many.
      values: per row and column the mean over the listings that have both modalities; None where none has.
    """

    title: str
    listings: int
    values: list[list[float | None]]


def agreements(splits: Sequence[Split], names: Sequence[str], categories: int) -> list[Agreement]:
    """The mean harmony matrix over all listings, then over each of the largest categories.

    Args:
      splits: index and embeddings; those of a model without harmony give nothing.
      names: the modalities of the rows and columns.
      categories: how many categories to show.
    """
    harmony = [split.embeddings.harmony for split in splits if split.embeddings.harmony is not None]
    if not harmony:
        return []
    matrices = np.concatenate(harmony)
    present = np.concatenate([np.stack([split.embeddings.valid[name] for name in names], 1) for split in splits])
    labels = np.concatenate([split.index.categories for split in splits])
    sizes = Counter(label for label in labels if label)
    largest = sorted(sizes, key=lambda label: (-sizes[label], label))[:categories]
    chosen = [("All held-out listings", np.ones(len(labels), bool))] + [(label, labels == label) for label in largest]
    return [
        Agreement(title, int(rows.sum()), _mean(matrices[rows], present[rows])) for title, rows in chosen if rows.any()
    ]


def _mean(matrices: Float[np.ndarray, "n m m"], present: Bool[np.ndarray, "n m"]) -> list[list[float | None]]:
    both = present[:, :, None] & present[:, None, :]
    count = both.sum(0)
    mean = np.where(both, matrices, 0.0).sum(0) / np.maximum(count, 1)
    return [
        [float(value) if n else None for value, n in zip(*row, strict=True)] for row in zip(mean, count, strict=True)
    ]
