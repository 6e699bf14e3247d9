"""SCALE as a function: absent modalities are invisible, neighbours and padding do not matter, all subsets work."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import random_batch
from small import small_config

from m5jax.models import families, flops
from m5jax.models.interface import total_loss
from m5jax.models.scale_network import HARMONY_ORDER
from m5jax.objectives import numerics

VOCABULARY = 50
SUBSETS = np.array(list(itertools.product([False, True], repeat=5))[1:])  # the 31 that hold anything
ALL = ("image", "text", "table", "video", "audio")


RELEASED_ON_LOGITS = {"objective__harmony": "logits", "objective__harmony_weighting": "released"}


def layers(count):
    """Settings of so many blocks in every encoder."""
    return {"model__tokens__layers": count, "model__grids__layers": count}


class Compiled:
    """A model with its functions jitted: eager calls would compile every operation by itself."""

    def __init__(self, config):
        self.model = model = families.build(config, VOCABULARY)
        self.init = jax.jit(model.init)
        self.loss = jax.jit(self._loss)
        self.value_and_grad = jax.jit(jax.value_and_grad(self._loss, has_aux=True))
        self.embed = jax.jit(model.embed, static_argnums=2)

    def _loss(self, params, batch, key=None):
        losses = self.model.losses(params, batch, key)
        objectives = losses.separable | self.model.couple(params, losses.coupled, batch)
        means = {name: numerics.mean(total) for name, total in objectives.items()}
        return total_loss(self.model.weights, means), objectives

    def vectors(self, params, batch, subset=ALL):
        return self.embed(params, batch, FrozenSubsets(subset))["it"]


class FrozenSubsets(dict):
    """One subset of modalities under the name "it"; hashable, as static arguments must be."""

    def __init__(self, subset):
        super().__init__(it=subset)

    def __hash__(self):
        return hash(self["it"])


compiled = functools.cache(Compiled)


@pytest.fixture(scope="module")
def small():
    return compiled(small_config())


@pytest.fixture(scope="module")
def params(small):
    return small.init(jax.random.key(0))


def with_other_content(batch, present, seed):
    """The same batch with the content of everything absent replaced by other content."""
    other = random_batch(small_config(), VOCABULARY, len(present), seed)
    changed = {"valid": batch["valid"]}
    for m, name in enumerate(ALL):
        changed[name] = dict(batch[name])
        for key in ("ids", "values"):
            if key in batch[name]:
                shape = (-1,) + (1,) * (batch[name][key].ndim - 1)
                kept = present[:, m].reshape(shape)
                garbage = other[name][key]
                if garbage.dtype == np.float16:
                    garbage = np.full_like(garbage, np.nan)
                changed[name][key] = np.where(kept, batch[name][key], garbage)
    return changed


def test_absent_content_changes_neither_loss_nor_gradient_bit_for_bit(small, params):
    batch = random_batch(small_config(), VOCABULARY, 31, present=SUBSETS)
    (loss, _), gradient = small.value_and_grad(params, batch)
    (other_loss, _), other_gradient = small.value_and_grad(params, with_other_content(batch, SUBSETS, 1))
    assert loss == other_loss
    jax.tree.map(np.testing.assert_array_equal, gradient, other_gradient)


def test_content_behind_the_mask_of_a_present_modality_is_invisible_too(small, params):
    batch = random_batch(small_config(), VOCABULARY, 31)
    changed = batch | {"text": batch["text"] | {"ids": np.where(batch["text"]["mask"], batch["text"]["ids"], 13)}}
    assert (changed["text"]["ids"] != batch["text"]["ids"]).any()
    assert small.value_and_grad(params, batch)[0][0] == small.value_and_grad(params, changed)[0][0]


def test_all_31_subsets_in_one_batch_one_compilation_finite(small, params):
    for present in (SUBSETS, SUBSETS[::-1], np.ones_like(SUBSETS), np.zeros_like(SUBSETS)):
        batch = random_batch(small_config(), VOCABULARY, 31, present=present)
        (loss, objectives), gradient = small.value_and_grad(params, batch)
        assert np.isfinite(loss)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((objectives, gradient)))
    assert small.value_and_grad._cache_size() == 1
    assert loss == 0  # the last batch held nothing


def test_every_parameter_learns_when_everything_is_present(small, params):
    _, gradient = small.value_and_grad(params, random_batch(small_config(), VOCABULARY, 31))
    silent = [
        jax.tree_util.keystr(keys)
        for keys, leaf in jax.tree_util.tree_leaves_with_path(gradient)
        if not np.abs(leaf).max() > 0
    ]
    assert silent == []


def test_an_embedding_does_not_depend_on_its_neighbours(small, params):
    batch = random_batch(small_config(), VOCABULARY, 31, present=SUBSETS)
    vectors, _ = small.vectors(params, batch)
    order = np.random.default_rng(0).permutation(31)
    mixed, _ = small.vectors(params, jax.tree.map(lambda x: x[order], batch))
    np.testing.assert_allclose(mixed, vectors[order], atol=2e-6)
    others = random_batch(small_config(), VOCABULARY, 31, seed=5)
    replaced = jax.tree.map(lambda a, b: np.concatenate([a[:3], b[3:]]), batch, others)
    np.testing.assert_allclose(small.vectors(params, replaced)[0][:3], vectors[:3], atol=2e-6)


def test_an_embedding_does_not_depend_on_padding_length(small, params):
    lengths = {"text": 24, "table": 40}
    longer = compiled(small_config(inputs__text__length=24, inputs__table__length=40))
    batch = random_batch(small_config(), VOCABULARY, 31)
    padded, longer_params = dict(batch), jax.tree.map(lambda x: x, params)
    for name, length in lengths.items():
        grow = ((0, 0), (0, length - batch[name]["ids"].shape[1]))
        padded[name] = {key: np.pad(batch[name][key], grow) for key in ("ids", "mask")}
        position = params["embedders"][name]["position"]
        extra = jnp.ones((length - len(position), position.shape[1]))
        longer_params["embedders"][name]["position"] = jnp.concatenate([position, extra])
    expected, _ = small.vectors(
        params, batch | {name: {k: batch[name][k] for k in ("ids", "mask")} for name in lengths}
    )
    np.testing.assert_allclose(longer.vectors(longer_params, padded)[0], expected, atol=2e-6)


def test_a_subset_is_what_the_listing_without_the_rest_would_get(small, params):
    subset = ("image", "table")
    only = np.array([[name in subset for name in ALL]] * 31)
    vectors, valid = small.vectors(params, random_batch(small_config(), VOCABULARY, 31), subset)
    expected, _ = small.vectors(params, random_batch(small_config(), VOCABULARY, 31, present=only))
    np.testing.assert_allclose(vectors, expected, atol=2e-6)
    np.testing.assert_allclose(jnp.linalg.norm(vectors, axis=-1), 1, rtol=1e-5)
    assert valid.all()


def test_a_listing_without_the_subset_has_no_embedding(small, params):
    without_audio = np.array([[True, True, True, True, False]] * 31)
    batch = random_batch(small_config(), VOCABULARY, 31, present=without_audio)
    vectors, valid = small.vectors(params, batch, ("audio",))
    assert not valid.any()
    assert not vectors.any()


def test_masked_heads_hear_the_other_modalities(small, params):
    """The paper's point, which the released code misses (its heads read what no fusion has seen)."""
    batch = random_batch(small_config(), VOCABULARY, 31)
    other = batch | {"image": batch["image"] | {"values": 255 - batch["image"]["values"]}}
    (_, first), _ = small.value_and_grad(params, batch)
    (_, second), _ = small.value_and_grad(params, other)
    assert first["masked_language"][0] != second["masked_language"][0]


