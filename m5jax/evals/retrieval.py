"""Exact nearest neighbours, and retrieval scores under a named protocol.

Sees arrays of embeddings and labels only. Labels are integers from 0 up; -1 = unknown.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from m5jax.objectives.numerics import normalise

BLOCK = 1024  # rows compared at once, on either side; of 256 to 4096 the fastest on CPU
FULL_RANKING_LIMIT = 20_000  # largest gallery that is ranked whole
FULL_RANKING_QUERIES = 256  # queries that rank it at once

_normalise = jax.jit(normalise)


@dataclasses.dataclass(frozen=True)
class Protocol:
    """A named, exact definition of the retrieval scores, in the words a report prints.

    Scores compare only under one protocol; a definition that changes gets a new name.
    """

    name: str
    score: str
    relevant: str
    self_match: str
    ties: str
    at_k: str
    average_precision: str
    missing: str

    def describe(self) -> str:
        """The rules, one a line."""
        return "\n".join(f"{rule.replace('_', ' ')}: {text}" for rule, text in dataclasses.asdict(self).items())


PROTOCOLS = {
    "standard": Protocol(
        name="standard",
        score="cosine",
        relevant="gallery rows with the query's label; a query without label or without any such row is left out",
        self_match="the query's own gallery row is removed before the top k are taken",
        ties="of equal scores the lower gallery row comes first",
        at_k="p@k = hits / k; recall@k = hits / positives; hit@k = any hit; mrr within the largest k",
        average_precision="precision at each hit, summed, / min(k, positives); map ranks the whole gallery",
        missing="without an embedding a query scores 0, and a gallery row is never found but stays a positive",
    )
}


@dataclasses.dataclass(frozen=True)
class Retrieval:
    """Scores over all queries, and what each query found.

    Attributes:
      protocol: what the scores mean.
      scores: finite numbers by name; `evaluate` lists them.
      query_rows: int [Q'], the scored queries, as rows of the queries given.
      neighbours: int32 [Q', largest k], gallery rows, best first; -1 where there are fewer.
      average_precision: float64 [Q'], at the largest k.
      first_hit_rank: int [Q'], from 1; 0 = no hit within the largest k.
    """

    protocol: Protocol
    scores: dict[str, float]
    query_rows: np.ndarray
    neighbours: np.ndarray
    average_precision: np.ndarray
    first_hit_rank: np.ndarray


def evaluate(
    query_embeddings: Float[np.ndarray, "q d"],
    gallery_embeddings: Float[np.ndarray, "g d"],
    query_labels: Int[np.ndarray, "q"],
    gallery_labels: Int[np.ndarray, "g"],
    *,
    ks: Sequence[int],
    query_valid: Bool[np.ndarray, "q"],
    gallery_valid: Bool[np.ndarray, "g"],
    exclude: Int[np.ndarray, "q"] | None = None,
    protocol: str = "standard",
) -> Retrieval:
    """Scores whether the gallery rows nearest to each query share its label.

    A gallery row without an embedding still counts as a positive: losing an embedding never raises a score.

    Args:
      query_embeddings, gallery_embeddings: need not have unit length.
      query_labels: -1 = unknown; such a query is left out.
      gallery_labels: -1 = unknown; relevant to no query.
      ks: ranks to score at.
      query_valid, gallery_valid: whether a row has an embedding.
      exclude: the query's own gallery row, -1 = it is not in the gallery; None = no query is.
      protocol: a name in `PROTOCOLS`.

    Returns:
      Scores for each k: ``p@k``, hits over k, however few positives there are; ``map@k``, average precision (Manning,
      Raghavan and Schütze, Introduction to Information Retrieval, 2008, section 8.4) cut off at k; ``recall@k``, hits
      over all positives, so below 1 where they outnumber k; ``hit@k``. Then ``mrr``, within the largest k; ``map``,
      over the full ranking, where the gallery has at most `FULL_RANKING_LIMIT` rows; ``coverage``, the share of scored
      queries with an embedding; and the counts ``queries`` and ``gallery``, as given, and ``answerable``, the queries
      scored. If none is, the counts alone.

    Raises:
      ValueError: arrays do not fit together, a valid embedding is not finite, a rank is below 1, or no such protocol.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol {protocol!r} is unknown; choose from {', '.join(PROTOCOLS)}")
    if not ks or min(ks) < 1:
        raise ValueError(f"ks = {tuple(ks)} must be one or more ranks, each at least 1")
    exclude = np.full(len(query_embeddings), -1) if exclude is None else exclude
    queries, gallery = _sides(query_embeddings, query_valid, exclude, gallery_embeddings, gallery_valid)
    _check_length("query", query_embeddings, query_labels=query_labels)
    _check_length("gallery", gallery_embeddings, gallery_labels=gallery_labels)

    positives = _count_positives(query_labels, gallery_labels, exclude)
    scored = np.flatnonzero(positives)
    labels, positives = query_labels[scored], positives[scored]
    queries = _Rows(*(array[scored] for array in queries))
    neighbours, _ = _search(queries, gallery, max(ks), BLOCK)
    hits = (neighbours >= 0) & (gallery_labels[neighbours] == labels[:, None])
    first_hit_rank = np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 0)
    average_precision = _precision_at_hits(hits).sum(axis=1) / np.minimum(max(ks), positives)
    counts = {"queries": len(query_labels), "answerable": len(scored), "gallery": len(gallery_labels)}
    scores = {name: float(count) for name, count in counts.items()}
    if len(scored):
        scores |= _scores_within(hits, positives, ks)
        scores["mrr"] = float(np.mean(hits.any(axis=1) / np.maximum(first_hit_rank, 1)))
        scores["coverage"] = float(np.mean(queries.valid))
    if len(scored) and len(gallery_labels) <= FULL_RANKING_LIMIT:
        scores["map"] = float(np.mean(_full_average_precision(queries, gallery, labels, gallery_labels, positives)))
    return Retrieval(PROTOCOLS[protocol], scores, scored, neighbours, average_precision, first_hit_rank)


def top_k(
    queries: Float[np.ndarray, "q d"],
    gallery: Float[np.ndarray, "g d"],
    k: int,
    *,
    query_valid: Bool[np.ndarray, "q"],
    gallery_valid: Bool[np.ndarray, "g"],
    exclude: Int[np.ndarray, "q"],
    block: int = BLOCK,
) -> tuple[Int[np.ndarray, "q k"], Float[np.ndarray, "q k"]]:
    """The k gallery rows of the largest cosine to each query, exactly; of equal cosines the lower row comes first.

    Compares `block` queries with `block` gallery rows at a time, every block padded to that shape: one compilation
    serves any number of rows, and the device holds the queries, their best k so far and one block of scores.

    Args:
      queries, gallery: need not have unit length; a zero row has cosine 0 to everything.
      k: neighbours to return; may exceed the gallery.
      query_valid, gallery_valid: false = the query finds nothing; the row is never found.
      exclude: gallery row that the query may not find, -1 = none.
      block: rows compared at once.

    Returns:
      Gallery rows, int32, best first, -1 where there are fewer than k; and their cosines, float32, -inf there.

    Raises:
      ValueError: the arrays do not fit together, or an embedding marked valid is not finite.
    """
    return _search(*_sides(queries, query_valid, exclude, gallery, gallery_valid), k, block)


class _Rows(NamedTuple):
    """Rows of one side, all of them on the host or a padded block of them on the device.

    Attributes:
      vectors: float [N, D]; unit length on the device.
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
    _check_length("query", queries, query_valid=query_valid, exclude=exclude)
    _check_length("gallery", gallery, gallery_valid=gallery_valid)
    wrong = (exclude < -1) | (exclude >= len(gallery))
    if wrong.any():
        raise ValueError(f"exclude names gallery row {exclude[wrong][0]} of {len(gallery)}; use -1 for none")
    return _Rows(queries, query_valid, exclude), _Rows(gallery, gallery_valid, np.arange(len(gallery)))


def _check_length(side: str, embeddings: np.ndarray, **arrays: np.ndarray) -> None:
    for name, array in arrays.items():
        if array.shape != embeddings.shape[:1]:
            raise ValueError(f"{name} has shape {array.shape}, but there are {len(embeddings)} {side} embeddings")


def _search(queries: _Rows, gallery: _Rows, k: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    query_blocks = list(_blocks("query", queries, block))
    nothing = np.full((block, k), -1, np.int32), np.full((block, k), -np.inf, np.float32)
    best = [nothing] * len(query_blocks)
    for gallery_block in _blocks("gallery", gallery, block):
        best = [_merge(*found, asked, gallery_block) for found, asked in zip(best, query_blocks, strict=True)]
    rows, cosines = (np.concatenate([none[:0], *found]) for none, *found in zip(nothing, *best, strict=True))
    return rows[: len(queries.valid)], cosines[: len(queries.valid)]


def _blocks(side: str, rows: _Rows, block: int) -> Iterator[_Rows]:
    """The rows in blocks of one shape on the device, normalised; what stands in rows without embedding is not read."""
    for start in range(0, len(rows.valid), block):
        vectors, valid, gallery_row = (array[start : start + block] for array in rows)
        vectors = np.where(valid[:, None], vectors, 0).astype(np.float32)
        broken = start + np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(broken):
            raise ValueError(f"{side} embedding {broken[0]} is marked valid but is not finite; mark it invalid")
        padding = (0, block - len(valid))
        yield _Rows(
            _normalise(np.pad(vectors, (padding, (0, 0)))),
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


def _full_average_precision(
    queries: _Rows, gallery: _Rows, labels: np.ndarray, gallery_labels: np.ndarray, positives: np.ndarray
) -> Float[np.ndarray, "q"]:
    """Average precision of each query over the whole gallery."""
    gallery_blocks = list(_blocks("gallery", gallery, BLOCK))
    average_precision = np.zeros(len(labels))
    for number, query_block in enumerate(_blocks("query", queries, FULL_RANKING_QUERIES)):
        part = slice(number * FULL_RANKING_QUERIES, (number + 1) * FULL_RANKING_QUERIES)
        cosines = np.concatenate([_cosines(query_block, block) for block in gallery_blocks], axis=1)
        cosines = cosines[: len(labels[part]), : len(gallery_labels)]
        relevant = (gallery_labels == labels[part, None]) & (cosines > -np.inf)
        ranking = np.argsort(-cosines, axis=1, kind="stable")
        precision = _precision_at_hits(np.take_along_axis(relevant, ranking, axis=1))
        average_precision[part] = precision.sum(axis=1) / positives[part]
    return average_precision


def _count_positives(query_labels: np.ndarray, gallery_labels: np.ndarray, exclude: np.ndarray) -> np.ndarray:
    """Gallery rows with each query's label, its own row left out; 0 for an unknown label."""
    classes, compact = np.unique(np.concatenate([query_labels, gallery_labels]), return_inverse=True)
    in_gallery = np.bincount(compact[len(query_labels) :], minlength=len(classes))
    own = np.append(gallery_labels, -1)[exclude] == query_labels  # exclude -1 meets the -1 appended: unknown
    return np.where(query_labels >= 0, in_gallery[compact[: len(query_labels)]] - own, 0)


def _precision_at_hits(hits: Bool[np.ndarray, "q k"]) -> Float[np.ndarray, "q k"]:
    """Precision of the list down to each hit; 0 at rows that are none."""
    return np.where(hits, np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1), 0.0)


def _scores_within(hits: np.ndarray, positives: np.ndarray, ks: Sequence[int]) -> dict[str, float]:
    """The scores at each k, averaged over queries."""
    scores, precision = {}, _precision_at_hits(hits)
    for k in ks:
        found = hits[:, :k].sum(axis=1)
        scores[f"p@{k}"] = float(np.mean(found / k))
        scores[f"map@{k}"] = float(np.mean(precision[:, :k].sum(axis=1) / np.minimum(k, positives)))
        scores[f"recall@{k}"] = float(np.mean(found / positives))
        scores[f"hit@{k}"] = float(np.mean(found > 0))
    return scores
