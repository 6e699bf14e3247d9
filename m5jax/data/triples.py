"""A table as a graph: triples <listing, property, value>, some of them hidden and asked for (K3M, sections 2 and 3).

A row of a table is a triple if name and value both have pieces. Names and values are compared as `folded`. Nothing
here knows how a triple is written down as ids: that is `sequences`.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from m5jax import modalities
from m5jax.data import fingerprints, pieces
from m5jax.data.records import Record
from m5jax.data.tokenizer import Tokenizer
from m5jax.modalities import State

OTHERS = 8  # further true values of an asked property that a batch names; a listing with more has the first of them


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table: name and value as text, and as ids."""

    name: str
    value: str
    name_ids: list[int]
    value_ids: list[int]

    @property
    def is_triple(self) -> bool:
        """Whether there is something to say of both."""
        return bool(self.name_ids and self.value_ids)


@dataclasses.dataclass(frozen=True)
class Question:
    """A triple that is asked for.

    Attributes:
      row: the triple.
      others: keys of the other values that the listing has for the property.
    """

    row: Row
    others: tuple[int, ...]


@functools.lru_cache(1 << 14)  # names repeat from listing to listing
def folded(text: str) -> str:
    """What names and values are compared as, as duplicates are found: " Colour" and "colour" are one."""
    return fingerprints.normal(text)


def key(text: str) -> int:
    """Tells values apart: 1 to 2**31 - 1, the same for texts that fold alike, of others by chance alone (BLAKE2b)."""
    digest = hashlib.blake2b(folded(text).encode(errors="surrogatepass"), digest_size=4).digest()
    return int.from_bytes(digest, "little") & 0x7FFFFFFF or 1


def rows(record: Record, tokenizer: Tokenizer) -> list[Row]:
    """The rows of a record's table, triples or not, in the order of the catalogue."""
    ids = pieces.of_table(record, tokenizer)
    return [Row(*texts, *both) for texts, both in zip(record.fields, ids, strict=True)]


def without(record: Record, name: str) -> Record:
    """The record without any row of a property, "" for none; a table of which nothing is left is ABSENT."""
    if not name:
        return record
    hidden = folded(name)
    kept = [i for i, (other, _) in enumerate(record.fields) if folded(other) != hidden]
    if len(kept) == len(record.fields):
        return record
    changes: dict[str, Any] = {"fields": tuple(record.fields[i] for i in kept)}
    if record.table_pieces is not None:
        changes["table_pieces"] = [record.table_pieces[i] for i in kept]
    if not kept:
        names = zip(modalities.NAMES, record.states, strict=True)
        changes["states"] = tuple(State.ABSENT if modality == "table" else state for modality, state in names)
    return dataclasses.replace(record, **changes)


def ask(table: Sequence[Row], most: int, alone: bool, rng: np.random.Generator) -> tuple[list[Question], list[Row]]:
    """Which triples are asked for, and the rows that are left: none of them is of an asked property.

    One property at least is left to be seen; but that of a listing with a single one is asked for, if there is
    anything besides its table.

    Args:
      table: the rows, in the order of the catalogue.
      most: properties to ask for, at most; each is as likely, and so is each of its values.
      alone: the listing has nothing but its table.
      rng: what draws them.
    """
    values: dict[str, list[Row]] = {}
    for row in table:
        if row.is_triple:
            values.setdefault(folded(row.name), []).append(row)
    count = min(most, len(values) - 1) if len(values) > 1 else min(most, len(values), int(not alone))
    if count < 1:
        return [], list(table)
    names = list(values)
    asked = [names[i] for i in rng.permutation(len(names))[:count].tolist()]
    questions = []
    for name in asked:
        row = values[name][int(rng.integers(len(values[name])))]
        others = dict.fromkeys(key(other.value) for other in values[name])
        others.pop(key(row.value))
        questions.append(Question(row, tuple(others)[:OTHERS]))
    hidden = set(asked)
    return questions, [row for row in table if folded(row.name) not in hidden]


def fitting(table: Sequence[Row], most: int, room: int, markers: int) -> list[Row]:
    """The triples that are shown: in their order, each whole, `most` of them in `room` ids; one too long is left out.

    `markers` are the ids that a name takes beside its pieces, and a value.
    """
    shown = []
    for row in table:
        size = len(row.name_ids) + len(row.value_ids) + 2 * markers
        if row.is_triple and size <= room and len(shown) < most:
            shown.append(row)
            room -= size
    return shown


def arrays(questions: Sequence[Question], most: int, length: int, pad: int) -> dict[str, Any]:
    """Questions as a batch has them.

    Returns:
      ``{"names", "values": {"ids": int32 [T, A], "mask": bool [T, A]}, "valid": bool [T], "key": int32 [T], "others":
      int32 [T, OTHERS]}`` with T = `most` and A = `length`: pieces without any special one, cut behind A; the `key` of
      the value; and of others, 0 = none. Where nothing is asked, all is `pad`, false and 0.
    """
    parts = {name: {"ids": np.full((most, length), pad, np.int32)} for name in ("names", "values")}
    for part in parts.values():
        part["mask"] = np.zeros((most, length), bool)
    made: dict[str, Any] = {
        "valid": np.arange(most) < len(questions),
        "key": np.zeros(most, np.int32),
        "others": np.zeros((most, OTHERS), np.int32),
    }
    for t, question in enumerate(questions):
        for name, ids in (("names", question.row.name_ids), ("values", question.row.value_ids)):
            cut = ids[:length]
            parts[name]["ids"][t, : len(cut)] = cut
            parts[name]["mask"][t, : len(cut)] = True
        made["key"][t] = key(question.row.value)
        made["others"][t, : len(question.others)] = question.others
    return parts | made
