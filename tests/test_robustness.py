"""K3M's tasks on corrupted listings: every point as the whole corrupted catalogue has it, and how it is shown."""

import dataclasses
import json

import numpy as np
import pytest
from contents import subject_of
from reports import Page, listing, make_scored
from small import small_config

from m5jax import schemes, sweep_settings
from m5jax.data import triples
from m5jax.data.index import Index
from m5jax.k3m_paper import ACCURACY, F1, RANK
from m5jax.report import page as report
from m5jax.report import robustness as shown
from m5jax.studies import items as items_of
from m5jax.studies import pairs, robustness, tasks
from m5jax.studies.tasks import Vectors

THREE = ("image", "text", "table")


def shop(counts=(("train", 24), ("val", 12), ("gallery", 12), ("query", 8))):
    """Listings whose category is in their title; every fifth lacks something."""
    kept, start = {}, 0
    for split, count in counts:
        kept[split] = [
            listing(
                n, small_config(), present=THREE if n % 5 else THREE[n % 2 :: 2],
                title=f"kind {n % 3}", category=("goods", f"kind {n % 3}"),
                instance_id=f"{split}-{n % 3}-{n % 2}", fields=(("colour", f"c{n % 4}"), ("size", f"s{n % 7}")),
            )
            for n in range(start, start + count)
        ]  # fmt: skip
        start += count
    return kept


# ---- the study


def slow(subject, items, point):
    """What listings show at a point, one by one, as the whole corrupted catalogue has them."""
    chosen = sweep_settings.corruption(*point, subject.config.inputs, tuple(subject.embedded), 0)
    corrupted = dataclasses.replace(subject.prepared, corruption=chosen)
    records = {split: corrupted.records(split) for split in subject.embedded}
    for split, row, hidden in zip(items.shown.splits, items.shown.rows, items.shown.hidden, strict=True):
        yield subject.again.vector(triples.without(records[split][row], hidden), subject.again.seen)


@pytest.mark.parametrize("seen", [THREE, ("text",)])
def test_what_a_point_shows_is_what_the_whole_corrupted_catalogue_shows(tmp_path, seen):
    subject = subject_of(tmp_path, shop(), seen=seen, inputs__record=THREE, evaluate__study_listings=12)
    items = items_of.draw(subject, 12)
    points = [(name, ratio) for name in schemes.SCHEMES for ratio in (0.0, 0.5, 1.0)]
    board = robustness._board(subject, items, points)
    for point in points:
        found = board._at(point)
        expected = np.stack(list(slow(subject, items, point)))
        lengths = np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_array_equal(found.valid, lengths[:, 0] > 0, str(point))
        np.testing.assert_allclose(found.vectors, expected / np.maximum(lengths, 1e-9), atol=1e-6)
    assert subject.again.listings == len(board.variants) <= (7 if seen == THREE else 3) * len(items.shown)
    assert set(items.shown.hidden) == ({"", "colour", "size"} if seen == THREE else {""})


def test_models_that_see_other_modalities_are_asked_the_same(tmp_path):
    made = {}
    for seen in (THREE, ("text",)):
        subject = subject_of(tmp_path / seen[-1], shop(), seen=seen, inputs__record=THREE)
        made[seen] = items_of.draw(subject, 12)
    assert len(made[THREE].shown) > len(made[("text",)].shown)  # of which nothing need be hidden
    first, second = (robustness._passport(items) for items in made.values())
    assert first == second


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """A model of titles among records that have tables, too."""
    folder = tmp_path_factory.mktemp("robustness")
    more = {"inputs__record": ("text", "table"), "evaluate__sweep_ratios": (0.5, 1.0), "evaluate__study_listings": 24}
    subject = subject_of(folder, shop(), seen=("text",), **more)
    return subject, robustness.study(subject)


def test_scores_are_those_of_the_tasks(asked):
    subject, found = asked
    items = items_of.draw(subject, 24)
    clean, noisy = (
        Vectors(made.vectors["fused"], made.valid["fused"])
        for ratio in (0.0, 1.0)
        for made in [_shown(subject, items, ("TNR", ratio))]
    )
    curves = found["schemes"]["TNR"]
    for kind, taught in (("test_only", clean), ("in_training", noisy)):
        expected = tasks.scores(items, tasks.learn(items, taught, subject.config.seed), noisy)
        for score, of in robustness.SCORES.items():
            assert curves[kind][score][-1] == pytest.approx(expected[of], abs=1e-5), (kind, score)
            assert curves[kind][score][0] == found["schemes"]["TMR"][kind][score][0]
    assert curves["test_only"][ACCURACY][0] > 0.9  # the title says it
    assert curves["test_only"][ACCURACY][-1] == 0  # another category's says another
    assert {ACCURACY, F1, RANK} <= set(found["chance"]) == set(curves["told"]["test_only"]) == set(robustness.SCORES)


def _shown(subject, items, point):
    board = robustness._board(subject, items, [point])
    rows = board.which[point]
    return dataclasses.make_dataclass("Made", ["vectors", "valid"])(
        {"fused": board.variants.vectors[rows]}, {"fused": board.variants.valid[rows]}
    )


