"""Retrieval scores of vectors or of saved ranks: ``python tools/score.py --embeddings FILE.npz --labels FILE.json``.

The npz holds ``query_ids`` [Q], ``query`` [Q, D], ``gallery_ids`` [G] and ``gallery`` [G, D]; the JSON is one object
{id: label}, where a label is a string, a number, a list of them (any that two ids share makes them relevant), or null:
none. Every query must be named there; a gallery id that is not has no label: a distractor. One JSON object is printed:
scores as shares of 1, counts, what cannot be given and why, and the passport: by which rules and on what. A row that
is all zero or not finite is no embedding: it is counted, such a query scores 0, and such a gallery row is not found.

With --save-ranks FILE.npz what every query found is written down, and ``--ranks FILE.npz``, of that file or of one in
the folder ``ranks`` of a run, scores it again under any protocol without the vectors; labels are then those of the
file, unless --labels gives others. No accelerator is used. Exit codes: 0 done, 64 the command line, 65 a file.
"""

import argparse
import collections
import json
import os
import pathlib
import sys
from typing import Any

import numpy as np

os.environ["JAX_PLATFORMS"] = "cpu"  # before jax is imported: an accelerator may be another's

from m5jax.errors import ConfigError, DataError, M5Error
from m5jax.evals import ranks, retrieval
from m5jax.evals.protocols import PROTOCOLS, RELEASED, Passport
from m5jax.evals.task import Labelling, Task

KEYS = ("query_ids", "query", "gallery_ids", "gallery")
Labels = dict[str, list[str]]


