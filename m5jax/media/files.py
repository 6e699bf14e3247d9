"""Reads the bytes of one media file: a plain file, or a part of one: of a tar shard, of lines of text, of an LMDB.

Paths come from catalogues, which anyone may have written: nothing outside the catalogue's folder is opened, and
nothing but regular files. A shard is read through an index of its headers; it is never extracted.
"""

import dataclasses
import functools
import hashlib
import io
import itertools
import os
import pathlib
import re
from typing import Any

REASONS = {
    # of the path and the file
    "missing_file": "there is no such file, or no such member of the shard",
    "outside_root": "the path leaves the catalogue's folder",
    "bad_path": "no file can have this path",
    "not_a_file": "a folder, device, pipe or socket",
    "unreadable": "the operating system refuses to read it",
    "changed": "the bytes are not those whose SHA-256 the catalogue names",
    # of its content
    "empty": "there, with nothing in it",
    "truncated": "a part of it is missing",
    "undecodable": "the decoder cannot make sense of it",
    "format_not_allowed": "not of a format that is taken, by its content; the name does not count",
    "too_large": "more bytes, pixels, frames or memory than the limit",
    "too_short": "a sound too short to hear anything in",
    "no_video": "no film in it",
    "no_audio": "no sound in it",
    "non_finite": "NaN, infinity, or beyond the range of float16",
    "wrong_shape": "features with another number of axes or columns than the run asks for",
    "invalid_box": "a region that is no rectangle inside its picture",
    "invalid_classes": "a region of which a detector's class has a negative share",
    "decoder_missing": "an optional library is not installed",
}
"""Why a media file cannot be used: everything a `MediaError` of this package may give as its reason."""

TAR_BLOCK = 512
MAX_TAR_NAME = 1 << 16
MAX_TAR_SIZE = 1 << 62

_SPAN = re.compile(r"(\d{1,18}):(\d{1,18})", re.ASCII)
_databases: dict[pathlib.Path, tuple[tuple[int, int], Any]] = {}  # open in this process


@dataclasses.dataclass(frozen=True)
class MediaRef:
    """Where the bytes of one media file lie, relative to the catalogue's folder.

    Attributes:
      path: the file, or the tar shard that holds it.
      member: its name inside the shard; empty for a plain file.
      sha256: what its bytes hashed to when the catalogue was written; empty if unknown.
    """

    path: str
    member: str = ""
    sha256: str = ""

    def __str__(self) -> str:
        return f"{self.path}!{self.member}" if self.member else self.path


class MediaError(Exception):
    """A media file that cannot be used. It travels between processes.

    Attributes:
      reason: one of `REASONS`, to count by.
      detail: what a person needs to mend the file.
    """

    def __init__(self, reason: str, detail: str):
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


def read(root: pathlib.Path, ref: MediaRef, max_bytes: int) -> bytes:
    """The bytes of one media file.

    Args:
      root: the catalogue's folder.
      ref: the file, relative to `root`; with a member, what holds it: a tar shard, lines of text (`.tsv`; the member
        is "offset:length" in bytes) or an LMDB of a single file (`.lmdb`; the member is its key).
      max_bytes: refuse larger files before reading them.

    Raises:
      MediaError: it is not there, not allowed, empty, too large, or not what the catalogue promised.
    """
    path = inside(root, ref.path)
    try:
        data = (_value if ref.member and ref.path.endswith(".lmdb") else _part)(path, ref, max_bytes)
    except OSError as error:
        raise MediaError("unreadable", f"{ref}: {error.strerror}") from error
    if not data:
        raise MediaError("empty", f"{ref} has no bytes")
    if ref.sha256 and (found := hashlib.sha256(data).hexdigest()) != ref.sha256:
        raise MediaError("changed", f"{ref} has SHA-256 {found}, the catalogue says {ref.sha256}")
    return data


