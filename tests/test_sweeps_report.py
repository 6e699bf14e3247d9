"""How sweeps are shown: the sentence, the charts, every number; and lines with spreads and looks of their own."""

import dataclasses

import numpy as np
import pytest
from reports import Page, listing, make_scored
from small import small_config

from m5jax.evals import sweeps as arithmetic
from m5jax.report import figures, sweeps
from m5jax.report import page as report

CATEGORY, PRODUCT = "retrieval/category/p@1", "retrieval/instance/p@1"


def finding(lines, scores=(CATEGORY, PRODUCT), told=True, ratios=(0.0, 0.5, 1.0), corrupted=("query", "gallery")):
    """A finding of the study made of curves: {sweep: values}, the same for every score."""

    def curve(values):
        lost = values[0] - values[-1]
        ends = [lost - 0.05, lost + 0.05] if told else [-0.1, 0.1]
        return {"values": values} | arithmetic.summary(ratios, values, 0.1) | {"lost_between": ends}

    return {
        "corrupted": list(corrupted),
        "seed": 0,
        "ratios": list(ratios),
        "listings": {"query": 126, "gallery": 1320},
        "embedded": {"query": 500, "gallery": 4000},
        "chance": dict.fromkeys(scores, 0.1),
        "passports": {},
        "passport": {
            "protocol": "standard",
            "rules": {"score": "cosine"},
            "queries": 126,
            "gallery": 1320,
            "digest": "0" * 16,
        },
        "sweeps": {
            name: {
                "changed": {"query": [0, 60, 120], "gallery": [0, 600, 1234]},
                "scores": {score: curve(values) for score in scores},
            }
            for name, values in lines.items()
        },
    }


LINES = {
    "missing_text": [0.9, 0.8, 0.62],
    "missing_mixed": [0.9, 0.5, 0.3],
    "noise_text": [0.9, 0.5, 0.3],
    "noise_image+text": [0.9, 0.6, 0.4],
}


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (finding(LINES), "Wrong titles hurt most: with all of them wrong, 30 % of the queries find their own category"
                         " nearest, instead of 90 % (62 % with as many missing); half of the gain over chance is lost"
                         " at 50 %."),
        (finding({"missing_image": [0.9, 0.8, 0.7]}, ratios=(0.0, 0.2, 0.8)),
         "Missing pictures hurt most: with 80 % of them missing, 70 % of the queries find their own category nearest,"
         " instead of 90 %."),
        (finding({"noise_audio": [0.5, 0.3, 0.2]}, (PRODUCT,)),
         "Wrong sounds hurt most: with all of them wrong, 20 % of the queries find the same product nearest, instead"
         " of 50 %; half of the gain over chance is lost at 50 %."),
        (finding({"MMR": [0.9, 0.8, 0.7], "missing_text": [0.9, 0.9, 0.9]}),
         "Title or picture missing (MMR) hurt most: with all of the listings corrupted, 70 % of the queries find their"
         " own category nearest, instead of 90 %."),
        (finding(LINES, told=False), "Nothing that was taken away or put in the wrong place costs more than chance"
                                     " explains."),
    ],
)  # fmt: skip
def test_the_sentence_says_what_hurts_most_if_anything_does(made, says):
    assert sweeps.headline(made, next(iter(made["chance"]))).replace("\u202f", " ") == says


@pytest.mark.parametrize("corrupted", [("query", "gallery"), ("query",), ("gallery",)])
def test_charts_tables_and_counts_are_those_of_the_finding(tmp_path, corrupted):
    splits = {split: [listing(n, small_config()) for n in range(3)] for split in ("gallery", "query")}
    made = finding(LINES, corrupted=corrupted)
    made["sweeps"]["missing_text"]["scores"][CATEGORY]["lost_between"] = [0.0123, 0.3]
    page = Page(report.render(dataclasses.replace(make_scored(tmp_path, splits), findings={"sweeps": made})))
    assert "sweeps" in page.ids("section")
    rows = page.captioned(CATEGORY)
    assert rows["at"][:3] == ["0\u202f%", "50\u202f%", "100\u202f%"]
    assert list(rows)[1:] == ["anything missing", "wrong titles", "wrong pictures and titles", "missing titles"]
    assert rows["missing titles"] == ["0.900", "0.800", "0.620", "0.780", "0.2800.012 to 0.300", "–"]
    assert page.captioned("Listings changed")["wrong titles"] == ["0, 0", "60, 600", "120, 1,234"]
    labels = page.attributes("aria-label")
    assert [label for label in labels if label in ("titles", "anything", "pictures and titles")] == [
        "titles", "anything", "pictures and titles",
    ] * 2  # fmt: skip
    side = {2: "of both", 1: {"query": "of the queries", "gallery": "of the gallery's listings"}.get(corrupted[0])}
    assert side[len(corrupted)] in " ".join(page.text.split())


def test_a_score_without_an_interval_is_shown_without_one(tmp_path):
    splits = {split: [listing(n, small_config()) for n in range(3)] for split in ("gallery", "query")}
    accuracy = "classification/head/accuracy"
    made = finding(LINES, (CATEGORY, accuracy))
    for line in made["sweeps"].values():
        del line["scores"][accuracy]["lost_between"]
    page = Page(report.render(dataclasses.replace(make_scored(tmp_path, splits), findings={"sweeps": made})))
    assert page.captioned(accuracy)["missing titles"] == ["0.900", "0.800", "0.620", "0.780", "0.280", "–"]


def test_lines_have_looks_and_bars_that_stay_inside_the_frame():
    x = np.asarray([0.0, 50.0, 100.0])
    curves = {"model": (x, np.asarray([90.0, 60.0, 30.0])), "chance": (x, np.full(3, 10.0))}
    options = {"unit": "", "x_label": "", "from_zero": True}
    chart = figures.chart(
        "a", curves, looks={"model": "k2 dashed"}, spreads={"model": np.asarray([5.0, 0.0, 9.0])}, **options
    )
    assert chart is not None
    model, chance = chart.lines
    assert (model.colour, chance.colour, chance.spreads) == ("k2 dashed", "c0", [])
    for (across, height), (at, upper, lower) in zip(model.points, model.spreads, strict=True):
        assert at == across
        assert figures.TOP <= upper <= height <= lower <= figures.HEIGHT - figures.BOTTOM
        assert height - upper == pytest.approx(lower - height, abs=0.11)
    assert [upper == lower for _, upper, lower in model.spreads] == [False, True, False]
    higher = figures.chart("a", curves, up_to=200, **options)
    assert higher is not None
    assert higher.lines[0].points[0][1] > model.points[0][1]  # further down, for there is more above
