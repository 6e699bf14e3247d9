"""Saved ranks: what every query of a task found, to be scored under any protocol without embeddings or a model.

One ``.npz`` without pickled objects: ``rows`` int32 [Q, depth], gallery rows best first, the query's own among them,
-1 where there are fewer; ``query_ids``, ``gallery_ids``; ``query_valid``, whether a query has an embedding; ``score``,
what rows were ordered by, "cosine" or "dot"; ``unit``, whether that order is the same for both, all gallery vectors
being of length 1 or 0; and the labels: their ``names``, which are ``finer`` (see `task.Labelling`), and for query,
gallery and others ``*_starts`` and ``*_numbers``, as `relevance.LabelSets` has them.
"""

import dataclasses
import pathlib
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from m5jax.data import unfinished
from m5jax.errors import DataError
from m5jax.evals import ranking, relevance
from m5jax.evals.protocols import RELEASED, Passport, Protocol
from m5jax.evals.relevance import Labels, LabelSets
from m5jax.evals.task import Labelling, Task

FORMAT_VERSION = 1
SIDES = ("query", "gallery", "others")
UNIT_TOLERANCE = 1e-5  # by which a length may be off 1: float32 rounding, and less than float16's


@dataclasses.dataclass(frozen=True)
class Ranks:
    """What every query of a task found.

    Attributes:
      task: ids and labels.
      rows: int32 [Q, depth], gallery rows, best first, the query's own among them; -1 where there are fewer.
      query_valid: bool [Q], whether a query has an embedding.
      score: what rows were ordered by, "cosine" or "dot".
      unit: whether the other score function gives the same order.
    """

    task: Task
    rows: np.ndarray
    query_valid: np.ndarray
    score: str
    unit: bool

    def save(self, path: pathlib.Path) -> None:
        """Writes the file, whole or not at all."""
        labels = self.task.labels
        arrays = {"format": FORMAT_VERSION, "rows": self.rows, "score": self.score, "unit": self.unit}
        arrays |= {"query_valid": self.query_valid, "names": labels.names, "finer": labels.finer}
        arrays |= {"query_ids": self.task.query_ids.astype(str), "gallery_ids": self.task.gallery_ids.astype(str)}
        arrays |= {"label": self.task.label, "sets": self.task.sets, "lost": self.task.lost}
        for side, sets in zip(SIDES, (labels.query, labels.gallery, labels.others), strict=True):
            arrays |= {f"{side}_starts": sets.starts, f"{side}_numbers": sets.numbers}
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.whole(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **{name: np.asarray(value) for name, value in arrays.items()})

    @classmethod
    def load(cls, path: pathlib.Path) -> "Ranks":
        """Reads a file that `save` wrote.

        Raises:
          DataError: there is none, or it is damaged or no such file.
        """
        held = read_arrays(path)
        try:
            if held["format"] != FORMAT_VERSION:
                raise DataError(f"{path} has format {held['format']}, not {FORMAT_VERSION}: save the ranks again")
            sides = [LabelSets(held[f"{side}_starts"], held[f"{side}_numbers"]) for side in SIDES]
            labels = Labelling(held["names"], held["finer"], *sides)
            told = str(held["label"]), str(held["sets"]), int(held["lost"])
            task = Task(held["query_ids"], held["gallery_ids"], labels, *told)
            ranks = cls(task, held["rows"], held["query_valid"], str(held["score"]), bool(held["unit"]))
            ranks._check()
        except KeyError as error:
            raise DataError(f"{path} holds no saved ranks: {error} is missing. Write it with --save-ranks") from error
        except (ValueError, TypeError, IndexError) as error:
            raise DataError(f"{path} cannot be used as saved ranks: {error}. Save them again") from error
        return ranks

    def _check(self) -> None:
        """Raises ValueError where arrays do not fit together."""
        queries, gallery = len(self.task.query_ids), len(self.task.gallery_ids)
        labels = self.task.labels
        fits = {
            "rows": self.rows.ndim == 2 and len(self.rows) == queries and self.rows.dtype.kind == "i",
            "rows (of the gallery)": ((self.rows >= -1) & (self.rows < gallery)).all(),
            "query_valid": self.query_valid.shape == (queries,),
            "score": self.score in ("cosine", "dot"),
            "finer": labels.finer.shape == labels.names.shape,
            "query labels": len(labels.query) == queries,
            "gallery labels": len(labels.gallery) == gallery,
        }
        for side, sets in zip(SIDES, (labels.query, labels.gallery, labels.others), strict=True):
            steps, numbers = np.diff(sets.starts), sets.numbers
            fits[f"{side} labels (starts)"] = bool((steps >= 0).all()) and sets.starts[0] == 0
            fits[f"{side} labels (ends)"] = sets.starts[-1] == len(numbers)
            fits[f"{side} labels (numbers)"] = ((numbers >= 0) & (numbers < len(labels.names))).all()
        wrong = [name for name, fit in fits.items() if not fit]
        if wrong:
            raise ValueError(f"its {wrong[0]} do not fit the rest")

    def evaluate(self, ks: Sequence[int], protocol: str) -> tuple[dict[str, float], Passport, dict[str, str]]:
        """The scores of `retrieval.evaluate`, its passport, and what ranks cannot give: name -> why.

        Raises:
          ValueError: the ranks are of another score function, or not as deep as the largest k needs.
        """
        rules = ranking.protocol_of(protocol, ks)
        need = "dot" if rules is RELEASED else "cosine"
        if self.score != need and not self.unit:
            raise ValueError(
                f"the ranks are by {self.score}, and protocol {protocol!r} ranks by {need}: vectors were not of length"
                " 1, so the orders differ. Score the embeddings instead"
            )
        own = self.task.own
        gallery, depth = len(self.task.gallery_ids), self.rows.shape[1]
        extra = int(rules is not RELEASED and (own >= 0).any())  # places that queries' own rows take
        if depth < min(max(ks) + extra, gallery):
            raise ValueError(
                f"k = {max(ks)} is deeper than the {depth - extra} neighbours that were saved: take smaller ks, save"
                " the ranks again with larger ones, or score the embeddings"
            )
        given = self.task.under(protocol)
        labels = given["query_labels"], given["gallery_labels"], given["others"]
        judged = ranking.judge(self.rows, own, *labels, ks=ks, protocol=rules)
        left_out = {}
        if rules is not RELEASED and depth >= gallery:
            judged.values["map"] = self._full(judged, labels[0], labels[1], rules)
        elif rules is not RELEASED:
            left_out["map"] = f"ranks of {depth} of {gallery} gallery rows were saved: score the embeddings for it"
        passport = Passport(
            protocol=protocol,
            rules=rules.rules,
            queries=len(own),
            gallery=gallery,
            digest=given["gallery_digest"],
            label=self.task.label,
            sets=self.task.sets,
            answerable=len(judged.query_rows),
            distractors=relevance.distractors(*labels[:2]),
            lost=self.task.lost,
        )
        scored = self.query_valid[judged.query_rows]
        coverage = {"coverage": float(scored.mean())} if len(scored) else {}
        return passport.counts | ranking.means(judged) | coverage, passport, left_out

    def _full(
        self, judged: ranking.Judged, query_labels: Labels, gallery_labels: Labels, rules: Protocol
    ) -> Float[np.ndarray, "q"]:
        """Average precision of the scored queries over the whole gallery."""
        scored = judged.query_rows
        order = ranking.without_own(self.rows[scored], self.task.own[scored], self.rows.shape[1], rules)
        hits = relevance.gains(relevance.take(query_labels, scored), gallery_labels, order) > 0
        return ranking.average_precision(hits, judged.positives[:, 1:].sum(axis=1))


