"""SCALE as a function: absent modalities are invisible, neighbours and padding do not matter, all subsets work."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import random_batch, small_config

from m5jax.models import families, flops
from m5jax.models.interface import total_loss
from m5jax.objectives import numerics

VOCABULARY = 50
SUBSETS = np.array(list(itertools.product([False, True], repeat=5))[1:])  # the 31 that hold anything
ALL = ("image", "text", "table", "video", "audio")


def model_of(config):
    return families.build(config, VOCABULARY)


@pytest.fixture(scope="module")
def model():
    return model_of(small_config())


@pytest.fixture(scope="module")
def params(model):
    return jax.jit(model.init)(jax.random.key(0))


def loss_of(model, params, batch, key=None):
    losses = model.losses(params, batch, key)
    objectives = losses.separable | model.couple(params, losses.coupled, batch)
    return total_loss(model.weights, {name: numerics.mean(total) for name, total in objectives.items()}), objectives


@pytest.fixture(scope="module")
def value_and_grad(model):
    return jax.jit(jax.value_and_grad(lambda params, batch: loss_of(model, params, batch), has_aux=True))


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


def test_absent_content_changes_neither_loss_nor_gradient_bit_for_bit(value_and_grad, params):
    batch = random_batch(small_config(), VOCABULARY, 31, present=SUBSETS)
    (loss, _), gradient = value_and_grad(params, batch)
    (other_loss, _), other_gradient = value_and_grad(params, with_other_content(batch, SUBSETS, 1))
    assert loss == other_loss
    jax.tree.map(np.testing.assert_array_equal, gradient, other_gradient)


def test_content_of_masked_tokens_of_a_present_modality_is_invisible_too(value_and_grad, params):
    batch = random_batch(small_config(), VOCABULARY, 4)
    changed = {name: dict(part) if isinstance(part, dict) else part for name, part in batch.items()}
    changed["text"]["ids"] = np.where(batch["text"]["mask"], batch["text"]["ids"], 13)
    assert (changed["text"]["ids"] != batch["text"]["ids"]).any()
    assert value_and_grad(params, batch)[0][0] == value_and_grad(params, changed)[0][0]


def test_all_31_subsets_in_one_batch_one_compilation_finite(model, params):
    traced = []

    def function(params, batch):
        traced.append(1)
        return loss_of(model, params, batch)

    step = jax.jit(jax.value_and_grad(function, has_aux=True))
    for present in (SUBSETS, SUBSETS[::-1], np.ones_like(SUBSETS), np.zeros_like(SUBSETS)):
        (loss, objectives), gradient = step(params, random_batch(small_config(), VOCABULARY, 31, present=present))
        assert np.isfinite(loss)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((objectives, gradient)))
    assert len(traced) == 1
    assert loss == 0  # the last batch held nothing


def test_every_parameter_learns_when_everything_is_present(value_and_grad, params):
    _, gradient = value_and_grad(params, random_batch(small_config(), VOCABULARY, 31))
    silent = [
        jax.tree_util.keystr(keys)
        for keys, leaf in jax.tree_util.tree_leaves_with_path(gradient)
        if not np.abs(leaf).max() > 0
    ]
    assert silent == []


def test_an_embedding_does_not_depend_on_its_neighbours(model, params):
    embed = jax.jit(lambda p, b: model.embed(p, b, {"fused": ALL})["fused"][0])
    batch = random_batch(small_config(), VOCABULARY, 31, present=SUBSETS)
    order = np.random.default_rng(0).permutation(31)
    mixed = jax.tree.map(lambda x: x[order], batch)
    np.testing.assert_allclose(embed(params, mixed), embed(params, batch)[order], atol=2e-6)
    others = random_batch(small_config(), VOCABULARY, 31, seed=5)
    replaced = jax.tree.map(lambda a, b: np.concatenate([a[:3], b[3:]]), batch, others)
    np.testing.assert_allclose(embed(params, replaced)[:3], embed(params, batch)[:3], atol=2e-6)


def test_an_embedding_does_not_depend_on_padding_length(params):
    short, long = small_config(), small_config(inputs__text__length=24, inputs__table__length=40)
    batch = random_batch(short, VOCABULARY, 6)
    padded = {name: dict(part) if isinstance(part, dict) else part for name, part in batch.items()}
    for name, length in (("text", 24), ("table", 40)):
        grow = ((0, 0), (0, length - batch[name]["ids"].shape[1]))
        padded[name] = {"ids": np.pad(batch[name]["ids"], grow), "mask": np.pad(batch[name]["mask"], grow)}
    longer = jax.tree.map(lambda x: x, params)
    for name, length in (("text", 24), ("table", 40)):
        position = params["encoders"][name]["embed"]["position"]
        extra = jnp.ones((length - len(position), position.shape[1]))
        longer["encoders"][name]["embed"]["position"] = jnp.concatenate([position, extra])
    made = model_of(short).embed(params, batch, {"fused": ALL})["fused"][0]
    np.testing.assert_allclose(model_of(long).embed(longer, padded, {"fused": ALL})["fused"][0], made, atol=2e-6)


def test_a_subset_is_what_the_listing_without_the_rest_would_get(model, params):
    batch = random_batch(small_config(), VOCABULARY, 4)
    subset = ("image", "table")
    only = np.array([[name in subset for name in ALL]] * 4)
    stripped = random_batch(small_config(), VOCABULARY, 4, present=only)
    vectors, valid = model.embed(params, batch, {"some": subset})["some"]
    expected, _ = model.embed(params, stripped, {"fused": ALL})["fused"]
    np.testing.assert_allclose(vectors, expected, atol=2e-6)
    np.testing.assert_allclose(jnp.linalg.norm(vectors, axis=-1), 1, rtol=1e-5)
    assert valid.all()


def test_a_listing_without_the_subset_has_no_embedding(model, params):
    without_audio = np.array([[True, True, True, True, False]] * 3)
    batch = random_batch(small_config(), VOCABULARY, 3, present=without_audio)
    vectors, valid = model.embed(params, batch, {"audio": ("audio",)})["audio"]
    assert not valid.any()
    assert not vectors.any()


def test_masked_heads_hear_the_other_modalities(model, params):
    """The paper's point, which the released code misses (its heads read what no fusion has seen)."""
    batch = random_batch(small_config(), VOCABULARY, 4)

    def text_loss(values):
        image = batch["image"] | {"values": values}
        return model.losses(params, batch | {"image": image}, None).separable["masked_language"][0]

    assert text_loss(batch["image"]["values"]) != text_loss(255 - batch["image"]["values"])


