"""Where a tensor of a PyTorch state dict lies in our parameters: the one table an importer is made of.

PyTorch keeps a dense layer as [outputs, inputs], we as [inputs, outputs], with query, key and value as one kernel
[inputs, 3, heads, size] and the blocks of a stack along a leading axis.
"""

import dataclasses
import math
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np

from m5jax.errors import CheckpointError
from m5jax.optim import path_of
from m5jax.weights.tensors import Tensors


@dataclasses.dataclass(frozen=True)
class Place:
    """Where one tensor goes.

    Attributes:
      path: of the parameter.
      index: of the part of it that the tensor fills.
      inputs: leading axes of that part that a kernel's inputs lie along; 0 = not a kernel, taken as it is.
    """

    path: str
    index: tuple[int | slice, ...] = ()
    inputs: int = 0


Places = dict[str, Place]


@dataclasses.dataclass(frozen=True)
class Matches:
    """What an import did, by name.

    Attributes:
      matched: tensors that were taken over.
      dropped: tensors of the file without a place here.
      missing: tensors that the file should have and has not.
    """

    matched: tuple[str, ...]
    dropped: tuple[str, ...]
    missing: tuple[str, ...]

    def __str__(self) -> str:
        return f"{len(self.matched)} tensors matched, {len(self.dropped)} dropped, {len(self.missing)} missing"


def kernel_and_bias(theirs: str, ours: str, index: tuple = (), inputs: int = 1) -> Places:
    """A dense layer."""
    return {
        f"{theirs}.weight": Place(f"{ours}/kernel", index, inputs),
        f"{theirs}.bias": Place(f"{ours}/bias", index),
    }


def norm(theirs: str, ours: str, index: tuple = ()) -> Places:
    """A layer norm."""
    return {f"{theirs}.weight": Place(f"{ours}/scale", index), f"{theirs}.bias": Place(f"{ours}/bias", index)}


def joined(theirs: Sequence[str], ours: str, layer: int) -> Places:
    """Dense layers that are one here, side by side behind the inputs: query, key and value; or key and value."""
    places: Places = {}
    for number, name in enumerate(theirs):
        places[f"{name}.weight"] = Place(f"{ours}/kernel", (layer, slice(None), number), 1)
        places[f"{name}.bias"] = Place(f"{ours}/bias", (layer, number))
    return places


def bert_layer(theirs: str, ours: str, layer: int) -> Places:
    """One block of a BERT encoder; `ours` is the path of a stack."""
    return block(f"{theirs}.attention", f"{theirs}.intermediate", f"{theirs}.output", f"{ours}/blocks", layer)


def block(attention: str, up: str, down: str, ours: str, layer: int) -> Places:
    """One block with BERT's names inside its three parts; `ours` is the path of the blocks."""
    return (
        joined([f"{attention}.self.{name}" for name in ("query", "key", "value")], f"{ours}/attention/qkv", layer)
        | kernel_and_bias(f"{attention}.output.dense", f"{ours}/attention/out", (layer,), 2)
        | norm(f"{attention}.output.LayerNorm", f"{ours}/norm_attention", (layer,))
        | kernel_and_bias(f"{up}.dense", f"{ours}/mlp/up", (layer,))
        | kernel_and_bias(f"{down}.dense", f"{ours}/mlp/down", (layer,))
        | norm(f"{down}.LayerNorm", f"{ours}/norm_mlp", (layer,))
    )


def layers(stack: Any) -> int:
    """Blocks of a stack."""
    return stack["blocks"]["mlp"]["up"]["kernel"].shape[0]


def leaves(params: Any) -> dict[str, Any]:
    """Every parameter by its path."""
    return {path_of(keys): leaf for keys, leaf in jax.tree_util.tree_leaves_with_path(params)}


def part(leaf: Any, place: Place) -> tuple[int, ...]:
    """The shape of the part of a parameter that a tensor fills."""
    return np.empty(leaf.shape, np.bool_)[place.index].shape if place.index else tuple(leaf.shape)


def their_shape(leaf: Any, place: Place) -> tuple[int, ...]:
    """The shape that the tensor must have."""
    ours = part(leaf, place)
    if place.inputs:
        return math.prod(ours[place.inputs :]), math.prod(ours[: place.inputs])
    return (math.prod(ours),) if place.path.endswith("bias") else ours


def fill(params: Any, tensors: Tensors, places: Places, file: pathlib.Path | str) -> Any:
    """The parameters, float32 numpy arrays, with the tensors that have a place there instead.

    Raises:
      CheckpointError: a tensor has another shape than its place, or the network no such place; named.
    """
    filled = {path: np.array(leaf, np.float32) for path, leaf in leaves(params).items()}
    for name in sorted(tensors.keys() & places.keys()):
        place, tensor = places[name], tensors[name]
        if place.path not in filled:
            raise CheckpointError(
                f"{file}: tensor {name} belongs to {place.path}, which the configured network has not: such weights"
                " need config.model.blocks='released'"
            )
        target = filled[place.path]
        expected = their_shape(target, place)
        if tensor.shape != expected:
            raise CheckpointError(
                f"{file}: tensor {name} is {list(tensor.shape)}; the configured network needs {list(expected)} for"
                f" {place.path}: mend config.model or config.inputs, or use another file"
            )
        values = tensor.T if place.inputs else tensor
        target[place.index] = values.reshape(part(target, place))
    return jax.tree_util.tree_map_with_path(lambda keys, _: filled[path_of(keys)], params)


def compare(tensors: Iterable[str], places: Places) -> Matches:
    """Names of a file against names that have a place."""
    there = set(tensors)
    return Matches(
        tuple(sorted(there & places.keys())), tuple(sorted(there - places.keys())), tuple(sorted(places.keys() - there))
    )


def refuse_partial(path: pathlib.Path | str, report: Matches, dead: re.Pattern) -> None:
    """Raises CheckpointError unless everything whose name is not `dead` found its place, and every place was filled."""
    unknown = [name for name in report.dropped if not dead.fullmatch(name)]
    if report.missing or unknown:
        raise CheckpointError(
            f"{path} does not fit the configured network ({report}); missing: {_few(report.missing)}; of unknown name:"
            f" {_few(unknown)}. Set config.model as the file was trained"
        )


def _few(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") if names else "none"
