"""The study of missing and noise: its arithmetic, and every point equal to the whole corrupted catalogue embedded."""

import dataclasses
import itertools
import json

import jax
import numpy as np
import pytest
from contents import subject_of
from reports import listing
from small import small_config

from m5jax import evaluate, sweep_settings
from m5jax.data.corruption import NOTHING
from m5jax.data.prepared import Variants
from m5jax.embed import FUSED, Embeddings
from m5jax.errors import ConfigError
from m5jax.evals import retrieval, suite, sweeps
from m5jax.evals.suite import Split
from m5jax.run import open_run
from m5jax.studies import sweeps as study
from m5jax.studies.subject import Subject, some

# ---- arithmetic


@pytest.mark.parametrize(
    ("ratios", "scores", "chance", "expected"),
    [
        ((0, 1), (0.9, 0.1), 0.1, (0.5, 0.8, 0.5)),
        ((0, 0.5, 1), (0.9, 0.7, 0.3), 0.1, (0.65, 0.6, 0.75)),  # half of the gain, 0.5, is reached half way down
        ((0, 0.2, 1), (0.8, 0.2, 0.2), 0.2, (0.26, 0.6, 0.1)),
        ((0, 0.5), (0.9, 0.8), 0.1, (0.85, 0.1, None)),  # not within the ratios
        ((0, 1), (0.1, 0.05), 0.1, (0.075, 0.05, None)),  # no gain to lose
        ((0, 0.5, 1), (0.5, 0.6, 0.5), 0.0, (0.55, 0.0, None)),  # better where it is broken
        ((0, 0.5, 1), (0.8, 0.4, 0.8), 0.0, (0.6, 0.0, 0.5)),  # the first time counts
    ],
)
def test_a_curve_in_three_numbers(ratios, scores, chance, expected):
    found = sweeps.summary(ratios, scores, chance)
    assert list(found) == ["area", "lost", "half_lost_at"]
    for value, known in zip(found.values(), expected, strict=True):
        assert value is None if known is None else value == pytest.approx(known)


@pytest.mark.parametrize("ratios", [(0,), (0, 0), (0.5, 0.2), ()])
def test_a_curve_without_two_ascending_ratios_is_refused(ratios):
    with pytest.raises(ValueError, match="must be two or more and ascend"):
        sweeps.summary(ratios, [0.5] * len(ratios), 0.1)


def test_variants_are_all_there_is_and_each_once():
    contents = [np.random.default_rng(seed).integers(-2, 1, (40, 3)) for seed in range(4)]
    contents.append(contents[0])
    showings = [np.column_stack([np.arange(40), shown]) for shown in contents]
    variants, which = sweeps.distinct(showings)
    for shown, rows in zip(showings, which, strict=True):
        np.testing.assert_array_equal(variants[rows], shown)
    assert len({tuple(row) for row in variants.tolist()}) == len(variants) <= 160
    assert (np.diff(variants[:, 0]) >= 0).all()


# ---- names


def test_sweeps_are_of_every_modality_and_of_all_together():
    inputs = small_config(inputs__modalities=("image", "text")).inputs
    assert sweep_settings.names(inputs) == (
        "missing_image", "missing_text", "missing_mixed", "noise_image", "noise_text", "noise_mixed",
    )  # fmt: skip
    assert sweep_settings.names(small_config(inputs__modalities=("text",)).inputs) == ("noise_text",)
    both = sweep_settings.corruption("noise_image+text", 0.5, inputs, ("query",), 3)
    assert both.ratios("noise") == {"image": 0.5, "text": 0.5}
    assert both.ratios("missing") == {}
    assert (both.splits, both.seed) == (("query",), 3)
    assert sweep_settings.corruption("missing_mixed", 1.0, inputs, (), 0).ratios("missing") == dict.fromkeys(
        ("image", "text"), 1.0
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sweeps": ("missing_imag",)}, 'did you mean "missing_image"'),
        ({"sweeps": ("blurred_image",)}, "'blurred_image'.*it must be one of missing_image, "),
        ({"sweeps": ("noise_image+audio",)}, r"'noise_image\+audio'"),  # not in use
        ({"sweeps": ("missing_",)}, "'missing_'"),
        ({"sweep_ratios": (0.0,)}, "sweep_ratios = .* must name a ratio above 0"),
        ({"sweep_splits": ()}, "sweep_splits = .* must name the split"),
        ({"sweep_ratios": (1.5,)}, "must be between 0.0 and 1.0"),
    ],
)
def test_sweeps_that_cannot_be_made_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        small_config(
            inputs__modalities=("image", "text"), **{f"evaluate__{name}": value for name, value in changes.items()}
        )


