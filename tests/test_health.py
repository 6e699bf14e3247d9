"""What a catalogue lacks: counts, combinations, the long tail, and why things were rejected."""

import json

import numpy as np
import pytest
from reports import listing, write_prepared
from small import small_config

from m5jax.data.prepared import REJECTIONS
from m5jax.modalities import State
from m5jax.report import health


def ready(folder, listings, rejections=()):
    return write_prepared(folder, {"train": listings}, small_config(), rejections)


def test_states_are_counted_by_modality_and_split(tmp_path):
    states = [State.PRESENT, State.EMPTY, State.CORRUPT, State.PRESENT, State.ABSENT]
    listings = [listing(n, small_config(), states=(state,) * 5, image=b"") for n, state in enumerate(states)]
    bars = health.state_bars(ready(tmp_path, listings))
    assert list(bars) == ["image", "text", "table", "video", "audio"]
    (bar,) = bars["audio"]
    assert bar == health.StateBar("train", {"present": 2, "absent": 1, "empty": 1, "corrupt": 1})
    assert list(bar.counts) == ["present", "absent", "empty", "corrupt"]
    assert bar.total == 5


def test_combinations_are_ordered_and_the_rare_ones_summed_up(tmp_path):
    config, names = small_config(), ("image", "text", "table", "video", "audio")
    present = [names[:2]] * 3 + [
        tuple(n for bit, n in enumerate(names) if number >> bit & 1) for number in range(1, 32)
    ]
    index = ready(tmp_path, [listing(n, config, present=p) for n, p in enumerate(present)]).index("train")
    found = health.combinations([index])
    assert (found[0].names, found[0].count) == (("image", "text"), 4)
    assert len(found) == health.MOST_COMBINATIONS + 1
    assert (found[-1].names, found[-1].count) == ((), 34 - 4 - (health.MOST_COMBINATIONS - 1))
    assert sum(combination.share for combination in found) == pytest.approx(1)


def test_categories_tell_of_the_long_tail(tmp_path):
    sizes = [40, 7, 6, 5, 5, 4, 1, 1, 1, 1, 1, 1]
    categories = [(f"kind {kind:02}",) for kind, size in enumerate(sizes) for _ in range(size)] + [(), ()]
    config = small_config(inputs__modalities=("text",))
    listings = [listing(n, config, category=category) for n, category in enumerate(categories)]
    found = health.categories([ready(tmp_path, listings).index("train")])
    assert list(found.sizes) == sizes
    assert found.largest[0] == ("kind 00", 40)
    assert found.smallest[-1] == ("kind 11", 1)
    assert (found.top_count, found.top_share) == (1, pytest.approx(40 / 73))
    assert (found.rare, found.unknown) == (7, 2)


def test_catalogue_without_categories_has_none(tmp_path):
    index = ready(tmp_path, [listing(0, small_config(), category=())]).index("train")
    assert health.categories([index]) is None


@pytest.mark.parametrize("sizes", [[1], [3, 3, 3], [100, 1, 1, 1], [9, 5, 2, 2, 1, 1]])
def test_gini_is_half_the_mean_difference_over_the_mean(sizes):
    slow = np.mean([abs(a - b) for a in sizes for b in sizes]) / 2 / np.mean(sizes)
    assert health.gini(np.asarray(sizes)) == pytest.approx(slow)


def test_rejections_come_by_reason_with_a_few_examples(tmp_path):
    rows = [
        {"id": f"{n}", "reason": reason, "detail": "", "line": n, "modality": modality, "file": "a\u2028b\u0085c.jpg"}
        for reason, modality, count in (("empty", "image", 2), ("truncated", "image", 5), ("missing_id", "", 1))
        for n in range(count)
    ]
    folder = ready(tmp_path, [listing(0, small_config())], rows)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder.folder / REJECTIONS).write_text(text, encoding="utf-8")
    found = health.rejections(folder)
    assert [(r.modality, r.reason, r.count) for r in found] == [
        ("image", "truncated", 5),
        ("image", "empty", 2),
        ("listing", "missing_id", 1),
    ]
    assert found[0].meaning == "a part of it is missing"
    assert found[0].examples == rows[2:5]
    assert health.notes(folder) == []
    assert health.rejections(ready(tmp_path / "clean", [listing(0, small_config())])) == []


def test_notes_are_counted_by_reason_and_are_no_rejections(tmp_path):
    rows = [
        {"id": f"{n}", "reason": reason, "detail": "", "line": 0, "modality": modality, "file": "", "lost": lost}
        for n, (reason, modality, lost) in enumerate(
            [("unknown_id", "", False), *[("field_without_value", "table", False)] * 3, ("empty", "image", True)]
        )
    ]
    folder = ready(tmp_path, [listing(0, small_config())], rows)
    assert health.notes(folder) == [
        health.Noted("table", "field_without_value", 3),
        health.Noted("listing", "unknown_id", 1),
    ]
    assert [(r.reason, r.count, len(r.examples)) for r in health.rejections(folder)] == [("empty", 1, 1)]
