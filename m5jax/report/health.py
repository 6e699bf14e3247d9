"""What a prepared catalogue holds and lacks: states of modalities, their combinations, categories, rejections."""

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from m5jax import modalities
from m5jax.data.index import Index
from m5jax.data.prepared import REJECTIONS, Prepared
from m5jax.media import files
from m5jax.validation import states
from m5jax.validation.states import Combination
from m5jax.validation.tail import RARE, gini

MOST_COMBINATIONS = 12
EXAMPLES = 3  # of each reason of rejection
TOP_SHARE = 0.1  # of the categories, largest first


@dataclasses.dataclass(frozen=True)
class StateBar:
    """What the listings of one split have of one modality: `counts` listings by name of state; `total` in all."""

    split: str
    counts: dict[str, int]

    @property
    def total(self) -> int:
        """Listings of the split."""
        return sum(self.counts.values())


@dataclasses.dataclass(frozen=True)
class Corrupted:
    """How many listings of a split lost a modality on purpose ("missing") or show another listing's ("noise")."""

    split: str
    name: str
    kind: str
    count: int


@dataclasses.dataclass(frozen=True)
class Categories:
    """How listings spread over categories.

    Attributes:
      sizes: listings of each category, largest first.
      largest, smallest: some categories at either end, (name, listings).
      gini: Gini coefficient of the sizes; 0 = all alike, towards 1 = nearly all listings in one.
      top_share: share of the listings that the largest `TOP_SHARE` of the categories (at least one) hold.
      top_count: how many categories those are.
      rare: categories with fewer than `RARE` listings.
      unknown: listings without category.
    """

    sizes: np.ndarray
    largest: list[tuple[str, int]]
    smallest: list[tuple[str, int]]
    gini: float
    top_share: float
    top_count: int
    rare: int
    unknown: int


@dataclasses.dataclass(frozen=True)
class Rejected:
    """What was lost for one reason: `examples` are rows of the rejections file."""

    modality: str
    reason: str
    meaning: str
    count: int
    examples: list[dict[str, str | int]]


@dataclasses.dataclass(frozen=True)
class Noted:
    """How often something was left out with nothing lost that could have been used."""

    modality: str
    reason: str
    count: int


def state_bars(prepared: Prepared) -> dict[str, list[StateBar]]:
    """Per modality in use, its states in every split, as the model met them."""
    bars: dict[str, list[StateBar]] = {name: [] for name in prepared.inputs.modalities}
    for split in prepared.splits:
        found = prepared.states(split)
        for name, of_splits in bars.items():
            column = found[:, modalities.NAMES.index(name)]
            counts = {state.name.lower(): int(np.count_nonzero(column == state)) for state in states.ORDER}
            of_splits.append(StateBar(split, counts))
    return bars


def corruptions(prepared: Prepared) -> list[Corrupted]:
    """What was taken away or exchanged on purpose, by split."""
    found = []
    for split in prepared.splits:
        plan = prepared.corrupted(split)
        for kind, masks in (("missing", plan.missing), ("noise", plan.noise)):
            found += [Corrupted(split, name, kind, int(mask.sum())) for name, mask in masks.items() if mask.any()]
    return found


def combinations(indices: Sequence[Index]) -> list[Combination]:
    """Which modalities occur together, most frequent first; what is beyond `MOST_COMBINATIONS` is summed up last."""
    return most_frequent(states.combinations(np.concatenate([index.states for index in indices])))


def most_frequent(found: list[Combination]) -> list[Combination]:
    """The first combinations, and those too rare to be shown as one without names."""
    shown, rest = found[:MOST_COMBINATIONS], found[MOST_COMBINATIONS:]
    others = Combination((), sum(one.count for one in rest), sum(one.share for one in rest))
    return [*shown, others] if rest else shown


def categories(indices: Sequence[Index]) -> Categories | None:
    """How listings spread over categories; None for a catalogue without any."""
    counts = Counter(category for index in indices for category in index.categories)
    unknown = counts.pop("", 0)
    if not counts:
        return None
    ranked = _ranked(counts)
    sizes = np.asarray([count for _, count in ranked])
    top = max(1, round(TOP_SHARE * len(sizes)))
    return Categories(
        sizes=sizes,
        largest=ranked[:5],
        smallest=ranked[5:][-5:],
        gini=gini(sizes),
        top_share=float(sizes[:top].sum() / sizes.sum()),
        top_count=top,
        rare=int((sizes < RARE).sum()),
        unknown=unknown,
    )


def notes(prepared: Prepared) -> list[Noted]:
    """What preparation left out without loss, by reason, most frequent first."""
    counted = [(key.split("/", 1), count) for key, count in _ranked(prepared.manifest["noted"])]
    return [Noted(modality, reason, count) for (modality, reason), count in counted]


def rejections(prepared: Prepared) -> list[Rejected]:
    """What preparation could not use, by reason, most frequent first, with examples."""
    counted: Mapping[str, int] = prepared.manifest["rejected"]
    examples: dict[str, list[dict[str, str | int]]] = {key: [] for key in counted}
    if counted:
        # Not splitlines(): the separators of Unicode may stand inside a row.
        with (prepared.folder / REJECTIONS).open(encoding="utf-8", newline="\n") as file:
            for line in file:
                row = json.loads(line)
                if not row.get("lost", True):  # a note
                    continue
                kept = examples[f"{row['modality'] or 'listing'}/{row['reason']}"]
                if len(kept) < EXAMPLES:
                    kept.append(row)
    found = []
    for key, count in _ranked(counted):
        modality, reason = key.split("/", 1)
        found.append(Rejected(modality, reason, files.REASONS.get(reason, ""), count, examples[key]))
    return found


def _ranked(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Most frequent first."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