def main(argv: list[str]) -> int:
    """Runs one command line and returns its exit code."""
    try:
        arguments = _parser().parse_args(argv)
        ks = _ks(arguments.k)
        result = _of_ranks(arguments, ks) if arguments.ranks else _of_embeddings(arguments, ks)
    except M5Error as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        print(json.dumps({"error": str(error)}, ensure_ascii=False))
        return error.exit_code
    print(json.dumps(result, ensure_ascii=False, allow_nan=False), flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> Any:
            raise ConfigError(f"{message}; see --help")

    parser = Parser(prog="tools/score.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--embeddings", type=pathlib.Path, metavar="FILE.npz", help="vectors of queries and gallery")
    what.add_argument("--ranks", type=pathlib.Path, metavar="FILE.npz", help="saved ranks, in place of vectors")
    add = parser.add_argument
    add("--labels", type=pathlib.Path, metavar="FILE.json", help="id -> label, labels or null; needed for --embeddings")
    add("--protocol", choices=tuple(PROTOCOLS), default="standard", help="definitions (docs/evaluation.md)")
    add("--k", default="1,5,10", metavar="K,...", help="ranks to score at (default: %(default)s)")
    add("--save-ranks", type=pathlib.Path, metavar="FILE.npz", help="write what every query found, to the largest k")
    return parser


def _ks(text: str) -> tuple[int, ...]:
    try:
        ks = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        ks = ()
    if not ks or ks[0] < 1:
        raise ConfigError(f"--k {text}: give one or more ranks from 1 up, 1,5,10")
    return ks


def _of_embeddings(arguments: argparse.Namespace, ks: tuple[int, ...]) -> dict[str, Any]:
    if arguments.labels is None:
        raise ConfigError("--embeddings needs --labels FILE.json: which ids are relevant to each other")
    held, labels = _arrays(arguments.embeddings), _labels(arguments.labels)
    task = _task(held["query_ids"], held["gallery_ids"], labels, arguments.labels, arguments.embeddings)
    wrong = {side: _without(held[side]) for side in ("query", "gallery")}
    valid = {side: ~(rows["zero"] | rows["not_finite"]) for side, rows in wrong.items()}
    sides = {f"{side}_valid": rows for side, rows in valid.items()}
    given = task.under(arguments.protocol)
    score = retrieval.score_of(PROTOCOLS[arguments.protocol])
    vectors = [_lengthened(held[side], score) for side in ("query", "gallery")]
    found = retrieval.evaluate(vectors[0], vectors[1], ks=ks, **sides, **given)
    saved = ranks.Ranks(task, found.ranks, valid["query"], score, ranks.same_order(held["gallery"], valid["gallery"]))
    if arguments.save_ranks:
        saved.save(arguments.save_ranks)
    left_out = {}
    if "map" not in found.scores and len(found.query_rows):
        few = f"galleries of at most {retrieval.FULL_RANKING_LIMIT} rows are ranked whole"
        left_out["map"] = "the release has none" if found.protocol is RELEASED else few
    counts = {f"{side}_{why}": float(rows.sum()) for side, all_of in wrong.items() for why, rows in all_of.items()}
    return _answer(found.scores | counts, found.passport, left_out, ks)


def _of_ranks(arguments: argparse.Namespace, ks: tuple[int, ...]) -> dict[str, Any]:
    if arguments.save_ranks:
        raise ConfigError("--save-ranks needs --embeddings: there are ranks already")
    held = ranks.Ranks.load(arguments.ranks)
    if arguments.labels is not None:
        ids = held.task.query_ids, held.task.gallery_ids
        task = _task(*ids, _labels(arguments.labels), arguments.labels, arguments.ranks)
        held = ranks.Ranks(task, held.rows, held.query_valid, held.score, held.unit)
    try:
        scores, passport, left_out = held.evaluate(ks, arguments.protocol)
    except ValueError as error:
        raise DataError(f"{arguments.ranks}: {error}") from error
    return _answer(scores, passport, left_out, ks)


def _answer(
    scores: dict[str, float], passport: Passport, left_out: dict[str, str], ks: tuple[int, ...]
) -> dict[str, Any]:
    """Everything that is printed; of the release's protocol its own names and percents as well."""
    if not passport.answerable:
        left_out = {"scores": "no query has a positive: nothing can be scored, and there are counts alone"}
    answer: dict[str, Any] = dict(scores)
    if passport.protocol == RELEASED.name and passport.answerable:
        for k in ks:
            precision, mean = 100 * scores[f"p@{k}"], 100 * scores[f"map@{k}"]
            # The release prints a hit rate that it never fills, and averages it in.
            three = {"mAP": mean, "mHitRate": 0.0, "Prec": precision}
            answer[f"top{k}"] = three | {"average": sum(three.values()) / 3}
    return answer | ({"left_out": left_out} if left_out else {}) | {"passport": passport.to_dict()}


def _arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of an npz, checked to fit together."""
    held = ranks.read_arrays(path)
    if missing := [key for key in KEYS if key not in held]:
        raise DataError(f"{path} has no array {missing[0]!r}: it must hold {', '.join(KEYS)}")
    for side in ("query", "gallery"):
        ids, vectors = held[f"{side}_ids"], held[side]
        if ids.ndim != 1 or ids.dtype.kind not in "Uiu":
            raise DataError(f"{path}: {side}_ids is {ids.dtype} {ids.shape}, and must be strings or integers [rows]")
        if vectors.ndim != 2 or vectors.dtype.kind not in "fiu":
            raise DataError(f"{path}: {side} is {vectors.dtype} {vectors.shape}, and must be numbers [rows, D]")
        if len(ids) != len(vectors):
            raise DataError(f"{path}: {len(ids)} {side}_ids for {len(vectors)} rows of {side}; one each is needed")
        if not len(ids):
            raise DataError(f"{path}: {side} has no row: nothing can be asked")
        held[f"{side}_ids"] = ids.astype(str)
        held[side] = _narrowed(vectors)
    if held["query"].shape[1] != held["gallery"].shape[1]:
        shapes = f"query {held['query'].shape} and gallery {held['gallery'].shape}"
        raise DataError(f"{path}: {shapes} must have one D: were they made by one model?")
    return held


def _narrowed(vectors: np.ndarray) -> np.ndarray:
    """As float32; what overflows becomes infinite, so that it is counted as not finite."""
    with np.errstate(over="ignore"):
        return vectors.astype(np.float32, copy=False)


def _without(vectors: np.ndarray) -> dict[str, np.ndarray]:
    """Which rows are no embedding, by why not."""
    squares = np.einsum("rd,rd->r", vectors, vectors, dtype=np.float64)
    finite = squares < np.finfo(np.float32).max  # products of longer vectors overflow
    return {"zero": (vectors == 0).all(axis=1), "not_finite": np.logical_not(finite)}


def _lengthened(vectors: np.ndarray, score: str) -> np.ndarray:
    """Rows of length 1 for cosines: search takes vectors shorter than 1e-6 for none."""
    if score == "dot":
        return vectors
    lengths = np.sqrt(np.einsum("rd,rd->r", vectors, vectors, dtype=np.float64))
    lengths = np.where((lengths > 0) & np.isfinite(lengths), lengths, 1).astype(np.float32)
    return vectors / lengths[:, None]


def _labels(path: pathlib.Path) -> Labels:
    """id -> labels, none for null."""

    def of_one(identity: str, value: Any) -> list[str]:
        values = value if isinstance(value, list) else [] if value is None else [value]
        for one in values:
            if not isinstance(one, str | int) or isinstance(one, bool):
                raise DataError(
                    f"{path}: {identity!r} has the label {one!r}; use a string, an integer, or a list of them"
                )
        return [str(one) for one in values]

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        held = dict(pairs)
        if len(held) < len(pairs):
            twice = collections.Counter(key for key, _ in pairs).most_common(1)[0][0]
            raise DataError(f"{path}: id {twice!r} stands there twice; keep one of its labels, or make them a list")
        return held

    try:
        held = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=once)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(held, dict):
        raise DataError(f"{path} must be one object, id -> label")
    return {identity: of_one(identity, value) for identity, value in held.items()}


def _task(
    query_ids: np.ndarray, gallery_ids: np.ndarray, labels: Labels, path: pathlib.Path, source: pathlib.Path
) -> Task:
    """The task of two lists of ids."""
    unknown = [identity for identity in query_ids.tolist() if identity not in labels]
    if unknown:
        raise DataError(
            f"{path} says nothing of {len(unknown)} of {len(query_ids)} queries of {source}, {unknown[0]!r} among them:"
            " give each its label, or null if it has none"
        )
    inside = set(gallery_ids.tolist())
    others = [found for identity, found in labels.items() if identity not in inside]
    sides = [[labels.get(identity, []) for identity in ids.tolist()] for ids in (query_ids, gallery_ids)]
    task = Task(query_ids, gallery_ids, Labelling.of(sides[0], sides[1], others), label=path.name)
    try:
        task.own  # noqa: B018 - ids that stand twice are told before anything is searched
    except ValueError as error:
        raise DataError(f"{source}: {error} Take one of them out") from error
    return task


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
