"""The subset grid as a study and on a page; of this catalogue titles tell the category, and tables tell nothing."""

import dataclasses
import json

import numpy as np
import pytest
from reports import Page, listing, make_scored
from small import small_config

from m5jax.embed import Embeddings
from m5jax.report import page
from m5jax.studies import grid
from m5jax.studies.subject import Subject

NAMES = ("image", "text", "table", "audio")
CONFIG = small_config(inputs__modalities=NAMES, evaluate__cluster=False, evaluate__neighbours=1)
HAVE = (("image", "text", "table"), ("image", "table"), ("text", "table"), ("image", "text"))  # nobody has a sound
KINDS = 3


def listings(count, start):
    return [
        listing(start + n, CONFIG, present=HAVE[n % len(HAVE)], category=(f"kind {n % KINDS}",), instance_id=f"{n}")
        for n in range(count)
    ]


def shown(index, subset, turned=0):
    """A listing's modalities added up: pictures lie by category, titles by another `turned` on, tables anywhere."""
    kinds = np.asarray([int(category[-1]) for category in index.categories])
    anywhere = np.random.default_rng(len(index)).normal(size=(len(index), 8))
    parts = {
        "image": np.eye(8)[kinds],
        "text": np.eye(8)[(kinds + turned) % KINDS],
        "table": 0.1 * anywhere,
        "audio": np.zeros((len(index), 8)),
    }
    there = index.states[:, [("image", "text", "table", "video", "audio").index(name) for name in subset]] == 1
    vectors = sum(parts[name] * has[:, None] for name, has in zip(subset, there.T, strict=True))
    return vectors.astype(np.float32), there.any(1)


def embedding(turned=0):
    def again(prepared, split, wanted, rows):
        index = prepared.index(split).rows(rows)
        made = {name: shown(index, subset, turned) for name, subset in wanted.items()}
        return Embeddings(
            {name: v for name, (v, _) in made.items()}, {name: there for name, (_, there) in made.items()}, None
        )

    return again


def subject_of(scored, aligned=None):
    return Subject(scored.config, scored.prepared, scored.embedded, {}, {}, embedding(), aligned)


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    splits = {"train": listings(24, 0), "gallery": listings(36, 100), "query": listings(24, 200)}
    return make_scored(tmp_path_factory.mktemp("grid"), splits, CONFIG)


@pytest.fixture(scope="module")
def finding(scored):
    return json.loads(json.dumps(grid.study(subject_of(scored)), allow_nan=False))


def test_every_subset_of_what_there_is_asks_every_other(finding):
    names = ["image", "text", "table", "image+text", "image+table", "text+table", "image+text+table"]
    assert finding["subsets"] == names
    assert finding["modalities"] == ["image", "text", "table"]
    assert finding["drawn"] == {"train": [24, 24], "gallery": [36, 36], "query": [24, 24]}
    assert finding["listings"]["query"] == dict(zip(names, [18, 18, 18, 24, 24, 24, 24], strict=True))
    assert list(finding["spaces"]) == ["product"]
    tasks = finding["spaces"]["product"]
    assert list(tasks) == ["category", "instance", "itself"]
    for task in ("category", "instance"):
        assert list(tasks[task]["scores"]) == ["p@1", "map@3", "recall@3"]
        for table in (*tasks[task]["scores"].values(), tasks[task]["queries"]):
            assert {row: list(of) for row, of in table.items()} == dict.fromkeys(names, names)


def test_titles_and_pictures_find_the_category_and_tables_find_it_by_chance(finding):
    found = finding["spaces"]["product"]["category"]
    for asked in ("image", "text"):
        assert found["scores"]["p@1"][asked] == dict.fromkeys(finding["subsets"], 1.0) | {
            "table": found["scores"]["p@1"][asked]["table"]
        }
        assert found["scores"]["p@1"][asked]["table"] < 0.8
        assert found["queries"][asked]["text"] == 18
    assert found["chance"] == pytest.approx(1 / 3, abs=1e-5)
    gains = {(g["side"], g["given"], g["added"]): g for g in found["gains"]}
    assert len(gains) == 12
    told = gains["query", "table", "text"]
    assert told["after"] == 1
    assert told["queries"] == 12  # those that have both
    assert told["between"][0] > 0
    assert gains["query", "text", "table"]["before"] == 1
    assert gains["gallery", "table", "image"]["queries"] == 24


