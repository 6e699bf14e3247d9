"""Charts as plain numbers, in the units of an SVG viewBox; the page draws and colours them.

Colours are CSS classes, so that a chart follows the reader's light or dark theme: `COLOURS` names them.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from m5jax import modalities

WIDTH, HEIGHT = 320, 190
SPARK_WIDTH, SPARK_HEIGHT, SPARK_AIR = 120, 28, 3
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 8, 34  # margins of the plot, where its labels stand
# What the page needs of these to draw axes.
FRAME = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT, "bottom": HEIGHT - BOTTOM}
SPARK_FRAME = {"width": SPARK_WIDTH, "height": SPARK_HEIGHT}
MOST_POINTS = 200  # of one line
FEW_POINTS = 20  # up to here each is drawn as a dot too
LOG_FROM = 20.0  # largest over smallest value from which on a scale that may be logarithmic is

COLOURS = {"fused": "c0"} | {name: f"c{number}" for number, name in enumerate(modalities.NAMES, start=1)}

Curve = tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
      name: what it shows.
      colour: CSS class.
      points: (x, y) in the units of the viewBox, at most about `MOST_POINTS`.
      last: its last value, in the unit of the data.
      spreads: (x, upper end, lower end) of the bars that say how far a point is from sure.
    """

    name: str
    colour: str
    points: list[tuple[float, float]]
    last: float
    spreads: Sequence[tuple[float, float, float]] = ()

    @property
    def dots(self) -> list[tuple[float, float]]:
        """The points that are drawn one by one: those of a short line."""
        return self.points if len(self.points) <= FEW_POINTS else []


@dataclasses.dataclass(frozen=True)
class Chart:
    """Lines over one axis.

    Attributes:
      title: what is shown.
      unit: of the vertical axis.
      x_label: of the horizontal axis, with its unit.
      lines: at least one.
      x_ticks, y_ticks: (position, label).
    """

    title: str
    unit: str
    x_label: str
    lines: list[Line]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]


def chart(
    title: str,
    curves: Mapping[str, Curve],
    *,
    unit: str,
    x_label: str,
    from_zero: bool = False,
    may_log: bool = False,
    up_to: float | None = None,
    looks: Mapping[str, str] = COLOURS,
    spreads: Mapping[str, Float[np.ndarray, "n"]] | None = None,
) -> Chart | None:
    """A chart of some curves; None if they hold no finite point.

    Args:
      title: what is shown.
      curves: by name, x ascending; points that are not finite are left out.
      unit: of the vertical axis.
      x_label: of the horizontal axis, with its unit.
      from_zero: the vertical axis begins at 0.
      may_log: the vertical axis is logarithmic where that helps; values are positive.
      up_to: the vertical axis reaches so far at least, for charts that are to be compared.
      looks: CSS classes of the lines by name, where they are not of the modalities.
      spreads: of some curves without gaps, how far up and down of each point a bar goes.
    """
    finite = {name: _finite(*curve) for name, curve in curves.items()}
    finite = {name: curve for name, curve in finite.items() if len(curve[0])}
    if not finite:
        return None
    xs, ys = (np.concatenate([curve[axis] for curve in finite.values()]) for axis in (0, 1))
    ends = [finite[name][1] + sign * spread for name, spread in (spreads or {}).items() for sign in (-1, 1)]
    ys = np.concatenate([ys, *ends, [] if up_to is None else [up_to]])
    log = may_log and ys.max() >= LOG_FROM * ys.min()
    low, high = _range(np.log10(ys) if log else ys, from_zero and not log)
    left, right = _range(xs, False) if xs.min() == xs.max() else (xs.min(), xs.max())

    def place(x: np.ndarray, y: np.ndarray) -> list[tuple[float, float]]:
        across = LEFT + (x - left) / (right - left) * (WIDTH - LEFT - RIGHT)
        up = TOP + (high - (np.log10(y) if log else y)) / (high - low) * (HEIGHT - TOP - BOTTOM)
        return [(round(float(a), 1), round(float(u), 1)) for a, u in zip(across, up, strict=True)]

    def bars(x: np.ndarray, y: np.ndarray, spread: np.ndarray | None) -> list[tuple[float, float, float]]:
        if spread is None:
            return []
        return [
            (a, upper, lower) for (a, upper), (_, lower) in zip(place(x, y + spread), place(x, y - spread), strict=True)
        ]

    lines = [
        Line(name, looks.get(name, "c0"), place(*thin(x, y)), float(y[-1]), bars(x, y, (spreads or {}).get(name)))
        for name, (x, y) in finite.items()
    ]
    x_values, y_values = ticks(left, right, 4), log_ticks(low, high) if log else ticks(low, high)
    across = [x for x, _ in place(np.asarray(x_values), np.full(len(x_values), ys[0]))]
    up = [y for _, y in place(np.full(len(y_values), xs[0]), np.asarray(y_values))]
    x_ticks = list(zip(across, labels(x_values), strict=True))
    y_ticks = list(zip(up, labels(y_values), strict=True))
    return Chart(title, unit, x_label, lines, x_ticks, y_ticks)


