"""Who loses, on a catalogue where that is known: its tail is embedded at random, its head by category."""

import dataclasses
import json
import re

import numpy as np
import pytest
from reports import Page, listing, make_scored
from small import small_config

from m5jax.evals import suite
from m5jax.evals.sets import Sets
from m5jax.evals.suite import Split
from m5jax.questions import Question
from m5jax.report import page
from m5jax.studies import losers
from m5jax.studies.subject import Subject

CONFIG = small_config(inputs__modalities=("text", "table"), evaluate__study_listings=90, evaluate__cluster=False)
COMMON, RARE = ["boots", "hats", "rings"], ["fans", "kites", "looms"]
UNSEEN = "nets"
KINDS = [*COMMON, *RARE, UNSEEN]


def listings(kinds, start):
    return [
        listing(start + n, CONFIG, category=(kind,), instance_id=f"{start + n}", present=("text", "table")[: 1 + n % 2])
        for n, kind in enumerate(kinds)
    ]


def directions(kinds, random):
    """Each along the axis of its category, but for those that training hardly showed: these lie anywhere."""
    plain = np.eye(8)[[KINDS.index(kind) for kind in kinds]] + 0.1 * random.normal(size=(len(kinds), 8))
    lost = np.asarray([kind not in COMMON for kind in kinds])
    return np.where(lost[:, None], random.normal(size=(len(kinds), 8)), plain)


def subject_of(scored):
    def again(*_):
        raise AssertionError("who loses is told from what was embedded")

    return Subject(scored.config, scored.prepared, scored.embedded, scored.scores, scored.results, again)


def catalogue(folder, config=CONFIG, **changes):
    random, kinds = np.random.default_rng(0), [COMMON[n % 3] for n in range(60)] + [RARE[n % 3] for n in range(36)]
    kinds = {
        "train": [*COMMON * 20, *RARE * 2],
        "gallery": [*KINDS * 4, "odd"],
        "query": [*kinds, *[UNSEEN] * 12, "odd", "nowhere"],
    }
    kinds["query"].remove("odd")
    splits = {split: listings(names, 1000 * n) for n, (split, names) in enumerate(kinds.items())} | changes
    vectors = {
        split: directions([k if k in KINDS else UNSEEN for k in names], random) for split, names in kinds.items()
    }
    return make_scored(folder, splits, config, vectors=vectors)


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    return catalogue(tmp_path_factory.mktemp("losers"))


@pytest.fixture(scope="module")
def found(scored):
    return json.loads(json.dumps(losers.study(subject_of(scored)), allow_nan=False))


def test_the_order_of_the_subsets_is_of_no_account(scored, found):
    backwards = dict(reversed(scored.results.items()))  # a compiled model gives them by the alphabet
    again = losers.study(subject_of(dataclasses.replace(scored, results=backwards)))
    assert again["tasks"]["category"] == found["tasks"]["category"]
    assert list(again["tasks"]["category"]["whole"]["scores"]) == [
        "fused/map@3",
        "text/map@3",
        "table/map@3",
        "fused/hit@1",
    ]


def by_name(grouping):
    return {group["name"]: group for group in grouping["groups"]}


def test_the_whole_is_the_score_of_the_run(scored, found):
    task = found["tasks"]["category"]
    assert found["metric"] == "map@3"
    assert (task["whole"]["queries"], task["whole"]["products"]) == (108, 108)
    for subset in ("fused", "text", "table"):
        mean = scored.scores[f"retrieval/category/{subset}/map@3"]
        assert task["whole"]["scores"][f"{subset}/map@3"]["mean"] == pytest.approx(mean, abs=1e-6)
    assert task["whole"]["scores"]["fused/hit@1"]["mean"] == pytest.approx(
        scored.scores["retrieval/category/fused/hit@1"], abs=1e-6
    )
    assert found["passport"] == scored.results["category", "fused"].passport.to_dict()
    assert "instance" not in found["tasks"]  # no product is shown twice


def test_the_tail_loses_and_the_head_does_not(found):
    frequency = by_name(found["tasks"]["category"]["groupings"]["frequency"])
    assert list(frequency) == ["4: 20 in training", "9: 2 in training", "never seen in training"]
    assert [group["verdict"] for group in frequency.values()] == ["above", "below", "below"]
    assert frequency["4: 20 in training"]["queries"] == 60
    assert frequency["9: 2 in training"]["scores"]["fused/map@3"]["high"] < 0.5


def test_categories_come_worst_first_and_few_queries_tell_nothing(found):
    groups = found["tasks"]["category"]["groupings"]["category"]
    names = [group["name"] for group in groups["groups"]]
    assert set(names[:4]) == {*RARE, UNSEEN}
    assert groups["judged"] == 7
    assert groups["by_chance"] == pytest.approx(0.17, abs=0.01)
    means = [group["scores"]["fused/map@3"]["mean"] for group in groups["groups"]]
    assert means == sorted(means)


