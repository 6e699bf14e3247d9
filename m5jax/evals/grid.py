"""Retrieval from every subset of the modalities to every other: one score a pair, "given a photo, search the titles".

Sees arrays of embeddings and labels only. Every subset is normalised once and stays on the device, which compares a
block of queries with one subset of the gallery at a time; the arithmetic of the scores is that of `ranking`. Memory of
the device: both sides in every subset (4 S (Q + G) D bytes), and one block of scores (4 G `QUERIES_AT_ONCE`).
"""

import dataclasses
from collections.abc import Iterable, Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from m5jax.evals import ranking, relevance, retrieval
from m5jax.evals.protocols import STANDARD
from m5jax.evals.ranking import Judged
from m5jax.evals.relevance import Labels
from m5jax.objectives.numerics import normalise

QUERIES_AT_ONCE = 1024
FIRST = "p@1"


@dataclasses.dataclass(frozen=True)
class Side:
    """Listings embedded in every subset.

    Attributes:
      vectors: float32 [S, N, D]; need not have unit length.
      valid: bool [S, N], whether a listing has any modality of the subset; what stands elsewhere is not read.
    """

    vectors: np.ndarray
    valid: np.ndarray

    @classmethod
    def of(cls, vectors: Mapping[str, np.ndarray], valid: Mapping[str, np.ndarray], subsets: Iterable[str]) -> "Side":
        """The embeddings of some named subsets, in their order."""
        names = list(subsets)
        return cls(np.stack([vectors[name] for name in names]), np.stack([valid[name] for name in names]))


@dataclasses.dataclass(frozen=True)
class Grid:
    """Scores of every query subset (rows) with every gallery subset (columns).

    Attributes:
      scores: by name ("p@1", "map@10", "recall@10"), float64 [S, T]; NaN where no query was scored.
      queries: int [S, T], how many were scored.
      first: float32 [S, T, Q], "p@1" query by query; NaN where it was not scored.
    """

    scores: dict[str, np.ndarray]
    queries: np.ndarray
    first: np.ndarray

    @classmethod
    def empty(cls, rows: int, columns: int, queries: int, k: int) -> "Grid":
        """A grid in which nothing was scored."""
        names = dict.fromkeys((FIRST, f"map@{k}", f"recall@{k}"))
        scores = {name: np.full((rows, columns), np.nan) for name in names}
        return cls(scores, np.zeros((rows, columns), int), np.full((rows, columns, queries), np.nan, np.float32))

    def put(self, row: int, columns: Int[np.ndarray, "t"], asked: Int[np.ndarray, "q"], judged: Judged) -> None:
        """Fills some cells of a row with what the same queries are worth, judged column by column."""
        if len(asked):
            self.queries[row, columns] = len(asked)
            for name, scores in self.scores.items():
                values = judged.values[name].reshape(len(columns), -1)
                scores[row, columns] = values.mean(axis=1)
                if name == FIRST:
                    self.first[row, columns[:, None], asked] = values


def evaluate(
    queries: Side, gallery: Side, tasks: Mapping[str, tuple[Labels, Labels]], *, k: int, protocol: str
) -> dict[str, Grid]:
    """Scores every pair of subsets under a protocol: `retrieval.evaluate` of the queries that have the query's subset.

    So a cell answers "given a photo": a query that has no modality of its subset is left out. The gallery is as it is:
    a row without any modality of the gallery's subset is never found but stays a positive. Where no row has one,
    nothing was scored. No query is in the gallery.

    Args:
      queries, gallery: both in the same or in other subsets.
      tasks: by name the labels of queries and gallery; -1 = unknown.
      k: the rank to score at besides 1; may exceed the gallery.
      protocol: a name in `protocols.PROTOCOLS`; under "released" all queries' labels count as outside the gallery.

    Returns:
      By task its grid.

    Raises:
      ValueError: arrays do not fit together, a valid embedding is not finite, k is below 1, or no such protocol.
    """
    rules, ks = ranking.protocol_of(protocol, (1, k)), (1, k)
    score = retrieval.score_of(rules)
    asked, searched = _on_device("query", queries, score), _on_device("gallery", gallery, score)
    grids = {task: Grid.empty(len(asked), len(searched), queries.valid.shape[1], k) for task in tasks}
    columns = np.flatnonzero(gallery.valid.any(axis=1))
    searched, findable = searched[columns], gallery.valid[columns]
    for s, valid in enumerate(queries.valid):
        rows = np.flatnonzero(valid)
        if not len(rows) or not len(columns):
            continue
        found = _search(asked[s], searched, findable, k)[:, rows].reshape(-1, k)
        for task, (of_queries, of_gallery) in tasks.items():
            every = relevance.take(of_queries, np.tile(rows, len(columns)))
            judged = ranking.judge(found, _no_own(found), every, of_gallery, of_queries, ks=ks, protocol=rules)
            answerable = judged.query_rows[judged.query_rows < len(rows)]  # the same in every column
            grids[task].put(s, columns, rows[answerable], judged)
    return grids


