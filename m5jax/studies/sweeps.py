"""Missing and noise: scores over a growing share of listings that lack a modality, or show another listing's.

After the robustness sweeps of K3M (Zhu et al., arXiv:2109.00895, figures 3 and 4); its own tasks are in
`studies.robustness`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from m5jax import distributed, sweep_settings
from m5jax.config import Config
from m5jax.data.index import Index
from m5jax.embed import FUSED
from m5jax.evals import bootstrap, chance, relevance, retrieval, suite, sweeps
from m5jax.evals.retrieval import Retrieval
from m5jax.questions import SIDES
from m5jax.studies import points
from m5jax.studies.points import Drawn, Point
from m5jax.studies.subject import Finding, Subject, skipped, some

QUERY, GALLERY = "query", "gallery"
METRICS, KS = ("p@1", "map@10"), (1, 10)
ACCURACY = "classification/head/accuracy"


@dataclasses.dataclass(frozen=True)
class Found:
    """What a model finds at a point.

    Attributes:
      scores: by name.
      results: of retrieval, by task.
    """

    scores: dict[str, float]
    results: dict[str, Retrieval]


def study(subject: Subject) -> Finding:
    """The scores of every sweep of `config.evaluate.sweeps` at every ratio, and what they would be by chance.

    At most `config.evaluate.study_listings` of the queries and of the gallery are drawn, and only what is drawn counts
    as an answer. What several points show of a listing is embedded once.

    Returns:
      "corrupted", the splits, "seed" and "ratios", from 0 up, of the corruption; "listings" drawn and "embedded", by
      split; "chance", by score; "passports" of the tasks, of which "passport" is the first; and "sweeps", by name:
      "changed", per split and ratio the listings that are not as they were, and "scores". A score has "values", one a
      ratio, the numbers of `evals.sweeps.summary`, and of retrieval "lost_between": what is lost at the last ratio lies
      there with 95 % confidence. Scores are "retrieval/category/p@1", "retrieval/instance/map@10" and so on, of the
      tasks in which a query has an answer, and "classification/head/accuracy" of the queries, if the model names
      categories.
    """
    config = subject.config
    absent = [split for split in (QUERY, GALLERY) if split not in subject.embedded]
    if absent:
        return skipped(f"the catalogue has no split {' and no split '.join(absent)}")
    ratios = sorted({0.0, *config.evaluate.sweep_ratios})
    names = config.evaluate.sweeps or sweep_settings.names(config.inputs)
    lines = {name: [(name, ratio) for ratio in ratios] for name in names}
    every = [point for line in lines.values() for point in line]
    drawn = {split: _drawn(subject, split, every) for split in (QUERY, GALLERY)}
    if distributed.is_lead():
        _say_cost(drawn, len(every))
    sides = (drawn[QUERY].index, drawn[GALLERY].index)
    rules = {q.task: suite.task_of(*sides, q, 0).under(config.evaluate.protocol) for q in suite.DEFAULT}
    clean = _found(subject, drawn, rules, every[0])
    if not clean.results:
        return skipped("no query that was drawn has an answer in the gallery that was drawn")
    found = {point: _found(subject, drawn, rules, point) if point[1] else clean for point in every}
    passports = {task: result.passport.to_dict() for task, result in clean.results.items()}
    by_chance = _by_chance(subject, drawn, rules, clean)
    return {
        "corrupted": list(config.evaluate.sweep_splits),
        "seed": config.data.corruption.seed,
        "ratios": ratios,
        "listings": {split: len(listings.index) for split, listings in drawn.items()},
        "embedded": {split: len(listings.variants) for split, listings in drawn.items()},
        "chance": by_chance,
        "passports": passports,
        "passport": next(iter(passports.values())),
        "sweeps": {
            name: {
                "changed": {split: listings.changed(line) for split, listings in drawn.items()},
                "scores": _curves([found[point] for point in line], ratios, by_chance, drawn[QUERY].index, config),
            }
            for name, line in lines.items()
        },
    }


def _drawn(subject: Subject, split: str, line: Sequence[Point]) -> Drawn:
    """Embeds the listings of a split that are drawn, in every variant."""
    config = subject.config
    rows = some(subject.prepared.length(split), config.evaluate.study_listings, config.seed)
    return points.draw(subject, split, rows, line, config.evaluate.sweep_splits)


def _say_cost(drawn: Mapping[str, Drawn], count: int) -> None:
    asked = count * sum(len(listings.index) for listings in drawn.values())
    made = sum(len(listings.variants) for listings in drawn.values())
    print(f"sweeps: {count} points of {asked:,} listings in all, from {made:,} embeddings", flush=True)


def _found(subject: Subject, drawn: Mapping[str, Drawn], rules: Mapping[str, Mapping[str, Any]], point: Point) -> Found:
    """Scores the fused embeddings at a point, by the rules of every task."""
    query, gallery = drawn[QUERY].at(point), drawn[GALLERY].at(point)
    scores, results = {}, {}
    for task, given in rules.items():
        result = retrieval.evaluate(
            query.embeddings.vectors[FUSED],
            gallery.embeddings.vectors[FUSED],
            ks=KS,
            query_valid=query.embeddings.valid[FUSED],
            gallery_valid=gallery.embeddings.valid[FUSED],
            **given,
        )
        if len(result.query_rows):
            results[task] = dataclasses.replace(result, passport=dataclasses.replace(result.passport, sets=SIDES))
            scores |= {f"retrieval/{task}/{metric}": result.scores[metric] for metric in METRICS}
    named = suite.classified(query, subject.prepared.classes)
    if (accuracy := named.get(f"classification/head/{FUSED}/accuracy")) is not None:
        scores[ACCURACY] = accuracy
    return Found(scores, results)


def _by_chance(
    subject: Subject, drawn: Mapping[str, Drawn], rules: Mapping[str, Mapping[str, Any]], clean: Found
) -> dict[str, float]:
    """Every score of a gallery in random order, and of always naming the most frequent category that is trained on."""
    expected = {}
    for task, result in clean.results.items():
        answers = relevance.counts(rules[task]["query_labels"], rules[task]["gallery_labels"])[:, 1:].sum(axis=1)
        levels = chance.retrieval(answers[result.query_rows], len(drawn[GALLERY].index), KS)
        expected |= {f"retrieval/{task}/{metric}": levels[metric] for metric in METRICS}
    if ACCURACY in clean.scores:
        learned, asked = suite.numbered(
            *(suite.labels(index, "category") for index in (subject.embedded["train"].index, drawn[QUERY].index))
        )
        expected[ACCURACY] = chance.most_frequent(learned[learned >= 0], asked[asked >= 0])
    return expected


def _curves(
    line: Sequence[Found], ratios: Sequence[float], by_chance: Mapping[str, float], asked: Index, config: Config
) -> dict[str, Any]:
    """Every score over the ratios."""
    curves = {}
    for name, level in by_chance.items():
        values = [found.scores[name] for found in line]
        curves[name] = {"values": values} | sweeps.summary(ratios, values, level)
    for task, first in line[0].results.items():
        last, rows = line[-1].results[task], first.query_rows
        products = np.where(asked.instance_ids != "", suite.labels(asked, "instance"), asked.ids)[rows]
        lost = {metric: first.values[metric] - last.values[metric] for metric in METRICS}
        for metric, interval in bootstrap.means(lost, products, config.seed, bounds=(-1.0, 1.0)).items():
            curves[f"retrieval/{task}/{metric}"]["lost_between"] = [interval.low, interval.high]
    return curves
