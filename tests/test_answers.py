"""Questions about listings: ranks of answers against a slow twin, and how questions, pairs and candidates are drawn."""

import dataclasses
import itertools
import json
import re

import numpy as np
import pytest
from contents import subject_of
from reports import Page, listing, make_scored, write_prepared
from small import small_config

from m5jax.evals import answers
from m5jax.report import page as report
from m5jax.studies import answers as study
from m5jax.studies import items, knowledge, pairs, tasks

CONFIG = small_config(inputs__modalities=("image", "text", "table"))
COLOURS = ("red", "green", "blue", "white", "black")


# ---- ranks


def slow_rank(scores, offered, true, answer):
    """The place of an answer in the sorted list of the wrong candidates and itself."""
    rivals = [c for c in range(len(scores)) if offered[c] and (c == answer or not true[c])]
    return sorted(rivals, key=lambda c: (-scores[c], c)).index(answer) + 1


def test_ranks_are_filtered_and_ties_go_to_the_earlier():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 4, (30, 9)).astype(float)
    offered, true = rng.random((30, 9)) < 0.8, rng.random((30, 9)) < 0.3
    scores[~offered] = np.nan  # never looked at
    scores[0] = np.where(offered[0], -np.inf, np.nan)
    found = answers.ranks(scores, offered, true)
    for row, candidate in itertools.product(range(30), range(9)):
        there = offered[row, candidate] and true[row, candidate]
        assert found[row, candidate] == (slow_rank(scores[row], offered[row], true[row], candidate) if there else 0)


def test_a_question_is_the_mean_over_its_answers():
    found = np.asarray([[1, 0, 4, 0], [0, 11, 0, 0], [2, 0, 0, 0]])
    worth = answers.values(found, np.asarray([True, True, False]))
    assert worth["rank@1"].tolist() == [0.5, 0, 0]
    assert worth["rank@3"].tolist() == [0.5, 0, 0]
    assert worth["rank@10"].tolist() == [1, 0, 0]
    assert worth["mrr"] == pytest.approx([(1 + 1 / 4) / 2, 1 / 11, 0])
    assert answers.means(worth)["rank@10"] == pytest.approx(1 / 3)
    assert answers.means(answers.values(np.zeros((0, 4), int), np.zeros(0, bool))) == {}


def test_chance_is_the_mean_over_all_orders():
    offered, true = np.asarray([[1, 1, 1, 1, 1, 0]], bool), np.asarray([[1, 0, 0, 1, 0, 0]], bool)
    orders = [np.asarray([[*order, 0]], float) for order in itertools.permutations(range(5))]
    values = [answers.values(answers.ranks(order, offered, true), np.ones(1, bool), ks=(1, 3)) for order in orders]
    for name, value in answers.chance(offered, true, ks=(1, 3)).items():
        assert value[0] == pytest.approx(np.mean([of[name] for of in values]))


def test_scores_that_are_nothing_are_refused():
    with pytest.raises(ValueError, match="question 1 has a score that is NaN"):
        answers.ranks(np.asarray([[1.0], [np.nan]]), np.ones((2, 1), bool), np.ones((2, 1), bool))
    with pytest.raises(ValueError, match="must be"):
        answers.ranks(np.zeros((2, 2)), np.ones((2, 1), bool), np.ones((2, 1), bool))


# ---- drawing


def made(number, **fields):
    table = (("Colour", COLOURS[number % 5]), ("size", str(number % 3)), ("made in", f"town {number % 7}"))
    return listing(number, CONFIG, **{"fields": table} | fields)


def splits(**changed):
    """Listings of every split by number; `changed` replaces some, as n12=..."""
    rows = {"train": range(24), "val": range(24, 32), "query": range(32, 40), "gallery": range(40, 56)}
    every = {split: [changed.get(f"n{n}") or made(n) for n in numbers] for split, numbers in rows.items()}
    return {split: [dataclasses.replace(one, instance_id=f"{split}-{n % 5}") for n, one in enumerate(of)]
            for split, of in every.items()}  # fmt: skip


GROUPS = {("train",): 100, ("val",): 100, ("query", "gallery"): 100}


def told(questions):
    """What is asked, in words."""
    return {
        (questions.splits[q], questions.rows[q], questions.names[questions.properties[q]]): (
            [questions.values[a] for a in questions.answers[q] if a >= 0],
            [questions.values[c] for c in questions.candidates[q] if c >= 0],
            questions.often[q].tolist(),
        )
        for q in range(len(questions))
    }


