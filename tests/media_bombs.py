"""Ten small files that ask for much: pixels, frames, samples or text."""

import fractions
import io
import itertools
import struct
import zlib

import av
import numpy as np
from media_files import film, greys, picture, png, sound


def bombs() -> dict[str, tuple[str, bytes, str]]:
    """Name -> decoder, content, and what is to become of it."""
    return {
        "22 KB of 177 megapixels": ("image", png(13_300, 13_300, depth=1, pixels=bytes(13_300 * 1664)), "too_large"),
        "40 megapixels with alpha": ("image", png(8000, 5000, colour=6, pixels=bytes(5000 * 32_001)), "decoded"),
        "text of 100 MB": ("image", _with_chunk(b"zTXt", b"Comment\0\0", 100 << 20), "too_large"),
        "colour profile of 100 MB": ("image", _with_chunk(b"iCCP", b"p\0\0", 100 << 20), "too_large"),
        "JPEG of 4 gigapixels": ("image", _resized(picture("JPEG"), b"\xff" * 4), "too_large"),
        "WebP of 268 megapixels": ("image", _webp(16_384, 16_384), "too_large"),
        "film of 134 megapixels a frame": ("video", _large_film(), "too_large"),
        "film of 70,000 frames": ("video", _long_film(70_000), "too_large"),
        "two hours of silence": ("audio", sound("FLAC", np.zeros(2 * 3600 * 8000, np.int16), 8000), "decoded"),
        "archive of a gigabyte": ("features", _archive(), "format_not_allowed"),
    }


def _with_chunk(name: bytes, head: bytes, size: int) -> bytes:
    return png(8, 8, pixels=bytes(72), extra=(name, head + zlib.compress(bytes(size), 9)))


def _resized(data: bytes, size: bytes) -> bytes:
    """JPEGs that say of themselves to be of another height and width."""
    frame = b"\xff\xc0\x00\x11\x08"  # what stands before these in a baseline JPEG
    first, *others = data.split(frame)
    return first + b"".join(frame + size + other[len(size) :] for other in others)


def _webp(width: int, height: int) -> bytes:
    """The header of a lossless WebP (RFC 9649, section 3.4) and nothing behind it that matters."""
    content = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + bytes(100)
    chunk = b"VP8L" + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def _large_film() -> bytes:
    """Motion JPEG of huge frames, by the film's index and by each frame itself."""
    data = bytearray(_resized(film("mov", greys(4), codec="mjpeg"), struct.pack(">HH", 8192, 16_384)))
    entry = data.index(b"jpeg", data.index(b"stsd")) + 28  # width and height in a VisualSampleEntry
    data[entry : entry + 4] = struct.pack(">HH", 16_384, 8192)
    return bytes(data)


def _long_film(frames: int) -> bytes:
    """Two minutes of a frame that does not change, at a rate that nobody can see."""
    with av.open(io.BytesIO(film("matroska", greys(1) * 2, codec="mpeg4", options={"g": "300"})), "r") as whole:
        first, other = [bytes(packet) for packet in whole.demux(video=0) if packet.size]
        template = whole.streams.video[0]
        file = io.BytesIO()
        with av.open(file, "w", format="avi") as out:
            stream = out.add_stream_from_template(template)
            for number, content in enumerate(itertools.chain([first], itertools.repeat(other, frames - 1))):
                packet = av.Packet(content)
                packet.stream, packet.pts, packet.dts = stream, number, number
                packet.time_base, packet.is_keyframe = fractions.Fraction(1, 1000), not number
                out.mux(packet)
    return file.getvalue()


def _archive() -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, array=np.zeros(1 << 24, np.float64))
    return file.getvalue()
