"""Validation as a person meets it: the command, the page, the text."""

import json
import re

import pytest
import runs
from reports import Page, jpeg, listing
from small import small_config
from test_report_hostile import HOSTILE, MARKS
from validated import IMAGE_TOO, TEXT_AND_TABLE, found_in, ready

from m5jax.report import html, validation, validation_text
from m5jax.validation import survey

SECTIONS = ["summary", "states", "rejections", "tail", "duplicates", "leaks", "budgets", "suspicious"]


def rendered(folder, splits, config=IMAGE_TOO, rejections=()):
    made = ready(folder, splits, config, rejections)
    found = survey.survey(made)
    return Page(validation.render(found, made)), validation_text.render(found)


def hostile_page(folder, texts):
    """Every one of some texts in every place that a seller fills, in listings that are examples of something."""
    train = [
        listing(
            number,
            IMAGE_TOO,
            present=("text", "table") if number % 2 else ("image", "text"),
            id=f"id {number} {text}",
            title=f"title {text}",
            category=(f"category {text}",),
            source=f"source {text}",
            fields=((f"name {text}", f"value {text}"),) * 3,
        )
        for number, text in enumerate(texts)
    ]
    query = [listing(100 + number, IMAGE_TOO, title=f"title {text}") for number, text in enumerate(texts)]
    row = {"reason": "truncated", "line": 1, "modality": "image"}
    rejections = [row | {key: f"{key} {texts[0]}" for key in ("id", "detail", "file")}]
    return rendered(folder, {"train": train, "query": query}, rejections=rejections)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return [hostile_page(tmp_path_factory.mktemp("hostile"), HOSTILE[start : start + 4]) for start in range(0, 40, 4)]


def test_hostile_text_makes_no_element_and_no_attribute(hostile, tmp_path):
    for number, (page, _) in enumerate(hostile[:5]):
        tame, _ = hostile_page(tmp_path / f"{number}", MARKS[4 * number : 4 * number + 4])
        tags = [{tag for tag, _ in shown.elements} for shown in (page, tame)]
        names = [{name for _, values in shown.elements for name in values} for shown in (page, tame)]
        assert tags[0] <= tags[1]
        assert names[0] <= names[1]


def test_page_is_inert_and_shows_hostile_text(hostile):
    for number, (page, _) in enumerate(hostile):
        (policy,) = [values["content"] for tag, values in page.elements if "http-equiv" in values]
        assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
        assert not {tag for tag, _ in page.elements} & {"script", "iframe", "object", "form", "link", "base"}
        assert not [name for _, values in page.elements for name in values if name.startswith("on")]
        assert all(re.fullmatch(r"data:image/jpeg;base64,[A-Za-z0-9+/=]+", source) for source in page.attributes("src"))
        assert all(re.fullmatch(r"#[a-z]+", link) for link in page.attributes("href"))
        assert not re.search("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]", page.text)
        for text in HOSTILE[4 * number : 4 * number + 4]:
            assert f"title {html.clean(text)}" in page.text
            assert f"category {html.clean(text)}" in page.text
        assert f"detail {html.clean(HOSTILE[4 * number])}" in page.text


def test_text_does_nothing_to_a_terminal(hostile):
    for _, text in hostile:
        assert not re.search("[\0-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]", text)
        assert max(map(len, text.splitlines())) < 500


def many(count, config, start=0, **fields):
    return [listing(start + number, config, **fields) for number in range(count)]


VIDEO_ALONE = small_config(inputs__modalities=("video",))
FEATURES = small_config(inputs__image__source="features", inputs__image__feature_dim=8)
EDGES = {
    "one listing": (IMAGE_TOO, lambda c: {"train": many(1, c)}),
    "no training": (IMAGE_TOO, lambda c: {"gallery": many(4, c), "query": many(4, c, 9)}),
    "no labels": (IMAGE_TOO, lambda c: {"train": many(6, c, category=(), instance_id="", source="")}),
    "nothing to read": (VIDEO_ALONE, lambda c: {"train": many(3, c, title="", fields=()), "val": many(2, c, 9)}),
    "features": (FEATURES, lambda c: {"train": many(4, c), "query": many(2, c)}),
    "all the same": (IMAGE_TOO, lambda c: dict.fromkeys(("train", "val", "query"), many(1, c) * 12)),
    "long texts": (TEXT_AND_TABLE, lambda c: {"train": many(4, c, title="x" * 65_000, category=("y" * 65_000,))}),
}


@pytest.mark.parametrize("edge", EDGES)
def test_page_and_text_survive(edge, tmp_path):
    config, splits = EDGES[edge]
    page, text = rendered(tmp_path, splits(config), config)
    assert page.ids("section") == SECTIONS
    assert [link.removeprefix("#") for link in page.attributes("href")] == SECTIONS
    for shown in (page.text, text, " ".join([*page.attributes("points"), *page.attributes("style")])):
        assert not re.search(r"\b(nan|inf|None|Undefined|NaN)\b", shown)
        assert len(shown) < 100_000


def test_numbers_of_page_and_text_are_those_found(tmp_path):
    twins = [
        listing(number, IMAGE_TOO, title=f"title {number % 3}", image=jpeg(18, 18, number % 2)) for number in range(6)
    ]
    splits = {"train": twins, "query": [listing(9, IMAGE_TOO, title="title 0")]}
    found = found_in(tmp_path / "found", splits)
    page, text = rendered(tmp_path / "page", splits)
    (title,) = [repeats for repeats in found.repeats if repeats.kind == "title"]
    (rows,) = [table for table in page.tables if table[0] == ["the same", "listings", "share", "groups", "largest"]]
    by_kind = {first.partition("\n")[0]: [cell.strip() for cell in rest] for first, *rest in rows[1:]}
    assert by_kind["title"][::2] == [f"{title.repeated}", f"{title.groups}"] == ["7", "3"]
    assert re.search(r"title +7 +100.% +3 +3\n", text)
    assert len(page.attributes("src")) > 6


def test_the_command_writes_data_text_and_page(three_modalities, tmp_path, capsys):
    assert runs.run(three_modalities, tmp_path, "--config.mode=validate") == 0
    shown, path = capsys.readouterr().out, tmp_path / "validation.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    assert values["listings"] == 48
    assert path.with_suffix(".txt").read_text(encoding="utf-8") in shown
    assert Page(path.with_suffix(".html").read_text(encoding="utf-8")).ids("section") == SECTIONS
    assert values["budgets"][0]["length"] == three_modalities.inputs.text.length
    assert "config.data.corruption" not in shown
