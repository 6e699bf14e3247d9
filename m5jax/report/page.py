"""The report: one HTML file about one scored model, to be read from disk without network or script.

What it says is gathered here and in the modules it imports; how it looks is `page.html.j2`.
"""

import datetime
import functools
import importlib.metadata
import json
import math
import pathlib
import platform
from collections.abc import Mapping
from typing import Any

from m5jax import distributed, embed, inputs, modalities, questions, settings, writers
from m5jax.config import Config
from m5jax.data import pipeline, unfinished
from m5jax.evals import suite
from m5jax.evals.protocols import STANDARD
from m5jax.evals.suite import Scores
from m5jax.report import agreement, curves, figures, health, html, passports, studies, summary, tables
from m5jax.report.cards import Answers
from m5jax.report.scored import Scored

GROUPS: dict[str, dict[str, str]] = {
    "In short": {"summary": "Summary"},
    "How good": {"scores": "Scores", "matching": "", "answers": ""},
    "From what": {"grid": "", "sweeps": "", "robustness": "", "gap": "", "harmony": "Harmony"},
    "For whom": {"losers": "", "gallery": "Gallery", "extremes": "Best and worst", "space": ""},
    "The catalogue": {"health": "Data health", "contradictions": ""},
    "Fine print": {"passports": "Passports", "training": "Training", "reproduce": "How to reproduce"},
}
"""Sections by the question they answer, in the order of the page; studies have their titles in `studies.VIEWS`."""

