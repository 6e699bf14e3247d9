"""Listings at the points of sweeps: what each shows there, with everything that any of them shows embedded once.

What happens to a listing follows from its id (`data.corruption`, `data.schemes`): it is the same for every model, and
what is broken at a ratio is broken at every larger one. The clean listings are those of the catalogue, whatever
`config.data.corruption` does to their splits.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from m5jax import sweep_settings
from m5jax.data.corruption import Plan
from m5jax.data.index import Index
from m5jax.data.prepared import Variants
from m5jax.embed import FUSED, Embeddings
from m5jax.evals import sweeps
from m5jax.evals.suite import Split
from m5jax.inputs import CLEAN
from m5jax.studies.subject import Subject

OWN, GONE = -1, -2  # what a listing shows of a modality; from 0 on: the record whose content it is

Point = tuple[str, float]  # a sweep and a ratio


@dataclasses.dataclass(frozen=True)
class Drawn:
    """The listings of a split that are looked at, as every point shows them.

    Attributes:
      index: of the listings, clean.
      variants: embeddings of everything that they show at any point, each once.
      which: per point, int [n]: the variant that a listing is.
    """

    index: Index
    variants: Embeddings
    which: Mapping[Point, np.ndarray]

    def at(self, point: Point) -> Split:
        """The listings at a point."""
        return Split(self.index, self.variants.rows(self.which[point]))

    def changed(self, points: Sequence[Point]) -> list[int]:
        """How many listings are not as they were at the first of some points."""
        return [int((self.which[point] != self.which[points[0]]).sum()) for point in points]


def draw(
    subject: Subject,
    split: str,
    rows: np.ndarray,
    points: Sequence[Point],
    corrupted: Sequence[str],
    hidden: Sequence[str] = (),
) -> Drawn:
    """Embeds listings of a split, every modality in use together, in every variant.

    Args:
      subject: whose they are.
      split: of the catalogue.
      rows: int [n], positions of the listings, in any order and as often as needed.
      points: at which they are looked at.
      corrupted: the splits that are.
      hidden: per listing a property that its table does not show, "" = none (`Plan.hidden`); empty: none at all.
    """
    config, prepared = subject.config, subject.prepared
    names = config.inputs.shown
    asked = [*hidden] if len(hidden) and "table" in names else [""] * len(rows)
    told, number = np.unique(np.asarray(asked, str), return_inverse=True)
    showings = [np.column_stack([rows, number, _shown(subject, split, point, corrupted)[rows]]) for point in points]
    variants, which = sweeps.distinct(showings)
    contents = dict(zip(names, variants.T[2:], strict=True))
    plan = Plan(
        {name: shown == GONE for name, shown in contents.items()},
        {name: np.where(shown >= 0, shown, -1).astype(np.int32) for name, shown in contents.items()},
        told[variants[:, 1]].tolist() if any(told) else (),
    )
    made = Variants.of(prepared, variants[:, 0], plan)
    embedded = subject.again(made, split, {FUSED: config.inputs.modalities}, np.arange(len(variants)))
    index = dataclasses.replace(prepared, corruption=CLEAN).index(split)
    return Drawn(index.rows(rows), embedded, dict(zip(points, which, strict=True)))


def _shown(subject: Subject, split: str, point: Point, corrupted: Sequence[str]) -> np.ndarray:
    """What every listing of a split shows of the modalities that the model sees: int32 [N, M], see `OWN`."""
    inputs, seed = subject.config.inputs, subject.config.data.corruption.seed
    chosen = sweep_settings.corruption(*point, inputs, corrupted, seed)
    plan = dataclasses.replace(subject.prepared, corruption=chosen).corrupted(split)
    shown = np.full((subject.prepared.length(split), len(inputs.shown)), OWN, np.int32)
    for column, name in zip(shown.T, inputs.shown, strict=True):
        if name in plan.donors:
            column[:] = plan.donors[name]
        if name in plan.missing:
            column[plan.missing[name]] = GONE
    return shown