# ---- the study, on listings that are embedded by their contents


def shop(queries=24, gallery=60):
    """Listings of which some lack something, and whose category is in their title."""
    kinds = [("image", "text", "table"), ("text", "table"), ("image", "text"), ("text",)]

    def some(start, count):
        return [
            listing(n, small_config(), present=kinds[n % 4], title=f"kind {n % 3}", instance_id=f"product-{n % 20}")
            for n in range(start, start + count)
        ]

    return {"gallery": some(0, gallery), "query": some(gallery, queries)}


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    subject = subject_of(tmp_path_factory.mktemp("sweeps"), shop())
    return subject, study.study(subject)


def slow(subject, name, ratio, split):
    """A split at a point as it is embedded without any of the study's savings."""
    config = subject.config
    chosen = sweep_settings.corruption(
        name, ratio, config.inputs, config.evaluate.sweep_splits, config.data.corruption.seed
    )
    rows = some(subject.prepared.length(split), config.evaluate.study_listings, config.seed)
    return subject.split(split, {FUSED: config.inputs.modalities}, corruption=chosen, rows=rows)


def slow_scores(subject, name, ratio):
    query, gallery = (slow(subject, name, ratio, split) for split in ("query", "gallery"))
    scores = {}
    for task in ("category", "instance"):
        result = retrieval.evaluate(
            query.embeddings.vectors[FUSED],
            gallery.embeddings.vectors[FUSED],
            *suite.numbered(suite.labels(query.index, task), suite.labels(gallery.index, task)),
            ks=(1, 10),
            query_valid=query.embeddings.valid[FUSED],
            gallery_valid=gallery.embeddings.valid[FUSED],
        )
        scores |= {f"retrieval/{task}/{metric}": result.scores[metric] for metric in ("p@1", "map@10")}
    return scores


@pytest.mark.parametrize("split", [("query", "gallery"), ("query",), ("gallery",)])
def test_every_point_is_that_of_the_whole_corrupted_catalogue(asked, split):
    config, few = asked[0].config, () if len(split) > 1 else ("missing_mixed", "noise_image+text", "MNR")
    evaluated = dataclasses.replace(config.evaluate, sweep_splits=split, sweeps=few)
    subject = dataclasses.replace(asked[0], config=dataclasses.replace(config, evaluate=evaluated))
    found = study.study(subject)
    assert found["corrupted"] == list(split)
    assert tuple(found["sweeps"]) == (few or sweep_settings.names(config.inputs))
    for name, sweep in found["sweeps"].items():
        for place, ratio in enumerate(found["ratios"]):
            expected = slow_scores(subject, name, ratio)
            assert {score: curve["values"][place] for score, curve in sweep["scores"].items()} == expected
    json.dumps(found, allow_nan=False)


def test_what_several_points_show_is_embedded_once(asked):
    subject, found = asked
    points = len(found["sweeps"]) * len(found["ratios"])
    subject.again.listings = 0
    study.study(subject)
    assert subject.again.listings == sum(found["embedded"].values())
    assert subject.again.listings < 0.5 * points * sum(found["listings"].values())
    assert found["listings"] == {"query": 24, "gallery": 30}


def test_more_is_broken_at_every_larger_ratio(asked):
    _, found = asked
    for name, sweep in found["sweeps"].items():
        for split, changed in sweep["changed"].items():
            assert changed[0] == 0
            assert all(fewer <= more for fewer, more in itertools.pairwise(changed))
            assert changed[-1] > 0, (name, split)
    title = found["sweeps"]["noise_text"]["scores"]["retrieval/category/p@1"]
    picture = found["sweeps"]["noise_image"]["scores"]["retrieval/category/p@1"]
    assert title["lost"] > picture["lost"]  # the category is in the title
    low, high = title["lost_between"]
    assert 0 < low < title["lost"] < high


def test_numbers_have_a_passport_and_a_level_of_chance(asked):
    subject, found = asked
    assert found["passport"] == found["passports"]["category"]
    assert {passport["queries"] for passport in found["passports"].values()} == {24}
    assert {passport["gallery"] for passport in found["passports"].values()} == {30}
    gallery = slow(subject, "missing_text", 0.0, "gallery").index
    query = subject.prepared.index("query")
    same = [np.mean(gallery.categories == category) for category in query.categories]
    assert found["chance"]["retrieval/category/p@1"] == pytest.approx(np.mean(same))
    assert set(found["chance"]) == set(found["sweeps"]["missing_text"]["scores"])


