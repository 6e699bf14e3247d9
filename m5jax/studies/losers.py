"""Who loses: which queries, categories and kinds of listing the model serves worse than the rest, beyond chance or not.

Every score is that of `scores.json`, of the same queries: one that lacks a modality counts as not found there.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from m5jax import embed, modalities
from m5jax.embed import FUSED
from m5jax.evals import bootstrap, confusion, retrieval, slices, suite
from m5jax.evals.bootstrap import Interval
from m5jax.evals.retrieval import Retrieval
from m5jax.evals.sets import Sets
from m5jax.evals.slices import Grouping, Slice
from m5jax.evals.suite import Split
from m5jax.modalities import State
from m5jax.questions import SIDES, Question
from m5jax.studies.subject import Finding, Subject, skipped, some

WORST, NEIGHBOURS = 20, 5
MOST_GROUPS = 200  # of one grouping; those with too few queries to tell are left out first
MIXED, LARGEST = 20, 10  # pairs of categories mixed up; categories with a row of their own
QUOTED = 200  # characters of one text of the catalogue
SEED = 0  # of the bootstrap and of the queries kept: the same for every run, so that runs compare
FALSE_ALARMS = (1 - bootstrap.CONFIDENCE) / 2  # share of groups that chance alone calls "below", at most
# Of groupings that have no order of their own: the worst group first, or the largest.
ORDERS = {"source": slices.worst_first, "category": slices.worst_first, "present": slices.largest_first}


@dataclasses.dataclass(frozen=True)
class Asked:
    """One retrieval task of the run: the question, its two sides, and per subset of modalities what was found."""

    question: Question
    query: Split
    gallery: Split
    results: Mapping[str, Retrieval]

    @property
    def fused(self) -> Retrieval:
        """What was found by all modalities together."""
        return self.results[FUSED]

    @property
    def relevance(self) -> str:
        """What right answers share, as `suite.labels` calls it."""
        return "instance" if self.question.relevance == "instance" else "category"


def study(subject: Subject) -> Finding:
    """Scores of groups of queries with their intervals, cold starts, confusion, and the worst queries.

    Returns:
      ``passport``; ``metric`` of all scores but "hit@1"; ``confidence``, ``replicates`` and ``least`` products of the
      intervals; ``tasks``, see `_task`, by the names that scores have ("category", "instance"); ``confusion``, see
      `_confusion`; ``worst``, see `_worst`, of the first task.
    """
    tasks = _asked(subject)
    if not tasks:
        return skipped("no query has an answer in the gallery, so it cannot be told who loses")
    by_category = [asked for asked in tasks.values() if asked.relevance == "category"]
    first = next(iter(tasks.values()))
    return {
        "passport": first.fused.passport.to_dict(),
        "metric": _metric(subject),
        "confidence": bootstrap.CONFIDENCE,
        "replicates": bootstrap.REPLICATES,
        "least": slices.LEAST,
        "tasks": {name: _task(subject, asked) for name, asked in tasks.items()},
        "confusion": _confusion(by_category[0]) if by_category else None,
        "worst": _worst(first),
    }


def _asked(subject: Subject) -> dict[str, Asked]:
    """The tasks of the run that a query has an answer to, by name."""
    sets, tasks = Sets(subject.prepared), {}
    for name in dict.fromkeys(name for name, _ in subject.results):
        results = {subset: found for (task, subset), found in subject.results.items() if task == name}
        if FUSED in results and len(results[FUSED].query_rows):
            relevance, _, sides = name.partition("/")
            question = Question(relevance, *(sides or SIDES).split(":"))
            query, gallery = (sets.find(side, subject.embedded) for side in (question.queries, question.gallery))
            tasks[name] = Asked(question, query, gallery, results)
    return tasks


def _metric(subject: Subject) -> str:
    return f"map@{max(subject.config.evaluate.ks)}"


def _task(subject: Subject, asked: Asked) -> dict[str, Any]:
    """What one task says of every group.

    Returns:
      ``passport``; ``whole``, over all queries; ``groupings``, per way to group them its groups; ``cold_start``, see
      `_cold_start`; ``queries``, see `_kept`.
    """
    fused, metric = asked.fused, _metric(subject)
    clusters = _products(asked.query)[fused.query_rows]
    subsets = [subset for subset in embed.subsets(subject.config) if subset in asked.results]
    values = {f"{subset}/{metric}": asked.results[subset].average_precision for subset in subsets}
    values |= {f"{FUSED}/hit@1": (fused.first_hit_rank == 1).astype(np.float64)}
    whole = bootstrap.means(values, clusters, SEED)
    groupings = _groupings(subject, asked)
    found = {}
    for name, grouping in groupings.items():
        made = slices.slices(values, grouping, clusters, f"{FUSED}/{metric}", SEED)
        found[name] = _told(ORDERS[name](made) if name in ORDERS else made)
    return {
        "passport": fused.passport.to_dict(),
        "whole": _group("all", whole),
        "groupings": found,
        "cold_start": _cold_start(subject, asked, clusters),
        "queries": _kept(subject, asked, clusters, groupings),
    }


def _told(made: list[Slice]) -> dict[str, Any]:
    """The groups of one grouping; how many more there are; how many of all chance alone may call "below"."""
    judged = sum(one.verdict != slices.TOO_FEW for one in made)
    return {
        "groups": [_group(one.name, one.scores) | {"verdict": one.verdict} for one in made[:MOST_GROUPS]],
        "left_out": max(0, len(made) - MOST_GROUPS),
        "judged": judged,
        "by_chance": round(FALSE_ALARMS * judged, 2),
    }


def _group(name: str, scores: Mapping[str, Interval]) -> dict[str, Any]:
    counts = next(iter(scores.values()))
    return {
        "name": name,
        "queries": counts.queries,
        "products": counts.clusters,
        "scores": {score: _ends(interval) for score, interval in scores.items()},
    }


def _ends(interval: Interval) -> dict[str, float]:
    return {end: round(getattr(interval, end), 6) for end in ("mean", "low", "high")}


def _groupings(subject: Subject, asked: Asked) -> dict[str, Grouping]:
    """The ways to group the scored queries: those that make at least two groups of them."""
    index, shown = asked.query.index.rows(asked.fused.query_rows), subject.config.inputs.shown
    present = index.states[:, [modalities.NAMES.index(name) for name in shown]] == State.PRESENT
    together = [" + ".join(name for name, has in zip(shown, row, strict=True) if has) for row in present]
    counts = [f"{n} of {len(shown)}" for n in present.sum(1)]
    labels = suite.labels(index, "category")
    categories = slices.by_name(labels)
    made = {
        "count": slices.by_name(np.asarray(counts, object)),
        "present": slices.by_name(np.asarray([names or "none" for names in together], object)),
        "source": slices.by_name(index.sources),
        "category": Grouping(categories.of, _readable(categories.names)),
    }
    if "train" in subject.embedded:
        seen = Counter(suite.labels(subject.embedded["train"].index, "category").tolist())
        frequency = np.asarray([seen[label] if label else -1 for label in labels], np.int64)
        made = {"frequency": slices.by_frequency(frequency)} | made
    return {name: grouping for name, grouping in made.items() if len(grouping.names) > 1}


def _readable(labels: Sequence[str]) -> tuple[str, ...]:
    """Labels of categories as people read them: with the source only where there are several."""
    parts = [label.partition("\x1f") for label in labels]
    several = len({source for source, *_ in parts}) > 1
    return tuple((f"{source}: {name}" if several else name)[:QUOTED] for source, _, name in parts)


def _products(split: Split) -> np.ndarray:
    """What tells listings of one product from those of others; one whose product is unknown is its own."""
    return np.asarray(
        [product or f"\x1e{row}" for row, product in enumerate(suite.labels(split.index, "instance"))], object
    )


def _cold_start(subject: Subject, asked: Asked, clusters: np.ndarray) -> list[dict[str, Any]]:
    """Queries shown with one modality only, as a new listing may have no more, against a gallery that shows everything.

    Only queries that have this modality and others too: for the rest there is nothing to lose.

    Returns:
      Per modality ``only`` this; ``queries`` and ``products``; the score ``shown`` with it alone, ``complete`` with all
      that they have, and the paired ``change``, whose interval tells from chance where it lacks 0.
    """
    query, gallery, fused = asked.query.embeddings, asked.gallery.embeddings, asked.fused
    rules = suite.task_of(asked.query.index, asked.gallery.index, asked.question, 0).under(fused.protocol.name)
    names = subject.config.inputs.modalities
    several = np.sum([query.valid[name] for name in names], axis=0) > 1
    found = []
    for name in names:
        able = (several & query.valid[name])[fused.query_rows]
        if not able.any():
            continue
        alone = retrieval.evaluate(
            query.vectors[name],
            gallery.vectors[FUSED],
            ks=(max(subject.config.evaluate.ks),),
            query_valid=query.valid[name],
            gallery_valid=gallery.valid[FUSED],
            **rules,
        )
        shown, complete = alone.average_precision[able], fused.average_precision[able]
        scores = bootstrap.means({"shown": shown, "complete": complete}, clusters[able], SEED)
        change = bootstrap.difference(shown, complete, clusters[able], SEED)
        scores |= {"change": change} if change else {}
        counts = {"queries": len(shown), "products": scores["shown"].clusters}
        found.append({"only": name} | counts | {score: _ends(interval) for score, interval in scores.items()})
    return found


def _kept(subject: Subject, asked: Asked, clusters: np.ndarray, groupings: Mapping[str, Grouping]) -> dict[str, Any]:
    """Queries one by one, at most `config.evaluate.study_listings`, so that two runs are compared on the same ones.

    Returns:
      As columns, ``id``; ``product``, a number that queries of one product share; ``average_precision``;
      ``first_hit``, a rank, 0 for none; and ``groups``, per grouping the group each is ``of`` as a number into
      ``names``, -1 for none. ``of_all`` is how many queries there are.
    """
    fused = asked.fused
    kept = some(len(fused.query_rows), subject.config.evaluate.study_listings, SEED)
    some_of = {name: grouping.rows(kept) for name, grouping in groupings.items()}
    return {
        "of_all": len(fused.query_rows),
        "id": asked.query.index.ids[fused.query_rows[kept]].tolist(),
        "product": np.unique(clusters[kept], return_inverse=True)[1].tolist(),
        "average_precision": fused.average_precision[kept].round(6).tolist(),
        "first_hit": fused.first_hit_rank[kept].tolist(),
        "groups": {name: {"names": list(one.names), "of": one.of.tolist()} for name, one in some_of.items()},
    }


def _confusion(asked: Asked) -> dict[str, Any]:
    """What queries are taken for: the category of the nearest gallery listing that has one.

    Returns:
      ``pairs``, the categories mixed up most often: ``truth``, ``answer``, ``count``, their ``share`` of the queries of
      that category, and the titles of one such query and of what it found, ``titles``; ``names`` of the largest
      categories and the ``table`` of `confusion.matrix`.
    """
    result, gallery = asked.fused, asked.gallery.index
    query = asked.query.index.rows(result.query_rows)
    labels = suite.labels(query, "category"), suite.labels(gallery, "category")
    truth, searched = suite.numbered(*labels)
    names = _readable(sorted(set(np.concatenate(labels)) - {""}))
    answers = np.where(result.neighbours >= 0, searched[result.neighbours], suite.UNKNOWN)
    known = (answers != suite.UNKNOWN).argmax(1)[:, None]
    nearest = np.take_along_axis(result.neighbours, known, 1)[:, 0]
    answers = np.take_along_axis(answers, known, 1)[:, 0]
    largest, table = confusion.matrix(truth, answers, LARGEST)
    return {
        "pairs": [
            {
                "truth": names[one.truth],
                "answer": names[one.answer],
                "count": one.count,
                "share": round(one.share, 6),
                "titles": [query.titles[one.example][:QUOTED], gallery.titles[nearest[one.example]][:QUOTED]],
            }
            for one in confusion.mixed_up(truth, answers, MIXED)
        ],
        "names": [names[number] for number in largest],
        "table": table.tolist(),
    }


def _worst(asked: Asked) -> list[dict[str, Any]]:
    """The queries of lowest average precision of those that found anything, in the order of `slices.hardest_first`.

    Returns:
      ``id``, ``category`` and ``average_precision`` of each; the ids of the ``nearest`` gallery listings, best first,
      and the categories of these, which it was ``taken_for``.
    """
    query, gallery, result = asked.query, asked.gallery, asked.fused
    answered = np.flatnonzero(result.neighbours[:, 0] >= 0)
    rows, nearest = result.query_rows[answered], result.neighbours[answered, 0]
    cosines = np.einsum("qd,qd->q", query.embeddings.vectors[FUSED][rows], gallery.embeddings.vectors[FUSED][nearest])
    order = slices.hardest_first(
        result.average_precision[answered], cosines, suite.labels(query.index, asked.relevance)[rows].astype(str)
    )
    found = []
    for row in answered[order[:WORST]]:
        place, neighbours = result.query_rows[row], [at for at in result.neighbours[row, :NEIGHBOURS] if at >= 0]
        found.append(
            {
                "id": query.index.ids[place],
                "category": query.index.categories[place][:QUOTED],
                "average_precision": round(float(result.average_precision[row]), 6),
                "nearest": [gallery.index.ids[at] for at in neighbours],
                "taken_for": [gallery.index.categories[at][:QUOTED] for at in neighbours],
            }
        )
    return found
