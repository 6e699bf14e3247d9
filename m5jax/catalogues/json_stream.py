"""Reads a JSON object of any size member by member: metadata of millions of products are one object in one file."""

import json
import pathlib
from collections.abc import Iterator
from typing import Any, TextIO

from m5jax.catalogues.catalogue import RowError
from m5jax.errors import DataError

CHUNK_CHARS = 1 << 20
MAX_MEMBER_CHARS = 1 << 24


def members(path: pathlib.Path) -> Iterator[tuple[str, Any, int]]:
    """The members of the object in a file, in order, as key, value, and characters of the value.

    A key that stands twice comes twice; of a value that has a key twice in it a `RowError` comes instead.

    Raises:
      DataError: it is not one JSON object in UTF-8, or a member is longer than 16 Mi characters.
    """
    key = ""
    try:
        with path.open(encoding="utf-8-sig") as file:
            reader = _Reader(file)
            reader.take("{")
            while reader.peek() != "}":
                found, _ = reader.value()
                if not isinstance(found, str):
                    raise ValueError("a key is not a string")
                key = found
                reader.take(":")
                yield (key, *reader.value())
                if reader.peek() != "}":
                    reader.take(",")
                    if reader.peek() == "}":
                        raise ValueError("a comma before the end")
            reader.take("}")
            if reader.peek():
                raise ValueError("something follows its end")
    except (ValueError, RecursionError) as error:
        after = f" after the entry {key!r}" if key else ""
        raise DataError(f"{path} is not one JSON object{after}: {_why(error)}. Copy it anew") from error


def _why(error: Exception) -> str:
    """What is wrong, without the place, which json and the codecs count from the start of their window."""
    if isinstance(error, json.JSONDecodeError):
        return error.msg
    return f"not in UTF-8, {error.reason}" if isinstance(error, UnicodeDecodeError) else str(error)


class _Reader:
    """A window on a text that moves forward."""

    def __init__(self, file: TextIO):
        self._file, self._text, self._at = file, "", 0
        self._decoder = json.JSONDecoder(object_pairs_hook=self._object)
        self._twice: list[str] = []  # keys of the value under way

    def peek(self) -> str:
        """The next character that is no blank; empty at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in " \t\r\n":
                    return self._text[self._at]
                self._at += 1
            if not self._read_on():
                return ""

    def take(self, character: str) -> None:
        """Steps over a character that must be next."""
        if (found := self.peek()) != character:
            raise ValueError(f"{found!r} instead of {character!r}")
        self._at += 1

    def value(self) -> tuple[Any, int]:
        """The JSON value that is next, or a `RowError` if it has a key twice, and its characters."""
        self.peek()
        while True:
            self._twice.clear()
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except ValueError:
                if len(self._text) - self._at > MAX_MEMBER_CHARS or not self._read_on():
                    raise
                continue
            length = end - self._at
            if len(self._text) - end > 2 or not self._read_on():  # behind the window a number may go on: 1, e+, 5
                self._at += length
                if self._twice:
                    value = RowError("duplicate_key", f"{self._twice[0][:80]!r} stands twice in an object")
                return value, length

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) != len(pairs):
            keys = [key for key, _ in pairs]
            self._twice.append(next(key for key in keys if keys.count(key) > 1))
        return found

    def _read_on(self) -> bool:
        more = self._file.read(CHUNK_CHARS)
        self._text, self._at = self._text[self._at :] + more, 0
        return bool(more)
