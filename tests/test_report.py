"""The page: whole whatever is missing, and its numbers those of the scores."""

import re

import numpy as np
import pytest
from reports import DIM, Page, embedded, listing, make_scored
from small import small_config

from m5jax.evals import suite
from m5jax.report import html
from m5jax.report import page as report
from m5jax.run_folder import RunFolder

SECTIONS = ["summary", "scores", "harmony", "gallery", "extremes", "health", "passports", "training", "reproduce"]
MAX_BYTES = 15_000_000


def rich(folder, config=None, queries=6, **more):
    """A catalogue with something of everything."""
    config = config or small_config()
    kinds = [("image", "text", "table", "video", "audio"), ("text", "table"), ("video",), ("audio", "image")]

    def several(start, count):
        return [listing(number, config, present=kinds[number % 4]) for number in range(start, start + count)]

    splits = {"train": several(0, 16), "val": several(16, 4), "gallery": several(20, 16), "query": several(36, queries)}
    return make_scored(folder, splits, config, **more)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    steps = [
        {
            "step": step,
            "loss": 5.0 - step / 100,
            "contrastive": 3.0,
            "contrastive/image-text": 2.5,
            "masked_region": 1.0,
        }
        | {"learning_rate": 1e-3, "grad_norm": 1.0, "examples_per_s": 300.0, "skipped": 2.0, "damaged": 0.0}
        for step in (*range(1, 61), 9000)
    ]
    scores = [{"step": step, "retrieval/category/fused/p@1": step / 100} for step in (20, 40, 60, 9000)]
    note = {"id": "listing-1", "reason": "field_without_value", "detail": "", "modality": "table", "lost": False}
    scored = rich(tmp_path_factory.mktemp("rich"), metrics=steps, evaluations=scores, rejections=[note])
    return scored, Page(report.render(scored))


def test_sections_are_there_in_order(page):
    _, shown = page
    assert shown.ids("section") == SECTIONS
    links = [link.removeprefix("#") for link in shown.attributes("href")]
    assert links[: len(SECTIONS)] == SECTIONS
    assert set(links) <= {*SECTIONS, "contents"}


def test_numbers_are_the_scores(page):
    scored, shown = page
    for caption, prefix in (
        ("Retrieval of the same category", "retrieval/category"),
        ("Retrieval of the same product", "retrieval/instance"),
        ("Category by nearest neighbours", "classification/knn"),
        ("Category by linear probe", "classification/probe"),
        ("Clusters against categories", "clustering"),
    ):
        rows = shown.captioned(caption)
        _, *subsets = rows.pop("")
        assert subsets == ["fused", "image", "text", "table", "video", "audio"]
        for metric, (_, *cells) in rows.items():
            assert cells == [f"{scored.scores[f'{prefix}/{subset}/{metric}']:.3f}" for subset in subsets], metric
        shown_metrics = {name.rpartition("/")[2] for name in scored.scores if name.startswith(prefix)}
        left_out = {"queries", "answerable", "gallery", "distractors", "train", "test", "unlabelled"}
        left_out |= {"hit@1", "map@1", "recall@1", "ndcg@1"}
        assert set(rows) == shown_metrics - left_out - {"converged", "listings", "clusters", "seeds"}


def test_summary_says_what_the_first_rank_means_and_what_it_would_be_by_chance(page):
    scored, shown = page
    value = scored.scores["retrieval/category/fused/p@1"]
    assert f"{html.percent(value)} of the queries find their own category nearest to them" in words(shown)
    gallery = scored.embedded["gallery"].index.categories
    chance = np.mean([np.mean(gallery == category) for category in scored.embedded["query"].index.categories])
    assert f"By chance it would be {html.percent(float(chance))}" in words(shown)
    assert "1.23 million parameters, after 60 updates" in words(shown)


def words(page):
    """The text with every run of blanks as one."""
    return re.sub(r"[ \n]+", " ", page.text)


