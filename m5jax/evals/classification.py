"""How well a label is told: classifiers on frozen embeddings, and the answers of a classifier of the model's own.

Sees arrays of embeddings and labels only. Labels are integers from 0 up; -1 = unknown. A test listing without an
embedding counts as wrong, so that models of different modalities are scored on the same listings. So does one of a
class that training never showed. Means over classes are over those of the test listings, one of a single listing too.
"""

import dataclasses
import warnings
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, recall_score
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from m5jax.evals import search

TEMPERATURE = 0.07
PROBE_C = 0.1  # inverse strength of the L2 penalty
PROBE_ITERATIONS = 100
PROBE_ROWS = 50_000  # training listings of the probe; drawn where there are more
ONE_THREAD = 10**8  # listings x numbers x classes below which a probe is fitted by one thread
NO_ANSWER = -1


def nearest_neighbours(
    train: Float[np.ndarray, "n d"],
    train_labels: Int[np.ndarray, "n"],
    test: Float[np.ndarray, "m d"],
    test_labels: Int[np.ndarray, "m"],
    k: int,
    *,
    train_valid: Bool[np.ndarray, "n"],
    test_valid: Bool[np.ndarray, "m"],
) -> dict[str, float]:
    """Scores the vote of the k nearest training listings, each of weight exp(cosine / 0.07).

    After Wu et al., Unsupervised Feature Learning via Non-Parametric Instance Discrimination, 2018, section 3.4 (also
    the classifier of DINO). Of labels with equal votes the one seen nearest wins.

    Args:
      train, test: embeddings; need not have unit length.
      train_labels: -1 = unknown; such a listing has no vote.
      test_labels: -1 = unknown; such a listing is left out.
      k: how many vote; fewer where there are fewer.
      train_valid, test_valid: whether a listing has an embedding.

    Returns:
      ``accuracy``; ``balanced_accuracy``, the mean of the classes' recalls; ``macro_f1``, the mean of their F1;
      ``train``, listings that may vote; ``test``, listings scored; ``coverage``, the share of those with an embedding;
      ``unlabelled``, test listings left out. What cannot be computed is not there.

    Raises:
      ValueError: arrays do not fit together, or an embedding marked valid is not finite.
    """
    voters, labelled = train_valid & (train_labels >= 0), test_labels >= 0
    scores = _counts(int(voters.sum()), labelled, test_valid)
    if voters.any() and labelled.any():
        rows, cosines = search.top_k(
            test[labelled],
            train,
            k,
            query_valid=test_valid[labelled],
            gallery_valid=voters,
            exclude=np.full(labelled.sum(), -1),
        )
        scores |= _told(_vote(rows, cosines, train_labels), test_labels[labelled])
    return scores


def linear_probe(
    train: Float[np.ndarray, "n d"],
    train_labels: Int[np.ndarray, "n"],
    test: Float[np.ndarray, "m d"],
    test_labels: Int[np.ndarray, "m"],
    *,
    train_valid: Bool[np.ndarray, "n"],
    test_valid: Bool[np.ndarray, "m"],
    seed: int,
) -> dict[str, float]:
    """Scores multinomial logistic regression on standardised embeddings.

    Args:
      train, test: embeddings.
      train_labels, test_labels: -1 = unknown; such a listing is left out.
      train_valid, test_valid: whether a listing has an embedding.
      seed: of the draw of `PROBE_ROWS` training listings where there are more.

    Returns:
      As `nearest_neighbours`, of the listings trained on; ``converged``, 0 if training stopped at `PROBE_ITERATIONS`.
      With fewer than two classes to learn there is no probe, and the counts alone are there.

    Raises:
      ValueError: an embedding marked valid is not finite.
    """
    learned = probe(train, train_labels, valid=train_valid, seed=seed)
    labelled = test_labels >= 0
    rows = min(int((train_valid & (train_labels >= 0)).sum()), PROBE_ROWS)
    scores = _counts(rows, labelled, test_valid)
    if learned is None or not labelled.any():
        return scores
    answers = np.full(len(test), NO_ANSWER)
    asked = labelled & test_valid
    if asked.any():
        answers[asked] = learned(test[asked])
    return scores | _told(answers[labelled], test_labels[labelled]) | {"converged": float(learned.converged)}


