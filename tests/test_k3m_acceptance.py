"""The acceptance checks of K3M's specification, section 8.4, by number.

4, which way link prediction pulls and that it learns, is in test_link_prediction.py; 9, the parser on the released
sample, in test_importers.py; 10, corruption that is nested and the same for every model, in test_schemes.py; the
numbers of 2 and 8 that concern one part alone in test_gates.py and test_coattention.py.
"""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import SHARED, needs_shared
from graphs import asked, graph_batch, table_arrays, words
from safetensors import numpy as safetensors_numpy
from small_k3m import PAPER, VOCABULARY, small_k3m
from small_methods import drawn_params
from test_presets import from_file

from m5jax import config as config_lib
from m5jax import optim, presets, sharding
from m5jax.errors import CheckpointError, ConfigError
from m5jax.models import families
from m5jax.models.interface import functional, total_loss
from m5jax.models.k3m import K3M
from m5jax.objectives import numerics
from m5jax.token_spec import token_specs
from m5jax.weights import huggingface

SIZE, KEY = 5, jax.random.key(1)
SUBSETS = {"all": PAPER, "no_table": ("image", "text"), "no_picture": ("text", "table"), "title": ("text",)}


class Compiled:
    """A model whose functions are jitted; in training with what the objectives that compare listings read."""

    def __init__(self, config):
        self.model, self.spec = families.build(config, VOCABULARY), token_specs(config.inputs)["table"]
        self.params = jax.tree.map(jnp.asarray, drawn_params(self.model))
        self._embed = jax.jit(lambda batch: self.model.embed(self.params, batch, SUBSETS))
        self.loss = jax.jit(lambda batch: self._loss(self.params, batch))
        self.train = jax.jit(lambda batch: jax.value_and_grad(self._loss, has_aux=True)(self.params, batch))

    def embed(self, batch, subset="all"):
        batch = {name: arrays for name, arrays in batch.items() if name in PAPER}
        return np.asarray(self._embed(jax.tree.map(np.asarray, batch))[subset][0])

    def _loss(self, params, batch):
        losses = self.model.losses(params, batch, KEY)
        objectives = losses.separable | self.model.couple(params, losses.coupled, batch)
        means = {name: numerics.mean(total) for name, total in objectives.items()}
        return total_loss(self.model.weights, means), (objectives, losses.coupled)


@pytest.fixture(scope="module")
def k3m():
    return Compiled(small_k3m())


@pytest.fixture(scope="module")
def batch():
    return graph_batch(small_k3m(), VOCABULARY, SIZE, triples=[4, 3, 0, 2, 1])


def tables(seed=0, counts=(4, 3, 0, 2, 1)):
    rng = np.random.default_rng(seed)
    return [[words(rng, VOCABULARY, 2) for _ in range(count)] for count in counts]


def with_table(batch, arrays):
    return batch | {"table": batch["table"] | arrays}


def shown(batch, *names):
    """The batch without what training adds, which says how long arrays are."""
    return {name: {part: a for part, a in batch[name].items() if part not in ("masked", "asked")} for name in names}


def check_finite(tree):
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


def test_1_triples_in_any_order_beside_any_listings_in_any_room_make_the_same_vector(k3m, batch):
    made = tables()
    plain = shown(with_table(batch, table_arrays(k3m.spec, made)), *PAPER)
    first = k3m.embed(plain)
    turned = table_arrays(k3m.spec, [table[::-1] for table in made])
    np.testing.assert_allclose(k3m.embed(with_table(plain, turned)), first, atol=2e-6)
    others = shown(graph_batch(small_k3m(), VOCABULARY, SIZE, seed=7), *PAPER)
    mixed = jax.tree.map(lambda own, other: np.concatenate([other[3:], own[2::-1]]), plain, others)
    np.testing.assert_allclose(k3m.embed(mixed)[2:], first[2::-1], atol=2e-6)
    longer = {name: jax.tree.map(lambda x: np.pad(x, ((0, 0), (0, 5))), plain[name]) for name in ("text", "table")}
    np.testing.assert_allclose(k3m.embed(plain | longer), first, atol=2e-6)


