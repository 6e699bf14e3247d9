"""The decode boundary: a seller's bytes to plain arrays, or a `MediaError` with a reason.

This module and its parts, `media_*.py`, are the only ones that parse such bytes. Every decoder takes bytes of
unknown origin and has limits; what a decoder cannot promise, not to crash and not to take forever, is the
business of the process it runs in: `limit_process` here, time limits in `pool.py`.
"""

import contextlib
import importlib
import io
import math
import os
import pathlib
import resource
import sys

import numpy as np

from m5jax.media import files
from m5jax.media.audio import decode_audio
from m5jax.media.files import REASONS, MediaError
from m5jax.media.format import boundary
from m5jax.media.image import decode_image, decode_jpeg, encode_jpeg
from m5jax.media.regions import checked_boxes, decode_regions
from m5jax.media.video import decode_video

__all__ = [
    "REASONS",
    "MediaError",
    "decode_audio",
    "decode_features",
    "decode_image",
    "decode_jpeg",
    "decode_video",
    "encode_jpeg",
    "limit_process",
]


def decode_features(data: bytes, dim: int, rows: int, geometry: int = 0, classes: int = 0) -> tuple[np.ndarray, int]:
    """Vectors that were extracted beforehand, and how many there were.

    The header is compared with the bytes there before anything is allocated. Objects, that is pickles, are refused.

    Args:
      data: a `.npy` file (numpy.lib.format, version 1 or 2): float16, float32 or float64, [n, dim] or [dim]; where
        boxes are asked for also an entry of regions (`media_regions.py`).
      dim: numbers in a vector.
      rows: take at most so many, from the start.
      geometry: columns behind the vector: 5 for boxes, x1, y1, x2, y2 and area as shares of the picture, or 0.
      classes: columns behind these: shares of a detector's classes; zeros for an entry of regions that has none.

    Returns:
      float16 [n, dim + geometry + classes], with 1 <= n <= rows; and the rows there were.

    Raises:
      MediaError: empty, format_not_allowed, wrong_shape, truncated, undecodable, non_finite, invalid_box or
        invalid_classes.
    """
    columns, told = dim + geometry + classes, dim + geometry
    with boundary(), np.errstate(over="ignore"):
        is_entry = geometry and not data.startswith(np.lib.format.MAGIC_PREFIX)
        array = decode_regions(data, classes) if is_entry else _npy_array(data)
        if array.ndim == 1:
            array = array[None]
        if array.ndim != 2 or array.shape[1] != columns:
            parts = [f"{count} {part}" for count, part in ((geometry, "for a box"), (classes, "classes")) if count]
            needed = f"[n, {columns}] or [{columns}] is needed" + (f", the last {' and '.join(parts)}" if parts else "")
            raise MediaError("wrong_shape", f"the array is {list(array.shape)}; {needed}")
        if not len(array):
            raise MediaError("empty", "an array without rows")
        kept = array[:rows]
        if geometry:
            kept = np.concatenate([kept[:, :dim], checked_boxes(kept[:, dim:told]), kept[:, told:]], 1)
        features = kept.astype(np.float16)
        if not np.isfinite(features).all():
            raise MediaError("non_finite", "some values are NaN, infinite, or beyond 65504 (float16)")
        if (features[:, told:] < 0).any():
            raise MediaError("invalid_classes", f"the smallest share of a class is {features[:, told:].min():.3g}")
        return features, len(array)


def _npy_array(data: bytes) -> np.ndarray:
    """The array in a .npy file, without a copy."""
    if not data:
        raise MediaError("empty", "the file has no bytes")
    if not data.startswith(np.lib.format.MAGIC_PREFIX):
        raise MediaError("format_not_allowed", f"begins with {data[:8]!r}; a .npy file is needed")
    file = io.BytesIO(data)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(file)
    if version not in readers:
        raise MediaError("format_not_allowed", f".npy version {version}; (1, 0) and (2, 0) are taken")
    shape, fortran, dtype = readers[version](file)
    if dtype.kind != "f" or dtype.itemsize > 8:
        raise MediaError("format_not_allowed", f"dtype {dtype}; float16, float32 and float64 are taken")
    needed, there = math.prod(shape) * dtype.itemsize, len(data) - file.tell()
    if needed > there:
        raise MediaError("truncated", f"an array {list(shape)} of {dtype} needs {needed} bytes, and {there} are there")
    return np.ndarray(shape, dtype, data, file.tell(), order="F" if fortran else "C")


def limit_process(memory_bytes: int, databases: tuple[pathlib.Path, ...] = ()) -> None:
    """Prepares a process for bytes of unknown origin; to be called once, at its start.

    Whatever exceeds the memory fails inside the process, crashes leave no core file, and what the decoders'
    C libraries print goes nowhere, while Python's own errors still reach the terminal.

    Args:
      memory_bytes: address space for decoding, on top of what interpreter and libraries take (Linux only).
      databases: LMDB files to open before, because they are mapped into the address space.
    """
    for library in ("av", "soundfile", "scipy.signal", "msgpack"):  # now, so that they do not count as decoding
        with contextlib.suppress(ImportError):
            importlib.import_module(library)
    for database in databases:
        with contextlib.suppress(MediaError, OSError):  # whoever reads from it is told
            files.open_database(database)
    sys.stderr = open(os.dup(2), "w", buffering=1, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115 (kept)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
