"""What every tokenizer is: text to ids, the ids that no text becomes, and a digest of what decides both."""

import abc
import dataclasses
import functools
import pathlib

import numpy as np

TRAINED, VOCABULARY, VOCABULARY_CASED, JSON = FILES = (
    "tokenizer.model",
    "vocab.txt",
    "vocab-cased.txt",
    "tokenizer.json",
)
MAX_PIECES = 250_000


@dataclasses.dataclass(frozen=True)
class Special:
    """Ids that no text is encoded into, but `unk`: padding, what no piece spells, start, end, hidden.

    `name` and `value` go before the name and the value of a table's row. A vocabulary without pieces of its own for
    them lends `sep` for both, and they take turns all the same.
    """

    pad: int
    unk: int
    cls: int
    sep: int
    mask: int
    name: int
    value: int


REQUIRED = ("pad", "unk", "cls", "sep", "mask")  # of `Special`'s fields


class Tokenizer(abc.ABC):
    """Encodes text; loads its file when first used, so that it travels to worker processes by path."""

    @functools.cached_property
    def special(self) -> Special:
        """The special ids."""
        ids = self._special_ids()
        if not {"name", "value"} <= ids.keys():
            ids |= {"name": ids["sep"], "value": ids["sep"]}
        return Special(**ids)

    @abc.abstractmethod
    def _special_ids(self) -> dict[str, int]:
        """By the fields of `Special`: those `REQUIRED`, and `name` and `value` if there are pieces for them."""

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """Ids run from 0 to size - 1."""

    @property
    @abc.abstractmethod
    def digest(self) -> str:
        """SHA-256 of what decides the ids, as 64 hex digits."""

    @abc.abstractmethod
    def encode(self, text: str) -> list[int]:
        """Ids of a text, without special ids other than `unk`, whatever is typed in it."""

    @abc.abstractmethod
    def decode(self, ids: list[int]) -> str:
        """Text of ids; special ids vanish."""

    @abc.abstractmethod
    def write(self, folder: pathlib.Path) -> None:
        """Writes it into a prepared folder, under the one of `FILES` that says what kind it is."""

    @functools.cached_property
    def is_special(self) -> np.ndarray:
        """bool [size]."""
        special = np.zeros(self.size, bool)
        special[list(dataclasses.astuple(self.special))] = True
        return special

    @functools.cached_property
    def pieces(self) -> np.ndarray:
        """The ids that are not special, int [n], ascending."""
        return np.flatnonzero(~self.is_special)


def described(path: pathlib.Path) -> str:
    """The file in an error, with the setting that may have named it."""
    return f"the vocabulary {path} (config.data.vocabulary_file, or its copy)"
