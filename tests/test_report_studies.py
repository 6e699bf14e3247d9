"""The page with its studies: where they stand, what the summary takes from them, passports, how large it may get."""

import dataclasses
import re

import numpy as np
import pytest
from reports import Page, asked, listing, make_scored
from small import small_config

from m5jax.config import COSTLY
from m5jax.evals.protocols import STANDARD, Passport
from m5jax.report import html, page, passports, pictures, space, studies, summary
from m5jax.report.health import StateBar
from m5jax.report.tables import Headline, Row
from m5jax.studies.registry import STUDIES

MAX_BYTES = 15_000_000
EVERY = [name for names in page.GROUPS.values() for name in names]


def words(shown):
    return re.sub(r"[ \n]+", " ", shown.text)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A catalogue of many listings, every one with a picture, a film and a sound as noisy as can be."""
    config = small_config(
        inputs__image__size=128, inputs__image__patch=16, evaluate__probe=False, evaluate__sweeps=("missing_text",)
    )
    made = [
        listing(n, config, category=("goods", f"kind {n % 9}"), instance_id=f"product-{n % 60}") for n in range(160)
    ]
    splits = {"train": made[:60], "gallery": made[60:130], "query": made[130:]}
    rng = np.random.default_rng(0)
    vectors = {split: rng.normal(size=(len(rows), 8)) for split, rows in splits.items()}
    scored = asked(make_scored(tmp_path_factory.mktemp("large"), splits, config, vectors=vectors))
    costly = {name: {"skipped": "its page has tests of its own"} for name in COSTLY}
    scored = dataclasses.replace(scored, findings=scored.findings | costly)
    page.write(scored)
    return scored, Page(scored.folder.report.read_text(encoding="utf-8"))


def test_every_study_has_its_section_where_the_page_says(large):
    _, shown = large
    assert set(STUDIES) == set(studies.VIEWS) <= set(EVERY)
    there = [name for name in EVERY if name in STUDIES or name in shown.ids("section")]
    assert shown.ids("section") == there
    links = [link.removeprefix("#") for link in shown.attributes("href") if link.startswith("#")]
    assert links[: len(there)] == there
    assert set(links) <= {*there, "contents"}
    assert not re.search(r"\b(nan|inf|None|Undefined|NaN)\b", shown.text)


def test_the_page_stays_small_however_many_pictures_there_are(large):
    scored, shown = large
    drawn = [values for tag, values in shown.elements if tag in ("img", "image")]
    # What no larger catalogue exceeds: pictures are bounded in number and in bytes.
    bytes_each = max(len(values.get("src", values.get("href", ""))) for values in drawn)
    assert len(drawn) > 200
    assert scored.folder.report.stat().st_size < MAX_BYTES / 2
    assert bytes_each < 20_000


def test_ids_are_of_one_element_each(large):
    _, shown = large
    ids = shown.attributes("id")
    assert len(ids) == len(set(ids))


def test_pictures_of_the_map_are_small_squares(tmp_path):
    config = small_config(inputs__image__size=128, inputs__image__patch=16)
    scored = make_scored(tmp_path, {"gallery": [listing(0, config)]}, config)
    uri = pictures.square(scored.prepared.records("gallery")[0], space.PIXELS)
    assert len(uri) * space.MOST_PICTURES < MAX_BYTES / 5


def test_a_study_with_nothing_to_work_on_says_why(tmp_path):
    config = small_config(inputs__modalities=("text",), evaluate__probe=False)
    scored = asked(make_scored(tmp_path, {"train": [listing(n, config) for n in range(4)]}, config))
    skipped = {name: finding["skipped"] for name, finding in scored.findings.items() if "skipped" in finding}
    assert {"losers", "sweeps", "matching"} & set(STUDIES) <= set(skipped)
    shown = Page(page.render(scored))
    for name, reason in skipped.items():
        assert name in shown.ids("section")
        assert f"Not asked here: {reason}" in words(shown)


def test_numbers_of_equal_rules_stand_together():
    def made(**changes):
        return Passport(
            **{"protocol": "standard", "rules": STANDARD.rules, "queries": 3, "gallery": 5, "digest": "d"} | changes
        )

    held = {
        "a": made(answerable=2, distractors=1).to_dict(),
        "b": made(protocol="map", rules={"score": "other"}).to_dict(),
        "c": made(label="category", sets="query:gallery", lost=4).to_dict(),
    }
    first, second = passports.by_rules(held)
    assert [holder.name for holder in first.holders] == ["a", "c"]
    assert first.holders[0].counts == [
        (3, "queries"), (2, "with an answer"), (5, "in the gallery"), (1, "relevant to no query"),
    ]  # fmt: skip
    assert first.holders[1].counts[-1] == (4, "ids without a record")
    assert (second.protocol, second.rules) == ("map", [("score", "other")])
    assert passports.by_rules({}) == []
    assert first.changed == first.rules
    again = passports.by_rules(held | {"d": made(rules=STANDARD.rules | {"missing": "is left out"}).to_dict()})[2]
    assert again.changed == [("missing", "is left out")]


def headline(fused, image, text, count=1000):
    row = Row("hit@1", "find it", {"fused": fused, "image": image, "text": text}, None)
    return Headline("queries", "find it", row, "", count)


@pytest.mark.parametrize(
    ("fused", "says"), [(0.9, "better than text alone"), (0.5, "worse than text"), (0.81, "cannot be told from text")]
)
def test_the_summary_says_which_modality_helps(fused, says):
    section = {"name": "scores", "title": "Scores", "study": None}
    (sentence,) = summary.sentences([headline(fused, 0.3, 0.8)], {}, [{"sections": [section]}])
    assert says in sentence.text
    assert "image alone does least (30" in sentence.text
    assert (sentence.name, sentence.title) == ("scores", "Scores")


def test_the_summary_takes_the_headlines_of_studies_and_the_modality_that_is_missing_most():
    quoted = html.sentence("{name} loses", name="<b>")
    sections = [
        {"name": "losers", "title": "Who loses", "study": {"headline": quoted}},
        {"name": "space", "title": "Map", "study": {}},
        {"name": "health", "title": "Data health", "study": None},
    ]
    bars = {"text": [StateBar("train", {"present": 8, "absent": 2})], "image": [StateBar("train", {"present": 10})]}
    said = summary.sentences([], bars, [{"sections": sections}])
    assert [one.name for one in said] == ["losers", "health"]
    assert said[0].text == "<bdi>&lt;b&gt;</bdi> loses"
    assert said[1].text.startswith("Most often missing is text: 20")
    bars["text"] = [StateBar("train", {"present": 8})]
    assert summary.sentences([], bars, [{"sections": sections}])[1].text.startswith("No listing lacks")