def test_1_without_triples_the_vector_is_c(k3m, batch):
    """Listing 2 has a table of which nothing is whole, so that no triple is there; the others' say something."""
    table = batch["table"] | {"mask": np.ones_like(batch["table"]["mask"])}
    batch = shown(batch | {"table": table}, *PAPER)
    both, c = k3m.embed(batch), k3m.embed(batch, "no_table")
    np.testing.assert_array_equal(both[2], c[2])
    assert (np.abs(both - c).max(1) > 1e-4).tolist() == [True, True, False, True, True]


def test_2_evaluation_gives_the_same_every_time(k3m, batch):
    np.testing.assert_array_equal(k3m.embed(shown(batch, *PAPER)), k3m.embed(shown(batch, *PAPER)))


def test_3_the_value_that_is_asked_for_leaves_c_star_alone_and_another_value_does_not(k3m, batch):
    (loss, (_, coupled)), _ = k3m.train(batch)
    answers = asked(np.random.default_rng(5), k3m.spec, VOCABULARY, SIZE)
    hidden = with_table(batch, {"asked": batch["table"]["asked"] | {"values": answers["values"]}})
    (other_loss, (_, other)), _ = k3m.train(hidden)
    np.testing.assert_array_equal(other["items"], coupled["items"])
    np.testing.assert_array_equal(other["properties"], coupled["properties"])
    assert other_loss != loss
    is_value = batch["table"]["spans"] == 2
    seen = with_table(batch, {"ids": np.where(is_value, batch["table"]["ids"] % 40 + 8, batch["table"]["ids"])})
    moved = np.abs(k3m.train(seen)[0][1][1]["items"] - coupled["items"]).max(1)
    assert (moved > 1e-4).tolist() == is_value.any(1).tolist()


def test_6_every_parameter_gets_a_gradient(k3m, batch):
    (loss, (objectives, _)), gradient = k3m.train(batch)
    check_finite((loss, objectives, gradient))
    assert k3m.model.weights.keys() == {"masked_language", "masked_region", "link_prediction"} < objectives.keys()
    silent = [optim.path_of(keys) for keys, leaf in jax.tree_util.tree_leaves_with_path(gradient) if not np.any(leaf)]
    assert silent == []


def test_7_an_absent_picture_is_not_looked_at(k3m):
    present = np.array([[0, 1, 1], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 0, 0]], bool)  # picture, title, table
    batch = graph_batch(small_k3m(), VOCABULARY, SIZE, present=present)
    there = present[:, 0, None, None, None]
    other = batch | {"image": batch["image"] | {"values": np.where(there, batch["image"]["values"], 77)}}
    (loss, aux), gradient = k3m.train(batch)
    (other_loss, _), other_gradient = k3m.train(other)
    assert loss == other_loss
    jax.tree.map(np.testing.assert_array_equal, gradient, other_gradient)
    check_finite((aux, gradient))
    vectors = k3m.embed(shown(batch, *PAPER))
    np.testing.assert_array_equal(vectors, k3m.embed(shown(other, *PAPER)))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), [1, 1, 1, 1, 0], atol=1e-5)


def test_7_nothing_selected_nothing_asked_no_triples_and_nothing_at_all_are_finite(k3m, batch):
    unselected = {
        name: batch[name] | {"masked": jax.tree.map(np.zeros_like, batch[name]["masked"])} for name in ("image", "text")
    }
    (_, (objectives, _)), gradient = k3m.train(batch | unselected)
    check_finite((objectives, gradient))
    assert not np.any(objectives["masked_region"])
    empty = graph_batch(small_k3m(), VOCABULARY, SIZE, triples=[0] * SIZE)
    nobody = asked(np.random.default_rng(0), k3m.spec, VOCABULARY, SIZE, np.zeros((SIZE, k3m.spec.asked), bool))
    (_, (objectives, _)), gradient = k3m.train(with_table(empty, {"asked": nobody}))
    check_finite((objectives, gradient))
    assert not np.any(objectives["link_prediction"])
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient["structure"]))
    nothing = graph_batch(small_k3m(), VOCABULARY, SIZE, present=np.zeros((SIZE, 3), bool))
    (loss, _), gradient = k3m.train(with_table(nothing, {"asked": nobody}))
    assert loss == 0
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient))


