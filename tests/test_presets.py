"""The paper's SCALE and the release's: sizes, what their switches change, and which do not go together."""

import dataclasses
import importlib.util
import pathlib
import re

import jax
import numpy as np
import pytest
import runs
from conftest import random_batch
from small import small_config
from test_scale import Compiled

from m5jax import config as config_lib
from m5jax import optim, presets, profiling, sharding, step
from m5jax.errors import ConfigError
from m5jax.models import families, flops
from m5jax.token_spec import token_specs

CONFIGS = pathlib.Path(__file__).parents[1] / "configs"


def from_file(name, *arguments, **changes):
    """The frozen configuration of a file, with changes to its top level."""
    spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    chosen = module.get_config(*arguments)
    chosen.update(changes)
    return config_lib.freeze(chosen.to_dict())


def small(preset, **changes):
    """A preset in the size of the tests, with further changes."""
    chosen = config_lib.default()
    preset(chosen)
    switches = {name: chosen.model[name] for name in ("blocks", "share", "masked_on", "dropout")}
    objective = chosen.objective.to_dict()
    return small_config(
        **{f"model__{name}": value for name, value in switches.items()},
        **{f"objective__{name}": value for name, value in objective.items()},
        inputs__missing=chosen.inputs.missing,
        **changes,
    )


def size(config, vocabulary):
    tree = jax.eval_shape(families.build(config, vocabulary).init, jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_the_released_network_without_its_dead_modules_has_161_681_015_parameters():
    assert size(from_file("scale_base", "released"), 21128) == 161_681_015


def test_full_sizes_have_the_tokens_and_the_work_of_the_specification():
    config = from_file("scale_base", "released")
    specs = token_specs(config.inputs)
    assert sum(spec.sequence for spec in specs.values()) == 231
    forward = families.build(config, 21128).flops
    assert 36e9 < forward < 40e9  # spec section 2.1: about 38 + 1.2 GFLOP, its heads at every position
    assert sum(spec.sequence for spec in token_specs(from_file("scale_base_raw").inputs).values()) == 766


@pytest.mark.parametrize("preset", [presets.scale_paper, presets.scale_released], ids=lambda preset: preset.__name__)
def test_a_preset_trains_every_parameter_but_the_second_token_type(preset):
    config = small(preset)
    scale, batch = Compiled(config), random_batch(config, 50, 31)
    params = scale.init(jax.random.key(0))
    (loss, objectives), gradient = scale.value_and_grad(params, batch)
    assert np.isfinite(loss)
    assert {*presets.TASKS, "contrastive"} <= objectives.keys()
    silent = [optim.path_of(keys) for keys, leaf in jax.tree_util.tree_leaves_with_path(gradient) if not np.any(leaf)]
    assert silent == []
    for text in {"text", "table"} & params["embedders"].keys():
        assert not np.any(gradient["embedders"][text]["type"][1])


def test_released_heads_do_not_hear_the_other_modalities_and_the_papers_do():
    for preset, hears in ((presets.scale_paper, True), (presets.scale_released, False)):
        config = small(preset, inputs__modalities=("image", "text"))
        scale = Compiled(config_lib.freeze(with_harmony_off(config)))
        batch = random_batch(config, 50, 8)
        params = scale.init(jax.random.key(0))
        other = batch | {"image": batch["image"] | {"values": 255 - batch["image"]["values"]}}
        first, second = (scale.loss(params, b)[1]["masked_language"][0] for b in (batch, other))
        assert (first != second) == hears


def with_harmony_off(config):
    from m5jax import settings

    values = settings.to_dict(config)
    values["objective"] |= {"harmony": "off", "harmony_source": "embedding"}
    return values


def test_the_way_from_embeddings_to_weights_says_nothing_of_free_ones():
    free = {"objective__harmony": "both", "objective__harmony_source": "free", "objective__harmony_detach": False}
    free["inputs__modalities"], params, losses = ("image", "text"), None, set()
    batch = random_batch(small_config(**free), 50, 8)
    for weighting in ("released", "agreement"):
        scale = Compiled(small_config(**free, objective__harmony_weighting=weighting))
        params = params or scale.init(jax.random.key(0)) | {"harmony": jax.random.normal(jax.random.key(1), (2, 2))}
        losses.add(float(scale.loss(params, batch)[0]))
    assert len(losses) == 1


def test_shared_parts_are_one():
    released, paper = (Compiled(small(p)).model for p in (presets.scale_released, presets.scale_paper))
    shared, own = (jax.eval_shape(model.init, jax.random.key(0)) for model in (released, paper))
    assert set(shared["encoders"]) == {"text", "image", "audio"}
    assert set(shared["embedders"]) == {"text", "image", "video", "audio"}
    assert set(shared["heads"]) == {"text", "image", "video", "audio"}
    assert set(own["encoders"]) == set(own["embedders"]) == set(own["heads"]) == set(token_specs(small_config().inputs))
    # Without a lender a modality has its own.
    alone = small_config(inputs__modalities=("table", "video"), model__share=True)
    params = jax.eval_shape(families.build(alone, 50).init, jax.random.key(0))
    assert set(params["encoders"]) == {"table", "video"}


def test_accumulation_equals_the_whole_batch_with_weights_that_compare_listings():
    config = small(presets.scale_paper, inputs__modalities=("image", "text"))
    model, batch = families.build(config, 50), random_batch(config, 50, 8)
    params = jax.jit(model.init)(jax.random.key(0))
    one, four = (jax.jit(lambda p, n=n: step.gradients(model, p, batch, None, n))(params) for n in (1, 4))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5), four[:2], one[:2])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"harmony_detach": False}, "needs config.objective.harmony_detach=True"),
        ({"harmony": "both", "harmony_detach": False}, "needs config.objective.harmony_detach=True"),
        ({"harmony_on": ()}, "needs config.objective.harmony_on"),
        (
            {"harmony_source": "free", "harmony": "logits"},
            "harmony_source = 'free' needs config.objective.harmony_detach",
        ),
        (
            {"harmony_source": "free", "harmony": "logits", "harmony_detach": False},
            "harmony_source = 'free' needs config.objective.harmony = 'loss' or 'both'",
        ),
        ({"harmony": "both"}, "harmony_weighting = 'agreement' needs config.objective.harmony = 'loss'"),
        ({"negatives": "all"}, "must be one of cross_modal, simclr"),
    ],
)
def test_switches_that_contradict_each_other_are_refused(changes, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        small_config(**{f"objective__{name}": value for name, value in changes.items()})


def test_too_few_positions_and_a_readout_without_its_layer_are_refused():
    with pytest.raises(ConfigError, match=r"config.model.positions.text = 8 is less than the 12 tokens"):
        small_config(model__positions={"text": 8})
    with pytest.raises(ConfigError, match=r"set config.objective.classification"):
        small_config(model__readout="dense")


@pytest.mark.parametrize("name", ["scale_paper", "scale_released"])
def test_the_small_presets_train_by_command(name, three_modalities, tmp_path):
    quick = (
        "steps=1 batch_size=8 evaluate.batch_size=16 evaluate.probe=False evaluate.cluster=False"
        " export.after_training=False model.width=32 model.projection=16 inputs.image.size=16 inputs.image.patch=8"
        " inputs.modalities=image,text,table data.vocabulary=400"
    )
    quick = [f"--config.{change}" for change in quick.split()]
    assert runs.run(three_modalities, tmp_path, *quick, file=str(CONFIGS / f"{name}.py")) == 0


def shallow(config):
    """The same network with one block in each stack."""
    stacks = ("tokens", "grids", "fusion")
    towers = {name: dataclasses.replace(getattr(config.model, name), layers=1) for name in stacks}
    return dataclasses.replace(config, model=dataclasses.replace(config.model, **towers))


def lowered_step(config, mesh):
    """What a training step of a full-size network begins with: model, optimizer, abstract state, the step lowered."""
    model, optimizer = families.build(config, 21128), optim.optimizer(config)
    abstract = jax.eval_shape(lambda: step.init_state(model, optimizer, jax.random.key(0)))
    train = step.make_train_step(model, optimizer, seed=0, accumulate=1, mesh=mesh)
    return model, optimizer, abstract, train.lower(abstract, random_batch(config, 21128, 2))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["scale_base", "scale_base_raw"])
