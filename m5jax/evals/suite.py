"""Which scores a run gets: embeddings and index of every split in, flat `name: number` out.

Names are ``task/.../subset/metric``; ``source/NAME/`` in front means: queries and gallery of that source only.
"""

import collections
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from m5jax.config import Config
from m5jax.data.index import Index
from m5jax.embed import FUSED, Embeddings
from m5jax.evals import classification, clustering, retrieval

Scores = dict[str, float]
UNKNOWN = -1
MAX_SOURCES = 50  # those of most queries are also scored by themselves
HELD_OUT = ("gallery", "query", "val")  # whose categories are predicted from what is trained on


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
    """Scores, and the retrieval results that a report shows.

    Attributes:
      scores: flat name -> number.
      results: per task ("category", "instance") and subset, over all sources.
    """

    scores: Scores
    results: dict[tuple[str, str], retrieval.Retrieval]


def join(indices: list[Index]) -> Index:
    """Rows of all, in order."""
    names = [field.name for field in dataclasses.fields(Index)]
    return Index(**{name: np.concatenate([getattr(index, name) for index in indices]) for name in names})


def labels(index: Index, task: str) -> np.ndarray:
    """The string two listings must share to be relevant to each other; "" if unknown. Never shared by two sources."""
    names = index.categories if task == "category" else index.instance_ids
    return np.asarray([f"{s}\x1f{name}" if name else "" for s, name in zip(index.sources, names, strict=True)], object)


def retrieve(query: Split, gallery: Split, config: Config) -> Evaluation:
    """Category and instance retrieval with every subset of modalities, over all sources and within the largest."""
    whole = _retrieve(query, gallery, config)
    scores, sources = dict(whole.scores), collections.Counter(query.index.sources)
    for source, _ in sources.most_common(MAX_SOURCES) if len(sources) > 1 else []:
        own = _retrieve(
            query.rows(query.index.sources == source), gallery.rows(gallery.index.sources == source), config
        )
        scores |= {f"source/{source}/{name}": value for name, value in own.scores.items()}
    return Evaluation(scores, whole.results)


def _retrieve(query: Split, gallery: Split, config: Config) -> Evaluation:
    scores: Scores = {}
    results = {}
    for task in ("category", "instance"):
        query_labels, gallery_labels = numbered(labels(query.index, task), labels(gallery.index, task))
        if not len(gallery_labels) or not np.isin(query_labels[query_labels != UNKNOWN], gallery_labels).any():
            continue  # no query has an answer: there is no such task in this catalogue
        for subset, vectors in query.embeddings.vectors.items():
            if not query.embeddings.valid[subset].any() or not gallery.embeddings.valid[subset].any():
                continue
            result = retrieval.evaluate(
                vectors,
                gallery.embeddings.vectors[subset],
                query_labels,
                gallery_labels,
                ks=config.evaluate.ks,
                query_valid=query.embeddings.valid[subset],
                gallery_valid=gallery.embeddings.valid[subset],
                protocol=config.evaluate.protocol,
            )
            results[task, subset] = result
            scores |= {f"retrieval/{task}/{subset}/{metric}": value for metric, value in result.scores.items()}
    return Evaluation(scores, results)


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
        found = clustering.k_means(vectors, categories, valid=keep, seed=config.seed)
        scores |= {f"clustering/{subset}/{metric}": value for metric, value in found.items()}
    return scores


def numbered(*names: np.ndarray) -> tuple[np.ndarray, ...]:
    """Labels as numbers that mean the same in every array; "" becomes -1."""
    known = sorted(set(np.concatenate(names)) - {""})
    number: Mapping[str, int] = {name: i for i, name in enumerate(known)} | {"": UNKNOWN}
    return tuple(np.asarray([number[name] for name in array], np.int64) for array in names)