def inside(root: pathlib.Path, name: str) -> pathlib.Path:
    """The regular file `name` under `root`, free of links.

    Raises:
      MediaError: it is not there, not allowed, or not a regular file.
    """
    relative, shown = pathlib.PurePosixPath(name), repr(name[:256])
    if relative.is_absolute() or ".." in relative.parts:
        raise MediaError("outside_root", f"{shown} must be relative to the catalogue's folder, without '..'")
    try:
        path = (root / relative).resolve(strict=True)
        if not path.is_relative_to(root.resolve()):
            raise MediaError("outside_root", f"{shown} is a link that leaves the catalogue's folder")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MediaError("missing_file", f"{shown} is not in {root}") from error
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, no Unicode, a loop of links
        raise MediaError("bad_path", f"{shown} cannot be a file") from error
    if not path.is_file():
        raise MediaError("not_a_file", f"{shown} is not a regular file")
    return path


def open_database(path: pathlib.Path) -> Any:
    """An LMDB of a single file, read-only. It stays open: the whole of it is mapped into the process's memory.

    To be called before that memory is limited, because the mapping counts and may be a terabyte.

    Raises:
      MediaError: decoder_missing, undecodable, or truncated.
    """
    try:
        import lmdb
    except ImportError as error:
        detail = "lmdb reads this file and is not installed: pip install 'm5jax[m5product]'"
        raise MediaError("decoder_missing", detail) from error
    path, status = path.resolve(), path.stat()
    stamp = (status.st_size, status.st_mtime_ns)
    if path in _databases and _databases[path][0] != stamp:
        _databases.pop(path)[1].close()
    if path not in _databases:
        try:
            database = lmdb.open(str(path), map_size=status.st_size, subdir=False, readonly=True, lock=False)
        except lmdb.Error as error:
            raise MediaError("undecodable", f"{path.name} cannot be opened: {error}") from error
        needed = (database.info()["last_pgno"] + 1) * database.stat()["psize"]
        if needed > status.st_size:  # to touch a page that is not there would end the process
            database.close()
            raise MediaError("truncated", f"{path.name} has {status.st_size} bytes of at least {needed}")
        _databases[path] = (stamp, database)
    return _databases[path][1]


def database_keys(path: pathlib.Path, after: str, count: int) -> list[str]:
    """The keys of an LMDB behind a given one, in order, at most so many.

    Raises:
      MediaError: as `open_database`.
    """
    database = open_database(path)
    import lmdb

    try:
        with database.begin() as transaction, transaction.cursor() as cursor:
            there = cursor.set_range(after.encode() + b"\0") if after else cursor.first()  # the least key behind it
            keys = itertools.islice(cursor.iternext(keys=True, values=False), count if there else 0)
            return [key.decode() for key in keys]
    except (lmdb.Error, UnicodeError) as error:
        raise MediaError("undecodable", f"{path.name}: {error}") from error


def _value(path: pathlib.Path, ref: MediaRef, max_bytes: int) -> bytes:
    """The value of a key of an LMDB."""
    database = open_database(path)
    import lmdb

    try:
        with database.begin(buffers=True) as transaction:
            value = transaction.get(ref.member.encode())
            if value is None:
                raise MediaError("missing_file", f"{ref.path} has no key {ref.member[:256]!r}")
            if len(value) > max_bytes:
                raise MediaError("too_large", f"{ref} has {len(value)} bytes; the limit is {max_bytes}")
            return bytes(value)
    except lmdb.Error as error:
        raise MediaError("undecodable", f"{ref}: {error}") from error


def _part(path: pathlib.Path, ref: MediaRef, max_bytes: int) -> bytes:
    """A file, or the bytes between two places of it."""
    with path.open("rb") as file:
        offset, size = _find_member(file, ref) if ref.member else (0, os.fstat(file.fileno()).st_size)
        if size > max_bytes:
            raise MediaError("too_large", f"{ref} has {size} bytes; the limit is {max_bytes}")
        file.seek(offset)
        data = file.read(size)
    if len(data) < size:
        raise MediaError("truncated", f"{ref} ends after {len(data)} of {size} bytes")
    return data


