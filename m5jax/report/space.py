"""The map of the product space as a drawing: dots by category, and pictures of some of the listings."""

import dataclasses
from typing import Any

import numpy as np

from m5jax import modalities
from m5jax.modalities import State
from m5jax.report import pictures
from m5jax.report.scored import Scored
from m5jax.studies.subject import Finding

WIDTH, AIR, LEAST_HEIGHT = 1000, 34, 320  # units of the viewBox; air at every side
CELL, SIDE, PIXELS = 58, 46, 64  # a picture lies inside a cell of its own; its side in the drawing and in pixels
MOST_PICTURES = 150
LINE = 22  # between the names of two groups


@dataclasses.dataclass(frozen=True)
class Picture:
    """A listing's picture: `x` and `y` of its upper left corner, the data: URI, and what it shows."""

    x: float
    y: float
    uri: str
    title: str
    category: str


@dataclasses.dataclass(frozen=True)
class Group:
    """Listings of one colour: the category's name ("" the rest), how many, their dots, and where the name stands."""

    name: str
    colour: str
    count: int
    dots: list[tuple[float, float]]
    x: float
    y: float


def view(finding: Finding, scored: Scored) -> dict[str, Any]:
    """What the template draws."""
    places, height = placed(np.asarray(finding["points"]))
    group = np.asarray(finding["group"])
    groups = []
    for number, name in enumerate(finding["groups"]):
        dots = places[group == number]
        middle = np.median(dots, axis=0)
        points = [(round(float(x), 1), round(float(y), 1)) for x, y in dots]
        groups.append(Group(name, f"k{number}", len(dots), points, float(middle[0]), float(middle[1])))
    return {
        "width": WIDTH,
        "height": height,
        "side": SIDE,
        "groups": _apart(groups),
        "pictures": _pictures(finding, places, scored),
        **{name: finding[name] for name in ("method", "explained", "embedded", "near", "near_embedded", "split")},
        "drawn": len(places),
    }


def placed(points: np.ndarray) -> tuple[np.ndarray, int]:
    """Places in the drawing of points whose larger side goes from 0 to 1, and its height: one scale for both axes."""
    across = WIDTH - 2 * AIR
    spread = float(points[:, 1].max()) * across
    height = max(LEAST_HEIGHT, round(spread + 2 * AIR))
    return points * across + [AIR + across * (1 - points[:, 0].max()) / 2, (height - spread) / 2], height


def spread(places: np.ndarray, shown: np.ndarray) -> dict[int, tuple[float, float]]:
    """Which listings have their picture drawn, and where, so that none covers another.

    Of every cell the listing nearest to its middle; of more cells than `MOST_PICTURES`, evenly chosen ones.

    Args:
      places: float [N, 2].
      shown: bool [N], listings with a picture.
    """
    cells: dict[tuple[int, int], list[int]] = {}
    for row in np.flatnonzero(shown).tolist():
        cells.setdefault((int(places[row, 0] // CELL), int(places[row, 1] // CELL)), []).append(row)
    names = sorted(cells)
    chosen = np.linspace(0, len(names) - 1, min(MOST_PICTURES, len(names))).round().astype(int)
    corners = {}
    for cell in (names[position] for position in chosen):
        low = np.asarray(cell) * CELL
        row = min(cells[cell], key=lambda row, low=low: (float(((places[row] - low - CELL / 2) ** 2).sum()), row))
        x, y = np.clip(places[row] - SIDE / 2, low, low + CELL - SIDE)
        corners[row] = (float(x), float(y))
    return corners


def _pictures(finding: Finding, places: np.ndarray, scored: Scored) -> list[Picture]:
    inputs, index = scored.config.inputs, scored.embedded[finding["split"]].index
    rows = np.asarray(finding["rows"])
    if "image" not in inputs.modalities or inputs.image.source != "raw":
        return []
    has = index.states[rows, modalities.NAMES.index("image")] == State.PRESENT
    records = scored.prepared.records(finding["split"])
    drawn = []
    for number, (x, y) in spread(places, has).items():
        row = int(rows[number])
        uri = pictures.square(records[row], PIXELS)
        drawn.append(Picture(round(x, 1), round(y, 1), uri, index.titles[row], index.categories[row]))
    return drawn


def _apart(groups: list[Group]) -> list[Group]:
    """The groups with their names at different heights, in the order given."""
    moved: dict[int, float] = {}
    lowest = -np.inf
    for number in sorted(range(len(groups)), key=lambda n: groups[n].y):
        lowest = moved[number] = max(groups[number].y, lowest + LINE)
    return [dataclasses.replace(group, y=round(moved[n], 1), x=round(group.x, 1)) for n, group in enumerate(groups)]