def test_every_grouping_has_every_query_once(found):
    groupings = found["tasks"]["category"]["groupings"]
    assert set(groupings) == {"frequency", "count", "present", "category"}  # all are of one source
    whole = found["tasks"]["category"]["whole"]["scores"]["fused/map@3"]
    for grouping in groupings.values():
        assert sum(group["queries"] for group in grouping["groups"]) == 108
        for group in grouping["groups"]:  # what is said is what is drawn
            score = group["scores"]["fused/map@3"]
            below, above = score["high"] < whole["low"], score["low"] > whole["high"]
            said = "too few" if group["products"] < 10 else "below" if below else "above" if above else "alike"
            assert group["verdict"] == said
    assert list(by_name(groupings["count"])) == ["1 of 2", "2 of 2"]
    assert list(by_name(groupings["present"])) == ["text", "text + table"]


def test_kept_queries_are_few_and_those_of_any_run_of_the_catalogue(scored, found):
    kept = found["tasks"]["category"]["queries"]
    assert kept["of_all"] == 108
    assert len(kept["id"]) == 90
    result = scored.results["category", "fused"]
    place = {scored.embedded["query"].index.ids[row]: at for at, row in enumerate(result.query_rows)}
    rows = [place[one] for one in kept["id"]]
    assert kept["average_precision"] == pytest.approx(result.average_precision[rows], abs=1e-6)
    assert kept["first_hit"] == result.first_hit_rank[rows].tolist()
    categories = kept["groups"]["category"]
    assert [categories["names"][of] for of in categories["of"]] == [
        scored.embedded["query"].index.categories[result.query_rows[row]] for row in rows
    ]
    again = dataclasses.replace(scored, config=dataclasses.replace(CONFIG, seed=7))
    assert losers.study(subject_of(again))["tasks"]["category"]["queries"] == kept


def worse(split, name):
    """A split in which one modality alone is embedded at random."""
    vectors = dict(split.embeddings.vectors)
    vectors[name] = np.random.default_rng(5).normal(size=vectors[name].shape).astype(np.float32)
    return Split(split.index, dataclasses.replace(split.embeddings, vectors=vectors))


def test_a_cold_start_is_paired_with_the_same_queries_in_full(scored):
    embedded = scored.embedded | {"query": worse(scored.embedded["query"], "table")}
    task = losers.study(subject_of(dataclasses.replace(scored, embedded=embedded)))["tasks"]["category"]
    text, table = task["cold_start"]
    assert [(one["only"], one["queries"]) for one in (text, table)] == [("text", 54), ("table", 54)]
    assert text["shown"] == text["complete"] == table["complete"]  # text is embedded as all together are
    assert text["change"]["low"] < 0 == text["change"]["mean"] < text["change"]["high"]
    assert table["change"]["high"] < -0.1
    assert table["change"]["mean"] == pytest.approx(table["shown"]["mean"] - table["complete"]["mean"], abs=2e-6)
    two = by_name(task["groupings"]["count"])["2 of 2"]
    assert text["complete"]["mean"] == two["scores"]["fused/map@3"]["mean"]


def test_what_is_taken_for_what_is_the_nearest(scored, found):
    result, index = scored.results["category", "fused"], scored.embedded
    truth = index["query"].index.categories[result.query_rows]
    nearest = index["gallery"].index.categories[result.neighbours[:, 0]]
    confused = found["confusion"]
    table = np.asarray(confused["table"])
    for at, name in enumerate(confused["names"]):
        for to, other in enumerate(confused["names"]):
            assert table[at, to] == np.sum((truth == name) & (nearest == other))
    assert table.sum() == 108
    pair = confused["pairs"][0]
    assert pair["count"] == np.sum((truth == pair["truth"]) & (nearest == pair["answer"]))
    assert pair["truth"] not in COMMON
    assert re.fullmatch(r"listing \d+", pair["titles"][0])


def test_worst_queries_are_those_of_the_page(scored, found):
    assert len(found["worst"]) == losers.WORST
    worst = [one["average_precision"] for one in found["worst"]]
    assert worst == sorted(worst)
    assert worst[0] == 0
    assert found["worst"][0]["category"] not in found["worst"][0]["taken_for"]
    shown = Page(page.render(dataclasses.replace(scored, findings={"losers": found})))
    cards = re.findall(
        r"Query.*?(id-\d+)", shown.text.partition("The 20 worst")[2].partition("The 5 best")[0], re.DOTALL
    )
    assert cards == [one["id"] for one in found["worst"]]