def itself(listings: Side, apart: Bool[np.ndarray, "s s"], *, k: int) -> Grid:
    """Scores whether a listing seen in one subset finds itself in another, among the listings that have both.

    Cross-modal recall under "standard", but that the own row is what is looked for.

    Args:
      listings: embedded in every subset.
      apart: which pairs are asked: those of subsets that share no modality, for a listing that is shown the same on
        both sides is found by that.
      k: the rank to score at besides 1.

    Returns:
      The grid; nothing was scored where a pair is not apart, or no listing has both.

    Raises:
      ValueError: arrays do not fit together, a valid embedding is not finite, or k is below 1.
    """
    rules = ranking.protocol_of(STANDARD.name, (1, k))
    sides, count = _on_device("listing", listings, "cosine"), listings.valid.shape[1]
    grid, labels = Grid.empty(len(sides), len(sides), count, k), np.arange(count)
    for s, t in np.argwhere(apart):
        both = listings.valid[s] & listings.valid[t]
        rows = np.flatnonzero(both)
        if len(rows):
            found = _search(sides[s], sides[t][None], both[None], k)[0, rows]
            judged = ranking.judge(found, _no_own(found), rows, labels, labels[:0], ks=(1, k), protocol=rules)
            grid.put(s, np.array([t]), rows, judged)
    return grid


def _no_own(found: Int[np.ndarray, "q k"]) -> Int[np.ndarray, "q"]:
    return np.full(len(found), -1)


def _on_device(side: str, listings: Side, score: str) -> Float[Array, "s n d"]:
    """The vectors of every subset, normalised for cosines, zero where they are not valid."""
    if listings.vectors.shape[:2] != listings.valid.shape:
        raise ValueError(
            f"{side} vectors {listings.vectors.shape} and valid {listings.valid.shape} must be [S, N, ...]"
        )
    vectors = np.where(listings.valid[..., None], listings.vectors, 0).astype(np.float32)
    broken = np.argwhere(~np.isfinite(vectors).all(axis=2))
    if len(broken):
        subset, row = broken[0]
        raise ValueError(f"{side} {row} in subset {subset} is marked valid but is not finite; mark it invalid")
    on_device = jnp.asarray(vectors)
    return normalise(on_device) if score == "cosine" else on_device


def _search(
    queries: Float[Array, "q d"], gallery: Float[Array, "t g d"], findable: Bool[np.ndarray, "t g"], k: int
) -> Int[np.ndarray, "t q k"]:
    """The k findable rows of every gallery of the largest score, best first; of equals the lower row; -1 fills up."""
    if queries.shape[1] != gallery.shape[2]:
        raise ValueError(f"queries {queries.shape} and galleries {gallery.shape} must have one D")
    most = min(k, gallery.shape[1])
    parts = [
        _best(queries[start : start + QUERIES_AT_ONCE], gallery, findable, most)
        for start in range(0, len(queries), QUERIES_AT_ONCE)
    ]
    found = np.concatenate(jax.device_get(parts), axis=1)
    return np.pad(found, ((0, 0), (0, 0), (0, k - most)), constant_values=-1)


@partial(jax.jit, static_argnames="k")
def _best(
    queries: Float[Array, "q d"], gallery: Float[Array, "t g d"], findable: Bool[Array, "t g"], k: int
) -> Int[Array, "t q k"]:
    """One gallery after the other, so that the device holds the scores of one."""

    def among(side: tuple[Array, Array]) -> Int[Array, "q k"]:
        vectors, there = side
        # Accelerators would round the factors to 10 bits or fewer, which reorders close neighbours.
        scores = jnp.einsum("qd,gd->qg", queries, vectors, precision=jax.lax.Precision.HIGHEST)
        scores = jnp.where(there, jnp.where(scores == 0, 0.0, scores), -jnp.inf)  # -0 would rank below 0
        best, rows = jax.lax.top_k(scores, k)
        return jnp.where(best > -jnp.inf, rows, -1)

    return jax.lax.map(among, (gallery, findable))