QUERIES, BEST, WORST = 12, 5, 20  # queries shown: a spread of them, and those at either end
HARMONY_CATEGORIES = 8
LIBRARIES = ("m5jax", "jax", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def write(scored: Scored) -> None:
    """Writes the report into the run folder, whole or not at all."""
    with unfinished.whole(scored.folder.report) as temporary:
        temporary.write_text(render(scored), encoding="utf-8")


def render(scored: Scored) -> str:
    """The report as HTML."""
    subsets = tuple(embed.subsets(scored.config))
    page = {
        "config": scored.config,
        "subsets": subsets,
        "facts": _facts(scored),
        "training": curves.training(_logged(scored.folder.metrics, scored.step)),
        "evaluations": curves.evaluations(
            _logged(scored.folder.evaluations, scored.step), subsets, scored.config.evaluate.ks
        ),
        "agreements": _agreements(scored),
        "passports": passports.by_rules(_passports(scored)),
        "reproduce": _reproduce(scored),
        "several_sources": len({source for split in scored.embedded.values() for source in split.index.sources}) > 1,
        "groups": groups(studies.views(scored)),
        "guessing": math.log(scored.config.batch_size),
    }
    page |= _scores(scored, subsets) | _answers(scored) | _health(scored)
    page["sentences"] = summary.sentences(page["headlines"], page["states"], page["groups"])
    return html.render("page.html.j2", page)


def groups(made: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The page's table of contents: `GROUPS` with the studies that were made; a group without sections is left out."""
    by_name = {study["name"]: study for study in made}
    rows = []
    for title, names in GROUPS.items():
        sections = [
            {"name": name, "title": own or by_name[name]["title"], "study": by_name.get(name)}
            for name, own in names.items()
            if own or name in by_name
        ]
        rows += [{"title": title, "sections": sections}] if sections else []
    return rows


def _logged(path: pathlib.Path, step: int) -> list[dict[str, Any]]:
    """Rows of a log up to the model's step; an earlier run in the same folder may have gone further."""
    return [row for row in writers.read_jsonl(path) if row["step"] <= step]


def _facts(scored: Scored) -> dict[str, Any]:
    """What was trained on what."""
    config, splits = scored.config, scored.prepared.splits
    catalogue = pathlib.Path(scored.prepared.manifest["catalogue"]).parent.name
    seen = scored.step * config.batch_size
    epoch = pipeline.epoch(scored.prepared, config) if "train" in splits else None
    return {
        "catalogue": "the embedded catalogue" if config.data.catalogue == "toy" else catalogue,
        "splits": splits,
        "listings": sum(splits.values()),
        "family": config.model.family.upper(),
        "parameters": scored.parameters,
        "step": scored.step,
        "seen": seen,
        "passes": float(seen / epoch) if epoch else None,
        "unused": [name for name in modalities.NAMES if name not in config.inputs.modalities],
    }


def _scores(scored: Scored, subsets: tuple[str, ...]) -> dict[str, Any]:
    """Headlines and tables, beside their chance levels."""
    scores, ks, embedded = scored.scores, scored.config.evaluate.ks, scored.embedded
    by_chance: dict[str, Scores] = {"clustering": {"ari": 0.0}}
    by_source = []
    if scored.results and {"query", "gallery"} <= embedded.keys():
        query, gallery = embedded["query"].index, embedded["gallery"].index
        standard = scored.config.evaluate.protocol == STANDARD.name  # the only one whose chance levels are known
        for task in ("category", "instance") if standard else ():
            by_chance[f"retrieval/{task}"] = tables.retrieval_by_chance(query, gallery, task, ks)
        if len(set(query.sources)) > 1:
            by_source = tables.source_tables(scores, subsets, ks, query, gallery, by_chance=standard)
    held_out = [embedded[split].index for split in suite.HELD_OUT if split in embedded]
    default = scored.config.evaluate.classification == questions.CLASSIFICATION
    if "train" in embedded and held_out and default:
        always = tables.classification_by_chance(embedded["train"].index, suite.join(held_out))
        by_chance |= {f"classification/{by}": always for by in ("head", "knn", "probe")}
    return {
        "headlines": tables.headlines(scores, subsets, ks, by_chance),
        "tables": tables.score_tables(scores, subsets, ks, by_chance),
        "by_source": by_source,
    }


def _passports(scored: Scored) -> dict[str, Mapping[str, Any]]:
    """Those of the scores, and of the studies."""
    of_studies = {name: finding["passport"] for name, finding in scored.findings.items() if "passport" in finding}
    return {**scored.passports, **{f"study {name}": passport for name, passport in of_studies.items()}}


def _answers(scored: Scored) -> dict[str, Any]:
    """Queries with what they found."""
    task = "category" if ("category", tables.FUSED) in scored.results else "instance"
    result = scored.results.get((task, tables.FUSED))
    if result is None:
        return {"task": "", "answers": [], "best": [], "worst": [], "answered": 0}
    answers = Answers(scored.prepared, scored.embedded["query"], scored.embedded["gallery"], task, result)
    best, worst = answers.extremes(BEST, WORST)
    return {"task": task, "answers": answers.spread(QUERIES), "best": best, "worst": worst, "answered": len(answers)}


def _agreements(scored: Scored) -> list[agreement.Agreement]:
    if not scored.config.evaluate.alone:
        return []  # of which listing has which modality nothing is known here
    held_out = [scored.embedded[split] for split in suite.HELD_OUT if split in scored.embedded]
    splits = held_out or list(scored.embedded.values())
    return agreement.agreements(splits, scored.config.inputs.modalities, HARMONY_CATEGORIES)


def _health(scored: Scored) -> dict[str, Any]:
    """What the catalogue holds and lacks."""
    prepared = scored.prepared
    indices = [prepared.index(split) for split in prepared.splits]
    categories = health.categories(indices)
    return {
        "states": health.state_bars(prepared),
        "corruptions": health.corruptions(prepared),
        "combinations": health.combinations(indices),
        "categories": categories,
        "tail": categories and figures.tail("listings per category", categories.sizes),
        "rejections": health.rejections(prepared),
        "notes": health.notes(prepared),
        "rows": prepared.manifest["rows"],
    }


def _reproduce(scored: Scored) -> dict[str, Any]:
    """What another person needs to get the same numbers."""
    manifest, config = scored.prepared.manifest, scored.config
    return {
        "command": scored.command,
        "changed": _changed(config),
        "config": json.dumps(settings.to_dict(config), indent=1, ensure_ascii=False),
        "digests": {
            "catalogue": manifest["facts"]["catalogue"],
            "records": manifest["digest"],
            "tokenizer": manifest["tokenizer"],
            "preprocessing": settings.digest(inputs.preprocessing(config.inputs)),
        },
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in LIBRARIES},
        "machine": f"{platform.system()} {platform.machine()}\n{distributed.device_table()}",
        "written": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _changed(config: Config) -> list[tuple[str, Any, Any, str]]:
    """Settings that are not at their default: path, value, default, documentation."""
    rows = [
        (path, functools.reduce(getattr, path.split(".")[1:], config), default, doc)
        for path, default, doc in settings.describe(Config, "config")
    ]
    return [row for row in rows if row[1] != row[2]]


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "run from its source, not installed"
