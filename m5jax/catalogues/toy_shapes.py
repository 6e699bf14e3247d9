"""Silhouettes of the embedded catalogue's categories (catalogues/toy.py): a small drawing language and 24 products.

A shape is a list of parts from back to front, "tone kind numbers" a line, on a grid of 100 x 100 with y down.

Tones: body, shade and shine take the product's colour (as it is, darker, lighter); trim and pale are dark and
light grey; gap lets the backdrop through. Kinds: oval (centre, radii), arc (centre, radii, width, from and to in
degrees, clockwise from the right), box (two corners, corner radius), bar (two ends, width), poly (corners),
curve (points of a closed spline).
"""

import functools

import numpy as np

SHAPES = {
    "kettle": """
        trim arc 50 38 25 24 6 180 360
        body poly 66 54 88 34 96 40 78 76
        body curve 50 36 72 42 82 66 78 84 50 87 22 84 18 66 28 42
        shade box 22 80 78 88 3
        shade oval 50 40 19 5
        trim oval 50 34 4 4
        shine curve 32 50 36 50 33 68 29 68
    """,
    "mug": """
        shade arc 72 52 18 18 8 270 450
        body box 22 22 74 82 7
        shade oval 48 25 24 5
        shine box 29 36 35 72 3
    """,
    "frying pan": """
        trim bar 56 44 94 12 8
        shade oval 40 56 33 33
        body oval 40 56 28 28
        shine arc 40 56 20 20 4 180 250
    """,
    "goblet": """
        body poly 46 56 54 56 54 82 46 82
        body oval 50 86 22 5
        body curve 27 12 73 12 74 34 62 56 50 61 38 56 26 34
        shade oval 50 14 23 4
        shine curve 34 22 38 22 38 40 35 40
    """,
    "chair": """
        trim bar 32 66 28 94 6
        trim bar 66 66 72 94 6
        shade box 28 8 68 60 7
        body box 33 14 63 56 5
        body box 24 58 74 70 5
        shine box 38 20 42 50 2
    """,
    "table lamp": """
        trim bar 50 44 50 84 6
        shade oval 50 87 22 6
        body poly 36 10 64 10 82 50 18 50
        shine poly 40 14 45 14 38 46 30 46
        pale oval 50 52 7 5
    """,
    "sofa": """
        trim box 20 74 26 86 1
        trim box 74 74 80 86 1
        shade box 16 26 84 66 10
        body box 8 42 24 78 7
        body box 76 42 92 78 7
        body box 22 54 78 76 5
        shade bar 50 32 50 72 2
        shine box 28 32 44 37 2
        shine box 56 32 72 37 2
    """,
    "bookcase": """
        body box 20 8 80 94 3
        gap box 26 14 74 38 1
        gap box 26 43 74 65 1
        gap box 26 70 74 90 1
        trim box 30 18 37 38 1
        shade box 39 22 45 38 1
        pale box 47 17 54 38 1
        shade box 54 46 61 65 1
        trim box 63 50 69 65 1
        pale box 30 76 50 90 2
    """,
    "T-shirt": """
        body poly 34 16 66 16 96 38 84 56 72 48 72 90 28 90 28 48 16 56 4 38
        shade poly 28 48 32 44 32 90 28 90
        shade poly 72 48 68 44 68 90 72 90
        gap oval 50 15 12 8
        shade arc 50 15 15 11 3 5 175
    """,
    "handbag": """
        trim arc 50 40 20 26 5 180 360
        body poly 22 40 78 40 90 88 10 88
        shade poly 22 40 78 40 82 58 18 58
        pale oval 50 58 5 5
        shine bar 24 66 20 82 3
    """,
    "trousers": """
        body poly 28 8 72 8 80 94 58 94 50 36 42 94 20 94
        shade box 28 8 72 17 1
        trim box 47 9 53 16 1
        shade poly 50 36 54 40 60 94 58 94
        shine bar 33 26 29 84 3
    """,
    "cap": """
        shade curve 56 62 78 56 95 66 92 72 70 68 52 70
        body curve 14 64 18 38 42 24 62 34 72 62 44 67
        trim oval 43 26 4 3
        shade bar 43 28 42 64 2
        shade bar 30 31 24 62 2
        shine curve 54 36 60 44 62 54 57 46
    """,
    "headphones": """
        trim arc 50 52 34 36 7 180 360
        body box 10 50 28 84 8
        body box 72 50 90 84 8
        shade box 24 54 33 80 4
        shade box 67 54 76 80 4
        shine box 14 56 18 74 2
    """,
    "camera": """
        shade box 32 20 62 36 4
        body box 8 30 92 80 7
        trim oval 50 56 22 22
        pale oval 50 56 16 16
        trim oval 50 56 12 12
        shine oval 45 51 4 4
        pale box 74 36 86 44 2
        trim box 14 24 26 31 2
        shine box 14 38 20 70 3
    """,
    "loudspeaker": """
        body box 26 6 74 94 6
        shade oval 50 64 20 20
        trim oval 50 64 16 16
        pale oval 50 64 6 6
        shade oval 50 26 12 12
        trim oval 50 26 9 9
        pale oval 50 26 3 3
        shine box 30 12 33 88 1
    """,
    "game controller": """
        body curve 24 30 50 34 76 30 92 52 92 78 80 82 66 64 50 62 34 64 20 82 8 78 8 52
        trim box 22 44 40 50 2
        trim box 28 38 34 56 2
        pale oval 66 47 4 4
        pale oval 77 47 4 4
        trim oval 71 40 4 4
        trim oval 71 54 4 4
    """,
    "rubber duck": """
        body curve 12 54 34 58 52 54 78 54 82 70 62 86 34 86 16 74
        body oval 66 34 19 19
        trim poly 82 32 97 36 95 42 82 42
        trim oval 70 30 3 4
        shade curve 28 62 50 62 56 72 42 78 30 74
        shine oval 58 24 4 4
    """,
    "toy truck": """
        shade box 6 30 58 68 3
        body poly 58 36 78 36 92 54 92 70 58 70
        pale poly 64 41 76 41 85 54 64 54
        body box 6 62 92 72 2
        trim oval 24 74 12 12
        pale oval 24 74 5 5
        trim oval 74 74 12 12
        pale oval 74 74 5 5
        shine box 11 36 52 40 1
    """,
    "kite": """
        trim bar 46 66 30 84 2
        trim bar 30 84 44 92 2
        trim bar 44 92 34 99 2
        shade poly 50 4 84 34 48 70 20 30
        body poly 50 4 84 34 51 32
        body poly 48 70 20 30 51 32
        pale bar 50 4 48 70 2
        pale bar 20 30 84 34 2
    """,
    "teddy bear": """
        shade oval 28 20 11 11
        shade oval 72 20 11 11
        shade oval 24 88 13 9
        shade oval 76 88 13 9
        body oval 22 62 10 15
        body oval 78 62 10 15
        body oval 50 72 26 24
        body oval 50 32 27 25
        shine oval 50 74 14 14
        shine oval 50 40 11 9
        trim oval 50 36 4 3
        trim oval 39 27 3 3
        trim oval 61 27 3 3
    """,
    "watering can": """
        trim arc 30 50 22 28 6 110 310
        body poly 60 66 84 28 90 32 66 84
        shade poly 76 24 92 20 98 36 88 38
        body poly 24 36 64 36 70 88 18 88
        shade oval 44 37 20 5
        shade box 17 82 71 89 2
        shine poly 29 48 33 48 30 76 25 76
    """,
    "flower pot": """
        trim bar 50 52 50 22 4
        trim curve 50 46 32 40 26 24 42 30
        trim curve 50 40 68 34 74 18 58 24
        pale oval 50 16 9 9
        trim oval 50 16 4 4
        body poly 26 58 74 58 66 94 34 94
        shade box 22 50 78 62 3
        shine bar 36 68 40 88 4
    """,
    "spade": """
        trim bar 50 12 50 58 7
        trim arc 50 14 13 10 5 0 360
        body curve 32 54 50 51 68 54 66 78 50 97 34 78
        shade bar 50 54 50 84 3
        shine bar 40 60 41 76 3
    """,
    "birdhouse": """
        trim bar 50 76 50 98 6
        body poly 24 42 50 18 76 42 76 82 24 82
        shade poly 50 6 92 44 86 50 50 18 14 50 8 44
        trim oval 50 48 10 10
        trim bar 50 68 50 64 6
        trim box 42 65 58 69 2
        shine box 29 50 33 76 1
    """,
}


