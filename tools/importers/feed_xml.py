"""The items of a feed in XML, RSS or Atom, one by one: a broken item costs itself alone, and memory is bounded.

A file is cut at its `<item>` or `<entry>` elements and each is parsed by itself, without what stands before it.
So there are no entities but XML's own five, and nothing is ever opened. A file with a DTD is refused.
"""

import pathlib
import re
from collections.abc import Iterator
from typing import BinaryIO
from xml.parsers import expat

from m5jax.catalogues.catalogue import MAX_ROW_BYTES, RowError
from m5jax.errors import DataError

CHUNK = 1 << 16
MAX_TAG = 256  # bytes, of which the end may not have been read yet

Value = str | dict[str, str]
"""The text of an element; or, if it has elements, the texts of those by name."""

_COMMENT_MARK = re.compile(rb"-->|<!--")
_ITEM = re.compile(rb"<(?:[\w.-]+:)?(?:item|entry)(?=[\s>/])")
_START = re.compile(rb"<!--|" + _ITEM.pattern)


def items(path: pathlib.Path) -> Iterator[tuple[int, dict[str, list[Value]] | RowError]]:
    """The items with their number from 1: values by name, without prefix; of Google's namespace before the feed's own.

    Raises:
      DataError: the file has a DTD, an encoding that nobody knows, or a comment without end.
    """
    with path.open("rb") as file:
        head = file.read(CHUNK)
        encoding = _search(rb"""<\?xml[^>]*?encoding\s*=\s*["']([\w.:-]+)""", head) or "UTF-8"
        prefix = _search(rb"""xmlns:([\w.-]+)\s*=\s*["']http://base\.google\.com/ns/1\.0""", head) or "g"
        if re.search(rb"<!DOCTYPE", _ITEM.split(head, maxsplit=1)[0], re.IGNORECASE):
            raise DataError(f"{path} has a DTD, which may define entities without bounds: take the <!DOCTYPE> away")
        try:
            expat.ParserCreate(encoding).Parse(b"<item/>", True)
        except (LookupError, ValueError, expat.ExpatError) as error:
            raise DataError(f"{path} is in {encoding!r}, which is not read: write it as UTF-8") from error
        file.seek(0)
        for number, element in enumerate(_elements(_Window(file), path), start=1):
            yield number, _parse(element, encoding, prefix)


def _search(pattern: bytes, head: bytes) -> str:
    return found[1].decode() if (found := re.search(pattern, head)) else ""


class _Window:
    """The part of a file that is held: what lies before has been dealt with, what lies behind is not read yet."""

    def __init__(self, file: BinaryIO):
        self._file, self._held = file, b""

    def find(self, pattern: re.Pattern[bytes]) -> bytes:
        """Moves behind the first place that matches, and gives what does; nothing at the end of the file."""
        while not (found := pattern.search(self._held)):
            self._held = self._held[-MAX_TAG:]
            if not self._more():
                return b""
        self._held = self._held[found.end() :]
        return found[0]

    def take(self, tag: bytes) -> bytes:
        """The element of a tag that was found, up to its end tag, the next of its kind, or the end of the file.

        Of one that is longer than a row may be, only the beginning comes.
        """
        name, cut = re.escape(tag[1:]), b""
        stop = re.compile(b"</" + name + rb"\s*>|<" + name + rb"(?=[\s>/])")
        while not (found := stop.search(self._held)):
            if len(self._held) > MAX_ROW_BYTES:
                cut, self._held = cut or self._held, self._held[-MAX_TAG:]
            if not self._more():
                break
        end = len(self._held) if not found else found.end() if found[0].startswith(b"</") else found.start()
        element, self._held = tag + (cut or self._held[:end]), self._held[end:]
        return element

    def _more(self) -> bool:
        chunk = self._file.read(CHUNK)
        self._held += chunk
        return bool(chunk)


def _elements(window: _Window, path: pathlib.Path) -> Iterator[bytes]:
    """The bytes of every item; what is in a comment between items is none."""
    while tag := window.find(_START):
        if tag != b"<!--":
            yield window.take(tag)
        elif window.find(_COMMENT_MARK) != b"-->":  # it would take items with it
            raise DataError(f"{path} has a comment without end between its items: mend the file")


def _parse(element: bytes, encoding: str, prefix: str) -> dict[str, list[Value]] | RowError:
    """The values of one item."""
    if len(element) > MAX_ROW_BYTES:
        return RowError("row_too_long", f"an item is longer than {MAX_ROW_BYTES} bytes")
    reading = _Item()
    parser = expat.ParserCreate(encoding)
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = reading.start, reading.end
    parser.CharacterDataHandler = reading.text
    try:
        parser.Parse(element.rstrip(), True)
    except (expat.ExpatError, ValueError) as error:  # ValueError: of an encoding that is not of single bytes
        return RowError("invalid_xml", f"{error}, counted from where the item begins")
    named: dict[str, dict[str, list[Value]]] = {"": {}, prefix: {}}
    for name, value in reading.values:
        before, _, local = name.rpartition(":")
        if before in named and value:
            named[before].setdefault(local, []).append(value)
    return named[""] | named[prefix]


class _Item:
    """Collects the elements of an item, and those of its elements."""

    def __init__(self) -> None:
        self.values: list[tuple[str, Value]] = []
        self._depth = 0
        self._whole = self._own = self._part = ""  # of a value: all its text, that beside its parts, that of a part
        self._parts: dict[str, str] = {}

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins: on the second level a value, on the third a part of one."""
        self._depth += 1
        if self._depth == 2:
            self._whole, self._own, self._parts = "", "", {}
        elif self._depth == 3:
            self._part = ""

    def text(self, text: str) -> None:
        """A part of an element's text."""
        self._whole += text
        self._part += text
        if self._depth == 2:
            self._own += text

    def end(self, name: str) -> None:
        """An element ends. What has text of its own is text with markup in it, and no parts."""
        if self._depth == 2:
            has_parts = bool(self._parts) and not self._own.strip()
            self.values.append((name, self._parts if has_parts else self._whole.strip()))
        elif self._depth == 3:
            self._parts[name.rpartition(":")[2]] = self._part.strip()
        self._depth -= 1
