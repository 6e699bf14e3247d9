"""Regions of a picture as a detector left them: vectors and boxes in pixels, to vectors with boxes as shares.

An entry is a line of tab-separated text with arrays in base64, or what a converter makes of it, a msgpack list whose
arrays are dicts (msgpack-numpy). Its parts are those of the M5Product release's bottom-up-attention files, which left
out what the detector took a region for; or those of ViLBERT's, or of K3M's, which have its shares of all classes.
"""

import base64
import re
from typing import Any

import numpy as np

from m5jax.media.files import MediaError
from m5jax.media.format import boundary

COLUMNS = ("image_id", "image_w", "image_h", "num_boxes", "boxes", "features", "title")  # of a line of text
K3M_COLUMNS = (*COLUMNS[:-1], "classes")  # whose arrays are written as Python shows bytes, b'...'
ITEMS = ("features", "boxes", "num_boxes", "image_h", "image_w", "image_id", "title")  # of a msgpack list
VILBERT_ITEMS = ("features", "classes", *ITEMS[1:])
K3M_ITEMS = (*VILBERT_ITEMS, "attributes", "category")
SLACK = 0.01  # by how much of a side a box may stand out of its picture: detectors round, then pictures are scaled

_FLOATS = re.compile(rb"[<=]?f[248]")
_NUMBER = re.compile(rb"\d{1,9}")


def identity(data: bytes) -> tuple[str, str]:
    """Whose regions an entry holds, and the title in it, whatever its arrays are like.

    Raises:
      MediaError: it is not an entry.
    """
    with boundary():
        parts = _parts(data)
        return _text(parts, "image_id"), _text(parts, "title") if "title" in parts else ""


def title(column: bytes) -> bytes:
    """The title in the last column of a line of text, as it is written; nothing where it is no title."""
    return b"" if _shown(column) else column


def decode_regions(data: bytes, classes: int = 0) -> np.ndarray:
    """An entry as float32 [n, dim + 5 + classes], not yet checked: vector, box, shares of the classes.

    A box is x1, y1, x2, y2 and area, as shares of the picture. The shares of classes are zeros where the entry has
    none. To be called inside the decoders' boundary.

    Raises:
      MediaError: undecodable, format_not_allowed, truncated, wrong_shape, empty or invalid_box.
    """
    parts = _parts(data)
    width, height, count = (_number(parts, name) for name in ("image_w", "image_h", "num_boxes"))
    if not count:
        raise MediaError("empty", "a picture without regions")
    if not width or not height:
        raise MediaError("invalid_box", f"boxes in a picture of {width} x {height} pixels")
    boxes, features = (_array(parts, name, count) for name in ("boxes", "features"))
    if boxes.shape[1] != 4:
        raise MediaError("wrong_shape", f"the boxes are {list(boxes.shape)}; [n, 4] is needed")
    with np.errstate(all="ignore"):  # NaN and infinity are found later
        shares = boxes.astype(np.float64) / [width, height, width, height]
        sides = np.diff(np.clip(shares, 0, 1).reshape(-1, 2, 2), axis=1)[:, 0]
        area = sides[:, 0] * sides[:, 1]
        told = np.zeros((count, classes), np.float32)
        if classes and "classes" in parts:
            told = _array(parts, "classes", count)
            if told.shape[1] != classes:
                raise MediaError("wrong_shape", f"the classes are {list(told.shape)}; [n, {classes}] is needed")
        return np.concatenate([features, shares, area[:, None], told], 1).astype(np.float32)


