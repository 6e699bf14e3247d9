"""A map of the product space: the gallery's product vectors in two dimensions, by category."""

from collections import Counter

import numpy as np

from m5jax.embed import FUSED
from m5jax.evals.projection import LEAST, project
from m5jax.evals.protocols import Passport, digest
from m5jax.studies.subject import Finding, Subject, skipped, some

SPLITS = ("gallery", "val", "query", "train")  # the first that the catalogue has is drawn
GROUPS = 8  # categories with a colour of their own; the others share one
SEPARATOR = " > "
MOST = 3000  # dots
RULES = {
    "score": "Euclidean distance of the points of the map, or of the unit product vectors",
    "relevant": "listings whose category has the same name at the first level at which there are two",
    "self match": "a listing is not its own neighbour",
    "ties": "of equal distances the lower row comes first",
    "at k": "the share of listings with a category whose nearest other one has the same",
    "missing": "listings without an embedding are not drawn; those without a category neither ask nor answer",
}


def study(subject: Subject) -> Finding:
    """Draws a map of `config.evaluate.study_listings` listings of the gallery at most, and never more than `MOST`.

    Returns:
      ``split``; ``listings`` of the split, and ``embedded``, those with an embedding; ``method`` and ``explained``
      (`evals.projection.Projection`); ``groups``, names of the categories with a colour, largest first (the first
      level of the paths at which there are two; "" stands for all others and comes last); per listing drawn ``rows``,
      its position in the split, ``points``, x and y with the larger side of the map from 0 to 1, and ``group``, a
      position in ``groups``; ``near``, how often the nearest other point of the map is of the same category, beside
      the same among the embeddings (``near_embedded``).
    """
    split = next((name for name in SPLITS if name in subject.embedded), "")
    if not split:
        return skipped("the catalogue has no split to draw")
    of = subject.embedded[split]
    valid = np.flatnonzero(of.embeddings.valid[FUSED])
    rows = valid[some(len(valid), min(MOST, subject.config.evaluate.study_listings), subject.config.seed)]
    vectors = of.embeddings.vectors[FUSED][rows]
    method = subject.config.evaluate.map
    found = project(vectors, method, subject.config.seed)
    if found is None:
        return skipped(
            f"a map needs {LEAST} listings with embeddings that differ; split {split} has {len(rows)} with an embedding"
        )
    points = found.points - found.points.min(axis=0)
    points /= points.max()
    names = level(of.index.categories[rows].tolist())
    groups, group = grouped(names)
    labelled = np.asarray([bool(name) for name in names])
    answers = int(labelled.sum())
    identity = digest(of.index.ids[rows][labelled], np.asarray(names, object)[labelled])
    return {
        "passport": Passport("map", RULES, answers, answers, identity).to_dict(),
        "split": split,
        "listings": len(of.index),
        "embedded": len(valid),
        "method": method,
        "explained": None if found.explained is None else [round(share, 4) for share in found.explained],
        "groups": groups,
        "rows": rows.tolist(),
        "points": [[round(float(x), 4), round(float(y), 4)] for x, y in points],
        "group": group,
        "near": _near(points[labelled], np.asarray(names, object)[labelled]),
        "near_embedded": _near(vectors[labelled], np.asarray(names, object)[labelled]),
    }


def level(paths: list[str]) -> list[str]:
    """The names of the paths at the first level at which there are two different; whole paths where there is none."""
    parts = [path.split(SEPARATOR) if path else [] for path in paths]
    for depth in range(max(map(len, parts), default=0)):
        names = [path[min(depth, len(path) - 1)] if path else "" for path in parts]
        if len({name for name in names if name}) > 1:
            return names
    return paths


def grouped(names: list[str]) -> tuple[list[str], list[int]]:
    """Names of the largest groups, "" for the rest last where there is a rest, and the group of every listing."""
    sizes = Counter(name for name in names if name)
    largest = sorted(sizes, key=lambda name: (-sizes[name], name))[:GROUPS]
    number = {name: n for n, name in enumerate(largest)}
    group = [number.get(name, len(largest)) for name in names]
    return largest + ([""] if len(largest) in group else []), group


def _near(points: np.ndarray, names: np.ndarray) -> float | None:
    """The share of listings whose nearest other one has their name; None of fewer than two."""
    if len(points) < 2:
        return None
    square = (points.astype(np.float64) ** 2).sum(axis=1)
    distance = square[:, None] + square - 2 * points.astype(np.float64) @ points.T
    np.fill_diagonal(distance, np.inf)
    return round(float(np.mean(names[distance.argmin(axis=1)] == names)), 4)
