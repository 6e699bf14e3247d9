"""What all kinds have in common: reading the files, and the largest differences."""

import json
import pathlib
import zipfile
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from m5jax.errors import DataError

LIMIT, GRADIENT_LIMIT = 2e-4, 1e-3

Arrays = dict[str, Any]
Differences = dict[str, tuple[float, float]]
"""By name of an output the largest difference and its limit."""


def differences(expected: Arrays, found: Arrays, masks: Arrays) -> Differences:
    """Largest differences; an output that we do not have, or of another shape, differs without bound.

    Args:
      expected: the other implementation's outputs.
      found: ours.
      masks: of outputs that are sequences which places count.
    """
    if not expected:
        raise DataError("outputs.npz holds no array: there is nothing to compare with")
    result: Differences = {}
    for name, theirs in expected.items():
        ours = found.get(name)
        largest = np.inf
        if ours is not None and (ours.shape == theirs.shape or ours.size == theirs.size == 1):
            difference = np.abs(np.asarray(ours, np.float64).reshape(theirs.shape) - theirs)
            if name in masks:
                difference = difference[masks[name]]
            largest = finite(difference.max(initial=0.0))
        result[name] = (largest, LIMIT)
    return result


def finite(difference: Any) -> float:
    """A difference as a number to compare: NaN is no agreement."""
    return np.inf if np.isnan(difference) else float(difference)


def read_npz(path: pathlib.Path) -> Arrays:
    """The arrays of a file.

    Raises:
      DataError: it cannot be read.
    """
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def read_json(path: pathlib.Path) -> Arrays:
    """The object in a file.

    Raises:
      DataError: it cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def set_text(chosen: Any, theirs: Arrays, length: int, positions: int) -> None:
    """The sizes of a BERT's configuration in ours, for inputs of `length` tokens and a table of `positions`."""
    chosen.model.width = theirs["hidden_size"]
    chosen.model.tokens.layers = theirs["num_hidden_layers"]
    chosen.model.tokens.heads = theirs["num_attention_heads"]
    chosen.model.tokens.hidden = theirs["intermediate_size"]
    chosen.model.positions.text = positions
    chosen.inputs.text.length = length


def set_regions(chosen: Any, features: np.ndarray) -> None:
    """The picture of our inputs as regions [B, N, dim] with boxes."""
    chosen.inputs.image.source, chosen.inputs.image.boxes = "features", True
    chosen.inputs.image.feature_rows, chosen.inputs.image.feature_dim = features.shape[1:]


def blank(init: Callable[[Any], Any]) -> Any:
    """Parameters of the shapes that `init` makes, zeros: what a file does not fill shows."""
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), jax.eval_shape(init, jax.random.key(0)))
