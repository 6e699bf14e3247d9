"""Where arrays live: a mesh of data x fsdp x model, and one table from parameter path to partition."""

import math
import re
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from m5jax import config as config_lib
from m5jax.errors import ConfigError
from m5jax.optim import path_of

P = PartitionSpec
BATCH = P(("data", "fsdp"))
"""A batch is split over every device that does not share a model replica's heads."""

LARGE = 1 << 16
"""Elements from which on an array that no rule names is a mistake rather than a detail."""

# First match wins. Blocks of a stack carry a leading layer axis. Optimizer moments end in the same paths.
RULES: tuple[tuple[str, PartitionSpec], ...] = (
    (r"blocks/(\w+/)?attention/qkv/kernel$", P(None, "fsdp", None, "model")),
    (r"blocks/(\w+/)?attention/qkv/bias$", P(None, None, "model")),
    (r"blocks/(\w+/)?attention/query/kernel$", P(None, "fsdp", "model")),
    (r"blocks/(\w+/)?attention/query/bias$", P(None, "model")),
    (r"blocks/(\w+/)?attention/kv/kernel$", P(None, "fsdp", None, "model")),
    (r"blocks/(\w+/)?attention/kv/bias$", P(None, None, "model")),
    (r"blocks/(\w+/)?attention/out/kernel$", P(None, "model", None, "fsdp")),
    (r"blocks/(\w+/)?mlp/up/kernel$", P(None, "fsdp", "model")),
    (r"blocks/(\w+/)?mlp/up/bias$", P(None, "model")),
    (r"blocks/(\w+/)?mlp/down/kernel$", P(None, "model", "fsdp")),
    (r"(project|boxes|convolutions/\d+)/kernel$", P(None, "fsdp")),
    (r"vocabulary/embedding$", P(None, "fsdp")),
    (r"structure/triple/kernel$", P("fsdp", "model")),
    (r"structure/out/kernel$", P("model", None, "fsdp")),
    (r"(dense|predict|score|maps/\w+)/kernel$", P("fsdp")),
    (r"(position|hidden|kind|type|bias|scale|log_scale|harmony)$", P()),
)


def make_mesh(sizes: config_lib.Mesh, devices: Sequence[Any] | None = None) -> jax.sharding.Mesh:
    """The mesh over all devices of all processes.

    Raises:
      ConfigError: the axes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    shape = [sizes.data, sizes.fsdp, sizes.model]
    known = math.prod(size for size in shape if size > 0)
    if -1 in shape and len(devices) % known == 0:
        shape[shape.index(-1)] = len(devices) // known
    if math.prod(shape) != len(devices):
        raise ConfigError(f"config.mesh {sizes} does not multiply to the {len(devices)} devices there are")
    # In the order of the processes, which `jax.make_mesh` does not keep on a TPU slice: row i of a batch must be the
    # i-th listing, whoever made it.
    ordered = np.asarray(sorted(devices, key=lambda device: (device.process_index, device.id)), object)
    return jax.sharding.Mesh(ordered.reshape(shape), ("data", "fsdp", "model"), axis_types=(AxisType.Auto,) * 3)


def partition(path: str, shape: tuple[int, ...], mesh: jax.sharding.Mesh) -> PartitionSpec:
    """The partition of one array by the first rule that its path matches.

    Raises:
      ConfigError: no rule names a large array, a dimension does not divide by its axis, or an axis is used
        twice; the message names the parameter.
    """
    spec = next((spec for pattern, spec in RULES if re.search(pattern, path)), None)
    if spec is None:
        if math.prod(shape) >= LARGE:
            raise ConfigError(
                f"no rule of sharding.RULES names {path} {shape}: add one, or it would be copied everywhere"
            )
        return P()
    used = [axis for axis in spec if axis is not None]
    if len(set(used)) != len(used) or len(spec) > len(shape):
        raise ConfigError(f"the rule {spec} for {path} {shape} uses an axis twice or has too many entries")
    for axis, size in zip(spec, shape, strict=False):
        if axis is not None and size % mesh.shape[axis]:
            raise ConfigError(
                f"{path} {shape}: dimension {size} does not divide by config.mesh.{axis} = {mesh.shape[axis]}"
            )
    return spec


def shardings(tree: Any, mesh: jax.sharding.Mesh) -> Any:
    """The sharding of every leaf of a (possibly abstract) state tree, in the same structure."""
    return jax.tree_util.tree_map_with_path(
        lambda keys, leaf: NamedSharding(mesh, partition(path_of(keys), leaf.shape, mesh)), tree
    )


def batch_sharding(mesh: jax.sharding.Mesh) -> NamedSharding:
    """The sharding of every array of a batch: its leading axis over data and fsdp."""
    return NamedSharding(mesh, BATCH)


def replicated(mesh: jax.sharding.Mesh) -> NamedSharding:
    """A full copy on every device."""
    return NamedSharding(mesh, P())
