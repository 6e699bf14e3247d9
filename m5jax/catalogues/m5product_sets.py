"""The lists of ids in the M5Product release: the sets of its benchmarks, and which split of ours a product is in.

A set is a file ``<set>_ids.json``, and a product may be in many. The splits that the paper counts (arXiv:2109.04275,
table 2) have no published file names; ours are in docs/data.md, and any others do that have the right word in them.
"""

import dataclasses
import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from m5jax.catalogues import catalogue
from m5jax.catalogues.catalogue import Member, Rejection
from m5jax.errors import DataError

SUFFIX = "_ids.json"
WORDS = {"query": ("query",), "gallery": ("gallery",), "val": ("val", "test"), "train": ("train", "pretrain")}
"""What a set's name says of the split; of a product in several, the first split here counts: none of what is searched
or tested trains."""
FINE = ("fg", "fine")  # words of sets that say for each id which product it shows


@dataclasses.dataclass(frozen=True)
class Lists:
    """What the lists say of ids.

    Attributes:
      decides: id -> the set that tells its split, or else the first one that it is in.
      instances: id -> the product it shows, by a fine-grained set.
      told: whether the name of any set tells a split.
      notes: ids in sets of different splits.
    """

    decides: dict[str, str]
    instances: dict[str, str]
    told: bool
    notes: tuple[Rejection, ...]

    def split(self, identity: str) -> str | None:
        """The split of an id; None if it is to be derived, because no list tells any."""
        return split_of(self.decides.get(identity, "")) or ("train" if self.told else None)


def files(root: pathlib.Path) -> dict[str, pathlib.Path]:
    """The lists in a release's folder by the name of their set; those that decide come first."""
    names = {path.name.removesuffix(SUFFIX): path for path in sorted(root.glob(f"*{SUFFIX}"))}
    order = [*WORDS, ""]
    return {name: names[name] for name in sorted(names, key=lambda name: order.index(split_of(name)))}


def split_of(name: str) -> str:
    """The split that the name of a set tells; empty if it tells none."""
    return next((split for split, words in WORDS.items() if _has(name, words)), "")


def _has(name: str, words: tuple[str, ...]) -> bool:
    return not set(words).isdisjoint(re.split(r"[^a-z]+", name.lower()))


def read(root: pathlib.Path) -> Lists:
    """What all lists of a release's folder say.

    Raises:
      DataError: one of them is neither a list of ids nor an object with ids as keys.
    """
    decides: dict[str, str] = {}
    instances: dict[str, str] = {}
    notes: list[Rejection] = []
    for name, path in files(root).items():
        for identity, value in entries(path).items():
            earlier, split = decides.setdefault(identity, name), split_of(name)
            if split and split_of(earlier) != split:
                detail = f"stands in {earlier}{SUFFIX}, which counts, and in {path.name}"
                notes.append(Rejection(identity[: catalogue.MAX_ID_CHARS], "several_splits", detail, lost=False))
            if isinstance(value, str | int) and _has(name, FINE):
                instances.setdefault(identity, str(value))
    return Lists(decides, instances, any(map(split_of, files(root))), tuple(notes))


def members(root: pathlib.Path) -> Iterator[Member]:
    """Every id of every list, once a set.

    Raises:
      DataError: as `read`.
    """
    for name, path in files(root).items():
        yield from (Member(name, identity) for identity in entries(path))


def entries(path: pathlib.Path) -> dict[str, Any]:
    """The ids, or labels, of a JSON list with None for each; or those of an object with its values.

    Raises:
      DataError: the file holds anything else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
        if isinstance(values, list | dict) and all(isinstance(value, str | int) for value in values):
            found = values if isinstance(values, dict) else {str(value): None for value in values}
            json.dumps(found, ensure_ascii=False).encode()  # no half characters
            return found
        reason = "it must be a list of ids, or an object with ids as keys"
    except (ValueError, RecursionError, OSError) as error:
        reason = str(error)
    raise DataError(f"{path} cannot be used: {reason}. Mend it or take it away")
