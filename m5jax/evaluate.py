"""Scores of a model: a few while it trains, all of them and the report at the end or on a checkpoint."""

import functools
import json
import shlex
import sys
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from m5jax import distributed, questions, writers
from m5jax.config import Config
from m5jax.data.prepared import Prepared
from m5jax.embed import Embedder, Embeddings, subsets
from m5jax.errors import DataError
from m5jax.evals import passports, ranks, suite
from m5jax.evals.protocols import Passport
from m5jax.evals.sets import Sets
from m5jax.models.interface import Params
from m5jax.questions import Question
from m5jax.report import page
from m5jax.report.scored import Scored
from m5jax.run import Run, open_run
from m5jax.studies import registry
from m5jax.studies.subject import Embed, Subject

HEADLINES = ("retrieval/category/fused/p@1", "retrieval/category/fused/map@10", "retrieval/instance/fused/p@1")
SOURCES_SHOWN = 10  # on the screen; `scores.json` has those of every source that was scored


def evaluate(config: Config) -> None:
    """Scores the newest good checkpoint of the run folder and writes the report.

    Raises:
      M5Error: see `errors`.
    """
    with open_run(config) as run:
        check(run)
        step, params = run.trained_params()
        run.say(f"evaluating step {step} of {run.folder.path}")
        final(run, params, step)
        run.say(f"done: {run.folder.report}, {run.folder.scores}")


def during(run: Run, params: Params, step: int) -> None:
    """Retrieval scores of the moment, added to `evaluations.jsonl`."""
    sets = Sets(run.prepared)
    asked = _asked(run, sets)
    if not asked:
        return
    needed = sets.splits(name for question in asked for name in (question.queries, question.gallery))
    embedded = _embedded(run, _embed_with(run, params), needed)
    if not distributed.is_lead():
        return
    scores = _retrieved(run, sets, asked, embedded).scores
    _append(run, step, scores)
    shown = ", ".join(f"{name} {scores[name]:.3f}" for name in HEADLINES if name in scores)
    run.say(f"step {step}: {shown}")


def final(run: Run, params: Params, step: int) -> None:
    """All scores and studies: `scores.json`, `studies.json`, the table on the screen, and the report."""
    embed = _embed_with(run, params)
    embedded = _embedded(run, embed, ("train", "val", "gallery", "query"))
    found = _scores(run, embedded)
    scores, results = found.scores, found.results
    told = {prefix: passport.to_dict() for prefix, passport in found.passports.items()}
    subject = Subject(run.config, run.prepared, embedded, scores, results, embed, _aligned(run, params))
    findings = registry.chosen(subject)  # by every process: studies embed more
    if not distributed.is_lead():
        return
    written = {run.folder.scores: scores, run.folder.studies: findings, run.folder.passports: told}
    for path, value in written.items():
        path.write_text(json.dumps(value, indent=1, allow_nan=False), encoding="utf-8")
    ranks.save_all(run.folder.ranks, found.ranks)
    _append(run, step, scores)
    print(table(scores, tuple(subsets(run.config))), flush=True)
    page.write(
        Scored(
            folder=run.folder,
            prepared=run.prepared,
            config=run.config,
            step=step,
            parameters=sum(leaf.size for leaf in jax.tree.leaves(params)),
            command=f"python -m m5jax.main {shlex.join(sys.argv[1:])}",
            scores=scores,
            results=results,
            embedded=embedded,
            findings=findings,
            passports=told,
        )
    )


def check(run: Run) -> None:
    """Refuses, before anything is computed, sets of `config.evaluate` that this catalogue does not have.

    Raises:
      ConfigError: there is no such set.
      DataError: one is empty, or classifiers would be asked about what they learned from.
    """
    sets = Sets(run.prepared)
    for question in _asked(run, sets):
        sets.splits((question.queries, question.gallery))
    _classified_sets(run, sets)


def _asked(run: Run, sets: Sets) -> list[Question]:
    """What the embeddings are asked; a default task only where the catalogue has its splits."""
    asked = [questions.question(text) for text in run.config.evaluate.retrieval]
    return [q for q in asked if q not in suite.DEFAULT or (q.queries in sets and q.gallery in sets)]


def _classified_sets(run: Run, sets: Sets) -> tuple[str, str]:
    """The sets that classifiers learn from and are asked about; of the default what the catalogue has, "" = none."""
    train, test = questions.classification(run.config.evaluate.classification)
    if run.config.evaluate.classification == questions.CLASSIFICATION:
        return sets.known(train), sets.known(test)
    both = sets.shared(train, test)
    if both:
        raise DataError(
            f"config.evaluate.classification = {train}:{test}: {both} listings are in both, and classifiers would"
            " be asked about what they learned from"
        )
    return train, test


