"""Questions about listings: which value does this one have for that property? Drawn, with candidates to choose from.

After K3M's multi-modal question answering (arXiv:2109.00895), whose data nobody has; made of any catalogue with
tables. Everything follows from digests of ids, properties and values: neither the order of the listings nor a seed
changes anything. Properties and values are compared as `triples.folded`; one without a name or a value asks nothing.

* A question is a listing and a property that it has; its answers are all values that it has for it.
* Candidates are the answers, the values that training listings have for the property, and values of their other
  properties, until they are `CANDIDATES`; where there are more, by the digest of question and value. Their order
  follows from another digest of both, so that it does not tell who is right.
* A question without a wrong candidate asks nothing, and is left out.
"""

import collections
import dataclasses
import functools
import hashlib
import heapq
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import scipy.sparse

from m5jax.data import corruption
from m5jax.data.prepared import Prepared
from m5jax.data.triples import folded
from m5jax.evals import surface

TRAIN, VAL = "train", "val"
CANDIDATES = 100
ANSWERS = 9  # of one question; one with more has those of lowest digest, and the others are no candidates


@dataclasses.dataclass(frozen=True)
class Questions:
    """Questions, row by row.

    Attributes:
      splits, rows: of the listing asked about; rows are those of its split.
      properties: int [N], into `names`.
      answers: int [N, ANSWERS], into `values`; -1 = no more.
      candidates: int [N, CANDIDATES], into `values`, the answers among them; -1 = no more. Of training questions, which
        only teach, all are -1.
      often: int [N, CANDIDATES], training listings that have the candidate for the property.
      names, values: surface forms, folded.
    """

    splits: np.ndarray
    rows: np.ndarray
    properties: np.ndarray
    answers: np.ndarray
    candidates: np.ndarray
    often: np.ndarray
    names: tuple[str, ...]
    values: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def hidden(self) -> list[str]:
        """Of every question the property that the listing must not show."""
        return [self.names[number] for number in self.properties]

    @property
    def true(self) -> np.ndarray:
        """bool [N, CANDIDATES], whether a candidate is an answer."""
        return ((self.candidates[:, :, None] == self.answers[:, None, :]) & (self.candidates[:, :, None] >= 0)).any(-1)

    @property
    def tested(self) -> np.ndarray:
        """bool [N], the questions that models are asked; the others teach, or choose the head."""
        return ~np.isin(self.splits, (TRAIN, VAL))

    @functools.cached_property
    def name_bags(self) -> scipy.sparse.csr_array:
        """The bags (`evals.surface`) of `names`."""
        return surface.bags(self.names)

    @functools.cached_property
    def value_bags(self) -> scipy.sparse.csr_array:
        """The bags (`evals.surface`) of `values`."""
        return surface.bags(self.values)


@dataclasses.dataclass(frozen=True, order=True)
class _Drawn:
    digest: int
    split: str
    row: int
    property: str
    values: tuple[str, ...]


def draw(prepared: Prepared, groups: Mapping[Sequence[str], int]) -> Questions:
    """Questions about the listings of a catalogue, as it says of them itself, whatever is corrupted on purpose.

    Args:
      prepared: the records.
      groups: splits that are drawn from together, those that the catalogue lacks left out; and how many questions at
        most: those of lowest digest.
    """
    known: dict[str, collections.Counter[str]] = {}
    for one in _asked(prepared, TRAIN) if TRAIN in prepared.splits else ():
        known.setdefault(one.property, collections.Counter()).update(one.values)
    drawn: list[_Drawn] = []
    for group, most in groups.items():
        there = [split for split in group if split in prepared.splits]
        drawn += heapq.nsmallest(most, (one for split in there for one in _asked(prepared, split)))
    names = sorted({*known, *(one.property for one in drawn)})
    values = sorted({value for of in [*known.values(), *(one.values for one in drawn)] for value in of})
    table = _Table.of(known, {name: at for at, name in enumerate(values)})
    number = {name: at for at, name in enumerate(names)}
    rows = [(one, *table.offered(one)) for one in drawn]
    rows = [row for row in rows if row[0].split == TRAIN or (row[2] >= 0).sum() > (row[1] >= 0).sum()]
    made = [one for one, *_ in rows]
    return Questions(
        splits=np.asarray([one.split for one in made], object),
        rows=np.asarray([one.row for one in made], np.int64),
        properties=np.asarray([number[one.property] for one in made], np.int64),
        answers=np.asarray([row[1] for row in rows], np.int64).reshape(-1, ANSWERS),
        candidates=np.asarray([row[2] for row in rows], np.int64).reshape(-1, CANDIDATES),
        often=np.asarray([row[3] for row in rows], np.int64).reshape(-1, CANDIDATES),
        names=tuple(names),
        values=tuple(values),
    )


@dataclasses.dataclass(frozen=True)
class _Table:
    """What training listings have for their properties.

    Attributes:
      number: of every value.
      digests: uint64 [U], of the values.
      known: bool [U], whether a training listing has the value for some property.
      by_property: values of a property, and how many training listings have each.
    """

    number: Mapping[str, int]
    digests: np.ndarray
    known: np.ndarray
    by_property: Mapping[str, tuple[np.ndarray, np.ndarray]]

    @classmethod
    def of(cls, known: Mapping[str, Mapping[str, int]], number: Mapping[str, int]) -> "_Table":
        by_property = {
            name: (np.asarray([number[value] for value in of]), np.asarray(list(of.values())))
            for name, of in known.items()
        }
        seen = np.zeros(len(number), bool)
        for rows, _ in by_property.values():
            seen[rows] = True
        return cls(number, np.asarray([digest(value) for value in number], np.uint64), seen, by_property)

    def offered(self, asked: _Drawn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Answers, candidates and how often they are, padded."""
        own = np.asarray([self.number[value] for value in asked.values])
        own = own[np.argsort(self.digests[own])]
        answers = np.pad(own[:ANSWERS], (0, max(0, ANSWERS - len(own))), constant_values=-1)
        candidates, often = np.full(CANDIDATES, -1), np.zeros(CANDIDATES, np.int64)
        if asked.split == TRAIN:
            return answers, candidates, often
        both = self.digests ^ np.uint64(asked.digest)
        rows, counts = self.by_property.get(asked.property, (np.zeros(0, int), np.zeros(0, int)))
        late = np.where(self.known, 2.0, np.inf)
        late[rows] = 1.0
        late[own] = np.inf
        late[own[:ANSWERS]] = 0.0
        chosen = np.argsort(late + corruption.uniform(both, "chosen"), kind="stable")[:CANDIDATES]
        chosen = chosen[np.isfinite(late[chosen])]
        chosen = chosen[np.argsort(corruption.uniform(both, "order")[chosen], kind="stable")]
        candidates[: len(chosen)] = chosen
        counted = np.zeros(len(self.digests), np.int64)
        counted[rows] = counts
        often[: len(chosen)] = counted[chosen]
        return answers, candidates, often


def _asked(prepared: Prepared, split: str) -> Iterator[_Drawn]:
    """Every question of a split."""
    for row, (identity, record) in enumerate(zip(prepared.ids(split), prepared.texts(split), strict=True)):
        table: dict[str, dict[str, None]] = {}
        for name, value in record.fields:
            if folded(name) and folded(value):
                table.setdefault(folded(name), {})[folded(value)] = None
        for name, values in table.items():
            yield _Drawn(digest(f"{identity}\x1f{name}"), split, row, name, tuple(values))


def digest(text: str) -> int:
    """A number below 2**64 that a text gets, in no order that means anything."""
    return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "big")