def _oval(x: float, y: float, rx: float, ry: float, start: float = 0, stop: float = 360) -> np.ndarray:
    turn = np.radians(np.linspace(start, stop, 33))
    return np.stack([x + rx * np.cos(turn), y + ry * np.sin(turn)], axis=1)


def _arc(x: float, y: float, rx: float, ry: float, width: float, start: float, stop: float) -> np.ndarray:
    half = width / 2
    inner = _oval(x, y, rx - half, ry - half, start, stop)
    return np.concatenate([_oval(x, y, rx + half, ry + half, start, stop), inner[::-1]])


def _box(x0: float, y0: float, x1: float, y1: float, radius: float) -> np.ndarray:
    left, top, right, bottom = x0 + radius, y0 + radius, x1 - radius, y1 - radius
    corners = ((right, bottom, 0), (left, bottom, 90), (left, top, 180), (right, top, 270))
    return np.concatenate([_oval(x, y, radius, radius, start, start + 90) for x, y, start in corners])


def _bar(x0: float, y0: float, x1: float, y1: float, width: float) -> np.ndarray:
    side = np.array([y0 - y1, x1 - x0]) * (width / 2 / np.hypot(x1 - x0, y1 - y0))
    start, stop = np.array([x0, y0]), np.array([x1, y1])
    return np.stack([start + side, stop + side, stop - side, start - side])


def _poly(*numbers: float) -> np.ndarray:
    return np.array(numbers, float).reshape(-1, 2)


def _curve(*numbers: float) -> np.ndarray:
    """A closed Catmull-Rom spline through the points, 8 steps a piece."""
    now = _poly(*numbers)
    before, after, later = np.roll(now, 1, 0), np.roll(now, -1, 0), np.roll(now, -2, 0)
    t = np.linspace(0, 1, 8, endpoint=False)[:, None, None]
    velocity, bend = after - before, 2 * before - 5 * now + 4 * after - later
    points = now + 0.5 * (velocity * t + bend * t**2 + (3 * (now - after) + later - before) * t**3)
    return points.transpose(1, 0, 2).reshape(-1, 2)


_KINDS = {"oval": _oval, "arc": _arc, "box": _box, "bar": _bar, "poly": _poly, "curve": _curve}


@functools.cache
def outlines(category: str) -> list[tuple[str, np.ndarray]]:
    """(tone, points [N, 2]) of each part, centred, one unit a side."""
    parts = [part.split() for part in SHAPES[category].strip().splitlines()]
    return [(tone, _KINDS[kind](*map(float, numbers)) / 100 - 0.5) for tone, kind, *numbers in parts]
