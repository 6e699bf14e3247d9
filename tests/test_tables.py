"""Which numbers a report shows, and what stands beside them."""

import numpy as np
import pytest
from reports import listing, make_scored
from small import small_config

from m5jax.report import tables
from m5jax.report.tables import Headline, Row


def row(chance=None, name="p@1", **values):
    return Row(name, "", values, chance)


def test_best_is_the_one_highest_value():
    assert row(fused=0.2, image=0.5, text=None).best == "image"
    assert row(fused=0.5, image=0.5).best == ""
    assert row(fused=0.5, image=None).best == ""
    assert row(fused=0.0, image=0.0).best == ""
    assert row(name="coverage", fused=1.0, image=0.5).best == ""


def test_interval_is_wilsons():
    # Newcombe, Two-sided confidence intervals for the single proportion, 1998, table I: 81 of 263, and 0 of 20.
    low, high = Headline("", "", row(fused=81 / 263), "", 263).interval
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    low, high = Headline("", "", row(fused=0.0), "", 20).interval
    assert (low, round(high, 4)) == (0.0, 0.1611)


def test_single_modality_is_better_only_beyond_the_interval():
    assert Headline("", "", row(fused=0.50, audio=0.55), "", 100).beaten_by == ""
    assert Headline("", "", row(fused=0.50, audio=0.55), "", 10_000).beaten_by == "audio"
    assert Headline("", "", row(fused=0.50, audio=0.45), "", 10_000).beaten_by == ""


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    config = small_config(inputs__modalities=("text",), evaluate__probe=False)

    def some(start, sizes):
        return [
            listing(start + n, config, source=source, category=(kind,), instance_id="")
            for n, (source, kind) in enumerate((s, k) for s, kinds in sizes.items() for k in kinds)
        ]

    splits = {
        "query": some(0, {"": "ab", "big": "aab", "lone": "z"}),
        "gallery": some(20, {"": "aabb", "big": "abcc"}),
        "train": some(40, {"big": "aaab"}),
    }
    return make_scored(tmp_path_factory.mktemp("scored"), splits, config)


def test_chance_is_the_share_of_the_gallery_that_is_right(scored):
    query, gallery = scored.embedded["query"].index, scored.embedded["gallery"].index
    everywhere = tables.retrieval_by_chance(query, gallery, "category", (1,))
    assert everywhere["p@1"] == pytest.approx(np.mean([2, 2, 1, 1, 1]) / 8)  # the query of "lone" has no answer
    within = tables.retrieval_by_chance(query, gallery, "category", (1,), source="big")
    assert within["p@1"] == pytest.approx(1 / 4)
    assert tables.retrieval_by_chance(query, gallery, "category", (1,), source="lone") == {}
    assert tables.retrieval_by_chance(query, gallery, "instance", (1,)) == {}


def test_most_frequent_category_of_training_is_the_other_chance_level(scored):
    train, test = scored.embedded["train"].index, scored.embedded["query"].index
    # "a" of source "big" is two of six queries; "a" of the source without name is another label.
    assert tables.classification_by_chance(train, test) == {"accuracy": pytest.approx(2 / 6)}


def test_source_tables_hold_the_scores_of_each_source(scored):
    query, gallery = scored.embedded["query"].index, scored.embedded["gallery"].index
    found = tables.source_tables(scored.scores, ("fused", "text"), (1, 3), query, gallery)
    assert [table.title for table in found] == [
        "Same category within each source: p@1",
        "Same category within each source: map",
    ]
    unnamed, big = found[0].rows
    assert (unnamed.name, big.name) == ("(no name)", "big")
    assert big.meaning == "3 queries, 4 in the gallery"
    assert big.values["text"] == scored.scores["source/big/retrieval/category/text/p@1"]
    assert big.chance == pytest.approx(1 / 4)


def test_rank_one_is_told_once_and_only_ranks_that_were_scored_are_named():
    scores = {f"retrieval/category/fused/{name}": 0.5 for name in ("p@1", "hit@1", "p@4", "hit@4", "map@4", "queries")}
    (table,) = tables.score_tables(scores, ("fused",), (1, 4), {})
    assert [row.name for row in table.rows] == ["p@1", "p@4", "hit@4", "map@4"]


def test_coverage_is_told_only_where_something_is_not_covered():
    full = {"clustering/fused/nmi": 0.5, "clustering/fused/coverage": 1.0, "clustering/fused/listings": 9.0}
    (table,) = tables.score_tables(full, ("fused", "text"), (1,), {})
    assert [row.name for row in table.rows] == ["nmi"]
    assert table.counts == [(9, "listings clustered")]
    partly = full | {"clustering/text/coverage": 0.5}
    (table,) = tables.score_tables(partly, ("fused", "text"), (1,), {})
    assert table.rows[-1].values == {"fused": 1.0, "text": 0.5}


def test_headlines_name_the_first_rank_that_was_scored():
    scores = {"retrieval/category/fused/hit@5": 0.5, "retrieval/category/fused/answerable": 9.0}
    (headline,) = tables.headlines(scores, ("fused",), (5, 10), {})
    assert headline.sentence == "find their own category among the 5 nearest of the gallery"
    assert (headline.value, headline.count) == (0.5, 9)
    assert tables.headlines({}, ("fused",), (1,), {}) == []