def test_harmony_acts_where_it_is_told_to():
    two = {"inputs__modalities": ("image", "text")}
    batch, params, found = random_batch(small_config(**two), VOCABULARY, 8), None, {}
    for where in ("off", "logits", "loss", "both"):
        scale = compiled(small_config(objective__harmony=where, objective__harmony_weighting="released", **two))
        params = params or scale.init(jax.random.key(1))  # the networks are alike
        found[where] = scale.loss(params, batch)[1]
    for name in ("contrastive", "masked_language", "masked_region"):
        assert len({float(objectives[name][0]) for objectives in found.values()}) == 4, name
        assert found["loss"][name][0] < found["off"][name][0]  # every weight is below 1


def test_detached_harmony_gets_no_gradient(params):
    batch = random_batch(small_config(), VOCABULARY, 8)
    gradients = []
    for detach in (False, True):
        model = compiled(small_config(**RELEASED_ON_LOGITS, objective__harmony_detach=detach)).model
        gradient = jax.grad(lambda p, m=model: m.couple(params, {"pooled": p}, batch)["contrastive"][0])
        gradients.append(jax.jit(gradient)(jax.random.uniform(jax.random.key(0), (8, 5, 16))))
    assert not np.allclose(*gradients)


def test_features_take_the_same_path_as_raw_media():
    config = small_config(
        inputs__modalities=("image", "video", "audio"),
        inputs__image={"source": "features", "feature_rows": 5, "feature_dim": 12},
        inputs__video={"source": "features", "feature_rows": 3, "feature_dim": 8},
        inputs__audio={"source": "features", "feature_rows": 4, "feature_dim": 6},
    )
    scale, batch = compiled(config), random_batch(config, VOCABULARY, 31, present=SUBSETS[:, [0, 3, 4]])
    (loss, objectives), gradient = scale.value_and_grad(scale.init(jax.random.key(0)), batch)
    assert np.isfinite(loss)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert {"masked_region", "masked_frame", "masked_audio"} <= objectives.keys()