def test_7_a_batch_of_one_is_finite(k3m):
    """Link prediction has wrong values here, those of its other triple; its gradient in test_link_prediction.py."""
    loss, aux = k3m.loss(graph_batch(small_k3m(), VOCABULARY, 1))
    check_finite((loss, aux))
    assert loss > 0


def test_8_full_size_has_the_parameters_of_the_specification():
    params = jax.eval_shape(families.build(from_file("k3m_base"), 21128).init, jax.random.key(0))
    count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))  # noqa: E731
    assert count(params["encoders"]["text"]) == 85_054_464
    assert count(params["encoders"]["image"]) == 37_810_176
    assert count(params["interactors"]) == 85_060_608
    places = sharding.shardings(params, sharding.make_mesh(config_lib.Mesh(data=2, fsdp=2, model=2)))
    for leaf, place in zip(jax.tree.leaves(params), jax.tree.leaves(places), strict=True):
        assert leaf.size < sharding.LARGE or "fsdp" in str(place.spec) or leaf.shape == (512, 768)  # BERT's positions


# ---- 5: a BERT


@pytest.fixture(scope="module")
def bert():
    """A network whose text encoder fits the golden BERT."""
    towers = {"model__tokens__layers": 2, "model__tokens__heads": 4, "model__tokens__hidden": 48}
    config = small_k3m(**towers, model__positions__text=40)
    init, bind = functional(lambda rngs: K3M(config, token_specs(config.inputs), 97, 0, rngs))
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), jax.eval_shape(init, KEY)), bind


@needs_shared
def test_5_a_bert_fills_the_text_encoder_and_gives_its_states(bert):
    blank, bind = bert
    folder = SHARED / "golden" / "bert"
    params, report = huggingface.load(folder, blank)
    text = huggingface.encoder_places(blank)
    assert text.keys() <= set(report.matched)
    inputs, expected = (np.load(folder / f"{name}.npz") for name in ("inputs", "outputs"))
    mask = inputs["attention_mask"] > 0
    arrays = {"ids": inputs["input_ids"], "mask": mask, "types": np.zeros_like(inputs["input_ids"])}
    states, _ = jax.jit(lambda p: bind(p)._encoded("text", arrays, None, None))(params)
    assert np.abs(states - expected["last_hidden_state"])[mask].max() < 2e-4


def test_5_a_bert_of_which_too_little_fits_is_an_error(bert, tmp_path):
    blank, _ = bert
    (tmp_path / "config.json").write_text(json.dumps({"num_attention_heads": 4}))
    leaves = {name: np.zeros((2, 2), np.float32) for name in list(huggingface.encoder_places(blank))[:20]}
    safetensors_numpy.save_file(leaves, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"holds 20 of the 37 tensors of the text encoder, .* more than 95%"):
        huggingface.load(tmp_path, blank)


# ---- one architecture


def test_link_prediction_of_two_half_batches_is_that_of_the_whole():
    """What `step.gradients` relies on: coupled arrays of the halves, one after the other, are those of the whole."""
    config = small_k3m(modalities=("text", "table"))
    model, batch = families.build(config, VOCABULARY), graph_batch(config, VOCABULARY, 4)
    params = jax.tree.map(jnp.asarray, drawn_params(model))
    coupled = jax.jit(lambda batch: model.losses(params, batch, None).coupled)
    halves = [coupled(jax.tree.map(lambda x, part=part: x[part], batch)) for part in (slice(2), slice(2, 4))]
    whole = coupled(batch)
    joined = jax.tree.map(lambda *parts: np.concatenate(parts), *halves)
    assert whole.keys() == {"items", "properties", "values"}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), joined, whole)


def scale_k3m(config):
    presets.scale_k3m(config)


def k3m_of_all(config):
    presets.k3m_paper(config)
    config.objective.masked_frame = config.objective.masked_audio = 1.0