@pytest.mark.parametrize("protocol", ["released", "trec"])
def test_every_protocol_can_be_swept_by(tmp_path, protocol):
    some = {"evaluate__protocol": protocol, "evaluate__sweeps": ("noise_text",)}
    found = study.study(subject_of(tmp_path, shop(), **some))
    assert [passport["protocol"] for passport in found["passports"].values()] == [protocol] * 2


def test_models_of_some_modalities_meet_the_same_broken_listings(tmp_path):
    splits, kept = shop(), ("image", "text", "table")
    plans = {}
    for seen in (kept, ("image",), ("text",)):
        more = {"inputs__record": kept, "evaluate__sweeps": ("missing_mixed", "missing_image")}
        subject = subject_of(tmp_path / "-".join(seen), splits, seen=seen, **more)
        chosen = sweep_settings.corruption("missing_mixed", 1.0, subject.config.inputs, ("query",), 0)
        plans[seen] = dataclasses.replace(subject.prepared, corruption=chosen).corrupted("query")
        found = study.study(subject)["sweeps"]
        if seen == ("image",):  # a listing that loses its picture keeps its title, which this model does not see
            assert found["missing_image"]["scores"]["retrieval/category/p@1"]["values"][-1] == 0
        if seen == ("text",):
            assert found["missing_image"]["changed"]["query"] == [0, 0, 0]
    whole = plans[kept].missing
    for plan in plans.values():
        assert plan.missing.keys() == whole.keys()
        for name, gone in plan.missing.items():
            np.testing.assert_array_equal(gone, whole[name])


@pytest.mark.parametrize(
    ("splits", "reason"),
    [
        ({"gallery": shop()["gallery"]}, "no split query"),
        ({"train": shop()["gallery"]}, "no split query and no split gallery"),
        ({"query": [listing(1, small_config(), category=("a",), instance_id="a")],
          "gallery": [listing(2, small_config(), category=("b",), instance_id="b")]}, "no query that was drawn"),
        ({"query": [listing(1, small_config(), category=(), instance_id="")],
          "gallery": [listing(2, small_config(), category=(), instance_id="")]}, "no query that was drawn"),
    ],
)  # fmt: skip
def test_without_queries_and_answers_there_is_no_study(tmp_path, splits, reason):
    assert reason in study.study(subject_of(tmp_path, splits))["skipped"]


def test_one_query_one_answer_and_one_modality_are_enough(tmp_path):
    one = [listing(n, small_config(), present=("text",), category=("a",)) for n in range(2)]
    found = study.study(subject_of(tmp_path, {"query": one[:1], "gallery": one[1:]}, seen=("text",)))
    assert list(found["sweeps"]) == ["noise_text"]
    assert found["sweeps"]["noise_text"]["changed"] == {"query": [0] * 3, "gallery": [0] * 3}  # nobody gives
    curve = found["sweeps"]["noise_text"]["scores"]["retrieval/category/p@1"]
    assert curve["values"] == [1, 1, 1]
    assert curve["half_lost_at"] is None
    json.dumps(found, allow_nan=False)


def test_variants_are_the_listings_as_the_plan_of_each_has_them(tmp_path):
    subject = subject_of(tmp_path, shop())
    chosen = sweep_settings.corruption("noise_text", 1.0, subject.config.inputs, ("query",), 0)
    whole = dataclasses.replace(subject.prepared, corruption=chosen)
    twice = Variants.of(whole, np.repeat(np.arange(24), 2), NOTHING)
    records = twice.records("query")
    assert [records[i].title for i in range(len(records))] == np.repeat(
        subject.prepared.index("query").titles, 2
    ).tolist()


# ---- with a network


def test_a_network_embeds_variants_as_it_embeds_whole_splits(three_modalities, tmp_path):
    inputs = dataclasses.replace(three_modalities.inputs, modalities=("text", "table"), record=("image",))
    config = dataclasses.replace(three_modalities, workdir=str(tmp_path), inputs=inputs)
    with open_run(config) as run:
        again = evaluate._embed_with(run, jax.jit(run.model.init)(jax.random.key(0)))
        embedded = {s: Split(run.prepared.index(s), Embeddings({}, {}, None)) for s in ("query", "gallery")}
        subject = Subject(config, run.prepared, embedded, {}, {}, again)
        points = [("missing_mixed", 0.6), ("noise_text", 0.5)]
        drawn = study._drawn(subject, "gallery", points)
        for point in points:
            found, whole = drawn.at(point).embeddings, slow(subject, *point, "gallery").embeddings
            np.testing.assert_allclose(found.vectors[FUSED], whole.vectors[FUSED], atol=2e-6)
            np.testing.assert_array_equal(found.valid[FUSED], whole.valid[FUSED])
