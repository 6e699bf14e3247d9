"""Missing and noisy on purpose: splits whose listings lose modalities, or show other listings', in chosen ratios.

Whether a listing is corrupted follows from the seed, the kind, the modality and its id alone: each gives it a number
uniform in [0, 1), and it is corrupted where that number is below the ratio. So what is corrupted at a ratio is
corrupted at every larger one, and neither the order of the listings nor who reads them changes anything.

* missing: the modality becomes ABSENT and its content is taken away. The last modality of a listing stays: of those
  that should all go, the one that would go last if all ratios grew together.
* noise: the content is that of another listing of the split that has the modality, the same one at every ratio. It
  is what the catalogue says of that listing: noise is not handed on. A modality that only one listing has stays.

Ratios are shares of the listings that have the modality; what goes missing goes first, so that the ratio of noise is
a share of those that keep it.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from m5jax import modalities
from m5jax.data import triples
from m5jax.data.records import DAMAGED, Record, Source
from m5jax.inputs import Corruption
from m5jax.modalities import State

# Others are in the field of their name.
_CONTENT = {"text": ("title", "description", "text_pieces"), "table": ("fields", "table_pieces")}


@dataclasses.dataclass(frozen=True)
class Plan:
    """Which listings of a split are corrupted, and how; row i is record i. Modalities without a ratio are left out.

    States and titles know nothing of what is hidden in tables.

    Attributes:
      missing: per modality, bool [N]: it is taken away.
      donors: per modality, int32 [N]: the record whose content is shown, or -1 for the listing's own.
      hidden: per listing a property that its table, own or not, does not show, "" for none; empty: none at all. Names
        are compared as `triples.folded`; a table of nothing else is ABSENT.
    """

    missing: Mapping[str, np.ndarray]
    donors: Mapping[str, np.ndarray]
    hidden: Sequence[str] = ()

    @property
    def noise(self) -> dict[str, np.ndarray]:
        """Per modality, bool [N]: the content is another listing's."""
        return {name: donors >= 0 for name, donors in self.donors.items()}

    def states(self, states: np.ndarray) -> np.ndarray:
        """The states [N, 5] that are left of those of the catalogue."""
        left = states.copy()
        for name, gone in self.missing.items():
            left[gone, modalities.NAMES.index(name)] = State.ABSENT
        return left

    def titles(self, titles: np.ndarray) -> np.ndarray:
        """The titles [N] that are shown in place of those of the catalogue; "" for one that is taken away."""
        shown = titles.copy()
        if "text" in self.donors:
            noisy = self.noise["text"]
            shown[noisy] = titles[self.donors["text"][noisy]]
        if "text" in self.missing:
            shown[self.missing["text"]] = ""
        return shown


NOTHING = Plan({}, {})


def draw(corruption: Corruption, ids: Iterable[str], states: np.ndarray, names: Sequence[str]) -> Plan:
    """What becomes of the listings of a split.

    Args:
      corruption: ratios and seed; whether it acts on the split is the caller's to know.
      ids: of the listings.
      states: uint8 [N, 5], what the catalogue has of them.
      names: the modalities in use: others are no comfort to a listing that would lose its last one.
    """
    keys = digests(ids, len(states))
    present = {name: states[:, modalities.NAMES.index(name)] == State.PRESENT for name in names}
    missing, donors = _missing(corruption, keys, present), {}
    for name, ratio in corruption.ratios("noise").items():
        if name in present:
            left = _without(present[name], missing.get(name))
            noisy = left & (uniform(keys, corruption.seed, "noise", name) < ratio)
            others = _others(keys, present[name], uniform(keys, corruption.seed, "donor", name))
            donors[name] = np.where(noisy, others, -1).astype(np.int32)
    return Plan(missing, donors)


def digests(ids: Iterable[str], count: int) -> np.ndarray:
    """What `uniform` takes of so many listings, by their ids: uint64 [N]."""
    return np.fromiter((_digest(identity) for identity in ids), np.uint64, count)


def uniform(digests: np.ndarray, *purpose: Any) -> np.ndarray:
    """A number in [0, 1) for every digest, float64 [N]; those for two purposes know nothing of each other.

    The digests are uint64 [N]; they are mixed by SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
    """
    mixed = digests + np.uint64(_digest(repr(purpose)))  # wraps around
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return (mixed >> np.uint64(11)) * 2.0**-53


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _missing(corruption: Corruption, digests: np.ndarray, present: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Per modality with a ratio, the listings that lose it."""
    ratios = {name: ratio for name, ratio in corruption.ratios("missing").items() if name in present}
    draws = {name: uniform(digests, corruption.seed, "missing", name) for name in ratios}
    gone = {name: present[name] & (draws[name] < ratio) for name, ratio in ratios.items()}
    left = np.any([_without(there, gone.get(name)) for name, there in present.items()], 0)
    bare = np.flatnonzero(~left)
    if ratios and len(bare):
        # At a ratio of 1 a modality is gone from the start: it comes back only where there is no other.
        last = [
            np.where(gone[name], draws[name] / ratio if ratio < 1 else draws[name] - 1, -np.inf)[bare]
            for name, ratio in ratios.items()
        ]
        for name, stays in zip(ratios, np.argmax(last, 0) == np.arange(len(ratios))[:, None], strict=True):
            gone[name][bare[stays]] = False
    return gone


def _without(there: np.ndarray, gone: np.ndarray | None) -> np.ndarray:
    return there if gone is None else there & ~gone


def _others(digests: np.ndarray, there: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """For every listing that has a modality another one that has it, each as likely: int64 [N]; -1 if there is none.

    They are counted by their digests, so that the order of the listings does not matter.
    """
    holders = np.flatnonzero(there)
    others = np.full(len(digests), -1)
    if len(holders) > 1:
        holders = holders[np.argsort(digests[holders], kind="stable")]
        chosen = (draws[holders] * (len(holders) - 1)).astype(np.int64)
        others[holders] = holders[chosen + (chosen >= np.arange(len(holders)))]  # leaves out the listing itself
    return others


class Corrupted:
    """The records of a split as a plan has them; a source like `Records`.

    A damaged record stays `DAMAGED`. A modality whose donor cannot be read is CORRUPT.

    Args:
      records: of the split, as recorded.
      plan: row i is about record i, or about the record at the i-th position if there are `positions`.
      positions: the records there are, each as often as it is named; None = all, in their order.
    """

    def __init__(self, records: Source, plan: Plan, positions: np.ndarray | None = None):
        self._records, self._plan, self._positions = records, plan, positions

    def __len__(self) -> int:
        return len(self._records if self._positions is None else self._positions)

    def __getitem__(self, index: int) -> Record:
        record = self._records[index if self._positions is None else int(self._positions[index])]
        if record.id == DAMAGED.id:
            return record
        for name, donors in self._plan.donors.items():
            if donors[index] >= 0:
                donor = self._records[int(donors[index])]
                state = State.CORRUPT if donor.id == DAMAGED.id else State.PRESENT
                record = _with(record, name, donor, state)
        for name, gone in self._plan.missing.items():
            if gone[index]:
                record = _with(record, name, DAMAGED, State.ABSENT)
        return triples.without(record, self._plan.hidden[index]) if len(self._plan.hidden) else record


def _with(record: Record, name: str, donor: Record, state: State) -> Record:
    """The record with a modality of another one."""
    content = {field: getattr(donor, field) for field in _CONTENT.get(name, (name,))}
    states = tuple(state if name == other else s for other, s in zip(modalities.NAMES, record.states, strict=True))
    return dataclasses.replace(record, states=states, **content)
