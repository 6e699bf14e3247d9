"""Exact nearest neighbours by cosine or dot product: block by block, on every device of this process.

Sees arrays of embeddings only.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int

from m5jax.objectives.numerics import normalise

QUERIES = 256  # compared at once, with
BLOCK = 4096  # gallery rows on each device: 4 MiB of scores stay in a CPU's cache; with 8 it takes 1.6 times as long
SMALL = 1024  # the block of a gallery of no more rows, so that little is padded
GROUPS = 256  # parts of a block, each known by its largest score
FEW = (4, 16, 48)  # groups looked into: the first of these that holds all that beat what a query has
RANKED_AT_ONCE = 256  # queries whose whole gallery is sorted at once
LARGEST = 1e15  # of a number of an embedding: a sum of its squares is still a float32


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
    devices: Sequence[Any] | None = None,
) -> tuple[Int[np.ndarray, "q k"], Float[np.ndarray, "q k"]]:
    """The k gallery rows of the largest score with each query, exactly; of equal scores the lower row comes first.

    Each device searches its own run of the gallery, block after block, for all queries, and keeps their best k; the
    best of all devices are merged at the end. A device holds the queries, their best k, two blocks of the gallery and
    one block of scores (`device_bytes`), however large the gallery is; of that, one block a device is copied at a
    time, so it may be a `numpy.memmap`. One compilation serves any number of rows.

    Args:
      queries, gallery: any float dtype, compared in float32; need not have unit length; a zero row (for cosines, any
        shorter than 1e-6) has score 0 with everything.
      k: neighbours to return, at least 1; may exceed the gallery.
      query_valid, gallery_valid: false = the query finds nothing; the row is never found.
      exclude: gallery row that the query may not find, -1 = none.
      score: "cosine" or "dot" (the product of the vectors as they are).
      block: rows compared at once on a device, of the queries at most `QUERIES`; up to `GROUPS` or a multiple.
      devices: None = all of this process; for a gallery of one block the first alone.

    Returns:
      Gallery rows, int32, best first, -1 where there are fewer than k; and their scores, float32, -inf there.

    Raises:
      ValueError: the arrays do not fit together, k or score is none, or an embedding marked valid is not finite (or
        has a number beyond `LARGEST`).
    """
    asked, searched = _sides(queries, query_valid, exclude, gallery, gallery_valid)
    if k < 1:
        raise ValueError(f"k = {k} must be at least 1")
    if block % min(GROUPS, block):
        raise ValueError(f"block = {block} must be at most {GROUPS} or a multiple of it")
    block = min(block, SMALL) if len(gallery) <= SMALL else block
    devices = jax.local_devices() if devices is None else devices
    mesh = _mesh(devices if len(gallery) > block else devices[:1])
    with jax.set_mesh(mesh):
        found = _search(asked, searched, k, block, score, mesh)
    rows, scores = (np.concatenate(part)[: len(queries)] for part in zip(*found, strict=True))
    return rows, scores


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

    The whole gallery is held on one device: for galleries that are ranked whole, which are small.

    Yields:
      Which queries, and for each all gallery rows, best first; -1 in place of a row that it may not find, at the end.

    Raises:
      ValueError: see `top_k`.
    """
    asked, searched = _sides(queries, query_valid, exclude, gallery, gallery_valid)
    mesh = _mesh(jax.local_devices()[:1])
    place = NamedSharding(mesh, P())
    with jax.set_mesh(mesh):
        blocks = [_placed("gallery", searched, [start], SMALL, score, place) for start in range(0, len(gallery), SMALL)]
    for start in range(0, len(queries), RANKED_AT_ONCE):
        part = slice(start, min(start + RANKED_AT_ONCE, len(queries)))
        with jax.set_mesh(mesh):  # not while the caller goes on
            some = _placed("query", asked, [start], RANKED_AT_ONCE, score, place)
            found = [_findable(some, block) for block in blocks]
        scores = np.concatenate([np.zeros((RANKED_AT_ONCE, 0), np.float32), *found], axis=1)
        scores = scores[: part.stop - part.start, : len(gallery)]
        order = np.argsort(-scores, axis=1, kind="stable")
        yield part, np.where(np.take_along_axis(scores, order, axis=1) > -np.inf, order, -1)


