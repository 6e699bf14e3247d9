"""What a media file is, whether all of it is there, and what becomes of a decoder's errors.

A file is what its first bytes say; its name does not count. Libraries are told the format, so that none of them
guesses: libav would take a playlist for a film and open the files that it names.
"""

import contextlib
import io
import re
import struct
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from m5jax.media.files import MediaError

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

MAX_PIXELS = 40_000_000  # of one picture or frame
MISSING_SHARE = 0.1  # of the duration that a container declares: with more missing, a film or sound is cut
SLACK_BYTES = 64  # writers that count their own header wrongly are off by less

_RIFF_KINDS = {b"WEBP": "webp", b"WAVE": "wav", b"AVI ": "avi", b"AIFF": "aiff", b"AIFC": "aiff"}
_SIGNATURES = (
    (0, b"\xff\xd8\xff", "jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"GIF87a", "gif"),
    (0, b"GIF89a", "gif"),
    (0, b"fLaC", "flac"),
    (0, b"OggS", "ogg"),
    (0, b"ID3", "mp3"),
    (0, b"\x0b\x77", "ac3"),
    (0, b"\x1aE\xdf\xa3", "matroska"),
    *((4, box, "mp4") for box in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")),
)

_Stream = TypeVar("_Stream", "av.VideoStream", "av.AudioStream")


def identify(data: bytes, allowed: Collection[str]) -> str:
    """The format of a file that is whole, as far as its container can tell.

    Raises:
      MediaError: it is empty, of another format, or bytes that its container declares are not there.
    """
    if not data:
        raise MediaError("empty", "the file has no bytes")
    kind = sniff(data)
    if kind not in allowed:
        found = f"is {kind}" if kind else f"begins with {data[:12]!r}"
        raise MediaError("format_not_allowed", f"the content {found}; taken are {', '.join(allowed)}")
    declared = _declared_bytes(data, kind)
    if declared > len(data) + SLACK_BYTES:
        raise MediaError("truncated", f"the {kind} declares {declared} bytes, and {len(data)} are there")
    return kind


def sniff(data: bytes) -> str:
    """The format that the first bytes name; empty if it is none of those known here."""
    if data[:4] in (b"RIFF", b"FORM"):
        return _RIFF_KINDS.get(data[8:12], "")
    for offset, signature, kind in _SIGNATURES:
        if data.startswith(signature, offset):
            return kind
    # An MPEG audio frame: 11 ones, then a layer that is not "reserved".
    if len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0 and data[1] & 0x06:
        return "mp3"
    # Packets of 188 bytes, each of which begins with the letter G.
    return "mpegts" if data[: 3 * 188 : 188] == b"GGG" else ""


def _declared_bytes(data: bytes, kind: str) -> int:
    """The size of the file by its own account; 0 if its format does not tell."""
    if kind in ("webp", "wav", "avi", "aiff"):
        return _riff_bytes(data, ">I" if kind == "aiff" else "<I")
    if kind == "mp4":
        return _mp4_bytes(data)
    if kind == "matroska":
        return _matroska_bytes(data)
    if kind == "ogg":
        return _ogg_bytes(data)
    if kind == "mp3":
        return _mp3_bytes(data)
    return 0


def _riff_bytes(data: bytes, number: str) -> int:
    """Where the outer chunk or one of those in it ends (RIFF, IFF: name, size, content, padded to even)."""
    outer = furthest = 8 + struct.unpack_from(number, data, 4)[0]
    position = 12
    while position + 8 <= min(outer, len(data)):
        position += 8 + struct.unpack_from(number, data, position + 4)[0]
        furthest = max(furthest, position)
        position += position % 2
    return furthest


def _mp4_bytes(data: bytes) -> int:
    """Where the furthest box of media or index ends (ISO/IEC 14496-12, section 4.2: size, name, content)."""
    position, ends = 0, {}
    while position + 16 <= len(data):
        size, name = struct.unpack_from(">I4s", data, position)
        if size == 1:
            size = struct.unpack_from(">Q", data, position + 8)[0]
        position = position + size if size >= 8 else len(data)  # 0: up to the end of the file
        ends[name] = max(position, ends.get(name, 0))
    if b"moov" not in ends:
        raise MediaError("truncated", "the mp4 has no index (moov box); it lies at the end of some files")
    return max(ends.get(name, 0) for name in (b"moov", b"mdat", b"moof"))


def _matroska_bytes(data: bytes) -> int:
    """Where the segment ends (RFC 8794: a number's first byte tells its length; all ones mean unknown)."""

    def number(position: int) -> tuple[int, int]:
        length = 9 - data[position].bit_length()
        value = int.from_bytes(data[position : position + length], "big") & ((1 << 7 * length) - 1)
        return value, position + length

    header, position = number(4)
    segment = position + header
    if data[segment : segment + 4] != b"\x18S\x80g":
        return 0
    size, content = number(segment + 4)
    unknown = size == (1 << 7 * (content - segment - 4)) - 1
    return 0 if unknown else content + size


def _ogg_bytes(data: bytes) -> int:
    """Where the last page ends (RFC 3533, section 6); a stream without an end has lost it."""
    page = data.rfind(b"OggS")
    sizes = data[page + 27 : page + 27 + data[page + 26]] if page + 26 < len(data) else b""
    if not sizes or not data[page + 5] & 4:
        raise MediaError("truncated", "the last page of the ogg does not end its stream")
    return page + 27 + len(sizes) + sum(sizes)


def _mp3_bytes(data: bytes) -> int:
    """Where the stream ends by the tag that encoders put into its first frame (Xing: name, flags, frames, bytes)."""
    frame = 0
    if data.startswith(b"ID3"):  # ID3v2.4, section 3.1: a size of four times seven bits
        frame = 10 + sum(byte << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=False))
    tag = max(data.find(name, frame, frame + 64) for name in (b"Xing", b"Info"))
    if tag < 0 or tag + 16 > len(data):
        return 0
    flags, *fields = struct.unpack_from(">III", data, tag + 4)
    return frame + fields[flags & 1] if flags & 2 else 0


@contextlib.contextmanager
def boundary() -> Iterator[None]:
    """Whatever a library raises in here leaves as a `MediaError`."""
    try:
        yield
    except MediaError:
        raise
    except ImportError as error:
        detail = f"{error.name} decodes this format and is not installed: pip install 'm5jax[media]'"
        raise MediaError("decoder_missing", detail) from error
    except MemoryError as error:
        raise MediaError("too_large", "decoding takes more memory than a decoding process may use") from error
    except Exception as error:
        # Libraries raise a dozen types, keep the cause in the text, and name the file by its address in memory.
        text = re.sub(r" ?<_io.BytesIO object at \w+>", "", getattr(error, "strerror", None) or str(error))
        said = text.lower()
        reason = "truncated" if "truncated" in said or isinstance(error, EOFError) else "undecodable"
        reason = "too_large" if "too large" in said else reason
        raise MediaError(reason, f"{type(error).__name__}: {text[:300]}") from error


@contextlib.contextmanager
def open_container(data: bytes, kind: str) -> "Iterator[InputContainer]":
    """Opens a container with libav, from memory and as the given format."""
    import av

    with av.open(io.BytesIO(data), "r", format=kind, metadata_errors="ignore") as container:
        yield container


def first_stream(streams: "Iterable[_Stream]", reason: str) -> "_Stream":
    """The first stream that is not the picture on a record's cover, decoded in one thread.

    Raises:
      MediaError: there is none, or none that can be decoded.
    """
    from av.stream import Disposition

    for stream in streams:
        if stream.disposition & Disposition.attached_pic:
            continue
        if stream.codec_context is None:
            raise MediaError("undecodable", "no decoder is known for the stream's codec")
        stream.codec_context.thread_count = 1
        return stream
    raise MediaError(reason, "the container holds no stream of this kind")
