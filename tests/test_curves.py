"""Logs as charts."""

import numpy as np

from m5jax.report import curves


def test_objectives_of_any_model_are_drawn_and_counters_are_not():
    row = {"step": 1, "loss": 3.0, "link": 1.0, "masked_entity": 2.0, "contrastive/image-text": 0.5}
    row |= {"grad_norm": 1.0, "ms_per_step": 9.0, "skipped": 1.0, "damaged": 3.0}
    found = curves.training([row, row | {"step": 2, "skipped": 4.0}])
    assert [(chart.title, chart.unit) for chart in found.loss] == [
        ("loss", "weighted sum of the parts"),
        ("link", ""),
        ("masked entity", "nats"),
    ]
    assert [pair.name for pair in found.pairs] == ["image-text"]
    assert [chart.title for chart in found.pace] == ["grad norm"]
    assert (found.skipped, found.damaged) == (4, 3)


def test_no_log_gives_no_chart():
    assert curves.training([]) == curves.Training([], [], [], 0, 0)


def test_column_that_begins_late_is_drawn_from_there():
    found = curves.training([{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0, "link": 1.0}])
    assert [len(chart.lines[0].points) for chart in found.loss] == [2, 1]


def scores(step, value):
    return {"step": step, "retrieval/category/fused/p@1": value, "retrieval/category/text/p@1": value / 2}


def test_scores_are_drawn_once_a_step_in_order_and_the_last_of_a_step_counts():
    rows = [scores(20, 0.1), scores(40, 0.2), scores(40, 0.4), scores(30, 0.3)]
    (chart,) = curves.evaluations(rows, ("fused", "text"), (1, 5))
    assert [line.name for line in chart.lines] == ["fused", "text"]
    heights = [-y for _, y in chart.lines[0].points]
    assert len(heights) == 3
    assert (np.diff(heights) > 0).all()
    assert chart.lines[0].last == 0.4


def test_scores_of_one_step_are_no_curve():
    assert curves.evaluations([scores(60, 0.1), scores(60, 0.2)], ("fused",), (1,)) == []
    assert curves.evaluations([], ("fused",), (1,)) == []
