"""Charts as numbers: round ticks, nothing outside the frame, nothing that is not finite."""

import numpy as np
import pytest

from m5jax.report import figures


def curve(*values):
    return np.arange(len(values), dtype=float), np.asarray(values, float)


def draw(curves, **options):
    return figures.chart("loss", curves, **({"unit": "nats", "x_label": "step"} | options))


@pytest.mark.parametrize("low", [-3.0, 0.0, 0.9, 1e-5, 4e6])
@pytest.mark.parametrize("span", [1e-6, 0.031, 1.0, 9.99, 12345.6])
@pytest.mark.parametrize("most", [3, 5])
def test_ticks_are_round_few_and_inside(low, span, most):
    found = figures.ticks(low, low + span, most)
    steps = np.diff(found)
    assert 1 <= len(found) <= most
    assert all(low - 1e-3 * span <= tick <= low + 1.001 * span for tick in found)
    assert steps == pytest.approx(steps[:1].repeat(len(steps)), rel=0.01)
    digits = [f"{step:.1e}".split("e")[0].rstrip("0") for step in steps[:1]]
    assert all(digit in ("1.", "2.", "2.5", "5.") for digit in digits)


def test_logarithmic_ticks_are_powers_of_ten_and_finer_where_those_are_few():
    assert figures.log_ticks(0.0, 3.1) == [1, 10, 100, 1000]
    assert figures.log_ticks(0.5, 1.9) == [5, 10, 20, 50]


def test_points_lie_inside_the_frame_and_upwards_is_more():
    chart = draw({"fused": curve(1, 5, 3), "text": curve(2, 2, 9)})
    for line in chart.lines:
        for x, y in line.points:
            assert figures.LEFT <= x <= figures.WIDTH - figures.RIGHT
            assert figures.TOP <= y <= figures.HEIGHT - figures.BOTTOM
    first = chart.lines[0].points
    assert first[1][1] < first[2][1] < first[0][1]
    assert [line.colour for line in chart.lines] == ["c0", "c2"]


def test_ticks_stand_where_their_values_are():
    chart = draw({"loss": curve(0, 10, 20)}, from_zero=True)
    at = {label: y for y, label in chart.y_ticks}
    assert at["10"] == pytest.approx(chart.lines[0].points[1][1], abs=0.2)


@pytest.mark.parametrize("values", [(3.0,), (0.0,), (2.0, 2.0, 2.0), (1e9, 1e-9), (-5.0, -5.0)])
@pytest.mark.parametrize("options", [{}, {"from_zero": True}])
def test_flat_and_short_curves_are_drawn(values, options):
    chart = draw({"loss": curve(*values)}, **options)
    assert np.isfinite(chart.lines[0].points).all()
    assert chart.y_ticks
    assert chart.x_ticks


def test_what_is_not_finite_is_left_out():
    chart = draw({"loss": curve(1, np.nan, 3, np.inf), "text": curve(np.nan)})
    assert [line.name for line in chart.lines] == ["loss"]
    assert len(chart.lines[0].points) == 2
    assert chart.lines[0].last == 3
    assert draw({"loss": curve(np.nan)}) is None
    assert draw({}) is None


def test_scale_is_logarithmic_only_where_that_helps():
    long_tail, even = curve(1000, 100, 10, 1), curve(12, 11, 10)
    labels = [label for _, label in draw({"a": long_tail}, may_log=True).y_ticks]
    assert labels == ["1", "10", "100", "1,000"]
    drops = -np.diff([-y for _, y in draw({"a": long_tail}, may_log=True).lines[0].points])
    assert drops == pytest.approx(drops[0], abs=0.2)
    assert draw({"a": even}, may_log=True).y_ticks == draw({"a": even}).y_ticks


def test_thinned_curve_keeps_ends_and_spikes():
    x, y = curve(*np.random.default_rng(0).uniform(1, 2, 10_000))
    y[[1234, 8765]] = 90, -90
    few_x, few_y = figures.thin(x, y)
    assert len(few_x) <= figures.MOST_POINTS
    assert {0, 1234, 8765, 9999} <= set(few_x)
    assert (few_y == y[few_x.astype(int)]).all()
    assert (np.diff(few_x) > 0).all()
    assert figures.thin(x[:50], y[:50]) == (pytest.approx(x[:50]), pytest.approx(y[:50]))


def test_sparklines_share_one_scale():
    low, high = figures.sparklines({"low": curve(1, 1), "nothing": curve(np.nan), "high": curve(3, 3)})
    assert (low.name, low.first, low.last) == ("low", 1, 1)
    assert low.points[0][1] == figures.SPARK_HEIGHT - figures.SPARK_AIR
    assert high.points[0][1] == figures.SPARK_AIR
    assert figures.sparklines({}) == []


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (1234.0, "1,234"), (0.25, "0.25"), (1e-5, "1e-05")])
def test_labels_are_short(value, text):
    assert figures.label(value) == text


def test_ticks_of_a_narrow_range_are_told_apart():
    assert figures.labels([15.0, 15.0005, 15.001]) == ["15", "15.0005", "15.001"]
    assert figures.labels([0.0, 0.5, 1.0]) == ["0", "0.5", "1"]
    assert figures.labels([10_000.0, 10_000.5]) == ["10,000", "10,000.5"]
