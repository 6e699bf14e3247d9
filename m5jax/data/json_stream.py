"""Reads a JSON object of any size member by member: metadata of millions of products are one object in one file."""

import json
import pathlib
from collections.abc import Iterator
from typing import Any, TextIO

from m5jax.errors import DataError

CHUNK_CHARS = 1 << 20
MAX_MEMBER_CHARS = 1 << 24


def members(path: pathlib.Path) -> Iterator[tuple[str, Any, int]]:
    """The members of the object in a file, in order, as key, value, and characters of the value.

    A key that stands twice comes twice.

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
        raise DataError(f"{path} is not one JSON object{after}: {error}. Copy it anew") from error


class _Reader:
    """A window on a text that moves forward."""

    def __init__(self, file: TextIO):
        self._file, self._text, self._at = file, "", 0
        self._decoder = json.JSONDecoder()

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
        """The JSON value that is next, and its characters."""
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except ValueError:
                if len(self._text) - self._at > MAX_MEMBER_CHARS or not self._read_on():
                    raise
                continue
            length = end - self._at
            if len(self._text) - end > 2 or not self._read_on():  # behind the window a number may go on: 1, e+, 5
                self._at += length
                return value, length

    def _read_on(self) -> bool:
        more = self._file.read(CHUNK_CHARS)
        self._text, self._at = self._text[self._at :] + more, 0
        return bool(more)
