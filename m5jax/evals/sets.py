"""Sets of listings by name: the splits of a prepared catalogue, its named sets, and several of either.

A listing lies in one split and may be a member of any number of sets (M5Product's ``query_fg``, ``gallery_c``).
"""

import functools
from collections.abc import Iterable, Mapping

import numpy as np

from m5jax.data.prepared import SETS, Prepared
from m5jax.embed import concatenate
from m5jax.errors import ConfigError, DataError
from m5jax.evals.suite import Split, join
from m5jax.settings import suggest

SEVERAL = "+"


class Sets:
    """The sets of a prepared catalogue; a split and a set of one name are the split."""

    def __init__(self, prepared: Prepared):
        self._prepared = prepared

    @functools.cached_property
    def _named(self) -> dict[str, frozenset[str]]:
        """The ids of every named set."""
        if not (self._prepared.folder / SETS).is_file():
            return {}
        table = self._prepared.beside(SETS)
        names, ids = (np.asarray(table[column].to_pylist(), object) for column in ("set", "id"))
        return {str(name): frozenset(ids[names == name].tolist()) for name in sorted(set(names))}

    def __contains__(self, name: str) -> bool:
        return all(part in self._prepared.splits or part in self._named for part in name.split(SEVERAL))

    def known(self, name: str) -> str:
        """What there is of a set of several."""
        return SEVERAL.join(part for part in name.split(SEVERAL) if part in self)

    def shared(self, one: str, other: str) -> int:
        """How many listings two sets have in common.

        Raises:
          ConfigError, DataError: as `find`.
        """
        places, others = self._places(one), self._places(other)
        return sum(len(np.intersect1d(places[split], others[split])) for split in places if split in others)

    def splits(self, names: Iterable[str]) -> tuple[str, ...]:
        """The splits that the listings of some sets lie in, in the order of the catalogue.

        Raises:
          ConfigError, DataError: as `find`.
        """
        needed = {split for name in names for split in self._places(name)}
        return tuple(split for split in self._prepared.splits if split in needed)

    def find(self, name: str, embedded: Mapping[str, Split]) -> Split:
        """The listings of a set, split by split, each once.

        Raises:
          ConfigError: there is no such set.
          DataError: none of its ids became a record.
        """
        parts = [
            embedded[split] if len(rows) == self._prepared.splits[split] else embedded[split].rows(rows)
            for split, rows in self._places(name).items()
        ]
        if len(parts) == 1:
            return parts[0]
        return Split(join([part.index for part in parts]), concatenate([part.embeddings for part in parts]))

    def lost(self, name: str) -> int:
        """How many ids of a set became no record."""
        named = frozenset[str]().union(*(self._named[part] for part in self._parts(name)[1]))
        if not named:
            return 0
        recorded = (identity for split in self._prepared.splits for identity in self._prepared.ids(split))
        return len(named) - sum(identity in named for identity in recorded)

    def _parts(self, name: str) -> tuple[list[str], list[str]]:
        """The splits and the named sets that a name is made of."""
        parts, splits = name.split(SEVERAL), self._prepared.splits
        known = [*splits, *(set(self._named) - set(splits))]
        for part in parts:
            if part not in known:
                named = ", ".join(sorted(set(self._named) - set(splits))) or "none"
                raise ConfigError(
                    f"{part!r} is no set of {self._prepared.folder}: it has the splits {', '.join(splits)}, and the"
                    f" named sets {named}{suggest(part, known)}; see config.evaluate.retrieval and .classification"
                )
        return [part for part in parts if part in splits], [part for part in parts if part not in splits]

    @functools.cache  # noqa: B019 - one object a run
    def _places(self, name: str) -> dict[str, np.ndarray]:
        """By split the ascending positions of a set's listings, splits without any left out."""
        whole, named = self._parts(name)
        wanted = frozenset[str]().union(*(self._named[part] for part in named))
        places = {}
        for split, count in self._prepared.splits.items():
            if split in whole:
                places[split] = np.arange(count)
            elif wanted:
                inside = np.fromiter((identity in wanted for identity in self._prepared.ids(split)), bool, count)
                if inside.any():
                    places[split] = np.flatnonzero(inside)
        if not places:
            raise DataError(f"none of the {len(wanted)} ids of set {name!r} became a record of {self._prepared.folder}")
        return places