def test_the_page_says_first_who_loses_by_how_much(scored, found):
    shown = Page(page.render(dataclasses.replace(scored, findings={"losers": found})))
    words = re.sub(r"\s+", " ", shown.text)
    group = by_name(found["tasks"]["category"]["groupings"]["frequency"])
    worst = min(group.values(), key=lambda one: one["scores"]["fused/map@3"]["high"])
    assert worst["name"] == "9: 2 in training"
    assert "Listings of categories that training showed 2 times lose most" in words
    assert f"lose most: average precision {worst['scores']['fused/map@3']['mean']:.2f}, where all queries" in words
    assert "Of 7 categories with enough queries to tell, 4 are below the whole" in words
    assert words.count("lose most") == 2  # in the summary too
    rows = next(table for table in shown.tables if table[0][0] == "By category")
    assert [row[0].partition("\n")[0] for row in rows[1:]] == [
        "all",
        *(by_name(found["tasks"]["category"]["groupings"]["category"])),
    ]


def test_a_task_of_other_sets_is_asked_too(tmp_path):
    splits = {"query": listings(["a", "b"], 0), "val": listings(["a"], 10), "gallery": listings(["b", "a", "a"], 20)}
    scored = make_scored(tmp_path, splits, CONFIG)
    question = Question("path", "query+val", "gallery")
    sides = [Sets(scored.prepared).find(side, scored.embedded) for side in (question.queries, question.gallery)]
    results = suite.retrieve(*sides, CONFIG, [question]).results
    found = losers.study(subject_of(dataclasses.replace(scored, results=results)))
    (task,) = found["tasks"].values()
    assert list(found["tasks"]) == ["path/query+val:gallery"]
    assert task["queries"]["id"] == [row.id for split in ("query", "val") for row in splits[split]]
    assert found["passport"]["sets"] == "query+val:gallery"
    assert np.sum(found["confusion"]["table"]) == 3
    shown = Page(page.render(dataclasses.replace(scored, findings={"losers": found})))
    assert "Who loses" in shown.text


def test_of_two_sources_each_is_a_group_and_names_its_categories(tmp_path):
    splits = {}
    for start, split in enumerate(("train", "gallery", "query")):
        rows = listings([kind for kind in COMMON for _ in range(8)], 100 * start)
        splits[split] = [dataclasses.replace(row, source="ab"[n % 2]) for n, row in enumerate(rows)]
    found = losers.study(subject_of(make_scored(tmp_path, splits, CONFIG)))
    groupings = found["tasks"]["category"]["groupings"]
    assert list(by_name(groupings["source"])) in (["a", "b"], ["b", "a"])
    assert "a: boots" in by_name(groupings["category"])


def test_one_query_tells_nothing(tmp_path):
    splits = {"query": listings(["boots"], 0), "gallery": listings(["boots", "hats"], 10)}
    scored = make_scored(tmp_path, splits, CONFIG)
    found = losers.study(subject_of(scored))
    task = found["tasks"]["category"]
    assert task["groupings"] == {}  # one query makes no two groups, and nothing was trained on
    assert task["whole"]["products"] == 1
    assert task["whole"]["scores"]["fused/map@3"]["high"] > 0.9 + task["whole"]["scores"]["fused/map@3"]["low"] - 0.1
    words = Page(page.render(dataclasses.replace(scored, findings={"losers": found}))).text
    assert "All queries are of one kind" in words


def test_products_without_categories(tmp_path):
    def several(start, count):
        rows = [listing(start + n, CONFIG, category=(), instance_id=f"{n % 3}") for n in range(count)]
        return [dataclasses.replace(row, source="shop") for row in rows]

    scored = make_scored(
        tmp_path, {"train": several(0, 4), "query": several(10, 12), "gallery": several(30, 6)}, CONFIG
    )
    found = losers.study(subject_of(scored))
    assert list(found["tasks"]) == ["instance"]
    task = found["tasks"]["instance"]
    assert (task["whole"]["queries"], task["whole"]["products"]) == (12, 3)
    assert task["groupings"] == {}
    assert found["confusion"] is None
    assert len(found["worst"]) == 12
    assert Page(page.render(dataclasses.replace(scored, findings={"losers": found}))).ids("section")


def test_without_an_answer_in_the_gallery_it_is_skipped(tmp_path):
    scored = make_scored(tmp_path, {"query": listings(["boots"], 0), "gallery": listings(["hats"], 10)}, CONFIG)
    found = losers.study(subject_of(scored))
    assert list(found) == ["skipped"]
    assert "no query has an answer" in Page(page.render(dataclasses.replace(scored, findings={"losers": found}))).text


def test_a_query_that_shows_nothing_is_taken_for_nothing(tmp_path):
    query = listings(["boots", "hats"], 0)
    query[0] = listing(0, CONFIG, category=("boots",), present=())
    scored = make_scored(tmp_path, {"query": query, "gallery": listings(["boots", "hats"], 10)}, CONFIG)
    found = losers.study(subject_of(scored))
    assert [sum(row[:-1]) for row in found["confusion"]["table"][:2]] == [0, 1]
    assert found["confusion"]["table"][0][-1] == 1
    assert len(found["worst"]) == 1
    assert list(by_name(found["tasks"]["category"]["groupings"]["present"])) == ["none", "text + table"]