def test_with_several_sources_the_summary_says_how_each_does_by_itself(tmp_path):
    scored = EDGES["several sources"](tmp_path)
    report.write(scored)
    page = Page(scored.folder.report.read_text(encoding="utf-8"))
    assert "same category within each source: p@1: " in page.text
    share = html.percent(scored.scores["source/a/b/retrieval/category/fused/p@1"])
    assert f"a/b {share}" in page.text


def test_logs_are_shown_up_to_the_scored_step(page):
    _, shown = page
    assert "loss 4.4" in words(shown)
    assert "image-text 2.50 → 2.50" in words(shown)
    assert "2 updates were not finite and were not made" in words(shown)
    assert "Scores during training" in shown.text
    assert "9,000" not in shown.text


def test_notes_are_counted_beside_rejections(page):
    _, shown = page
    assert "Nothing was rejected: all 42 rows" in words(shown)
    assert "nothing lost that could have been used: 1 × table: field without value." in words(shown)


def test_every_modality_of_a_listing_is_seen(page):
    _, shown = page
    shown_as = [values["alt"] for tag, values in shown.elements if tag == "img"]
    assert {"", "film strip", "spectrogram"} == set(shown_as)


def test_neighbours_are_marked_right_where_the_category_is_the_same(tmp_path):
    config = small_config()
    kinds = ("shoe", "shirt", "watch")
    gallery = [listing(number, config, category=(kind,)) for number, kind in enumerate(kinds)]
    scored = make_scored(
        tmp_path,
        {"gallery": gallery, "query": [listing(9, config, category=("shirt",), instance_id="product-1")]},
        config,
        vectors={"gallery": np.asarray([[1, 0.1], [1, 0.2], [1, 0.3]]), "query": np.asarray([[1.0, 0.0]])},
    )
    shown = words(Page(report.render(scored)))
    assert "shirt 1 of 3 right, average precision 0.50" in shown
    assert re.search(r"✗ 1 0.995 .*✓ 2 0.981 .*same product.*✗ 3 0.958", shown)


def test_worst_answer_says_what_it_was_taken_for(tmp_path):
    config = small_config()
    gallery = [listing(n, config, category=("watch" if n < 3 else "shoe",)) for n in range(4)]
    query = [listing(9, config, category=("shoe",))]
    vectors = {"gallery": np.eye(DIM)[[0, 0, 0, 1]], "query": np.eye(DIM)[:1]}
    scored = make_scored(tmp_path, {"gallery": gallery, "query": query}, config, vectors=vectors)
    assert "taken for watch (3×)" in words(Page(report.render(scored)))


def test_queries_shown_come_from_all_categories_and_are_the_same_again(tmp_path):
    config = small_config(inputs__modalities=("text",))
    sizes = {"large": 30, "middle": 5, "small": 1}
    many = [kind for kind, size in sizes.items() for _ in range(size)]
    splits = {
        split: [listing(start + n, config, category=(kind,)) for n, kind in enumerate(many)]
        for start, split in ((0, "gallery"), (100, "query"))
    }
    scored = make_scored(tmp_path, splits, config)
    first, second = (re.search('<section id="gallery">.*?</section>', report.render(scored), re.S) for _ in range(2))
    headings = re.findall(r"<h4><bdi>(\w+)</bdi>", first[0])
    assert {kind: headings.count(kind) for kind in sizes} == {"large": 6, "middle": 5, "small": 1}
    assert first[0] == second[0]


TEXT_ALONE = small_config(inputs__modalities=("text",), evaluate__probe=False)


def many(count, **fields):
    """Listings, all with these fields."""
    ids = (f"{fields.get('source', 'id')}-{number:03}" for number in range(count))
    return [listing(number, small_config(), id=identity, **fields) for number, identity in enumerate(ids)]


def everywhere(listings):
    """The same listings in every split that is scored."""
    return dict.fromkeys(("train", "gallery", "query"), listings)