def _find_member(shard: io.BufferedReader, ref: MediaRef) -> tuple[int, int]:
    """Offset and size, in bytes, of what a reference names in a file."""
    if ref.path.endswith(".tsv"):
        if not (span := _SPAN.fullmatch(ref.member)):
            raise MediaError("missing_file", f"{ref.path} has no part {ref.member[:256]!r}; offset:length is needed")
        return int(span[1]), int(span[2])
    status = os.fstat(shard.fileno())
    members, damage = _index(shard.name, status.st_size, status.st_mtime_ns)
    try:
        return members[_plain(ref.member)]
    except KeyError:
        raise MediaError("missing_file", f"{ref.path} has no member {ref.member[:256]!r}{damage}") from None


@functools.lru_cache(maxsize=256)
def _index(path: str, size: int, modified: int) -> tuple[dict[str, tuple[int, int]], str]:
    """Every regular member of a tar archive, and what to tell if its headers end in nonsense.

    Walks the headers only, forward by at least one block each: the standard library's tarfile would also follow
    negative sizes in circles and run regular expressions over header text. Size and time of change are there to
    make the cache forget a shard that was replaced.

    Returns:
      name -> (offset, size) in bytes; the last member of a name wins. And a text, empty if all is well.
    """
    members, name, position = {}, "", 0
    with open(path, "rb") as file:
        while (header := os.pread(file.fileno(), TAR_BLOCK, position)).strip(b"\0"):  # zeros end an archive
            try:
                kind, header_name, content_size = _parse_tar_header(header)
                content, position = position + TAR_BLOCK, position + TAR_BLOCK
                if kind in (b"L", b"x"):  # the name of the next member: GNU's way, POSIX's way
                    text = os.pread(file.fileno(), min(content_size, MAX_TAR_NAME), content)
                    name = _plain(_decode(text) if kind == b"L" else _pax_path(text)) or name
                elif kind in (b"0", b"\0"):
                    members[name or header_name] = (content, content_size)
                if kind not in (b"L", b"x", b"K", b"g"):  # anything but a note on the next member
                    name = ""
            except ValueError:
                return members, f": byte {position} of it is not the header of an uncompressed tar archive"
            position += -(-content_size // TAR_BLOCK) * TAR_BLOCK
    return members, ""


def _parse_tar_header(header: bytes) -> tuple[bytes, str, int]:
    """Kind, name and size of a tar member (POSIX.1-2001 ustar, and GNU's numbers beyond 8 GB).

    Raises:
      ValueError: these bytes are not a header.
    """
    if len(header) < TAR_BLOCK or sum(header) - sum(header[148:156]) + 8 * ord(" ") != _tar_number(header[148:156]):
        raise ValueError("the checksum differs")
    name, prefix, size = _decode(header[:100]), "", _tar_number(header[124:136])
    if header[257:263] == b"ustar\0":
        prefix = _decode(header[345:500])
    return header[156:157], _plain(f"{prefix}/{name}" if prefix else name), size


def _tar_number(field: bytes) -> int:
    """A number of a tar header: octal digits, or 0x80 and the number itself."""
    octal = field.split(b"\0")[0].strip() or b"0"
    number = int.from_bytes(field[1:], "big") if field[0] == 0x80 else int(octal, 8)
    if not 0 <= number < MAX_TAR_SIZE:
        raise ValueError("negative, or beyond any file")
    return number


def _pax_path(records: bytes) -> str:
    """The path among "length key=value" records, or nothing.

    Raises:
      ValueError: these bytes are not such records.
    """
    position = 0
    while position < len(records):
        space = records.index(b" ", position)
        end = position + int(records[position:space])
        if end <= space:
            raise ValueError("a record shorter than its own length")
        key, _, value = records[space + 1 : end - 1].partition(b"=")
        if key == b"path":
            return _decode(value)
        position = end
    return ""


def _decode(name: bytes) -> str:
    return name.split(b"\0")[0].decode("utf-8", "surrogateescape")


def _plain(name: str) -> str:
    """Archivers write `./a.jpg` or `a.jpg` for the same file."""
    return name.removeprefix("./")
