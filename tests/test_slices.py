"""Groups of queries: who is in which, what they score, and when a group is told from the whole."""

import collections

import numpy as np
import pytest

from m5jax.evals import bootstrap, slices
from m5jax.evals.slices import ABOVE, ALIKE, BELOW, LEAST, TOO_FEW, UNSEEN, Grouping


def groups_of(grouping):
    """Per group its queries."""
    rows = collections.defaultdict(list)
    for row, group in enumerate(grouping.of):
        if group >= 0:
            rows[grouping.names[group]].append(row)
    return dict(rows)


def sliced(values, names, clusters=None):
    values = np.asarray(values, float)
    clusters = np.arange(len(values)) if clusters is None else np.asarray(clusters)
    return slices.slices({"ap": values}, slices.by_name(np.asarray(names, object)), clusters, "ap", 0)


def test_a_group_has_the_scores_of_its_queries_and_those_without_name_are_in_none():
    values = np.asarray([0.2, 0.4, 0.9, 1.0, 0.0, 0.5])
    names = np.asarray(["b", "a", "b", "", "b", "a"], object)
    grouping = slices.by_name(names)
    assert groups_of(grouping) == {"a": [1, 5], "b": [0, 2, 4]}
    first, second = slices.slices(
        {"hit": (values > 0.3).astype(float), "ap": values},
        grouping,
        np.asarray([0, 1, 2, 3, 2, 5]),
        decides="ap",
        seed=0,
    )
    assert (first.name, first.scores["ap"].mean, first.scores["hit"].mean) == ("a", pytest.approx(0.45), 1.0)
    assert first.score == first.scores["ap"]
    assert (second.scores["ap"].queries, second.scores["ap"].clusters) == (3, 2)
    assert second.scores["ap"].mean == pytest.approx(1.1 / 3)


def test_a_group_is_below_only_if_its_whole_interval_is():
    random = np.random.default_rng(0)
    low, same, high = random.random(60) * 0.3, random.random(400), 1 - random.random(60) * 0.3
    names = ["low"] * 60 + ["same"] * 400 + ["high"] * 60
    found = {one.name: one for one in sliced([*low, *same, *high], names)}
    assert {name: one.verdict for name, one in found.items()} == {"low": BELOW, "same": ALIKE, "high": ABOVE}


def test_the_score_that_decides_may_stand_anywhere():
    random = np.random.default_rng(0)
    low = np.concatenate([random.random(50) * 0.2, 1 - random.random(50) * 0.2])
    names = slices.by_name(np.asarray(["a"] * 50 + ["b"] * 50, object))
    verdicts = [
        [one.verdict for one in slices.slices({"x": 1 - low, "y": low}, names, np.arange(100), decides, 0)]
        for decides in ("x", "y")
    ]
    assert verdicts == [[ABOVE, BELOW], [BELOW, ABOVE]]


def test_few_products_tell_nothing_however_many_queries_they_have():
    values = [0.0] * 50 + [1.0] * 50
    names = ["lost"] * 50 + ["found"] * 50
    lost, found = sliced(values, names, [n % (LEAST - 1) for n in range(50)] + list(range(100, 150)))[::-1]
    assert (lost.name, lost.verdict) == ("lost", TOO_FEW)
    assert lost.scores["ap"].queries == 50
    assert found.verdict == ABOVE
    lost = sliced(values, names, [n % LEAST for n in range(50)] + list(range(100, 150)))[1]
    assert lost.verdict == BELOW


def test_by_chance_fewer_than_one_group_in_forty_is_called_below(monkeypatch):
    monkeypatch.setattr(bootstrap, "REPLICATES", 300)
    random, verdicts = np.random.default_rng(0), collections.Counter()
    for _ in range(40):
        values = np.where(random.random(400) < 0.5, 1.0, random.random(400))
        verdicts.update(one.verdict for one in sliced(values, [str(number % 20) for number in range(400)]))
    assert verdicts.total() == 800
    assert verdicts[BELOW] < 800 / 40
    assert verdicts[ABOVE] < 800 / 40