@dataclasses.dataclass(frozen=True)
class Probe:
    """Multinomial logistic regression on standardised embeddings.

    Attributes:
      scaler, model: what was fitted.
      converged: whether training ended before `PROBE_ITERATIONS`.
    """

    scaler: StandardScaler
    model: LogisticRegression
    converged: bool

    def __call__(self, vectors: Float[np.ndarray, "m d"]) -> Int[np.ndarray, "m"]:
        """The label of each of one or more embeddings."""
        return np.asarray(self.model.predict(self.scaler.transform(vectors)))


def probe(
    vectors: Float[np.ndarray, "n d"], labels: Int[np.ndarray, "n"], *, valid: Bool[np.ndarray, "n"], seed: int
) -> Probe | None:
    """Trains the linear probe; None with fewer than two classes to learn. Arguments as `linear_probe`."""
    rows = np.flatnonzero(valid & (labels >= 0))
    if len(rows) > PROBE_ROWS:
        rows = np.random.default_rng(seed).choice(rows, PROBE_ROWS, replace=False)
    if len(np.unique(labels[rows])) < 2:
        return None
    scaler = StandardScaler().fit(vectors[rows])
    model = LogisticRegression(C=PROBE_C, max_iter=PROBE_ITERATIONS)
    with warnings.catch_warnings():
        # A probe cut short is still a probe of the same definition; `converged` tells the reader.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)  # a catalogue's long tail
        # On busy cores products of small matrices wait for threads far longer than they compute: 0.9 s, not 0.03 s.
        size = len(rows) * vectors.shape[1] * len(np.unique(labels[rows]))
        with threadpool_limits(1 if size < ONE_THREAD else None, user_api="blas"):
            model.fit(scaler.transform(vectors[rows]), labels[rows])
    return Probe(scaler, model, bool(model.n_iter_.max() < PROBE_ITERATIONS))


def named(
    answers: Int[np.ndarray, "m"], test_labels: Int[np.ndarray, "m"], *, valid: Bool[np.ndarray, "m"]
) -> dict[str, float]:
    """Scores the answers of a classifier that was trained elsewhere.

    Args:
      answers: the label named for each test listing.
      test_labels: -1 = unknown; such a listing is left out.
      valid: whether a listing shows anything; an answer about one that does not counts as wrong.

    Returns:
      As `nearest_neighbours`, without ``train``; ``coverage`` is the share that show anything.
    """
    labelled = test_labels >= 0
    answers = np.where(valid, answers, NO_ANSWER)
    told = _told(answers[labelled], test_labels[labelled]) if labelled.any() else {}
    return _asked(labelled, valid) | told


def _told(answers: Int[np.ndarray, "m"], truth: Int[np.ndarray, "m"]) -> dict[str, float]:
    classes: Any = {"labels": np.unique(truth), "average": "macro", "zero_division": 0.0}  # never named: F1 is 0
    return {
        "accuracy": float(np.mean(answers == truth)),
        "balanced_accuracy": float(recall_score(truth, answers, **classes)),
        "macro_f1": float(f1_score(truth, answers, **classes)),
    }


def _vote(
    rows: Int[np.ndarray, "m k"], cosines: Float[np.ndarray, "m k"], labels: Int[np.ndarray, "n"]
) -> Int[np.ndarray, "m"]:
    """The label of most weight among the neighbours; `NO_ANSWER` where there is no neighbour."""
    # A neighbour that is not there has cosine -inf, so no weight.
    candidates, weights = labels[rows], np.exp(cosines / TEMPERATURE)
    votes = np.zeros_like(weights)
    for voter in range(rows.shape[1]):
        votes += weights[:, voter, None] * (candidates == candidates[:, voter, None])
    winners = np.take_along_axis(candidates, votes.argmax(axis=1)[:, None], axis=1)[:, 0]
    return np.where(rows[:, 0] >= 0, winners, NO_ANSWER)


def _counts(train: int, labelled: Bool[np.ndarray, "m"], test_valid: Bool[np.ndarray, "m"]) -> dict[str, float]:
    return {"train": float(train)} | _asked(labelled, test_valid)


def _asked(labelled: Bool[np.ndarray, "m"], valid: Bool[np.ndarray, "m"]) -> dict[str, float]:
    counts = {"test": float(labelled.sum()), "unlabelled": float((~labelled).sum())}
    return counts | ({"coverage": float(valid[labelled].mean())} if labelled.any() else {})