def save_all(folder: pathlib.Path, held: Mapping[tuple[str, str], Ranks]) -> None:
    """Writes the ranks of tasks and subsets in place of all that the folder holds, which are of another evaluation."""
    for old in folder.glob("*.npz"):
        old.unlink()
    for (task, subset), ranks in held.items():
        ranks.save(folder / file_name(task, subset))


def file_name(task: str, subset: str) -> str:
    """What the file of a task and subset is called: ``category-fused.npz``, ``instance-query_in_val+train-text.npz``"""
    return f"{re.sub('[^A-Za-z0-9_.+]+', '-', task.replace(':', '_in_'))}-{subset}.npz"


def read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz``; pickled objects are never opened.

    Raises:
      DataError: there is no such file, or it is damaged or something else.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path} is no .npz, or it is cut: write it again with numpy.savez")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    # A damaged archive shows itself in all these ways: bytes cut off or flipped in a member, its header or its packing.
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        why = "it holds pickled objects, which could run code" if "allow_pickle" in str(error) else error
        raise DataError(f"{path} cannot be read: {why}. Write it again with numpy.savez, arrays alone") from error


def same_order(gallery: Float[np.ndarray, "g d"], valid: Bool[np.ndarray, "g"]) -> bool:
    """Whether cosines and dot products order a gallery alike: its vectors are of length 1, or 0 throughout."""
    squares = np.einsum("gd,gd->g", gallery, gallery, dtype=np.float64)  # without a copy of the gallery
    return bool(((np.abs(np.sqrt(squares) - 1) < UNIT_TOLERANCE) | (squares == 0) | ~valid).all())