@pytest.mark.parametrize("where", ["off", "logits", "loss", "both"])
def test_harmony_acts_where_it_is_told_to(where):
    batch = random_batch(small_config(), VOCABULARY, 8)
    model = model_of(small_config(objective__harmony=where))
    params = model.init(jax.random.key(1))
    losses = model.losses(params, batch, None)
    contrastive, _ = model.couple(params, losses.coupled, batch)["contrastive"]
    plain = model_of(small_config(objective__harmony="off"))
    reference, _ = plain.couple(params, plain.losses(params, batch, None).coupled, batch)["contrastive"]
    assert (contrastive == reference) == (where == "off")
    if where == "loss":
        assert contrastive < reference  # every weight is below 1


def test_detached_harmony_gets_no_gradient():
    batch = random_batch(small_config(), VOCABULARY, 8)
    pooled = jax.random.uniform(jax.random.key(0), (8, 5, 16))
    gradients = {}
    for detach in (False, True):
        model = model_of(small_config(objective__harmony="loss", objective__harmony_detach=detach))
        params = model.init(jax.random.key(1))
        gradients[detach] = jax.grad(lambda p, m=model, q=params: m.couple(q, {"pooled": p}, batch)["contrastive"][0])(pooled)
    assert not np.allclose(gradients[False], gradients[True])