def test_a_listing_with_nothing_left_counts_as_wrong_and_what_is_unseen_changes_nothing(asked):
    _, found = asked
    assert found["ratios"] == [0.0, 0.5, 1.0]
    assert list(found["schemes"]) == ["TMR", "TNR", "KMR"]  # records hold no pictures
    for kind in ("test_only", "in_training"):
        for score, values in found["schemes"]["TMR"][kind].items():
            assert values[-1] == 0 or score == "alignment/macro_f1", (kind, score)
        for values in found["schemes"]["KMR"][kind].values():
            assert len(set(values)) == 1
    assert found["schemes"]["KMR"]["changed"] == [0, 0, 0]
    none, half, every = found["schemes"]["TMR"]["changed"]
    assert none == 0 < half < every <= found["listings"]
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("changes", "fields", "reason"),
    [
        ({"seen": ("audio",)}, {}, "records hold none"),
        ({}, {"category": (), "instance_id": "", "fields": ()}, "no categories, no pairs and no tables"),
    ],
)
def test_without_anything_to_ask_there_is_no_study(tmp_path, changes, fields, reason):
    splits = {split: [listing(n, small_config(), **fields)] for n, split in enumerate(("train", "query"))}
    assert reason in robustness.study(subject_of(tmp_path, splits, **changes))["skipped"]


def test_few_pairs_hold_others_as_often_as_matches():
    count = 2_000
    names = {name: np.full(count, "shop", object) for name in ("sources", "titles")}
    index = Index(
        ids=np.asarray([f"id-{n}" for n in range(count)], object),
        instance_ids=np.asarray([f"product-{n // 4}" for n in range(count)], object),
        categories=np.asarray([f"kind {n // 40}" for n in range(count)], object),
        states=np.ones((count, 5), np.uint8),
        **names,
    )
    drawn = pairs.of_products({"query": index}, 1_000)
    assert (len(drawn), drawn.match.sum()) == (1_000, 500)
    few = drawn.first({"test": 200})
    assert len(few) == 200
    assert abs(few.match.sum() - 100) < 35  # five deviations


# ---- the page


def finding(names=tuple(schemes.SCHEMES), ratios=(0.0, 0.2, 0.5, 0.8, 1.0)):
    """A finding made of curves: each scheme costs more than the one before."""
    scores = dict.fromkeys(robustness.SCORES, 0.1)

    def curves(loss):
        return {score: [round(0.9 - loss * ratio, 3) for ratio in ratios] for score in scores}

    def told(of):
        return {score: robustness.sweeps.summary(ratios, values, 0.1) for score, values in of.items()}

    made = {}
    for number, name in enumerate(names):
        lines = {"test_only": curves(0.1 * number), "in_training": curves(0.05 * number)}
        summaries = {kind: told(of) for kind, of in lines.items()}
        made[name] = {"changed": [100 * number] * len(ratios), **lines, "told": summaries}
    rules = {"protocol": "robustness", "rules": {"score": "x"}, "queries": 1, "gallery": 1, "digest": "0" * 16}
    counts = {"seed": 0, "listings": 120, "embedded": 700}
    return counts | {"passport": rules, "ratios": list(ratios), "chance": scores, "schemes": made}


def test_ours_are_laid_out_as_the_papers_and_its_own_stand_beside(tmp_path):
    splits = {split: [listing(n, small_config()) for n in range(3)] for split in ("gallery", "query")}
    page = Page(report.render(dataclasses.replace(make_scored(tmp_path, splits), findings={"robustness": finding()})))
    ours = page.captioned("Item classification: this model")
    assert list(ours) == ["corrupted", "test only", "train and test"]
    assert ours["corrupted"][:4] == ["0", "TMR 50", "TMR 100", "IMR 50"]
    assert ours["test only"][:5] == ["90.0", "90.0", "90.0", "85.0", "80.0"]
    assert ours["train and test"][-2:] == ["72.5", "55.0"]
    paper = page.captioned("K3M’s table 2")
    assert list(paper)[1:] == ["K3M", "LXMERT+PKG", "ViLBERT+PKG", "VL-BERT+PKG", "LXMERT", "ViLBERT", "VL-BERT"]
    assert paper["ViLBERT"][:3] == ["74.1", "52.5", "38.5"]
    assert paper["K3M"][-4:] == ["79.6", "75.3", "–", "–"]  # it has no KMR
    assert len(page.captioned("K3M’s figure 3")) == len(page.captioned("K3M’s figure 4")) == 8
    assert "cannot be compared with the ones above" in " ".join(page.text.split())
    assert page.captioned("classification/accuracy")["TMR"][:5] == ["0.900"] * 5
    assert page.attributes("aria-label").count("TINR: wrong titles with wrong pictures") == 6


def test_the_sentence_says_what_costs_most():
    said = shown.headline(finding(), ACCURACY).replace("\u202f", " ")
    assert said == (
        "Tables missing (KMR): this costs item classification most; accuracy falls from 90 % to 20 % with 100 % of the"
        " listings corrupted, and to 55 % where it was learned from listings as corrupted."
    )
    assert shown.headline(finding(("TMR",)), ACCURACY) == "No corruption costs item classification anything."


def test_a_finding_of_few_schemes_and_ratios_is_shown_as_far_as_it_goes():
    made = finding(("TMR", "TNR"), (0.0, 0.8))
    made["chance"] = {RANK: 0.1}
    view = shown.view(made, None)
    assert view["at"] == []
    (task,) = view["tasks"]
    assert [row[1] for row in task["rows"]] == [["90.0"]] * 2
    assert len(task["charts"]) == 2
