"""CSV and TSV without losing a row: strict quotes, strict UTF-8, as many cells as the header has.

An unbalanced quote makes ordinary readers swallow every row up to the next quote. Here it costs its own line: a
record that comes to nothing gives back the lines that it had taken.
"""

import collections
import csv
import itertools
import pathlib
import re
from collections.abc import Callable, Iterator

from m5jax.catalogues import catalogue_files
from m5jax.catalogues.catalogue import MAX_ROW_BYTES, MAX_TEXT_CHARS, RowError
from m5jax.errors import ConfigError, DataError

Line = tuple[int, bytes]


def delimiter_of(path: pathlib.Path, given: str) -> str:
    """What stands between cells: as given, or as the file's name says.

    Raises:
      ConfigError: it is not one character that can be told from text and quotes.
    """
    delimiter = given.replace("\\t", "\t") or ("," if path.suffix.lower() == ".csv" else "\t")
    if len(delimiter) != 1 or delimiter in '"\r\n ':
        raise ConfigError(f"--delimiter {given!r} must be one character, as in --delimiter ';'")
    return delimiter


def header(path: pathlib.Path, delimiter: str) -> list[str]:
    """The names of the columns, without space around them.

    Raises:
      DataError: there is no header that can be relied on.
    """
    cells = next(_records(path, delimiter), (1, RowError("empty", "there is no line in the file")))[1]
    if isinstance(cells, RowError):
        raise DataError(f"the header of {path} cannot be read: {cells.detail}. The first line must name the columns")
    names = [name.strip() for name in cells]
    if twice := [name for name, count in collections.Counter(filter(None, names)).items() if count > 1]:
        raise DataError(f"{path} has several columns named {', '.join(map(repr, twice))}: rename all but one")
    return names


def rows(
    path: pathlib.Path, delimiter: str, names: list[str], key: str
) -> Iterator[tuple[int, dict[str, str | None] | RowError]]:
    """Every record below the header, as cells by column, with the number of its first line; a blank line is none.

    A cell with nothing in it is None: such files do not tell empty from absent.
    A line end inside quotes is text, unless each line that the record goes on with is a row itself: of as many cells,
    with an id like that of the record, digits for digits and letters for letters. Then a quote is missing.

    Args:
      path: the file.
      delimiter: stands between cells.
      names: as `header` gives them.
      key: the column of the id, or of what else tells a row from a text.
    """
    place = names.index(key)

    def swallowed(cells: list[str], others: list[bytes]) -> bool:
        if len(cells) != len(names) or "\n" in cells[place]:
            return True
        split = [line.decode(errors="replace").split(delimiter) for line in others]
        return all(len(parts) >= len(names) and _shape(parts[place]) == _shape(cells[place]) for parts in split)

    for number, cells in itertools.islice(_records(path, delimiter, swallowed), 1, None):
        if isinstance(cells, RowError):
            yield number, cells
        elif len(cells) != len(names):
            yield number, RowError("ragged_row", f"{len(cells)} cells; the header has {len(names)}")
        elif long := [name for name, cell in zip(names, cells, strict=True) if len(cell) > MAX_TEXT_CHARS]:
            yield number, RowError("text_too_long", f"{long[0]!r} has more than {MAX_TEXT_CHARS} characters")
        else:
            yield number, {name: cell or None for name, cell in zip(names, cells, strict=True)}


def _records(
    path: pathlib.Path,
    delimiter: str,
    swallowed: Callable[[list[str], list[bytes]], bool] = lambda cells, others: False,
) -> Iterator[tuple[int, list[str] | RowError]]:
    """The records of a file, the header among them; what is none gives back all lines but its first."""
    with path.open("rb") as file:
        source = enumerate(catalogue_files.lines(file), start=1)
        given_back: collections.deque[Line] = collections.deque()
        while first := given_back.popleft() if given_back else next(source, None):
            number, line = first
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not line.strip(b" \r\n"):
                continue
            if len(line) > MAX_ROW_BYTES:
                yield number, RowError("row_too_long", f"a line is longer than {MAX_ROW_BYTES} bytes")
                continue
            others: list[Line] = []
            try:
                cells = next(csv.reader(_texts(line, others, given_back, source), delimiter=delimiter, strict=True))
                if others and swallowed(cells, [other for _, other in others]):
                    raise csv.Error(f"it would take the rows up to line {others[-1][0]}")
                b"".join((line, *(other for _, other in others))).decode()
                if any("\0" in cell for cell in cells):
                    raise RowError("invalid_field", "there is a NUL in it: is the file UTF-16?")
                yield number, cells
            except UnicodeError as error:
                yield number, RowError("invalid_utf8", f"{error}. The file must be UTF-8")
            except RowError as error:
                yield number, error
            except csv.Error as error:
                yield number, _broken(line, error, bool(others))
                given_back.extendleft(reversed(others))


def _texts(
    line: bytes, others: list[Line], given_back: collections.deque[Line], source: Iterator[Line]
) -> Iterator[str]:
    """A line and, as long as its reader asks for more, those behind it, which go to `others`; up to a row's size."""
    size = len(line)
    while size <= MAX_ROW_BYTES:
        yield line.decode("utf-8", "surrogateescape")
        following = given_back.popleft() if given_back else next(source, None)
        if following is None:
            return
        others.append(following)
        line = following[1]
        size += len(line)


def _broken(line: bytes, error: csv.Error, several: bool) -> RowError:
    """Why a line begins no record."""
    if not several and "field larger" in str(error):
        return RowError("text_too_long", f"a cell has more than {MAX_TEXT_CHARS} characters")
    if b'"' in line:
        detail = f'{error}. A cell with "quotes" in it is written "with ""quotes"" in it"'
        return RowError("unbalanced_quotes", detail)
    return RowError("invalid_field", f"{error}. Lines end in LF or CR LF")


def _shape(identity: str) -> str:
    """What kind of characters an id is made of."""
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "0", identity.strip('" ')))
