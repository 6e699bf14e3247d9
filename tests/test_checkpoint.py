"""Checkpoints: whole or not used, whatever happens to their files."""

import json
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from m5jax import config as config_lib
from m5jax import sharding
from m5jax.checkpoint import Checkpoints
from m5jax.errors import CheckpointError

FACTS = {"data": {"digest": "abc", "seed": 0}, "tokenizer": "t"}


def state_of(number, dtype=jnp.float32):
    key = jax.random.key(number)
    return {
        "params": {"dense": {"kernel": jax.random.normal(key, (8, 8), dtype), "bias": jnp.arange(8.0)}},
        "opt_state": [jnp.full((8, 8), float(number))],
        "step": jnp.asarray(number, jnp.int32),
    }


def abstract_of(state):
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), state)


ABSTRACT = abstract_of(state_of(0))


@pytest.fixture
def three(tmp_path):
    """A folder with checkpoints of steps 1, 2 and 3."""
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for number in (1, 2, 3):
        checkpoints.save(number, state_of(number), FACTS | {"number": number})
    return checkpoints


def files_of(checkpoints, step):
    return sorted(path for path in (checkpoints.folder / str(step)).rglob("*") if path.is_file())


def test_a_state_comes_back_bit_for_bit_with_its_facts(three):
    restored = three.restore(ABSTRACT)
    assert restored.step == 3
    assert restored.facts == FACTS | {"number": 3}
    jax.tree.map(np.testing.assert_array_equal, restored.state, state_of(3))


def test_an_empty_or_missing_folder_is_a_fresh_start(tmp_path):
    assert Checkpoints(tmp_path / "nothing").restore(ABSTRACT) is None
    (tmp_path / "empty").mkdir()
    assert Checkpoints(tmp_path / "empty").restore(ABSTRACT) is None


def flip(path, rng):
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def truncate(path, rng):
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def zero_tail(path, rng):
    data = path.read_bytes()
    cut = rng.randrange(len(data))
    path.write_bytes(data[:cut] + b"\xff" * (len(data) - cut))


def empty(path, rng):
    path.write_bytes(b"")


def delete(path, rng):
    path.unlink()


def test_300_random_mutations_of_the_newest_step_are_all_caught(three, caplog):
    rng, caught = random.Random(0), 0
    files = [path for path in files_of(three, 3) if path.stat().st_size] + [three.folder / "3.json"]
    originals = {path: path.read_bytes() for path in files}
    for trial in range(300):
        path = files[trial % len(files)]
        rng.choice([flip, flip, flip, truncate, zero_tail, empty, delete])(path, rng)
        changed = not path.exists() or path.read_bytes() != originals[path]
        caught += bool(three.verify(3)) == changed
        path.write_bytes(originals[path])
    assert caught == 300
    assert not three.verify(3)


@pytest.mark.parametrize("damage", [flip, truncate, empty, delete])
def test_a_damaged_newest_step_falls_back_to_the_one_before_and_says_so(three, damage, caplog):
    payload = max(files_of(three, 3), key=lambda path: path.stat().st_size)
    damage(payload, random.Random(1))
    restored = three.restore(ABSTRACT)
    assert restored.step == 2
    jax.tree.map(np.testing.assert_array_equal, restored.state, state_of(2))
    assert "checkpoint 3 is damaged and not used" in caplog.text
    assert payload.name in caplog.text


def test_a_missing_step_folder_and_a_changed_certificate_are_damage_too(three, caplog):
    certificate = three.folder / "3.json"
    certificate.write_text(certificate.read_text().replace('"number": 3', '"number": 4'))
    assert three.restore(ABSTRACT).step == 2
    for path in files_of(three, 2):
        path.unlink()
    assert three.restore(ABSTRACT).step == 1


def test_with_none_left_that_verifies_the_run_stops(three):
    for number in (1, 2, 3):
        flip(max(files_of(three, number), key=lambda path: path.stat().st_size), random.Random(number))
    with pytest.raises(CheckpointError, match=r"none of the checkpoints \[1, 2, 3\].*from_scratch") as error:
        three.restore(ABSTRACT)
    assert error.value.exit_code == 66
    with pytest.raises(CheckpointError, match="none of the checkpoints"):
        three.restore_params(ABSTRACT["params"])