def test_scan_and_remat_change_no_number():
    two = {"inputs__modalities": ("text",), **layers(2), "model__dropout": 0.1}  # all stacks are of one class
    batch, key = random_batch(small_config(**two), VOCABULARY, 8), jax.random.key(7)
    plain = compiled(small_config(**two))
    params = plain.init(jax.random.key(0))
    expected = plain.value_and_grad(params, batch, key)
    for changes in ({"model__scan": False}, {"model__remat": "full"}, {"model__remat": "dots"}):
        found = compiled(small_config(**two, **changes)).value_and_grad(params, batch, key)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5), found, expected)


def test_full_remat_keeps_fewer_bytes_for_the_backward_pass():
    def temporaries(**changes):
        config = small_config(inputs__modalities=("image",), inputs__image__patch=2, **layers(8), **changes)
        scale, batch = Compiled(config), random_batch(config, VOCABULARY, 8)
        abstract = jax.eval_shape(scale.init, jax.random.key(0))
        return scale.value_and_grad.lower(abstract, batch).compile().memory_analysis().temp_size_in_bytes

    assert temporaries(model__remat="full") < 0.6 * temporaries()


def test_dropout_needs_a_key_and_follows_it():
    config = small_config(model__dropout=0.5, inputs__modalities=("text", "table"))
    scale, batch = compiled(config), random_batch(config, VOCABULARY, 8)
    params = scale.init(jax.random.key(0))
    keys = (jax.random.key(1), jax.random.key(1), jax.random.key(2), None)
    one, again, other, without = (scale.loss(params, batch, key)[0] for key in keys)
    assert one == again
    assert len({float(one), float(other), float(without)}) == 3


def test_bfloat16_keeps_float32_weights_and_stays_close(small, params):
    coarse, batch = compiled(small_config(precision="bfloat16")), random_batch(small_config(), VOCABULARY, 31)
    shapes = jax.eval_shape(coarse.init, jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    assert abs(coarse.loss(params, batch)[0] / small.value_and_grad(params, batch)[0][0] - 1) < 0.02
    assert "bf16" in coarse.loss.lower(params, batch).as_text()


def test_flops_by_formula_equal_xla_on_the_unrolled_model():
    config = small_config(model__scan=False, model__fusion__layers=2, model__width=64, **layers(2))
    scale, batch = Compiled(config), random_batch(config, VOCABULARY, 4)
    abstract = jax.eval_shape(scale.init, jax.random.key(0))
    counted = scale.loss.lower(abstract, batch).compile().cost_analysis()["flops"]
    # XLA also counts elementwise work, which weighs most in a model this narrow.
    assert 1.0 <= counted / (scale.model.flops * 4) < 1.25
    assert flops.TRAINING == 3


@pytest.mark.parametrize("readout", ["encoders", "contrastive"])
def test_a_readout_without_fusion_is_the_sum_of_the_modalities_vectors(params, readout):
    """Its twin: each modality embedded alone, added up in numpy; what a listing has not adds nothing."""
    scale = compiled(small_config(model__readout=readout))
    batch = random_batch(small_config(), VOCABULARY, 31, present=SUBSETS)
    alone = np.stack([scale.vectors(params, batch, (name,))[0] for name in ALL], 1)
    np.testing.assert_allclose(np.linalg.norm(alone, axis=-1), SUBSETS, atol=1e-5)
    total = alone.sum(1)
    expected = total / np.linalg.norm(total, axis=-1, keepdims=True)
    np.testing.assert_allclose(scale.vectors(params, batch)[0], expected, atol=2e-6)
    order = np.random.default_rng(0).permutation(31)
    mixed, _ = scale.vectors(params, jax.tree.map(lambda x: x[order], batch))
    np.testing.assert_allclose(mixed, expected[order], atol=2e-6)


def test_the_contrastive_readout_of_one_modality_is_what_the_objective_compares(params):
    scale = compiled(small_config(model__readout="contrastive"))
    batch = random_batch(small_config(), VOCABULARY, 31, present=SUBSETS)
    pooled = jax.jit(lambda p: scale.model.losses(p, batch, None).coupled["pooled"])(params)
    for m, name in enumerate(HARMONY_ORDER):
        vectors, valid = scale.vectors(params, batch, (name,))
        lengths = np.linalg.norm(pooled[:, m], axis=-1, keepdims=True)
        np.testing.assert_allclose((vectors * lengths)[valid], pooled[valid, m], atol=2e-5)
