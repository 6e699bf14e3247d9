# /// script
# requires-python = ">=3.11"
# dependencies = ["torch>=2.6", "safetensors>=0.5", "numpy>=2.0"]
# ///
"""Turns a PyTorch checkpoint (.bin, .pt, .pth) into .safetensors, which m5jax reads. Needs torch; m5jax does not.

    uv run tools/bin_to_safetensors.py pytorch_model.bin model.safetensors

or, in an environment of its own, not in that of m5jax:

    python -m venv convert && convert/bin/pip install "torch>=2.6" safetensors numpy
    convert/bin/python tools/bin_to_safetensors.py pytorch_model.bin model.safetensors

The file is a dict of tensors, or a dict that holds one under "state_dict". It is read with weights_only=True, so that
no code in it runs; one that holds more than weights is refused (before torch 2.6 that switch could be passed by).
Tensors that share memory, as tied embeddings do, are written once per name. The prefix "module." of data-parallel
training goes. Prints every name with its shape and dtype.

Exit code 0: written; 2: not, and why is on stderr.
"""

import argparse
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

PREFIX = "module."
OLDEST_TORCH = (2, 6)


def main(arguments: list[str]) -> int:
    """Converts one file; returns the exit code."""
    parser = argparse.ArgumentParser(description="PyTorch weights to .safetensors")
    parser.add_argument("source", type=pathlib.Path, help="state dict written by torch.save")
    parser.add_argument("target", type=pathlib.Path, help="the .safetensors file to write; must not exist")
    options = parser.parse_args(arguments)
    try:
        convert(options.source, options.target)
    except Refused as error:
        print(f"{options.source}: {error}", file=sys.stderr)
        return 2
    return 0


class Refused(Exception):
    """Why there is no new file."""


def convert(source: pathlib.Path, target: pathlib.Path) -> None:
    """Reads the one and writes the other, under a temporary name until it is whole.

    Raises:
      Refused: a package is missing, a path is wrong, or the source holds anything but tensors.
    """
    try:
        import safetensors.torch
        import torch
    except ImportError as error:
        raise Refused(
            f'{error.name} is not installed: pip install "torch>=2.6" safetensors numpy in an environment of its own,'
            " or uv run tools/bin_to_safetensors.py"
        ) from error
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < OLDEST_TORCH:
        raise Refused(f"torch {torch.__version__} does not read weights safely: install torch>=2.6")
    if target.suffix != ".safetensors":
        raise Refused(f"{target} must end in .safetensors")
    if target.exists():
        raise Refused(f"{target} exists already: move it away")
    try:
        loaded = torch.load(source, map_location="cpu", weights_only=True)
    except OSError as error:
        raise Refused(f"cannot be read: {error.strerror or error}") from error
    except Exception as error:  # of many types; their texts advise to run the code in the file, so they are not shown
        raise Refused(
            f"was not written by torch.save, or holds more than weights ({type(error).__name__}): save"
            " model.state_dict() alone"
        ) from error
    tensors = {name: tensor.clone().contiguous() for name, tensor in named_tensors(loaded, torch.Tensor).items()}
    unfinished = target.with_name(target.name + ".tmp")
    try:
        safetensors.torch.save_file(tensors, unfinished, metadata={"format": "pt"})
        unfinished.rename(target)
    finally:
        unfinished.unlink(missing_ok=True)
    for name, tensor in tensors.items():
        print(f"{name}  {list(tensor.shape)}  {str(tensor.dtype).removeprefix('torch.')}")
    print(f"{len(tensors)} tensors, {sum(tensor.numel() for tensor in tensors.values()):,} numbers in {target}")


def named_tensors(loaded: Any, tensor_type: type) -> dict[str, Any]:
    """The tensors of what torch has read, by name without "module.".

    Raises:
      Refused: it is no dict of tensors, or two names differ by the prefix alone.
    """
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping) or not loaded:
        raise Refused(f"holds a {type(loaded).__name__}, not a dict of tensors")
    tensors: dict[str, Any] = {}
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, tensor_type):
            raise Refused(f"{name!r} is a {type(value).__name__}, not a tensor: save model.state_dict() alone")
        short = name.removeprefix(PREFIX)
        if short in tensors:
            raise Refused(f"{short!r} is there twice, once as {PREFIX + short!r}")
        tensors[short] = value
    return tensors


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
