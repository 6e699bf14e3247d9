"""Product matching of a catalogue's pairs: the finding, what it leaves out, and its section of the report."""

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from reports import Page, listing, make_scored
from small import small_config

from m5jax.data.prepared import PAIRS
from m5jax.report import matching as section
from m5jax.report import page as report
from m5jax.studies import matching
from m5jax.studies.subject import Subject

CONFIG = small_config(inputs__modalities=("image", "text", "table"))


def never(*_):
    raise AssertionError("matching embeds nothing again")


def subject(folder, listings, vectors, pairs):
    """A model that made these vectors of the training listings, and pairs of (left, right, match, split)."""
    scored = make_scored(folder, {"train": listings}, CONFIG, vectors={"train": np.asarray(vectors, np.float64)})
    if pairs is not None:
        columns = dict(zip(("left", "right", "match", "split"), zip(*pairs, strict=True), strict=True))
        table = pa.table({name: list(column) for name, column in columns.items()})
        pq.write_table(table, scored.prepared.folder / PAIRS, write_page_checksum=True)
    return scored, Subject(CONFIG, scored.prepared, scored.embedded, scored.scores, scored.results, never)


def angles(*degrees):
    """Vectors whose cosines are those of differences between angles."""
    turned = np.deg2rad(degrees)
    return np.stack([np.cos(turned), np.sin(turned)], 1)


NAMES = [f"id-{number:03}" for number in range(8)]
PLACES = angles(0, 10, 20, 60, 90, 95, 0, 0)
KNOWN = [
    (NAMES[0], NAMES[3], False, "train"),  # training pairs have no say
    (NAMES[0], NAMES[1], True, "val"),  # 10 degrees
    (NAMES[1], NAMES[3], False, "val"),  # 50
    (NAMES[4], NAMES[5], True, "test"),  # 5: found
    (NAMES[0], NAMES[2], True, "test"),  # 20: missed
    (NAMES[0], NAMES[6], False, "test"),  # 0: mistaken
    (NAMES[0], NAMES[4], False, "test"),  # 90
    (NAMES[1], NAMES[7], True, "test"),  # shows nothing: missed
    (NAMES[1], "gone", True, "test"),  # became no record: missed
    ("gone", "lost", True, "test"),  # of no source
]


def known(folder):
    listings = [listing(number, CONFIG, **({"present": ()} if number == 7 else {})) for number in range(8)]
    listings[6] = listing(6, CONFIG, present=("text",), title="<script>alert(1)</script>")
    return subject(folder, listings, PLACES, KNOWN)


def test_the_threshold_is_that_of_validation_and_the_scores_are_of_test(tmp_path):
    _, asked = known(tmp_path)
    finding = matching.study(asked)
    json.dumps(finding, allow_nan=False)
    (source,) = finding["sources"]
    assert (source["source"], source["best"]) == ("shop", "fused")
    assert source["pairs"] == {"test": 6, "train": 1, "val": 2}
    assert source["matches"] == {"test": 4, "val": 1}
    fused = source["subsets"]["fused"]
    assert fused["threshold"] == round(np.cos(np.deg2rad(10)), 4)
    assert fused["val"]["f1"] == 1.0
    # Called: 5 and 0 degrees; matches: 4.
    scores = {"precision": 1 / 2, "recall": 1 / 4, "f1": 2 / 6, "accuracy": 2 / 6, "coverage": 4 / 6}
    assert {name: fused["test"][name] for name in scores} == {name: round(of, 4) for name, of in scores.items()}
    assert fused["test"]["pairs"] == 6
    assert [pair["score"] for pair in source["missed"]] == [None, None, round(np.cos(np.deg2rad(20)), 4)]
    assert [(pair["left"], pair["right"]) for pair in source["mistaken"]] == [(NAMES[0], NAMES[6])]
    passport = finding["passport"]
    assert (passport["queries"], passport["gallery"], passport["lost"]) == (6, 8, 1)