def device_bytes(queries: int, dim: int, k: int, block: int = BLOCK) -> int:
    """Most bytes that `top_k` holds on a device at once, by the compiler's count; the gallery's size plays no part."""
    mesh, at_once = _mesh(jax.local_devices()[:1]), min(QUERIES, block)
    shape: Any = jax.ShapeDtypeStruct
    some, searched = (_Rows(shape((n, dim), "f4"), shape((n,), "?"), shape((n,), "i4")) for n in (at_once, block))
    best = _Best(shape((at_once, k), "i4"), shape((at_once, k), "f4"))
    with jax.set_mesh(mesh):
        step: Any = _merge.lower(best, some, searched, mesh=mesh).compile().memory_analysis()
    size = [sum(x.size * x.dtype.itemsize for x in part) for part in ((*best, *some), searched)]
    # One block is searched while the next is placed as it is and scaled.
    return -(-queries // at_once) * size[0] + 3 * size[1] + step.temp_size_in_bytes + step.output_size_in_bytes


class _Rows(NamedTuple):
    """Rows of one side, all of them on the host or padded blocks of them on the devices.

    Attributes:
      vectors: float [N, D]; scaled on the device.
      valid: bool [N], false = no embedding, or padding.
      gallery_row: int [N], of a gallery row its number (counted on in padding), of a query the row it may not find.
    """

    vectors: Any
    valid: Any
    gallery_row: Any


class _Best(NamedTuple):
    """What queries have found so far, best first: int32 and float32 [Q, K]; -1 and -inf = nothing."""

    rows: Any
    scores: Any


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
    return _Rows(queries, query_valid, exclude), _Rows(gallery, gallery_valid, np.arange(len(gallery), dtype=np.int32))


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


def _mesh(devices: Sequence[Any]) -> jax.sharding.Mesh:
    return jax.sharding.Mesh(np.asarray(devices, object), ("gallery",), axis_types=(AxisType.Auto,))


def _search(queries: _Rows, gallery: _Rows, k: int, block: int, score: str, mesh: jax.sharding.Mesh) -> list[_Best]:
    """What was found, on the host, for one block of queries after the other."""
    everywhere, split = NamedSharding(mesh, P()), NamedSharding(mesh, P("gallery"))
    count, at_once = mesh.size, min(QUERIES, block)
    asked = [
        _placed("query", queries, [start], at_once, score, everywhere)
        for start in range(0, max(1, len(queries.valid)), at_once)
    ]
    shape = (count * at_once, k)
    best = [
        _Best(jax.device_put(np.full(shape, -1, np.int32), split), jax.device_put(np.full(shape, -np.inf, "f4"), split))
        for _ in asked
    ]
    run = -(-len(gallery.valid) // (count * block)) * block  # rows of each device
    for start in range(0, run, block):
        # Placing waits for the device, so that no more than one block is under way while the next is copied.
        some = _placed("gallery", gallery, [device * run + start for device in range(count)], block, score, split)
        best = [_merge(found, part, some, mesh=mesh) for found, part in zip(best, asked, strict=True)]
    return [jax.device_get(_best_of_all(found, mesh=mesh)) for found in best]


def _placed(side: str, rows: _Rows, starts: list[int], block: int, score: str, place: NamedSharding) -> _Rows:
    """A block of rows from each start, of one shape, on the devices, scaled.

    What stands in rows without embedding is not read.
    """
    vectors = np.zeros((len(starts) * block, rows.vectors.shape[1]), _dtype(rows.vectors))
    valid = np.zeros(len(vectors), bool)
    gallery_row = np.concatenate([np.arange(start, start + block, dtype=np.int32) for start in starts])
    for number, start in enumerate(starts):
        size = max(0, min(block, len(rows.valid) - start))
        to, of = slice(number * block, number * block + size), slice(start, start + size)
        with np.errstate(over="ignore"):  # becomes infinite, and is refused
            vectors[to], valid[to] = rows.vectors[of], rows.valid[of]
        gallery_row[to] = rows.gallery_row[of]
    placed, broken = _scaled(*jax.device_put((vectors, valid), place), score=score)
    broken = np.flatnonzero(np.asarray(broken))
    if len(broken):
        row = starts[broken[0] // block] + broken[0] % block
        raise ValueError(
            f"{side} embedding {row} is marked valid but is not finite (or beyond {LARGEST:g}); mark it invalid"
        )
    return _Rows(placed, *jax.device_put((valid, gallery_row), place))


def _dtype(vectors: np.ndarray) -> np.dtype:
    """What vectors are sent to the device as: float16 takes half the time, and anything wide is cut on the host."""
    return vectors.dtype if vectors.dtype == np.float16 else np.dtype(np.float32)


@functools.partial(jax.jit, static_argnames="score")
def _scaled(vectors: Array, valid: Array, *, score: str) -> tuple[Float[Array, "n d"], Bool[Array, "n"]]:
    """Vectors whose products are the scores, and which of those marked valid cannot be compared."""
    if score not in ("cosine", "dot"):
        raise ValueError(f"score {score!r} must be cosine or dot")
    vectors = jnp.where(valid[:, None], vectors, 0).astype(jnp.float32)
    broken = ~(jnp.abs(vectors) <= LARGEST).all(axis=1)
    return normalise(vectors) if score == "cosine" else vectors, broken


def _scores(queries: _Rows, gallery: _Rows) -> Float[Array, "q g"]:
    # Accelerators would round the factors to 10 bits or fewer, which reorders close neighbours.
    return jnp.einsum("qd,gd->qg", queries.vectors, gallery.vectors, precision=jax.lax.Precision.HIGHEST)


def _hidden(gallery: _Rows) -> Float[Array, "g"]:
    """What to add to scores: -inf where there is nothing to find, or 0, which makes 0 of -0 (that would rank below)."""
    return jnp.where(gallery.valid, 0.0, -jnp.inf)


@jax.jit
def _findable(queries: _Rows, gallery: _Rows) -> Float[Array, "q g"]:
    """Scores of every query with every gallery row; -inf where the query may not find the row."""
    own = queries.gallery_row[:, None] == gallery.gallery_row[None]
    return jnp.where(queries.valid[:, None] & ~own, _scores(queries, gallery) + _hidden(gallery), -jnp.inf)


@functools.partial(jax.jit, static_argnames="mesh", donate_argnums=0)
def _merge(best: _Best, queries: _Rows, gallery: _Rows, *, mesh: jax.sharding.Mesh) -> _Best:
    """The best k of what was found so far and of one more gallery block, which holds higher rows; on each device."""
    specs = P("gallery"), P(), P("gallery")
    merge = jax.shard_map(_merge_here, mesh=mesh, in_specs=specs, out_specs=P("gallery"), check_vma=False)
    return merge(best, queries, gallery)


def _merge_here(best: _Best, queries: _Rows, gallery: _Rows) -> _Best:
    """`_merge` on one device: looks only into groups of rows whose largest score beats the k-th best so far.

    `jax.lax.top_k` takes the earlier of equals. What was found so far stands first and groups follow in the order of
    their rows: the lower row wins a tie, and "nothing" (-1 at -inf) wins over a row that may not be found.
    """
    scores, hidden = _scores(queries, gallery), _hidden(gallery)
    count, block = scores.shape
    groups = min(GROUPS, block)
    floor = jnp.where(queries.valid, best.scores[:, -1], jnp.inf)
    better = (scores + hidden).reshape(count, groups, -1).max(axis=2) > floor[:, None]
    need = better.sum(axis=1).max()
    few = [number for number in FEW if number < groups]

    def take(rows: Array, found: Array) -> _Best:
        found = jnp.where(queries.valid[:, None] & (rows != queries.gallery_row[:, None]), found, -jnp.inf)
        top, at = jax.lax.top_k(jnp.concatenate([best.scores, found], axis=1), best.scores.shape[1])
        all_rows = jnp.concatenate([best.rows, jnp.broadcast_to(rows, found.shape)], axis=1)
        return _Best(jnp.take_along_axis(all_rows, at, axis=1), top)

    def take_from(number: int) -> _Best:
        # All that are better are among the first so many, in the order of their rows; others change nothing.
        _, at = jax.lax.top_k(better.astype(jnp.float32), number)
        found = jnp.take_along_axis(scores.reshape(count, groups, -1), at[:, :, None], axis=1)
        found = found + hidden.reshape(groups, -1)[at]
        rows = gallery.gallery_row[0] + at[:, :, None] * (block // groups) + jnp.arange(block // groups)
        return take(rows.reshape(count, -1), found.reshape(count, -1))

    branches = [lambda: best, *(functools.partial(take_from, number) for number in few)]
    branches.append(lambda: take(gallery.gallery_row[None], scores + hidden))
    return jax.lax.switch(sum(need > number for number in (0, *few)), branches)


@functools.partial(jax.jit, static_argnames="mesh")
def _best_of_all(best: _Best, *, mesh: jax.sharding.Mesh) -> _Best:
    """The best k of all devices, of which each has higher rows than the one before."""
    k = best.rows.shape[1]
    rows, scores = (jnp.moveaxis(x.reshape(mesh.size, -1, k), 0, 1).reshape(-1, mesh.size * k) for x in best)
    top, at = jax.lax.top_k(scores, k)
    return _Best(jnp.take_along_axis(rows, at, axis=1), top)