def test_deleted_certificates_are_damage_not_a_fresh_start(three):
    for number in (1, 2, 3):
        (three.folder / f"{number}.json").unlink()
    with pytest.raises(CheckpointError, match="none of the checkpoints"):
        three.restore(ABSTRACT)


def test_a_step_killed_while_it_was_written_is_cleared_away(three):
    (three.folder / "4.saving").write_text("")
    (three.folder / "4").mkdir()
    (three.folder / "4" / "half").write_text("written")
    (three.folder / "5.saving").write_text("")
    assert three.restore(ABSTRACT).step == 3
    assert sorted(path.name for path in three.folder.iterdir()) == ["1", "1.json", "2", "2.json", "3", "3.json"]


def test_killed_in_the_first_save_is_a_fresh_start(tmp_path):
    folder = tmp_path / "checkpoints"
    (folder / "10").mkdir(parents=True)
    (folder / "10.saving").write_text("")
    assert Checkpoints(folder).restore(ABSTRACT) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s["params"]["dense"].update(kernel=jnp.zeros((8, 9))),
            r"dense/kernel: saved \[\[8, 8\].*wanted \[\[8, 9\]",
        ),
        (lambda s: s["params"]["dense"].update(kernel=jnp.zeros((8, 8), jnp.bfloat16)), "'float32'.*'bfloat16'"),
        (lambda s: s["params"]["dense"].pop("bias"), "dense/bias: saved.*wanted nothing"),
        (lambda s: s["params"].update(extra=jnp.zeros(3)), "extra: saved nothing, wanted"),
    ],
)
def test_another_shape_dtype_or_name_is_refused_by_path(three, change, message):
    state = state_of(0)
    change(state)
    with pytest.raises(CheckpointError, match=message):
        three.restore(abstract_of(state))


def test_parameters_alone_come_back_without_the_optimizer(three):
    restored = three.restore_params(ABSTRACT["params"])
    jax.tree.map(np.testing.assert_array_equal, restored.state, state_of(3)["params"])
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        Checkpoints(three.folder / "elsewhere").restore_params(ABSTRACT["params"])


def test_a_checkpoint_moves_to_another_mesh(tmp_path):
    meshes = [sharding.make_mesh(config_lib.Mesh(fsdp=n), jax.devices()[:n]) for n in (8, 2)]
    place, other = (jax.sharding.NamedSharding(mesh, sharding.P("fsdp")) for mesh in meshes)
    state = {"w": jax.device_put(jnp.arange(64.0).reshape(16, 4), place)}
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state, {})
    restored = checkpoints.restore({"w": jax.ShapeDtypeStruct((16, 4), jnp.float32, sharding=other)})
    np.testing.assert_array_equal(restored.state["w"], state["w"])
    assert restored.state["w"].sharding == other


def test_old_steps_go_but_never_the_last_good_one(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for number in range(1, 5):
        checkpoints.save(number, state_of(number), {})
    assert checkpoints.steps() == [3, 4]
    flip(max(files_of(checkpoints, 4), key=lambda path: path.stat().st_size), random.Random(0))
    checkpoints.save(5, state_of(5), {})
    assert checkpoints.steps() == [3, 4, 5]  # two newer ones that verify are needed before 3 may go


def test_saving_a_step_again_replaces_it(three):
    three.save(3, state_of(7), FACTS)
    np.testing.assert_array_equal(three.restore(ABSTRACT).state["step"], 7)


def test_the_certificate_names_every_file(three):
    certificate = json.loads((three.folder / "3.json").read_text())["certificate"]
    folder = three.folder / "3"
    assert set(certificate["files"]) == {str(path.relative_to(folder)) for path in files_of(three, 3)}
    assert certificate["tree"]["params/dense/kernel"] == [[8, 8], "float32"]
