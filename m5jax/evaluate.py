"""Scores of a model: a few while it trains, all of them and the report at the end or on a checkpoint."""

import functools
import json
import shlex
import sys
from collections.abc import Mapping

import jax
import numpy as np

from m5jax import distributed, writers
from m5jax.config import Config
from m5jax.data.prepared import Prepared
from m5jax.embed import Embedder, Embeddings, concatenate, subsets
from m5jax.evals import suite
from m5jax.evals.retrieval import Retrieval
from m5jax.models.interface import Params
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
        step, params = run.trained_params()
        run.say(f"evaluating step {step} of {run.folder.path}")
        final(run, params, step)
        run.say(f"done: {run.folder.report}, {run.folder.scores}")


def during(run: Run, params: Params, step: int) -> None:
    """Retrieval scores of the moment, added to `evaluations.jsonl`."""
    embedded = _embedded(run, _embed_with(run, params), ("query", "gallery"))
    if not embedded or not distributed.is_lead():
        return
    scores = suite.retrieve(embedded["query"], embedded["gallery"], run.config).scores
    _append(run, step, scores)
    shown = ", ".join(f"{name} {scores[name]:.3f}" for name in HEADLINES if name in scores)
    run.say(f"step {step}: {shown}")


def final(run: Run, params: Params, step: int) -> None:
    """All scores and studies: `scores.json`, `studies.json`, the table on the screen, and the report."""
    embed = _embed_with(run, params)
    embedded = _embedded(run, embed, ("train", "val", "gallery", "query"))
    scores, results = _scores(run, embedded)
    subject = Subject(run.config, run.prepared, embedded, scores, results, embed, _aligned(run, params))
    findings = registry.chosen(subject)  # by every process: studies embed more
    if not distributed.is_lead():
        return
    for path, value in ((run.folder.scores, scores), (run.folder.studies, findings)):
        path.write_text(json.dumps(value, indent=1, allow_nan=False), encoding="utf-8")
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
        )
    )


def _scores(run: Run, embedded: dict[str, suite.Split]) -> tuple[suite.Scores, dict[tuple[str, str], Retrieval]]:
    """All scores of a run, and what its queries found."""
    scores: suite.Scores = {}
    results: dict[tuple[str, str], Retrieval] = {}
    if "query" in embedded and "gallery" in embedded:
        retrieved = suite.retrieve(embedded["query"], embedded["gallery"], run.config)
        scores, results = dict(retrieved.scores), retrieved.results
    held_out = [embedded[name] for name in suite.HELD_OUT if name in embedded]
    if held_out:
        scores |= suite.classified(_joined(held_out), run.prepared.classes)
    if "train" in embedded and held_out:
        scores |= suite.classify(embedded["train"], _joined(held_out), run.config)
    if run.config.evaluate.cluster and "gallery" in embedded:
        scores |= suite.cluster(embedded["gallery"], run.config)
    return scores, results


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


def _joined(splits: list[suite.Split]) -> suite.Split:
    return suite.Split(suite.join([s.index for s in splits]), concatenate([s.embeddings for s in splits]))


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