def test_k3m_can_have_clips_and_sounds():
    """The title then has three partners, each with its own co-attention; every one that is there is heard."""
    modalities = ("image", "text", "table", "video", "audio")
    config = small_k3m(k3m_of_all, modalities)
    model, batch = families.build(config, VOCABULARY), graph_batch(config, VOCABULARY, SIZE)
    params = jax.tree.map(jnp.asarray, drawn_params(model))
    embed = jax.jit(lambda batch: model.embed(params, batch, {"all": modalities})["all"][0])
    first = embed(shown(batch, *modalities))
    np.testing.assert_allclose(np.linalg.norm(first, axis=-1), 1, atol=1e-5)
    other = graph_batch(config, VOCABULARY, SIZE, seed=3)
    for name in modalities:
        assert (np.abs(embed(shown(batch | {name: other[name]}, *modalities)) - first).max(1) > 1e-4).all(), name
    objectives = jax.eval_shape(lambda batch: model.losses(params, batch, KEY).separable, batch)
    assert {*objectives} == {"masked_region", "masked_language", "masked_frame", "masked_audio"}


def test_scale_can_have_gates_structure_aggregation_and_link_prediction():
    names = ("text", "table")
    scale = Compiled(small_k3m(scale_k3m, names, model__grids__width=0, model__fusion__width=0))
    batch = graph_batch(small_k3m(modalities=names), VOCABULARY, SIZE, triples=[4, 3, 0, 2, 1])
    (loss, (objectives, _)), gradient = scale.train(batch)
    check_finite((loss, objectives, gradient))
    assert {"contrastive", "masked_entity", "link_prediction", "linked"} <= objectives.keys()
    silent = [optim.path_of(keys) for keys, leaf in jax.tree_util.tree_leaves_with_path(gradient) if not np.any(leaf)]
    assert silent == []
    np.testing.assert_allclose(np.linalg.norm(scale.embed(shown(batch, *names)), axis=-1), 1, atol=1e-5)


@pytest.mark.parametrize("preset", [presets.k3m_paper, scale_k3m], ids=["k3m", "scale_k3m"])
def test_flops_by_formula_equal_the_count_of_the_unrolled_model(preset):
    config = small_k3m(preset, model__scan=False, model__width=256, model__grids__width=0, model__fusion__width=0)
    model, batch = families.build(config, VOCABULARY), graph_batch(config, VOCABULARY, SIZE)
    params = jax.eval_shape(model.init, jax.random.key(0))
    losses = jax.jit(lambda p: dataclasses.astuple(model.losses(p, batch, None)))
    counted = losses.lower(params).cost_analysis()["flops"] / SIZE
    assert 1.0 <= counted / model.flops < 1.1  # elementwise work is counted, too


ONE_WIDTH = {"model__family": "scale", "model__grids__width": 0, "model__fusion__width": 0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"inputs__table__triples": 0, "inputs__table__asked": 0, "objective__link_prediction": 0.0},
            "reads the table",
        ),
        ({"inputs__table__masking": "entity"}, "asks for links instead of hiding pieces"),
        (
            {"objective__contrastive": 1.0},
            "config.objective.contrastive is no objective of config.model.family = 'k3m'",
        ),
        ({"model__readout": "fusion"}, "is c\\*, 'structure'"),
        ({"model__tokens__width": 16}, "text has the width of its vocabulary"),
        ({"model__structure": {"heads": 5}}, "config.model.structure.heads = 5 must divide config.model.width = 32"),
        ({"model__family": "clip"}, "has no structure aggregation and no gates"),
        (ONE_WIDTH | {"objective__link_prediction": 0.0}, "nothing else reads it"),
        ({"model__family": "scale"}, "'scale' knows one width"),
        ({"inputs__table__asked_length": 21}, "asked_length = 21 must be at most config.inputs.table.length = 20"),
        ({"model__positions": {"text": 15}}, "positions.text = 15 is less than the 20 tokens"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        families.build(small_k3m(**changes), VOCABULARY)