def _retrieved(
    run: Run, sets: Sets, asked: Sequence[Question], embedded: Mapping[str, suite.Split]
) -> suite.Evaluation:
    """The scores of retrieval, and what its queries found."""
    found = suite.Evaluation()
    for name in dict.fromkeys(question.sets for question in asked):
        same = [question for question in asked if question.sets == name]
        query, gallery = (sets.find(side, embedded) for side in name.split(":"))
        lost = sets.lost(same[0].queries) + sets.lost(same[0].gallery)
        found.add(suite.retrieve(query, gallery, run.config, same, lost))
    return found


def _scores(run: Run, embedded: Mapping[str, suite.Split]) -> suite.Evaluation:
    """All scores of a run, what they mean, and what its queries found."""
    sets, config = Sets(run.prepared), run.config
    found = _retrieved(run, sets, _asked(run, sets), embedded)
    learned, tested = _classified_sets(run, sets)
    held: dict[str, Passport] = {}
    if tested:
        test, train = sets.find(tested, embedded), sets.find(learned, embedded) if learned else None
        found.scores.update(suite.classified(test, run.prepared.classes))
        if train is not None:
            found.scores.update(suite.classify(train, test, config))
        held |= passports.of_classification(train, test, config, f"{learned}:{tested}")
    if config.evaluate.cluster and "gallery" in embedded:
        found.scores.update(suite.cluster(embedded["gallery"], config))
        held |= passports.of_clustering(embedded["gallery"], run.config, "gallery")
    found.passports.update(passports.chosen(held, found.scores))
    return found


def _embed_with(run: Run, params: Params) -> Embed:
    """Embeds with a model; what asks for the same subsets again finds it compiled."""

    @functools.cache
    def embedder(wanted: tuple[tuple[str, tuple[str, ...]], ...]) -> Embedder:
        return Embedder(run.model, run.config, run.mesh, params, dict(wanted))

    def embed(
        prepared: Prepared, split: str, wanted: Mapping[str, tuple[str, ...]], rows: np.ndarray | None
    ) -> Embeddings:
        return embedder(tuple(wanted.items())).split(prepared, split, rows=rows)

    return embed


def _aligned(run: Run, params: Params) -> Embed | None:
    """Embeds into the space in which the contrastive objective compared modalities; None where there was none."""
    compared = run.config.objective.contrastive and len(run.config.inputs.modalities) > 1
    return _embed_with(run.reading("contrastive"), params) if compared else None


def _embedded(run: Run, embed: Embed, splits: tuple[str, ...]) -> dict[str, suite.Split]:
    """Index and embeddings of those splits that the catalogue has."""
    there = [split for split in splits if split in run.prepared.splits]
    wanted = subsets(run.config)
    return {split: suite.Split(run.prepared.index(split), embed(run.prepared, split, wanted, None)) for split in there}


def _append(run: Run, step: int, scores: suite.Scores) -> None:
    """Adds the scores of a step, in place of those that an earlier attempt made of this step or later ones."""
    path = run.folder.evaluations
    earlier = [row for row in writers.read_jsonl(path) if row["step"] < step]
    writers.write_jsonl(path, [*earlier, {"step": step, **scores}])


def table(scores: suite.Scores, columns: tuple[str, ...]) -> str:
    """The scores as rows of metrics and columns of subsets."""
    shown = ("p@1", "map@10", "map", "accuracy", "nmi", "purity")
    rows: dict[str, dict[str, float]] = {}
    sources = {name.split("/")[1] for name in scores if name.startswith("source/")}
    for name, value in scores.items():
        task, _, rest = name.rpartition("/")
        head, _, subset = task.rpartition("/")
        if subset in columns and rest in shown and (len(sources) <= SOURCES_SHOWN or not name.startswith("source/")):
            printable = "".join(c if c.isprintable() else "\ufffd" for c in f"{head}/*/{rest}")
            rows.setdefault(printable, {})[subset] = value
    width = max(map(len, rows), default=0)
    lines = [" " * width + "".join(f"{column:>8}" for column in columns)]
    for name, values in rows.items():
        cells = (f"{values[column]:8.3f}" if column in values else f"{'-':>8}" for column in columns)
        lines.append(f"{name:<{width}}" + "".join(cells))
    return "\n".join(lines)
