"""Exact nearest neighbours by cosine or dot product, block by block on the device.

Sees arrays of embeddings only.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from m5jax.objectives.numerics import normalise

BLOCK = 1024  # rows compared at once, on either side; of 256 to 4096 the fastest on CPU
RANKED_AT_ONCE = 256  # queries whose whole gallery is sorted at once

_normalise = jax.jit(normalise)


def top_k(
    queries: Float[np.ndarray, "q d"],
    gallery: Float[np.ndarray, "g d"],
    k: int,
    *,
    query_valid: Bool[np.ndarray, "q"],
    gallery_valid: Bool[np.ndarray, "g"],
    exclude: Int[np.ndarray, "q"],
    score: str = "cosine",
    block: int = BLOCK,
) -> tuple[Int[np.ndarray, "q k"], Float[np.ndarray, "q k"]]:
    """The k gallery rows of the largest score with each query, exactly; of equal scores the lower row comes first.

    Compares `block` queries with `block` gallery rows at a time, every block padded to that shape: one compilation
    serves any number of rows, and the device holds the queries, their best k so far and one block of scores.

    Args:
      queries, gallery: need not have unit length; a zero row has score 0 with everything.
      k: neighbours to return; may exceed the gallery.
      query_valid, gallery_valid: false = the query finds nothing; the row is never found.
      exclude: gallery row that the query may not find, -1 = none.
      score: "cosine" or "dot" (the product of the vectors as they are).
      block: rows compared at once.

    Returns:
      Gallery rows, int32, best first, -1 where there are fewer than k; and their scores, float32, -inf there.

    Raises:
      ValueError: the arrays do not fit together, or an embedding marked valid is not finite.
    """
    return _search(*_sides(queries, query_valid, exclude, gallery, gallery_valid), k, block, _scaling(score))


def rankings(
    queries: Float[np.ndarray, "q d"],
    gallery: Float[np.ndarray, "g d"],
    *,
    query_valid: Bool[np.ndarray, "q"],
    gallery_valid: Bool[np.ndarray, "g"],
    exclude: Int[np.ndarray, "q"],
    score: str = "cosine",
) -> Iterator[tuple[slice, Int[np.ndarray, "part g"]]]:
    """The whole gallery as every query ranks it, `RANKED_AT_ONCE` queries at a time, in the order of `top_k`.

    Yields:
      Which queries, and for each all gallery rows, best first; -1 in place of a row that it may not find, at the end.

    Raises:
      ValueError: the arrays do not fit together, or an embedding marked valid is not finite.
    """
    asked, searched = _sides(queries, query_valid, exclude, gallery, gallery_valid)
    scaled = _scaling(score)
    gallery_blocks = list(_blocks("gallery", searched, BLOCK, scaled))
    for number, query_block in enumerate(_blocks("query", asked, RANKED_AT_ONCE, scaled)):
        part = slice(number * RANKED_AT_ONCE, min((number + 1) * RANKED_AT_ONCE, len(queries)))
        cosines = np.concatenate([_cosines(query_block, block) for block in gallery_blocks], axis=1)
        cosines = cosines[: part.stop - part.start, : len(gallery)]
        order = np.argsort(-cosines, axis=1, kind="stable")
        yield part, np.where(np.take_along_axis(cosines, order, axis=1) > -np.inf, order, -1)


class _Rows(NamedTuple):
    """Rows of one side, all of them on the host or a padded block of them on the device.

    Attributes:
      vectors: float [N, D]; scaled on the device.
      valid: bool [N], false = no embedding, or padding.
      gallery_row: int [N], of a gallery row its number, of a query the row it may not find.
    """

    vectors: np.ndarray | Array
    valid: np.ndarray | Array
    gallery_row: np.ndarray | Array


def _sides(
    queries: np.ndarray, query_valid: np.ndarray, exclude: np.ndarray, gallery: np.ndarray, gallery_valid: np.ndarray
) -> tuple[_Rows, _Rows]:
    """Queries and gallery, checked to fit together."""
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise ValueError(f"queries {queries.shape} and gallery {gallery.shape} must be [rows, D] with one D")
    check_length("query", queries, query_valid=query_valid, exclude=exclude)
    check_length("gallery", gallery, gallery_valid=gallery_valid)
    wrong = (exclude < -1) | (exclude >= len(gallery))
    if wrong.any():
        raise ValueError(f"exclude names gallery row {exclude[wrong][0]} of {len(gallery)}; use -1 for none")
    return _Rows(queries, query_valid, exclude), _Rows(gallery, gallery_valid, np.arange(len(gallery)))


def check(
    queries: np.ndarray, query_valid: np.ndarray, exclude: np.ndarray, gallery: np.ndarray, gallery_valid: np.ndarray
) -> None:
    """Raises ValueError where the arrays of a search do not fit together."""
    _sides(queries, query_valid, exclude, gallery, gallery_valid)


def check_length(side: str, embeddings: np.ndarray, **arrays: np.ndarray) -> None:
    """Raises ValueError, naming the array, where one has not a row for every embedding of its side."""
    for name, array in arrays.items():
        if array.shape != embeddings.shape[:1]:
            raise ValueError(f"{name} has shape {array.shape}, but there are {len(embeddings)} {side} embeddings")


def _scaling(score: str) -> Callable[[np.ndarray], Array]:
    """What is done to the vectors of both sides so that their products are the scores."""
    if score not in ("cosine", "dot"):
        raise ValueError(f"score {score!r} must be cosine or dot")
    return _normalise if score == "cosine" else jnp.asarray


def _search(
    queries: _Rows, gallery: _Rows, k: int, block: int, scaled: Callable[[np.ndarray], Array]
) -> tuple[np.ndarray, np.ndarray]:
    query_blocks = list(_blocks("query", queries, block, scaled))
    nothing = np.full((block, k), -1, np.int32), np.full((block, k), -np.inf, np.float32)
    best = [nothing] * len(query_blocks)
    for gallery_block in _blocks("gallery", gallery, block, scaled):
        best = [_merge(*found, asked, gallery_block) for found, asked in zip(best, query_blocks, strict=True)]
    rows, cosines = (np.concatenate([none[:0], *found]) for none, *found in zip(nothing, *best, strict=True))
    return rows[: len(queries.valid)], cosines[: len(queries.valid)]


def _blocks(side: str, rows: _Rows, block: int, scaled: Callable[[np.ndarray], Array]) -> Iterator[_Rows]:
    """The rows in blocks of one shape on the device, scaled; what stands in rows without embedding is not read."""
    for start in range(0, len(rows.valid), block):
        vectors, valid, gallery_row = (array[start : start + block] for array in rows)
        vectors = np.where(valid[:, None], vectors, 0).astype(np.float32)
        broken = start + np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(broken):
            raise ValueError(f"{side} embedding {broken[0]} is marked valid but is not finite; mark it invalid")
        padding = (0, block - len(valid))
        yield _Rows(
            scaled(np.pad(vectors, (padding, (0, 0)))),
            np.pad(valid, padding),
            np.pad(gallery_row.astype(np.int32), padding),
        )


@jax.jit
def _cosines(queries: _Rows, gallery: _Rows) -> Float[Array, "q g"]:
    """Cosines of every query with every gallery row; -inf where the query may not find the row."""
    # Accelerators would round the factors to 10 bits or fewer, which reorders close neighbours.
    cosines = jnp.einsum("qd,gd->qg", queries.vectors, gallery.vectors, precision=jax.lax.Precision.HIGHEST)
    own = queries.gallery_row[:, None] == gallery.gallery_row[None]
    findable = queries.valid[:, None] & gallery.valid[None] & ~own
    return jnp.where(findable, jnp.where(cosines == 0, 0.0, cosines), -jnp.inf)  # -0 would rank below 0


@jax.jit
def _merge(
    rows: Int[Array, "q k"], cosines: Float[Array, "q k"], queries: _Rows, gallery: _Rows
) -> tuple[Int[Array, "q k"], Float[Array, "q k"]]:
    """The best k of what was found so far and of one more gallery block, which holds higher rows.

    `jax.lax.top_k` takes the earlier of equals, so what was found so far stands first: the lower row wins a tie, and
    "none" (-1 at -inf) wins over a row that may not be found.
    """
    new = _cosines(queries, gallery)
    all_rows = jnp.concatenate([rows, jnp.broadcast_to(gallery.gallery_row[None], new.shape)], axis=1)
    best, at = jax.lax.top_k(jnp.concatenate([cosines, new], axis=1), cosines.shape[1])
    return jnp.take_along_axis(all_rows, at, axis=1), best