def test_one_step_at_full_width(name):
    """Everything a step does, two listings at a time: to XLA at full depth, one block deep to the end."""
    config = from_file(name, batch_size=2)
    mesh = sharding.make_mesh(config.mesh, jax.devices()[:1])
    device = mesh.local_devices[0]
    _, _, abstract, _ = lowered_step(config, mesh)
    said = profiling.describe_state(abstract, sharding.shardings(abstract, mesh), device)
    assert re.match(
        r"2\d\d,\d{3},\d{3} parameters; weights and optimizer: (fits|DOES NOT FIT): [\d,]+ MiB of [\d,]+ MiB", said
    )
    model, optimizer, _, lowered = lowered_step(shallow(config), mesh)
    compiled = lowered.compile()
    said = profiling.describe_step(compiled, model.flops, flops.TRAINING, device)
    assert re.match(
        r"a step: \d+\.\d+ GFLOP per listing; [\d,]+ MiB of state .* temporaries: (fits|DOES NOT FIT): [\d,]+ MiB of",
        said,
    )
    batch = jax.device_put(random_batch(config, 21128, 2), sharding.batch_sharding(mesh))
    state, metrics = compiled(step.sharded_init(model, optimizer, 0, mesh), batch)
    assert np.isfinite(metrics["loss"][0])
    assert int(state["counts"]["skipped"]) == 0
