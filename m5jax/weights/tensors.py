"""A safetensors file to arrays, with everything that can be wrong with it told by name."""

import json
import pathlib
import struct

import numpy as np
import safetensors
from ml_dtypes import bfloat16

from m5jax.errors import CheckpointError

MAX_HEADER_BYTES = 100_000_000  # the format's own limit
_DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": bfloat16}

Tensors = dict[str, np.ndarray]


def read(path: str | pathlib.Path) -> Tensors:
    """Every tensor of a safetensors file, float32, by name.

    The "module." that parallel training puts before names is taken off. Integer tensors (position ids) are left out.

    Raises:
      CheckpointError: no such file; a pickle, which is never opened; cut short or damaged; a tensor whose dtype, size
        or place in the file cannot be, or that is not finite: named.
    """
    path = pathlib.Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    header = _header(path, data)
    try:
        entries = safetensors.deserialize(data)
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path} is damaged: {error}. Write or copy it anew") from error
    tensors = {}
    for name, entry in entries:
        dtype = header[name]["dtype"]
        if dtype.startswith(("I", "U", "BOOL")):
            continue
        if dtype not in _DTYPES:
            raise CheckpointError(f"{path}: tensor {name} has dtype {dtype}; taken are {', '.join(_DTYPES)}")
        values = np.frombuffer(entry["data"], _DTYPES[dtype]).reshape(entry["shape"])
        with np.errstate(over="ignore"):
            values = np.array(values, np.float32)
        if not np.isfinite(values).all():
            raise CheckpointError(f"{path}: tensor {name} holds NaN or infinite numbers")
        tensors[name.removeprefix("module.")] = values
    return tensors


def _header(path: pathlib.Path, data: bytes) -> dict[str, dict]:
    """The tensors a file declares, checked against its size, so that a cut file is told by the tensor it lacks."""
    # The first bytes of a safetensors file are a length, and may be any; then comes JSON.
    if data[8:9] != b"{" and (data[:2] == b"PK" or data[:1] == b"\x80"):
        raise CheckpointError(
            f"{path} is a PyTorch pickle, which runs code when opened; turn it into safetensors with"
            " tools/bin_to_safetensors.py in an environment of its own"
        )
    length = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else 0
    if not 2 <= length <= min(MAX_HEADER_BYTES, len(data) - 8):
        raise CheckpointError(f"{path} is no safetensors file, or cut before its first tensor ({len(data)} bytes)")
    try:
        header = json.loads(data[8 : 8 + length])
        header.pop("__metadata__", None)
        for name, entry in header.items():
            if 8 + length + entry["data_offsets"][1] > len(data):
                raise CheckpointError(f"{path} is cut: tensor {name} ends beyond the file. Copy it anew")
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise CheckpointError(f"{path} is no safetensors file: its header cannot be read ({error})") from error
    return header