def tail(title: str, sizes: Int[np.ndarray, "n"]) -> Chart | None:
    """The sizes of classes, largest first, as a curve; None if there are none."""
    ranks = np.arange(1, len(sizes) + 1)
    return chart(
        title,
        {"sizes": (ranks, sizes)},
        unit="listings",
        x_label="classes, largest first",
        from_zero=True,
        may_log=True,
    )


@dataclasses.dataclass(frozen=True)
class Sparkline:
    """A line of a word's size, without axes: `points` in its viewBox, its `first` and `last` value beside it."""

    name: str
    points: list[tuple[float, float]]
    first: float
    last: float


def sparklines(curves: Mapping[str, Curve]) -> list[Sparkline]:
    """Curves on one common scale, to be compared; those without a finite point are left out."""
    finite = {name: _finite(*curve) for name, curve in curves.items()}
    finite = {name: thin(*curve) for name, curve in finite.items() if len(curve[0])}
    if not finite:
        return []
    xs, ys = (np.concatenate([curve[axis] for curve in finite.values()]) for axis in (0, 1))
    across = (SPARK_WIDTH - 2 * SPARK_AIR) / max(float(xs.max() - xs.min()), 1e-9)
    up = (SPARK_HEIGHT - 2 * SPARK_AIR) / max(float(ys.max() - ys.min()), 1e-9)
    return [
        Sparkline(
            name,
            [
                (round(float(SPARK_AIR + (a - xs.min()) * across), 1), round(float(SPARK_AIR + (ys.max() - b) * up), 1))
                for a, b in zip(x, y, strict=True)
            ],
            float(y[0]),
            float(y[-1]),
        )
        for name, (x, y) in finite.items()
    ]


def thin(x: Float[np.ndarray, "n"], y: Float[np.ndarray, "n"], most: int = MOST_POINTS) -> Curve:
    """At most `most` points of a curve: its ends and the extremes of each stretch, so that no spike is lost."""
    if len(x) <= most:
        return x, y
    kept = {0, len(x) - 1}
    for stretch in np.array_split(np.arange(len(x)), max(1, most // 2 - 1)):
        kept |= {int(stretch[np.argmin(y[stretch])]), int(stretch[np.argmax(y[stretch])])}
    rows = sorted(kept)
    return x[rows], y[rows]


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """At most `most` (at least 2) round numbers from `low` to `high`, evenly spaced."""
    size, values = 10.0 ** math.floor(math.log10((high - low) / most)), []
    for step in (size * factor for factor in (1, 2, 2.5, 5, 10, 20)):
        values = [n * step for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
        if len(values) <= most:
            break
    return values


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten between the logarithms `low` and `high`, with 2 and 5 times those where there are few."""
    powers = range(math.floor(low), math.floor(high) + 1)
    for factors in ((1,), (1, 2, 5)):
        values = [factor * 10.0**power for power in powers for factor in factors]
        inside = [value for value in values if low <= math.log10(value) <= high]
        if len(inside) > 2:
            break
    return inside


def label(value: float, digits: int = 4) -> str:
    """A value in so many digits: 1,000 or 0.25 or 1e-05."""
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 10**digits / 10 else f"{value:,.{digits}g}"


def labels(values: Sequence[float]) -> list[str]:
    """Values as short as they can be told apart."""
    texts: list[str] = []
    for digits in (4, 7, 10):
        texts = [label(value, digits) for value in values]
        if len(set(texts)) == len(texts):
            break
    return texts


def _finite(x: np.ndarray, y: np.ndarray) -> Curve:
    keep = np.isfinite(x) & np.isfinite(y)
    return x[keep], y[keep]


def _range(values: np.ndarray, from_zero: bool) -> tuple[float, float]:
    """The ends of an axis: those of the values and a little air."""
    low, high = float(values.min()), float(values.max())
    air = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return (min(0.0, low) if from_zero else low - air), high + air
