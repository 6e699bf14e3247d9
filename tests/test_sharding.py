"""The partition table: golden shardings, and every way a table can be wrong."""

import dataclasses
import json
import pathlib

import jax
import pytest
from small import small_config

from m5jax import config as config_lib
from m5jax import optim, sharding, step
from m5jax.errors import ConfigError
from m5jax.models import families
from m5jax.sharding import P

GOLDEN = pathlib.Path(__file__).parent / "golden" / "shardings.json"
MESHES = {"data8": {}, "fsdp8": {"fsdp": 8}, "data2_fsdp2_model2": {"fsdp": 2, "model": 2}}


def mesh(**axes):
    return sharding.make_mesh(config_lib.Mesh(**axes))


def test_every_array_of_the_state_has_its_golden_place():
    config = small_config()
    model, optimizer = families.build(config, 48), optim.optimizer(config)
    abstract = jax.eval_shape(lambda: step.init_state(model, optimizer, jax.random.key(0)))
    places = {}
    for name, axes in MESHES.items():
        tree = sharding.shardings(abstract, mesh(**axes))
        places[name] = {optim.path_of(keys): str(leaf.spec) for keys, leaf in jax.tree_util.tree_leaves_with_path(tree)}
    golden = json.loads(GOLDEN.read_text())
    assert places == golden, f"if this is meant, write the new places to {GOLDEN}: {json.dumps(places)[:200]}"


def test_no_large_array_is_replicated_under_fsdp():
    config = small_config(model__width=256)
    model = families.build(config, 4096)
    abstract = jax.eval_shape(model.init, jax.random.key(0))
    tree = sharding.shardings({"params": abstract}, mesh(fsdp=8))["params"]
    for keys, place in jax.tree_util.tree_leaves_with_path(tree):
        leaf = abstract
        for key in keys:
            leaf = leaf[key.key]
        assert leaf.size < sharding.LARGE or "fsdp" in str(place.spec), optim.path_of(keys)


@dataclasses.dataclass(frozen=True)
class FakeDevice:
    process_index: int
    id: int


def test_the_mesh_keeps_the_order_of_the_processes():
    """Row i of a batch is the i-th listing whoever made it, though a TPU slice counts its devices otherwise."""
    devices = [FakeDevice(process, 4 * process + chip) for chip in (2, 0, 3, 1) for process in (1, 0)]
    found = sharding.make_mesh(config_lib.Mesh(fsdp=2), devices).devices
    assert [device.id for device in found.ravel()] == list(range(8))


@pytest.mark.parametrize(
    ("axes", "shape"), [({}, (8, 1, 1)), ({"fsdp": 4}, (2, 4, 1)), ({"data": 1, "fsdp": -1, "model": 2}, (1, 4, 2))]
)
def test_mesh_takes_what_is_left(axes, shape):
    assert mesh(**axes).devices.shape == shape


@pytest.mark.parametrize("axes", [{"fsdp": 3}, {"data": 2, "fsdp": 2}, {"data": 16}])
def test_mesh_that_does_not_fit_is_refused(axes):
    with pytest.raises(ConfigError, match="does not multiply to the 8 devices"):
        mesh(**axes)


def test_wrong_rules_name_the_parameter(monkeypatch):
    with pytest.raises(ConfigError, match=r"no rule of sharding.RULES names mystery/weights"):
        sharding.partition("mystery/weights", (512, 512), mesh())
    with pytest.raises(
        ConfigError, match=r"heads/x/dense/kernel.*dimension 12 does not divide by config.mesh.fsdp = 8"
    ):
        sharding.partition("heads/x/dense/kernel", (12, 4), mesh(fsdp=8))
    monkeypatch.setattr(sharding, "RULES", ((r"kernel$", P("fsdp", "fsdp")),))
    with pytest.raises(ConfigError, match="uses an axis twice"):
        sharding.partition("a/kernel", (8, 8), mesh())
    assert sharding.partition("tiny/thing", (3,), mesh()) == P()


def test_optimizer_moments_follow_their_parameters():
    spec = sharding.partition("params/fusion/stack/blocks/mlp/up/kernel", (2, 32, 128), mesh(fsdp=2, model=2))
    assert (
        sharding.partition("opt_state/2/mu/fusion/stack/blocks/mlp/up/kernel", (2, 32, 128), mesh(fsdp=2, model=2))
        == spec
    )