def test_words_are_a_yardstick_of_their_own(tmp_path):
    titles = ["red pan x1", "pan red x1", "blue lid", "lid of blue", "", "green cup 7", "cup 7 green", "teal jar"]
    listings = [listing(number, CONFIG, title=title, fields=()) for number, title in enumerate(titles)]
    pairs = [
        (NAMES[0], NAMES[1], True, "val"),
        (NAMES[2], NAMES[7], False, "val"),
        (NAMES[5], NAMES[6], True, "test"),
        (NAMES[2], NAMES[3], True, "test"),  # one has a word more: below the threshold of 1
        (NAMES[4], NAMES[0], False, "test"),  # no word: never called
    ]
    (source,) = matching.study(subject(tmp_path, listings, PLACES, pairs)[1])["sources"]
    assert source["words"]["threshold"] == 1.0
    expected = {"called": 1.0, "precision": 1.0, "recall": 0.5, "coverage": round(2 / 3, 4)}
    assert {name: source["words"]["test"][name] for name in expected} == expected


def test_a_subset_alone_has_its_own_threshold_and_misses_what_lacks_it(tmp_path):
    _, asked = known(tmp_path)
    (source,) = matching.study(asked)["sources"]
    image = source["subsets"]["image"]["test"]
    assert image["coverage"] == round(3 / 6, 4)  # listing 6 has a title alone
    assert image["precision"] == 1.0


def test_every_source_has_a_threshold_of_its_own(tmp_path):
    listings = [listing(number, CONFIG, source="a" if number < 4 else "b") for number in range(8)]
    pairs = [
        (NAMES[0], NAMES[1], True, "val"),
        (NAMES[0], NAMES[2], True, "test"),
        (NAMES[4], NAMES[5], False, "val"),
        (NAMES[6], NAMES[7], True, "test"),
    ]
    _, asked = subject(tmp_path, listings, PLACES, pairs)
    first, second = matching.study(asked)["sources"]
    assert first["subsets"]["fused"]["test"]["f1"] == 0.0
    assert (second["source"], second["best"], set(second["subsets"].values())) == ("b", None, {None})
    assert second["missed"] == second["mistaken"] == []


def test_without_pairs_or_without_a_split_of_them_it_says_so(tmp_path):
    listings = [listing(number, CONFIG, instance_id="") for number in range(8)]
    assert "no pairs" in matching.study(subject(tmp_path / "none", listings, PLACES, None)[1])["skipped"]
    pairs = [(NAMES[0], NAMES[1], True, "train"), (NAMES[0], NAMES[2], True, "val"), ("gone", "lost", True, "test")]
    found = matching.study(subject(tmp_path / "some", listings, PLACES, pairs)[1])["skipped"]
    assert found == "a threshold needs pairs of the splits val and test; there are 1 train, 1 val"


def test_the_section_shows_scores_and_titles_that_stay_inert(tmp_path):
    scored, asked = known(tmp_path)
    finding = matching.study(asked)
    made = section.view(finding, scored)
    assert made["headline"] == (
        "Of pairs of listings of <bdi>shop</bdi> that are one product 25\u202f% are recognised by fused, and 50\u202f%"
        " of those called are right."
    )
    shown = report.render(dataclasses.replace(scored, findings={"matching": finding}))
    page = Page(shown)
    assert "<script>" not in shown
    assert "<script>alert(1)</script>" in page.text
    (rows,) = [table for table in page.tables if table[0][0] == "vector of"]
    assert [row[:6] for row in rows if row[0] == "fused"] == [["fused", "0.985", "1.000", "0.333", "0.333", "0.500"]]


def test_the_section_says_where_no_threshold_could_be_chosen(tmp_path):
    listings = [listing(number, CONFIG) for number in range(8)]
    pairs = [(NAMES[0], NAMES[1], False, "val"), (NAMES[0], NAMES[2], True, "test")]
    scored, asked = subject(tmp_path, listings, PLACES, pairs)
    shown = report.render(dataclasses.replace(scored, findings={"matching": matching.study(asked)}))
    assert shown.count("no validation pair with both vectors is a match: no threshold") == 5
