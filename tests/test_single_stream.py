"""Methods of one stream: what an element is made of, what is hidden, what stands in for a title that is absent."""

import functools

import jax
import numpy as np
import pytest
from small import small_config
from small_methods import REGIONS, VOCABULARY, drawn_params, method_batch, small_method

from m5jax import config as config_lib
from m5jax import methods
from m5jax.errors import ConfigError
from m5jax.models import families, uniter, visualbert, vl_bert
from m5jax.models.interface import functional
from m5jax.token_spec import token_specs

NETWORKS = {"vl_bert": vl_bert.VlBert, "visualbert": visualbert.VisualBert, "uniter": uniter.Uniter}
EIGHT = {**REGIONS, "classes": 0}
every = pytest.mark.parametrize("name", NETWORKS)


@functools.cache
def stream(name, pool="first"):
    """Configuration, parameters, and the network's sequence, states and vectors of a batch."""
    config = small_method(name, EIGHT, model__tokens__layers=1, model__scan=False, model__pool=pool)
    specs = token_specs(config.inputs)
    _, bind = functional(lambda rngs: NETWORKS[name](config, specs, VOCABULARY, 0, rngs))
    params = drawn_params(families.build(config, VOCABULARY), 1)
    joined, encode, vector = (
        jax.jit(lambda params, *args, part=part: getattr(bind(params), part)(*args))
        for part in ("joined", "encode", "vector")
    )
    return (
        config,
        params,
        lambda batch: joined(params, batch, None),
        lambda batch: encode(params, batch, None),
        lambda states, masks: vector(params, {}, states, masks),
    )


def listings(config, seed=0):
    """A batch of eight listings of both, with a selection of regions that nothing else needs."""
    return method_batch(config, seed, np.ones((8, 2), bool))


def with_regions(batch, **arrays):
    """The batch with other arrays of the picture."""
    return batch | {"image": batch["image"] | arrays}


def layer_norm(x, part):
    """A norm of BERT in double precision."""
    x = np.asarray(x, np.float64)
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12) * part["scale"] + part["bias"]


def dense(x, part):
    return np.asarray(x, np.float64) @ part["kernel"] + part["bias"]


def shown(batch, hides=True):
    """What a picture's regions show, and which do."""
    image = batch["image"]
    there = image["mask"].copy()
    if hides:
        for row, (positions, hidden) in enumerate(
            zip(*(image["masked"][k] for k in ("positions", "hidden")), strict=True)
        ):
            there[row, positions[hidden]] = False
    return np.where(there[..., None], image["values"].astype(np.float64), 0.0), there


def summed(params, batch):
    """Piece, position and type of every word."""
    words, text = params["embedders"]["text"], batch["text"]
    pieces = params["vocabulary"]["embedding"][np.where(text["mask"], text["ids"], 0)].astype(np.float64)
    return pieces + words["position"][: pieces.shape[1]] + words["type"][0]


def elements_of_visualbert(params, batch):
    words, image = params["embedders"]["text"], params["embedders"]["image"]
    regions = dense(shown(batch, hides=False)[0], image["project"]) + image["position"][0] + image["type"][1]
    return layer_norm(np.concatenate([summed(params, batch), regions], 1), words["norm"])


def elements_of_uniter(params, batch):
    words, image = params["embedders"]["text"], params["embedders"]["image"]
    x1, y1, x2, y2 = np.moveaxis(batch["image"]["boxes"].astype(np.float64)[..., :4], -1, 0)
    box = np.stack([x1, y1, x2, y2, x2 - x1, y2 - y1, (x2 - x1) * (y2 - y1)], -1)
    values, there = shown(batch)
    values = np.where(there[..., None], values, image["hidden"])
    features = layer_norm(dense(values, image["project"]), image["norm_project"])
    place = layer_norm(dense(box, image["boxes"]), image["norm_place"])
    regions = layer_norm(features + place + words["type"][1], image["norm"])
    return np.concatenate([layer_norm(summed(params, batch), words["norm"]), regions], 1)


def elements_of_vl_bert(params, batch):
    words, image = params["embedders"]["text"], params["embedders"]["image"]
    values, there = shown(batch)
    size, count = len(values), values.shape[-1] // 8
    whole = values.sum(1) / np.maximum(there.sum(1, keepdims=True), 1)
    corners = np.concatenate([np.tile([0.0, 0, 1, 1], (size, 1, 1)), batch["image"]["boxes"][..., :4]], 1)
    angles = [100 * corners[..., c] / 1000 ** (wave / count) for c in range(4) for wave in range(count)]
    waves = np.stack([np.sin(angle) for angle in angles] + [np.cos(angle) for angle in angles], -1)
    visual = dense(np.concatenate([whole[:, None], values], 1), image["project"]) + dense(waves, image["boxes"])
    after = batch["text"]["mask"].sum(1)
    region = visual + image["piece"] + words["type"][1] + words["position"][after][:, None]
    end = visual[:, :1] + image["end"] + words["type"][1] + words["position"][after + 1][:, None]
    return layer_norm(np.concatenate([summed(params, batch) + visual[:, :1], region, end], 1), words["norm"])


ELEMENTS = {"vl_bert": elements_of_vl_bert, "visualbert": elements_of_visualbert, "uniter": elements_of_uniter}


@every
def test_elements_are_made_as_the_paper_says(name):
    config, params, joined, *_ = stream(name)
    batch = listings(config)
    batch["image"]["mask"] = np.ones_like(batch["image"]["mask"])
    np.testing.assert_allclose(joined(batch), ELEMENTS[name](params, batch), atol=2e-5)