def checked_boxes(geometry: np.ndarray) -> np.ndarray:
    """Boxes without what stands out of the picture by no more than rounding; shares [n, 5] of any float dtype.

    Raises:
      MediaError: non_finite, or invalid_box: one that is no rectangle inside the picture.
    """
    if not np.isfinite(geometry).all():
        raise MediaError("non_finite", "some boxes are NaN or infinite")
    inside = np.clip(geometry, 0, 1)
    wrong = (np.abs(geometry - inside) > SLACK).any(1) | (inside[:, :2] > inside[:, 2:4]).any(1)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        shown = ", ".join(f"{share:.3g}" for share in geometry[row])
        raise MediaError("invalid_box", f"box {row} is no rectangle inside the picture: {shown} (shares of it)")
    return inside


def _parts(data: bytes) -> dict[str, Any]:
    """The parts of an entry by name, as they were written; the first byte of a msgpack list begins no text."""
    if not data:
        raise MediaError("empty", "an entry without bytes")
    packed = 0x90 <= data[0] <= 0x9F
    if packed:
        items = _unpacked(data)
        names = {len(known): known for known in (VILBERT_ITEMS, K3M_ITEMS)}.get(len(items), ITEMS)
    else:
        items = data.rstrip(b"\r\n").split(b"\t")
        names = K3M_COLUMNS if _shown(items[-1]) else COLUMNS
    if len(items) != len(names):
        raise MediaError("undecodable", f"{len(items)} parts; an entry has {len(names)}: {', '.join(names)}")
    return dict(zip(names, items, strict=True))


def _shown(column: bytes) -> bool:
    """Whether a column is bytes as Python shows them."""
    return len(column) > 2 and column.startswith(b"b'") and column.endswith(b"'")


def _unpacked(data: bytes) -> list[Any]:
    try:
        import msgpack
    except ImportError as error:
        detail = "msgpack decodes this format and is not installed: pip install 'm5jax[m5product]'"
        raise MediaError("decoder_missing", detail) from error
    return msgpack.unpackb(data, raw=True, strict_map_key=False)  # raw: text as bytes, decoded where it is text


def _text(parts: dict[str, Any], name: str) -> str:
    part = parts[name]
    if isinstance(part, bytes):
        return part.decode()
    if isinstance(part, int) and not isinstance(part, bool):
        return str(part)
    raise MediaError("undecodable", f"{name} is {type(part).__name__}, not text")


def _number(parts: dict[str, Any], name: str) -> int:
    text = _text(parts, name).encode()
    if not _NUMBER.fullmatch(text):
        raise MediaError("undecodable", f"{name} is {text[:20]!r}, not a number of at most nine digits")
    return int(text)


def _array(parts: dict[str, Any], name: str, count: int) -> np.ndarray:
    """An array [count, n] of floats, without a copy."""
    part = parts[name]
    if isinstance(part, bytes):
        values = base64.b64decode(part[2:-1] if _shown(part) else part, validate=True)
        if not values or len(values) % (4 * count):
            raise MediaError("wrong_shape", f"{len(values)} bytes of {name} are not {count} rows of float32")
        return np.frombuffer(values, "<f4").reshape(count, -1)
    if not isinstance(part, dict) or part.get(b"nd") is not True:
        raise MediaError("undecodable", f"{name} is not an array")
    dtype, shape, values = (part.get(key) for key in (b"type", b"shape", b"data"))
    if not isinstance(dtype, bytes) or not _FLOATS.fullmatch(dtype):  # objects, "O", would be pickles
        raise MediaError("format_not_allowed", f"{name} has dtype {str(dtype)[:40]}; float16, 32 and 64 are taken")
    if not isinstance(shape, list) or [type(size) for size in shape] != [int, int] or shape[0] != count:
        raise MediaError("wrong_shape", f"{name} has shape {str(shape)[:40]}; [{count}, n] is needed (num_boxes)")
    needed = shape[0] * shape[1] * np.dtype(dtype.decode()).itemsize
    if not isinstance(values, bytes) or len(values) != needed:
        there = len(values) if isinstance(values, bytes) else 0
        raise MediaError("truncated", f"{name} {shape} needs {needed} bytes, and {there} are there")
    return np.frombuffer(values, dtype.decode()).reshape(shape)