def test_a_listing_finds_itself_only_by_what_it_was_not_asked_with(finding):
    found = finding["spaces"]["product"]["itself"]
    pairs = {(row, column) for row, of in found["scores"]["p@1"].items() for column in of}
    assert len(pairs) == 12
    assert ("image+text", "table") in pairs
    assert not any(set(row.split("+")) & set(column.split("+")) for row, column in pairs)
    assert found["queries"]["image"]["text"] == 18
    assert found["scores"]["p@1"]["image"]["text"] == pytest.approx(3 / 18, abs=1e-5)  # the first of each category
    assert found["chance"] is None


def test_classification_shows_a_part_of_what_was_learned_or_the_same(finding):
    found = finding["classification"]
    assert found["trained_on_all"]["text"] == found["trained_alike"]["text"] == 1
    assert found["trained_alike"]["table"] < 1
    assert found["test"]["image"] == 45
    assert found["chance"] == pytest.approx(1 / 3, abs=1e-5)


def test_numbers_carry_their_passports(finding):
    assert list(finding["passports"]) == ["category", "instance", "itself"]
    assert finding["passport"] == finding["passports"]["category"]
    assert (finding["passport"]["queries"], finding["passport"]["gallery"]) == (24, 36)
    assert "is left out" in finding["passport"]["rules"]["missing"]
    assert finding["passports"]["itself"]["rules"]["self_match"] == "what is looked for"


def test_what_is_drawn_is_said_and_a_second_space_is_asked_the_same(scored):
    config = dataclasses.replace(scored.config, evaluate=dataclasses.replace(scored.config.evaluate, study_listings=12))
    subject = dataclasses.replace(subject_of(scored, embedding(turned=1)), config=config)
    found = grid.study(subject)
    assert found["drawn"] == {"train": [12, 24], "gallery": [12, 36], "query": [12, 24]}
    assert found["passport"]["gallery"] == 12
    product, contrastive = (found["spaces"][space] for space in ("product", "contrastive"))
    assert product.keys() == contrastive.keys()
    few, found = ["image", "text", "table", "image+text+table"], contrastive["category"]["scores"]["p@1"]
    assert {row: list(of) for row, of in found.items()} == dict.fromkeys(few, few)
    assert found["image"]["text"] == 0 < product["category"]["scores"]["p@1"]["image"]["text"] == 1


def test_without_two_modalities_or_a_gallery_it_is_skipped(scored):
    without = {split: of for split, of in scored.embedded.items() if split != "gallery"}
    subject = dataclasses.replace(subject_of(scored), embedded=without)
    assert grid.study(subject) == {"skipped": "The catalogue has no split gallery."}
    alone = small_config(inputs__modalities=("text",))
    one = dataclasses.replace(subject_of(scored), config=alone)
    assert "two modalities" in grid.study(one)["skipped"]


def test_a_catalogue_without_categories_and_products_still_asks_listings_for_themselves(tmp_path):
    nameless = {"category": (), "instance_id": ""}
    splits = {
        split: [dataclasses.replace(record, **nameless) for record in listings(8, start)]
        for split, start in (("train", 0), ("gallery", 100), ("query", 200))
    }
    scored = make_scored(tmp_path, splits, CONFIG)

    def anywhere(prepared, split, wanted, rows):
        index = dataclasses.replace(prepared.index(split).rows(rows), categories=np.full(len(rows), "kind 0"))
        made = {name: shown(index, subset) for name, subset in wanted.items()}
        return Embeddings(
            {name: v for name, (v, _) in made.items()}, {name: there for name, (_, there) in made.items()}, None
        )

    found = grid.study(dataclasses.replace(subject_of(scored), again=anywhere))
    assert list(found["spaces"]["product"]) == ["itself"]
    assert found["classification"] is None
    text = Page(page.render(dataclasses.replace(scored, findings={"grid": found}))).text
    assert "Listings that find themselves nearest" in text


def test_the_page_says_what_to_ask_with_and_shows_every_pair(scored, finding):
    made = Page(page.render(dataclasses.replace(scored, findings={"grid": finding})))
    assert "A query gains most where its" in made.text
    assert "image+text+table → text+table" in made.text
    assert sum(tag == "rect" for tag, _ in made.elements) >= 3 * 7 * 7
    found = finding["spaces"]["product"]["category"]["scores"]["p@1"]
    every = made.captioned("Queries that find their own category nearest")
    assert every["table"] == [f"{found['table'][column]:.2f}" for column in finding["subsets"]]
    assert "Category named from a part" in made.text