@every
def test_what_is_hidden_shows_nowhere_and_without_that_objective_nothing_is_hidden(name):
    config, _, _, encode, _ = stream(name)
    batch = listings(config)
    hidden = ~shown(batch)[1] & batch["image"]["mask"]
    assert hidden.any(1).sum() > 4
    other = np.where(hidden[..., None], 7.0, batch["image"]["values"]).astype(np.float16)
    states, _ = encode(batch)
    changed, _ = encode(with_regions(batch, values=other))
    same = [np.array_equal(states[part], changed[part]) for part in ("text", "image")]
    assert same == [name != "visualbert"] * 2


@every
def test_the_order_of_regions_says_nothing(name):
    """A place is its box alone."""
    config, _, _, encode, _ = stream(name)
    batch = listings(config)
    batch["image"] = {part: batch["image"][part] for part in ("values", "mask", "boxes")}
    turned = {part: array[:, ::-1] for part, array in batch["image"].items()}
    (states, masks), (found, _) = encode(batch), encode(with_regions(batch, **turned))
    there = masks["text"][..., None]
    np.testing.assert_allclose(np.where(there, found["text"], 0), np.where(there, states["text"], 0), atol=1e-5)
    there = masks["image"][:, 1:, None]
    turned_back = found["image"][:, :0:-1]
    np.testing.assert_allclose(np.where(there, turned_back, 0), np.where(there, states["image"][:, 1:], 0), atol=1e-5)


@every
def test_a_first_state_stands_for_a_picture_without_title(name):
    config, _, _, encode, vector = stream(name)
    batch = method_batch(config, present=np.tile([[True, False]], (8, 1)))
    states, masks = encode(batch)
    assert not np.any(masks["text"])
    first = np.asarray(states["text"][:, 0])
    assert np.isfinite(first).all()
    apart = np.linalg.norm(first[:, None] - first[None], axis=-1) + np.eye(8)
    assert apart.min() > 1e-3  # it has heard the picture
    np.testing.assert_array_equal(vector(states, masks), first)
    unseen = batch | {"text": batch["text"] | {"ids": batch["text"]["ids"][:, ::-1]}}
    np.testing.assert_array_equal(encode(unseen)[0]["text"][:, 0], first)


def test_the_mean_is_of_all_words_and_regions_that_are_there():
    *_, encode, vector = stream("uniter", "mean")
    config = stream("uniter", "mean")[0]
    states, masks = encode(method_batch(config, present=np.repeat([[1, 1], [1, 0], [0, 1], [0, 0]], 2, 0).astype(bool)))
    assert not np.any(masks["image"][:, 0])  # the whole picture has no place in this stream
    joined, mask = (np.concatenate([x["text"], x["image"]], 1) for x in (states, masks))
    expected = [row[there].mean(0) if there.any() else 0 * row[0] for row, there in zip(joined, mask, strict=True)]
    np.testing.assert_allclose(vector(states, masks), expected, atol=1e-5)


def test_at_one_budget_one_stream_is_as_deep_as_encoders_and_fusion():
    for name in (*NETWORKS, "bert", "image_only"):
        chosen = config_lib.default()
        chosen.model.tokens.layers, chosen.model.grids.layers, chosen.model.fusion.layers = 3, 3, 2
        methods.at_budget(chosen, name)
        towers = ("fusion",) if name in NETWORKS else ("tokens", "grids")
        assert [chosen.model[tower].layers for tower in towers] == [5] * len(towers)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            "uniter",
            {
                "inputs__modalities": ("text",),
                "inputs__mismatch": 0.0,
                "objective__matching": 0.0,
                "objective__word_region": 0.0,
            },
            r"sees picture and title",
        ),
        ("uniter", {"objective__contrastive": 1.0}, r"objective.contrastive is no objective of .*'uniter'"),
        ("visualbert", {"objective__masked_region": 1.0}, r"objective.masked_region is no objective"),
        ("vl_bert", {"objective__matching": 1.0, "inputs__mismatch": 0.5}, r"objective.matching is no objective"),
        ("vl_bert", {"model__positions__text": 13}, r"positions.text = 13: VL-BERT needs 14"),
        ("vl_bert", {"model__blocks": "pre_norm"}, r"config.model.blocks = 'pre_norm' must be 'released'"),
        ("visualbert", {"model__token_types": 1}, r"token_types = 1: .* needs 2"),
        ("visualbert", {"model__readout": "contrastive"}, r"readout = 'contrastive'"),
        ("uniter", {"model__fusion__width": 64}, r"fusion.width = 64"),
        ("bert", {"inputs__modalities": ("image", "text")}, r"sees one modality"),
    ],
)
def test_settings_that_are_not_a_methods_are_refused(name, changes, message):
    with pytest.raises(ConfigError, match=message):
        families.build(small_method(name, EIGHT, **changes), VOCABULARY)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"model__readout": "contrastive"}, "config.model.readout"),
        ({"model__readout": "agreement"}, "config.model.readout"),
        (
            {
                "inputs__modalities": ("table",),
                "inputs__table__triples": 4,
                "inputs__table__asked": 1,
                "objective__link_prediction": 1.0,
            },
            "config.objective.link_prediction",
        ),
    ],
)
def test_a_model_of_one_modality_refuses_what_needs_more(changes, field):
    alone = {"model__family": "unimodal", "inputs__modalities": ("text",), "objective__contrastive": 0.0}
    config = small_config(**{"objective__harmony": "off"} | alone | changes)
    with pytest.raises(ConfigError, match=field):
        families.build(config, 100)
