"""All that validation finds in a prepared catalogue."""

import dataclasses
from typing import Any

import numpy as np

from m5jax.validation.budgets import Budget, Lengths
from m5jax.validation.duplicates import Repeats
from m5jax.validation.examples import Example
from m5jax.validation.states import Combination
from m5jax.validation.suspicious import Suspicion
from m5jax.validation.tail import Tail


@dataclasses.dataclass(frozen=True)
class Concern:
    """A finding and what to do about it: `count` of `asked` somethings do or are `what`."""

    count: int
    asked: int
    what: str
    advice: str


@dataclasses.dataclass(frozen=True)
class Findings:
    """What a catalogue is like. In every field called `examples` a number is a row, and `shown` says what it is.

    Attributes:
      catalogue, digest: what was prepared, and the digest of what became of it.
      rows: rows of the catalogue, rejected ones included.
      splits: listings of each split.
      concerns: what to look at first, gravest first.
      states: listings by modality, split and state.
      combinations: which modalities occur together.
      rejected, noted: by "modality/reason", as the manifest counts them.
      tails: categories, sources, products.
      repeats: what several listings share.
      title_characters, table_rows: over the listings that have a title, a table; None if none has.
      sampled: listings whose records were read for `budgets`.
      budgets: token sequences against their budgets.
      suspicions: listings that a rule points at.
      shown: every row that is an example.
    """

    catalogue: str
    digest: str
    rows: int
    splits: dict[str, int]
    concerns: list[Concern]
    states: dict[str, dict[str, dict[str, int]]]
    combinations: list[Combination]
    rejected: dict[str, int]
    noted: dict[str, int]
    tails: list[Tail]
    repeats: list[Repeats]
    title_characters: Lengths | None
    table_rows: Lengths | None
    sampled: int
    budgets: list[Budget]
    suspicions: list[Suspicion]
    shown: dict[int, Example]

    @property
    def listings(self) -> int:
        """Listings of all splits."""
        return sum(self.splits.values())


def plain(found: Findings) -> dict[str, Any]:
    """The findings as JSON holds them; the rows of examples as what names the listings, once they are known."""
    values = {
        field.name: _plain(getattr(found, field.name), found.shown)
        for field in dataclasses.fields(found)
        if field.name != "shown"
    }
    return values | {"listings": found.listings}


def _plain(value: Any, shown: dict[int, Example]) -> Any:
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {
            name: _named(item, shown) if name == "examples" else _plain(item, shown)
            for name, item in fields.items()
            if not isinstance(item, np.ndarray)
        }
    if isinstance(value, dict):
        return {str(key): _plain(item, shown) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, shown) for item in value]
    return value


def _named(groups: list[list[int]], shown: dict[int, Example]) -> list[list[Any]]:
    return [[shown[row].plain() if row in shown else row for row in group] for group in groups]
