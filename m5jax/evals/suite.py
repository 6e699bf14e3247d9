"""Which scores a run gets: embeddings and index of every split in, flat `name: number` out.

Names are ``task/.../subset/metric``; ``source/NAME/`` in front means: queries and gallery of that source only. A
retrieval task of other sets than query and gallery has them in its name: ``retrieval/instance/query_fg:gallery_fg``.
"""

import collections
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from m5jax import questions
from m5jax.config import Config
from m5jax.data.index import Index
from m5jax.embed import FUSED, Embeddings
from m5jax.evals import classification, clustering, ranks, relevance, retrieval
from m5jax.evals.protocols import Passport
from m5jax.evals.ranks import Ranks
from m5jax.evals.task import Labelling, Task, own_rows
from m5jax.questions import Question

Scores = dict[str, float]
UNKNOWN = -1
MAX_SOURCES = 50  # those of most queries are also scored by themselves
HELD_OUT = tuple(questions.HELD_OUT.split("+"))  # whose categories are predicted from what is trained on
LEVELS = " > "  # between the parts of a category's path
DEFAULT = tuple(map(questions.question, questions.RETRIEVAL))


@dataclasses.dataclass(frozen=True)
class Split:
    """One split's index and embeddings, row by row."""

    index: Index
    embeddings: Embeddings

    def rows(self, keep: np.ndarray) -> "Split":
        """The rows where `keep` holds."""
        return Split(self.index.rows(keep), self.embeddings.rows(keep))


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Scores, what they mean, and the retrieval results that a report shows.

    Attributes:
      scores: flat name -> number.
      results: per task (`Question.task`: "category", "instance") and subset, over all sources.
      ranks: the same, to be saved.
      passports: what names of scores begin with -> what these were measured on and by which rules.
    """

    scores: Scores = dataclasses.field(default_factory=dict)
    results: dict[tuple[str, str], retrieval.Retrieval] = dataclasses.field(default_factory=dict)
    ranks: dict[tuple[str, str], Ranks] = dataclasses.field(default_factory=dict)
    passports: dict[str, Passport] = dataclasses.field(default_factory=dict)

    def add(self, more: "Evaluation", prefix: str = "") -> None:
        """Takes in the scores of another, under names that begin with `prefix`; with one, no results."""
        self.scores.update({prefix + name: value for name, value in more.scores.items()})
        self.passports.update({prefix + name: value for name, value in more.passports.items()})
        if not prefix:
            self.results.update(more.results)
            self.ranks.update(more.ranks)


def join(indices: list[Index]) -> Index:
    """Rows of all, in order."""
    names = [field.name for field in dataclasses.fields(Index)]
    return Index(**{name: np.concatenate([getattr(index, name) for index in indices]) for name in names})


def labels(index: Index, task: str) -> np.ndarray:
    """The string two listings must share to be relevant to each other; "" if unknown. Never shared by two sources."""
    names = index.categories if task == "category" else index.instance_ids
    return np.asarray([f"{s}\x1f{name}" if name else "" for s, name in zip(index.sources, names, strict=True)], object)


def retrieve(
    query: Split, gallery: Split, config: Config, asked: Sequence[Question] = DEFAULT, lost: int = 0
) -> Evaluation:
    """Retrieval with every subset of modalities, over all sources and within those of most queries.

    A listing on both sides does not find itself. A default task that no query has an answer to is left out: there is
    no such task in this catalogue; one that was asked for has counts only.

    Args:
      query, gallery: the two sides; not empty.
      config: the settings.
      asked: tasks of these two sides.
      lost: ids of the two sides that became no record, for the passports.

    Raises:
      ValueError: an id stands twice on one side.
    """
    whole = Evaluation()
    whole.add(_retrieve(query, gallery, config, asked, lost))
    sources = collections.Counter(query.index.sources)
    for source, _ in sources.most_common(MAX_SOURCES) if len(sources) > 1 else []:
        asking, searched = (side.rows(side.index.sources == source) for side in (query, gallery))
        whole.add(_retrieve(asking, searched, config, asked, lost), f"source/{source}/")
    return whole


def _retrieve(query: Split, gallery: Split, config: Config, asked: Sequence[Question], lost: int) -> Evaluation:
    found = Evaluation()
    for question in asked:
        task = task_of(query.index, gallery.index, question, lost)
        given = task.under(config.evaluate.protocol)
        answers = relevance.counts(given["query_labels"], given["gallery_labels"])
        if question in DEFAULT and not answers[:, 1:].any():
            continue
        for subset, vectors in query.embeddings.vectors.items():
            searched, valid = gallery.embeddings.vectors[subset], gallery.embeddings.valid[subset]
            asking = query.embeddings.valid[subset]
            if not asking.any() or not valid.any():
                continue
            sides = {"query_valid": asking, "gallery_valid": valid}
            result = retrieval.evaluate(vectors, searched, ks=config.evaluate.ks, **sides, **given)
            passport = dataclasses.replace(result.passport, sets=task.sets, lost=task.lost)
            result = dataclasses.replace(result, passport=passport)
            found.results[question.task, subset] = result
            found.passports[f"retrieval/{question.task}"] = passport
            same = ranks.same_order(searched, valid)
            score = retrieval.score_of(result.protocol)
            found.ranks[question.task, subset] = Ranks(task, result.ranks, asking, score, same)
            names = {f"retrieval/{question.task}/{subset}/{metric}": value for metric, value in result.scores.items()}
            found.scores.update(names)
    return found


def task_of(query: Index, gallery: Index, question: Question, lost: int) -> Task:
    """The labels of a question; a product is finer than a category."""
    own = own_rows(query.ids, gallery.ids)
    sides = (query, gallery, query.rows(own < 0))
    names = [labels(side, "instance" if question.relevance == "instance" else "category") for side in sides]
    rows = [[_above(name) if question.relevance == "path" else [name] for name in side] for side in names]
    finer = [[[name] for name in labels(side, "instance")] for side in sides]
    labelling = Labelling.of(rows[0], rows[1], rows[2], finer=finer if question.relevance == "category" else ())
    return Task(query.ids, gallery.ids, labelling, question.relevance, question.sets, lost)


def _above(category: str) -> list[str]:
    """A category path from the top down: all that it lies in, and itself."""
    parts = category.split(LEVELS)
    return [LEVELS.join(parts[: depth + 1]) for depth in range(len(parts))]


def classify(train: Split, test: Split, config: Config) -> Scores:
    """Category of the test listings from frozen embeddings: nearest neighbours, and a linear probe if configured."""
    train_labels, test_labels = numbered(labels(train.index, "category"), labels(test.index, "category"))
    scores: Scores = {}
    if not (train_labels != UNKNOWN).any():
        return scores
    for subset, vectors in train.embeddings.vectors.items():
        valid = {"train_valid": train.embeddings.valid[subset], "test_valid": test.embeddings.valid[subset]}
        if not valid["train_valid"].any() or not valid["test_valid"].any():
            continue
        data = (vectors, train_labels, test.embeddings.vectors[subset], test_labels)
        found = classification.nearest_neighbours(*data, config.evaluate.neighbours, **valid)
        scores |= {f"classification/knn/{subset}/{metric}": value for metric, value in found.items()}
        if config.evaluate.probe:
            found = classification.linear_probe(*data, seed=config.seed, **valid)
            scores |= {f"classification/probe/{subset}/{metric}": value for metric, value in found.items()}
    return scores


def classified(test: Split, classes: Sequence[str]) -> Scores:
    """Category of the test listings as the model's own classifier names it; nothing without a classifier.

    Args:
      test: listings that were not trained on.
      classes: the category path of every class; a category that is not among them counts as wrong.
    """
    made = test.embeddings
    if made.predicted is None:
        return {}
    number = {name: i for i, name in enumerate(classes)} | {"": UNKNOWN}
    truth = np.asarray([number.get(name, len(classes)) for name in test.index.categories], np.int64)
    found = classification.named(made.predicted, truth, valid=made.valid[FUSED])
    return {f"classification/head/{FUSED}/{metric}": value for metric, value in found.items()}


def cluster(split: Split, config: Config) -> Scores:
    """How well k-means finds the categories again."""
    (categories,) = numbered(labels(split.index, "category"))
    scores: Scores = {}
    for subset, vectors in split.embeddings.vectors.items():
        keep = split.embeddings.valid[subset] & (categories != UNKNOWN)
        found = clustering.k_means(
            vectors, categories, valid=keep, seed=config.seed, seeds=config.evaluate.cluster_seeds
        )
        scores |= {f"clustering/{subset}/{metric}": value for metric, value in found.items()}
    return scores


def numbered(*names: np.ndarray) -> tuple[np.ndarray, ...]:
    """Labels as numbers that mean the same in every array; "" becomes -1."""
    known = sorted(set(np.concatenate(names)) - {""})
    number: Mapping[str, int] = {name: i for i, name in enumerate(known)} | {"": UNKNOWN}
    return tuple(np.asarray([number[name] for name in array], np.int64) for array in names)