def test_questions_do_not_depend_on_the_order_of_listings(tmp_path):
    ready = write_prepared(tmp_path / "a", splits(), CONFIG)
    drawn = told(knowledge.draw(ready, GROUPS))
    assert len(drawn) == 72 + 24 + 72
    turned = {split: of[::-1] for split, of in splits().items()}
    again = told(knowledge.draw(write_prepared(tmp_path / "b", turned, CONFIG), GROUPS))
    last = {split: len(of) - 1 for split, of in turned.items()}
    assert {(split, last[split] - row, name): of for (split, row, name), of in again.items()} == drawn
    few = knowledge.draw(ready, {("train",): 5, ("val",): 0, ("query", "gallery"): 7})
    assert (len(few), few.tested.sum()) == (12, 7)
    assert told(few).items() <= drawn.items()


def test_candidates_are_values_of_the_property_and_then_of_others(tmp_path):
    own = (("colour", "Red"), ("COLOUR ", " green"), ("colour", "red "), ("", "nothing"), ("size", ""))
    unseen = made(40, fields=(("colour", "ultramarine"), ("smell", "none")))
    ready = write_prepared(tmp_path, splits(n32=made(32, fields=own), n40=unseen), CONFIG)
    drawn = told(knowledge.draw(ready, GROUPS))
    assert {name for split, row, name in drawn if (split, row) == ("query", 0)} == {"colour"}
    held, offered, often = drawn["query", 0, "colour"]
    assert set(held) == {"red", "green"}
    everything = {*COLOURS, *"012", *(f"town {n}" for n in range(7))}
    assert sorted(offered) == sorted(everything)  # each once
    assert dict(zip(offered, often, strict=False))["red"] == 5  # of 24 training listings
    assert dict(zip(offered, often, strict=False))["town 1"] == 0
    held, offered, often = drawn["gallery", 0, "smell"]
    assert held == ["none"]
    assert {*offered} == everything | {"none"}
    assert not any(often)
    assert "ultramarine" in drawn["gallery", 0, "colour"][1]
    assert "ultramarine" not in drawn["gallery", 1, "colour"][1]


def test_of_too_many_candidates_those_of_the_property_stay_and_of_too_many_answers_some_count(tmp_path, monkeypatch):
    monkeypatch.setattr(knowledge, "CANDIDATES", 12)
    many = made(32, fields=tuple(("colour", f"shade {n}") for n in range(158)))
    ready = write_prepared(tmp_path, splits(n32=many, n5=dataclasses.replace(many, id="id-005")), CONFIG)
    drawn = told(knowledge.draw(ready, GROUPS))
    held, offered, _ = drawn["query", 0, "colour"]
    assert len(held) == knowledge.ANSWERS
    assert {text for text in offered if text.startswith("shade")} == {*held}
    held, offered, _ = drawn["query", 1, "made in"]
    assert {f"town {n}" for n in range(7)} < {*offered}
    assert len(offered) == 12
    # Who is right cannot be told from the order.
    places = [of[1].index(of[0][0]) for (split, _, name), of in drawn.items() if split == "gallery" and name == "size"]
    assert len(places) == 16
    assert len(set(places)) > 6


def test_pairs_of_products_are_of_one_side_and_beside_each_is_another_of_its_category(tmp_path):
    every = splits()
    for split in every:  # one product that all splits show, and listings of no known product
        every[split][:3] = [dataclasses.replace(one, instance_id="everywhere") for one in every[split][:3]]
        every[split][3] = dataclasses.replace(every[split][3], instance_id="")
    index = {split: ready.index(split) for ready in [write_prepared(tmp_path, every, CONFIG)] for split in every}
    found = pairs.of_products(index, 1000)
    product = {one.id: one.instance_id for of in every.values() for one in of}
    category = {one.id: one.category for of in every.values() for one in of}
    side = {one.id: pairs.SIDES[split] for split, of in every.items() for one in of}
    of_product = {}
    for left, right, match, split, source in zip(*dataclasses.astuple(found), strict=True):
        assert (product[left] == product[right]) == match
        assert side[left] == side[right] == split
        assert source == "shop"
        assert category[left] == category[right] or match
        of_product.setdefault(product[left], set()).add(split)
    assert all(len(sides) == 1 for sides in of_product.values())
    assert "" not in of_product
    assert found.match.sum() == (~found.match).sum() == len(found) / 2
    listings = sum(product[one] == "train-4" for one in side)
    assert (found.match & [product[one] == "train-4" for one in found.left]).sum() == listings - 1
    few = pairs.of_products(index, 4)
    assert [int((few.split == side).sum()) for side in ("train", "test")] == [4, 4]
    bare = {split: dataclasses.replace(of, instance_ids=np.full(len(of), "", object)) for split, of in index.items()}
    assert len(pairs.of_products(bare, 10)) == 0