EDGES = {
    "no queries": lambda folder: make_scored(folder, {"train": many(12), "gallery": many(12)}),
    "training alone": lambda folder: make_scored(folder, {"train": many(6)}),
    "one query": lambda folder: rich(folder, queries=1),
    "one listing a split": lambda folder: make_scored(folder, everywhere(many(1))),
    "no harmony": lambda folder: rich(folder, harmony=False),
    "no categories": lambda folder: make_scored(folder, everywhere(many(12, category=()))),
    "no labels": lambda folder: make_scored(folder, everywhere(many(12, category=(), instance_id=""))),
    "one category": lambda folder: make_scored(folder, everywhere(many(12, category=("a",)))),
    "hundreds of categories": lambda folder: make_scored(
        folder, everywhere([listing(n, TEXT_ALONE, category=("goods", f"kind {n}")) for n in range(300)]), TEXT_ALONE
    ),
    "several sources": lambda folder: make_scored(
        folder, everywhere([*many(6), *many(6, source="a/b"), *many(2, source="")])
    ),
    "one modality": lambda folder: rich(folder, small_config(inputs__modalities=("text",))),
    "features": lambda folder: rich(
        folder, small_config(inputs__image__source="features", inputs__image__feature_dim=8)
    ),
    "deep ranks alone": lambda folder: rich(folder, small_config(evaluate__ks=(5,))),
    "log of NaN": lambda folder: rich(folder, metrics=[{"step": 1, "loss": np.nan, "contrastive": np.inf}]),
    "one step": lambda folder: rich(folder, metrics=[{"step": 1, "loss": 2.0, "contrastive/image-text": 1.0}]),
    "long log": lambda folder: rich(folder, metrics=[{"step": n / 100, "loss": 1 / (1 + n)} for n in range(5000)]),
    "long texts": lambda folder: make_scored(
        folder, everywhere(many(12, title="x" * 65_000, category=("y" * 65_000,)))
    ),
}


@pytest.mark.parametrize("edge", EDGES)
def test_report_survives(edge, tmp_path):
    scored = EDGES[edge](tmp_path)
    report.write(scored)
    shown = Page(scored.folder.report.read_text(encoding="utf-8"))
    assert shown.ids("section") == SECTIONS
    assert not re.search(r"\b(nan|inf|None|Undefined|NaN)\b", shown.text)
    assert not re.search(r"\b(nan|inf|None)\b", " ".join([*shown.attributes("points"), *shown.attributes("style")]))
    assert scored.folder.report.stat().st_size < MAX_BYTES / 10


def test_real_prepared_folder_is_reported(prepared, three_modalities, tmp_path):
    parts = {split: embedded(prepared, three_modalities, split, True) for split in prepared.splits}
    run = RunFolder(tmp_path)
    found = suite.retrieve(parts["query"], parts["gallery"], three_modalities)
    scored = report.Scored(run, prepared, three_modalities, 4, 1, "m5jax", found.scores, found.results, parts)
    report.write(scored)
    shown = words(Page(run.report.read_text(encoding="utf-8")))
    assert "goods > shoe" in shown
    assert prepared.manifest["digest"] in shown


def test_settings_that_differ_from_the_defaults_are_named(tmp_path):
    shown = Page(report.render(rich(tmp_path, small_config(seed=77))))
    (rows,) = [table for table in shown.tables if table[0][:1] == ["setting"]]
    changed = {first.partition("\n")[0]: rest for first, *rest in rows}
    assert changed["config.seed"] == ["77", "0"]
    assert "config.precision" not in changed


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (0.0004, "under 0.1 %"), (0.0123, "1.2 %"), (0.484, "48 %"), (0.9996, "100.0 %"), (1, "100 %")],
)
def test_percent_is_as_precise_as_it_makes_sense(share, text):
    assert html.percent(share) == text.replace(" %", "\u202f%")
