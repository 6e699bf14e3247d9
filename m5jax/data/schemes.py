"""Which listings K3M's schemes corrupt, and whose titles and pictures the noisy ones show.

The paper (arXiv:2109.00895) names the schemes; these are our rules for what it leaves open. Of a split:

* Every listing has one number, uniform in [0, 1), from the seed and its id alone, the same for all schemes. It is
  corrupted where that number is below the ratio: what is corrupted at a ratio is so at every larger one, and in every
  model. A ratio is a share of all listings; one that lacks what the scheme is about stays as it is.
* Where a scheme has choices (MMR, MNR), a second number of the listing makes the choice, the same at every ratio.
* Missing is `ABSENT`. Nothing stays for being a listing's last modality: it may have nothing left, then has no
  embedding, and counts as wrong wherever it is asked.
* Noise is the content of a listing of another category. A derangement says whose, one for titles and another, drawn
  by itself, for pictures; TNR, TINR and MNR show the same titles, INR, TINR and MNR the same pictures.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from m5jax import modalities
from m5jax.data.corruption import Plan, digests, uniform
from m5jax.inputs import Corruption
from m5jax.modalities import State
from m5jax.schemes import SCHEMES

TURNS = 40  # of three listings' donors each; from there on three equal categories give to each other alike


def draw(
    corruption: Corruption, ids: Iterable[str], states: np.ndarray, categories: np.ndarray, names: Sequence[str]
) -> Plan:
    """What a scheme makes of the listings of a split.

    Args:
      corruption: its scheme, ratio and seed.
      ids: of the listings.
      states: uint8 [N, 5], what the catalogue has of them.
      categories: int [N]; listings without one share a number, and nobody knows that theirs differ.
      names: the modalities that are looked at; the others have no say.
    """
    scheme, seed = SCHEMES[corruption.scheme], corruption.seed
    keys = digests(ids, len(states))
    corrupted = uniform(keys, seed, "scheme") < corruption.ratio
    choice = (uniform(keys, seed, "choice", corruption.scheme) * len(scheme.choices)).astype(np.int64)
    missing, donors = {}, {}
    for name in scheme.modalities:
        if name not in names:
            continue
        present = states[:, modalities.NAMES.index(name)] == State.PRESENT
        befalls = np.asarray([name in of for of in scheme.choices])
        hit = corrupted & present & befalls[choice]
        if scheme.kind == "missing":
            missing[name] = hit
            continue
        holders, others = np.flatnonzero(present), np.full(len(keys), -1)
        if len(holders) > 1:
            others[holders] = holders[deranged(keys[holders], categories[holders], seed, "scheme", name)]
        donors[name] = np.where(hit, others, -1).astype(np.int32)
    return Plan(missing, donors)


def deranged(keys: np.ndarray, groups: np.ndarray, *purpose: Any) -> np.ndarray:
    """For every listing one of another group, each listing once if that is possible: int64 [N].

    It is possible unless a group has more than half of the listings: then those of the others are shown to that one
    as evenly as can be. Of a single group it is another listing of it. Any order of the listings gives the same.
    Which other group it is, chance decides: were it always the same one, a classifier that learned from noisy
    listings could tell a group by what is shown in its place.

    Args:
      keys: uint64 [N], of the listings, different ones; two or more.
      groups: int [N].
      purpose: what this is for; two purposes know nothing of each other.
    """
    count, sizes = len(keys), np.bincount(groups)
    ranks = np.argsort(np.argsort(-sizes, kind="stable"))  # of the groups, the largest first
    order = np.lexsort((uniform(keys, *purpose), ranks[groups]))
    largest = sizes.max()
    if largest == count:
        given = np.roll(order, 1)
    elif 2 * largest > count:
        given = np.concatenate([order[largest + np.arange(largest) % (count - largest)], order[: count - largest]])
    else:
        given = _mixed(np.roll(order, -largest), order, keys, groups, purpose)  # past every group's own end
    others = np.empty(count, np.int64)
    others[order] = given
    return others


def _mixed(given: np.ndarray, order: np.ndarray, keys: np.ndarray, groups: np.ndarray, purpose: Any) -> np.ndarray:
    """The donors `given` to the listings in `order`, handed on in threes wherever all three stay of another group.

    By twos would not do: where three equal groups give to each other in a circle, no two may exchange.
    """
    given = given.copy()
    for turn in range(TURNS):
        places = np.argsort(uniform(keys[order], *purpose, turn), kind="stable")
        threes = places[: len(places) // 3 * 3].reshape(3, -1)
        turned = np.roll(given[threes], 1, axis=0)
        fits = (groups[turned] != groups[order[threes]]).all(axis=0)
        given[threes[:, fits]] = turned[:, fits]
    return given