def test_worst_come_first_and_those_that_tell_nothing_last():
    values = [0.9] * 20 + [0.1] * 20 + [0.0] * 3 + [0.9] * 20
    names = ["d"] * 20 + ["b"] * 20 + ["a"] * 3 + ["c"] * 20
    found = sliced(values, names)
    assert [one.name for one in slices.worst_first(found)] == ["b", "c", "d", "a"]
    assert [one.name for one in slices.largest_first(found)] == ["b", "c", "d", "a"]
    assert [one.name for one in slices.largest_first(sliced([0.5] * 5, list("ababb")))] == ["b", "a"]


def test_no_query_is_in_no_group():
    nothing = np.zeros(0)
    grouping = slices.by_name(nothing.astype(object))
    assert grouping.names == ()
    assert slices.slices({"ap": nothing}, grouping, nothing, "ap", 0) == []
    assert slices.by_frequency(nothing.astype(int)).names == ()
    assert len(slices.hardest_first(nothing, nothing, nothing)) == 0


def test_tenths_run_from_head_to_tail_and_what_was_never_seen_is_apart():
    seen = np.asarray([*range(1, 41), 0, 0, -1])
    grouping = slices.by_frequency(seen)
    assert grouping.names[0] == "1: 37 to 40 in training"
    assert grouping.names[9:] == ("10: 1 to 4 in training", UNSEEN)
    assert [len(rows) for rows in groups_of(grouping).values()] == [4] * 10 + [2]
    assert groups_of(grouping)[UNSEEN] == [40, 41]
    assert grouping.of[42] == -1


def test_a_category_is_not_cut_into_tenths():
    # 60 queries of one category, 20 of two rarer ones that are equally rare, 20 of ones shown once.
    seen = np.asarray([500] * 60 + [7] * 20 + [1] * 20)
    np.random.default_rng(0).shuffle(seen)
    grouping = slices.by_frequency(seen)
    assert grouping.names == ("4: 500 in training", "8: 7 in training", "10: 1 in training")
    assert {name: set(seen[rows]) for name, rows in groups_of(grouping).items()} == {
        "4: 500 in training": {500},
        "8: 7 in training": {7},
        "10: 1 in training": {1},
    }
    assert slices.by_frequency(np.zeros(3, int)).names == (UNSEEN,)
    assert slices.by_frequency(np.full(3, -1)).names == ()


def test_tenths_have_equal_shares_of_queries_where_no_category_is_large():
    seen = np.random.default_rng(0).zipf(1.3, 3000).clip(max=10**6)
    sizes = np.bincount(slices.by_frequency(seen).of)
    largest = np.unique(seen, return_counts=True)[1].max()
    assert sizes.max() <= 300 + largest
    assert sizes.sum() == 3000


def test_some_of_the_queries_keep_the_groups_they_are_in():
    whole = Grouping(np.asarray([2, -1, 0, 2, 1]), ("a", "b", "c"))
    some = whole.rows(np.asarray([0, 1, 4]))
    assert some.names == ("b", "c")
    assert some.of.tolist() == [1, -1, 0]
    assert whole.rows(np.asarray([2, 3])).of.tolist() == [0, 1]
    assert whole.rows(np.asarray([1])).names == ()


def test_hardest_queries_come_first_and_equals_take_turns():
    values = np.asarray([0.0, 0.0, 0.0, 1.0, 0.5, 0.0])
    nearest = np.asarray([0.9, 0.8, 0.7, 0.1, 0.9, 0.2])
    groups = np.asarray(["a", "a", "b", "a", "a", "b"], object)
    assert slices.hardest_first(values, nearest, groups).tolist() == [0, 2, 1, 5, 4, 3]
    expected = slow_hardest_first(values, nearest, groups)
    assert slices.hardest_first(values, nearest, groups).tolist() == expected
    random = np.random.default_rng(0)
    values, groups = random.integers(0, 4, 200) / 3, random.integers(0, 7, 200)
    nearest = random.random(200)
    assert slices.hardest_first(values, nearest, groups).tolist() == slow_hardest_first(values, nearest, groups)


def slow_hardest_first(values, nearest, groups):
    order = []
    for value in sorted(set(values)):
        equal = [row for row in range(len(values)) if values[row] == value]
        by_group = collections.defaultdict(list)
        for row in sorted(equal, key=lambda row: -nearest[row]):
            by_group[groups[row]].append(row)
        while any(by_group.values()):
            turn = [rows.pop(0) for rows in by_group.values() if rows]
            order += sorted(turn, key=lambda row: -nearest[row])
    return order