def test_features_take_the_same_path_as_raw_media():
    config = small_config(
        inputs__image={"source": "features", "feature_rows": 5, "feature_dim": 12},
        inputs__video={"source": "features", "feature_rows": 3, "feature_dim": 8},
        inputs__audio={"source": "features", "feature_rows": 4, "feature_dim": 6},
    )
    model = model_of(config)
    params = model.init(jax.random.key(0))
    batch = random_batch(config, VOCABULARY, 31, present=SUBSETS)
    (loss, objectives), gradient = jax.jit(jax.value_and_grad(lambda p: loss_of(model, p, batch), has_aux=True))(params)
    assert np.isfinite(loss)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert {"masked_region", "masked_frame", "masked_audio"} <= objectives.keys()


@pytest.mark.parametrize(
    "changes", [{"model__scan": False}, {"model__remat": "full"}, {"model__remat": "dots"}], ids=str
)
def test_scan_and_remat_change_no_number(changes, params):
    two = {"model__encoder_layers": 2, "model__fusion_layers": 2}
    batch = random_batch(small_config(), VOCABULARY, 8)
    plain, other = model_of(small_config(**two)), model_of(small_config(**two, **changes))
    params = plain.init(jax.random.key(0))
    key = jax.random.key(7)
    expected = jax.jit(jax.value_and_grad(lambda p: loss_of(plain, p, batch, key)[0]))(params)
    found = jax.jit(jax.value_and_grad(lambda p: loss_of(other, p, batch, key)[0]))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5), found, expected)


def test_full_remat_keeps_fewer_bytes_for_the_backward_pass():
    deep = {"model__encoder_layers": 6, "model__fusion_layers": 6, "inputs__image__patch": 2}

    def temporaries(**changes):
        config = small_config(**deep, **changes)
        model = model_of(config)
        batch = random_batch(config, VOCABULARY, 8)
        step = jax.jit(jax.grad(lambda p: loss_of(model, p, batch)[0]))
        return step.lower(jax.eval_shape(model.init, jax.random.key(0))).compile().memory_analysis().temp_size_in_bytes

    assert temporaries(model__remat="full") < 0.6 * temporaries()


def test_dropout_needs_a_key_and_follows_it():
    model = model_of(small_config(model__dropout=0.5))
    params, batch = model.init(jax.random.key(0)), random_batch(small_config(), VOCABULARY, 8)
    one, again, other, without = (
        loss_of(model, params, batch, key)[0] for key in (jax.random.key(1), jax.random.key(1), jax.random.key(2), None)
    )
    assert one == again
    assert len({float(one), float(other), float(without)}) == 3


def test_bfloat16_keeps_float32_weights_and_stays_close():
    batch = random_batch(small_config(), VOCABULARY, 16)
    exact, coarse = model_of(small_config()), model_of(small_config(precision="bfloat16"))
    params = exact.init(jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(coarse.init(jax.random.key(0)))} == {jnp.dtype("float32")}
    assert abs(loss_of(coarse, params, batch)[0] / loss_of(exact, params, batch)[0] - 1) < 0.02
    hlo = jax.jit(lambda p: loss_of(coarse, p, batch)[0]).lower(params).as_text()
    assert "bf16" in hlo


def test_flops_by_formula_equal_xla_on_the_unrolled_model():
    config = small_config(model__scan=False, model__encoder_layers=2, model__fusion_layers=2, model__width=64)
    model, size = model_of(config), 4
    batch = random_batch(config, VOCABULARY, size)
    abstract = jax.eval_shape(model.init, jax.random.key(0))
    counted = jax.jit(lambda p: model.losses(p, batch, None)).lower(abstract).compile().cost_analysis()["flops"]
    # XLA also counts elementwise work, which weighs most in a model this narrow.
    assert 1.0 <= counted / (model.flops * size) < 1.25
    assert flops.TRAINING == 3