# ---- the tasks


def test_the_three_tasks_on_one_showing_and_on_another(tmp_path):
    subject = subject_of(tmp_path, splits(), evaluate__study_listings=200)
    drawn = items.draw(subject, 200)
    assert subject.config.inputs.shown == ("image", "text", "table")
    vectors = tasks.embedded(subject, drawn.shown)
    learned = tasks.learn(drawn, vectors, seed=0)
    scores = tasks.scores(drawn, learned, vectors)
    assert {name for name in scores if re.search("accuracy|f1|auc|rank|mrr", name)} >= {
        "classification/accuracy", "alignment/cosine/f1", "alignment/cosine/auc", "alignment/head/macro_f1",
        "alignment/head/accuracy", "answers/rank@1", "answers/rank@10", "answers/mrr",
    }  # fmt: skip
    assert drawn.answers is not None
    assert all(np.isfinite(value) and value >= 0 for value in scores.values())
    nothing = tasks.Vectors(np.zeros_like(vectors.vectors), np.zeros(len(vectors), bool))
    lost = tasks.scores(drawn, learned, nothing)
    assert lost["classification/accuracy"] == lost["answers/rank@10"] == lost["alignment/head/called"] == 0
    # Nothing to learn from: nothing is learned, and there is no score.
    assert tasks.scores(drawn, tasks.learn(drawn, nothing, seed=0), vectors) == {}


def test_what_is_asked_is_not_shown(tmp_path):
    """Another value of the property that is asked for changes no vector; another value of a property that is shown
    does."""
    fields = made(40).fields

    def vectors(folder, name):
        told = tuple((name_, "another" if name_ == name else value) for name_, value in fields)
        subject = subject_of(tmp_path / folder, splits(n40=made(40, fields=told)), evaluate__study_listings=200)
        drawn = items.draw(subject, 200, of=("answers",))
        of = drawn.answers
        (question,) = np.flatnonzero((of.splits == "gallery") & (of.rows == 0) & (np.asarray(of.hidden) == "size"))
        return tasks.embedded(subject, drawn.shown).vectors[drawn.asked[question]]

    plain = vectors("plain", "")
    np.testing.assert_array_equal(vectors("size", "size"), plain)
    assert not np.array_equal(vectors("colour", "Colour"), plain)


def test_a_model_without_tables_is_asked_of_each_listing_once(tmp_path):
    subject = subject_of(tmp_path, splits(), seen=("image",), evaluate__study_listings=200)
    drawn = items.draw(subject, 200, of=("answers",))
    assert len(drawn.shown) < len(drawn.answers)
    assert set(drawn.shown.hidden) == {""}


# ---- the study


def test_the_finding_and_its_section(tmp_path):
    hostile = made(40, title="<script>alert(1)</script>", fields=(("colour", "<b>red</b>"), ("size", "1")))
    finding = study.study(subject_of(tmp_path / "asked", splits(n40=hostile), evaluate__study_listings=400))
    json.dumps(finding, allow_nan=False)
    assert finding["questions"] == {"train": 72, "val": 24, "test": 71}
    assert finding["unseen"]["questions"] == 1
    assert finding["chance"]["rank@1"] < finding["prior"]["rank@1"] < 1
    assert [row["property"] for row in finding["properties"]] == ["colour", "size", "made in"]
    assert finding["passport"]["queries"] == 71
    scored = make_scored(tmp_path / "shown", {"train": [hostile]}, CONFIG)
    shown = report.render(dataclasses.replace(scored, findings={"answers": finding}))
    page = Page(shown)
    assert "<script>" not in shown
    assert "<b>" not in shown
    (rows,) = [table for table in page.tables if table[0][0] == "ranked by"]
    assert [row[0] for row in rows[1:4]] == [
        "product vector of all modalities", "most frequent value of the property in training", "random order",
    ]  # fmt: skip
    assert rows[1][1:] == [f"{finding['scores'][name]:.3f}" for name in ("rank@1", "rank@3", "rank@10", "mrr")]


def test_without_tables_it_says_so(tmp_path):
    every = {split: [dataclasses.replace(one, fields=()) for one in of] for split, of in splits().items()}
    assert "can be asked about" in study.study(subject_of(tmp_path, every))["skipped"]
