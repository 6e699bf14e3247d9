"""Robustness: K3M's three tasks while ever more listings lack, or show wrongly, their title, picture or table.

After K3M (Zhu et al., arXiv:2109.00895, figures 3 and 4, table 2), by its schemes (`schemes`, `data.schemes`). Which
listings of its tasks the paper corrupts we do not know; here it is those that are asked about alone, or also those that
the classifier and the heads learn from and are chosen on. The network is the same at every point: mode=sweep trains it
anew.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from m5jax import distributed, schemes
from m5jax.embed import FUSED
from m5jax.evals import answers, chance, sweeps
from m5jax.evals.protocols import Passport, digest
from m5jax.studies import items as items_of
from m5jax.studies import points, tasks
from m5jax.studies.items import Items
from m5jax.studies.pairs import TEST
from m5jax.studies.points import Point
from m5jax.studies.subject import Finding, Subject, skipped
from m5jax.studies.tasks import Learned, Vectors

TEST_ONLY, IN_TRAINING = "test_only", "in_training"
SCORES = {
    "classification/accuracy": "classification/accuracy",
    "alignment/f1": "alignment/head/f1",
    "alignment/macro_f1": "alignment/head/macro_f1",
    "alignment/cosine_f1": "alignment/cosine/f1",
    "answers/rank@1": "answers/rank@1",
    "answers/rank@10": "answers/rank@10",
    "answers/mrr": "answers/mrr",
}
"""The scores that are kept, as `studies.tasks` calls them."""

DIGITS = 5
RULES = {
    "score": "that of each task: linear classifier, pair head or cosine, answer head",
    "relevant": "the category, whether two listings are one product, the values of a property that is hidden",
    "corrupted": "titles, pictures or tables, by the scheme; test_only: of what is asked about; in_training: of what is"
    " learned from and chosen on, too",
    "ties": "as in each task",
    "missing": "a listing without embedding is counted as wrong; what could not be learned is never right",
}


def study(subject: Subject) -> Finding:
    """The scores of the tasks under every scheme at the ratios of `config.evaluate.sweep_ratios`.

    The same items are asked at every point, at most `config.evaluate.study_listings` of each kind; what several points
    show of a listing is embedded once. Schemes of modalities that records do not hold are left out; those of modalities
    that this model does not see change nothing, and are there so that models compare.

    Returns:
      ``seed`` and ``ratios``, from 0 up, of the corruption; ``listings`` shown and ``embedded``; ``chance``, by score;
      ``passport``; and ``schemes``, by name: ``changed``, how many listings are not as they were, ratio by ratio;
      ``test_only`` and ``in_training``, each score ratio by ratio; ``told``, of both, what `evals.sweeps.summary` says
      of each score. Scores are those of `SCORES` that the catalogue has a task for.
    """
    config = subject.config
    names = schemes.possible(config.inputs.kept)
    if not names:
        return skipped("K3M's schemes corrupt titles, pictures and tables, and records hold none")
    items = items_of.draw(subject, config.evaluate.study_listings)
    ratios = sorted({0.0, *config.evaluate.sweep_ratios})
    lines = {name: [(name, ratio) for ratio in ratios] for name in names}
    by_chance = _by_chance(items)
    if not by_chance:
        return skipped("the catalogue has no categories, no pairs and no tables to ask about")
    board = _board(subject, items, [point for line in lines.values() for point in line])
    clean = board.scores((names[0], 0.0), (names[0], 0.0))
    by_chance = {name: level for name, level in by_chance.items() if name in clean}
    if not by_chance:
        return skipped("nothing could be learned from the training listings")
    return {
        "passport": _passport(items).to_dict(),
        "seed": config.data.corruption.seed,
        "ratios": ratios,
        "listings": len(items.shown),
        "embedded": len(board.variants),
        "chance": by_chance,
        "schemes": {name: _of_scheme(board, line, ratios, by_chance) for name, line in lines.items()},
    }


def _passport(items: Items) -> Passport:
    """Of the listings and questions, which are the same for a model that sees no table and is shown fewer of them."""
    listings = {f"{split}\x1f{row}" for split, row in zip(items.shown.splits, items.shown.rows, strict=True)}
    of = items.answers
    questions = [] if of is None else zip(of.splits, of.rows, of.hidden, strict=True)
    asked = sorted(listings) + sorted("\x1f".join(map(str, question)) for question in questions)
    return Passport("robustness", RULES, len(listings), len(listings), digest(asked, asked))


@dataclasses.dataclass(frozen=True)
class _Board:
    """The tasks, and what is shown of their listings at every point.

    Attributes:
      items: what is asked.
      seed: of the heads.
      variants: vectors of everything that listings show at any point, each once.
      which: per point, int [N]: the variant that a listing is.
      learned, told: by such rows; points at which listings are the same need no other.
    """

    items: Items
    seed: int
    variants: Vectors
    which: Mapping[Point, np.ndarray]
    learned: dict[bytes, Learned] = dataclasses.field(default_factory=dict)
    told: dict[tuple[bytes, bytes], dict[str, float]] = dataclasses.field(default_factory=dict)

    def scores(self, taught: Point, asked: Point) -> dict[str, float]:
        """What is learned from listings as at one point, asked about them as at another."""
        key = self.which[taught].tobytes(), self.which[asked].tobytes()
        if key[0] not in self.learned:
            self.learned[key[0]] = tasks.learn(self.items, self._at(taught), self.seed)
        if key not in self.told:
            found = tasks.scores(self.items, self.learned[key[0]], self._at(asked))
            self.told[key] = {name: found[of] for name, of in SCORES.items() if of in found}
        return self.told[key]

    def _at(self, point: Point) -> Vectors:
        rows = self.which[point]
        return Vectors(self.variants.vectors[rows], self.variants.valid[rows])


def _board(subject: Subject, items: Items, every: Sequence[Point]) -> _Board:
    """Embeds the listings split by split."""
    shown, count = items.shown, 0
    which = {point: np.zeros(len(shown), np.int64) for point in every}
    vectors, valid = [], []
    for split, at in shown.by_split().items():
        drawn = points.draw(subject, split, shown.rows[at], every, (split,), shown.hidden[at].tolist())
        for point, rows in drawn.which.items():
            which[point][at] = count + rows
        vectors.append(drawn.variants.vectors[FUSED])
        valid.append(drawn.variants.valid[FUSED])
        count += len(drawn.variants)
    if distributed.is_lead():
        print(f"robustness: {len(every)} points of {len(shown):,} listings, from {count:,} embeddings", flush=True)
    return _Board(items, subject.config.seed, Vectors(np.concatenate(vectors), np.concatenate(valid)), which)


def _by_chance(items: Items) -> dict[str, float]:
    """The scores of always naming the most frequent category, calling every pair a match, and ranking by chance."""
    levels: dict[str, float] = {}
    if items.classification:
        of = items.classification
        levels["classification/accuracy"] = chance.most_frequent(of.train_labels, of.test_labels)
    if items.alignment:
        share = float(items.alignment[TEST].match.mean())
        f1 = 2 * share / (1 + share)
        levels |= {"alignment/f1": f1, "alignment/macro_f1": f1 / 2, "alignment/cosine_f1": f1}
    if items.answers is not None:
        asked = items.answers.tested
        means = answers.means(answers.chance(items.answers.candidates[asked] >= 0, items.answers.true[asked]))
        levels |= {f"answers/{name}": value for name, value in means.items()}
    return {name: round(levels[name], DIGITS) for name in SCORES if name in levels}


def _of_scheme(
    board: _Board, line: Sequence[Point], ratios: Sequence[float], by_chance: Mapping[str, float]
) -> dict[str, Any]:
    """All scores of a scheme."""
    found: dict[str, Any] = {}
    for kind in (TEST_ONLY, IN_TRAINING):
        told = [board.scores(point if kind == IN_TRAINING else line[0], point) for point in line]
        found[kind] = {score: [round(scores.get(score, 0.0), DIGITS) for scores in told] for score in by_chance}
    which = board.which
    return {
        "changed": [int((which[point] != which[line[0]]).sum()) for point in line],
        **found,
        "told": {
            kind: {score: sweeps.summary(ratios, values, by_chance[score]) for score, values in of.items()}
            for kind, of in found.items()
        },
    }
