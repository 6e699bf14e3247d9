"""The report: one HTML file about one scored model, to be read from disk without network or script.

What it says is gathered here and in the modules it imports; how it looks is `page.html.j2`. Text of a catalogue is
hostile until shown: every string passes `clean` and jinja2's escaping on its way into the page.
"""

import dataclasses
import datetime
import functools
import importlib.metadata
import json
import math
import pathlib
import platform
import unicodedata
from collections.abc import Mapping
from typing import Any

import jinja2
import markupsafe
import numpy as np

from m5jax import distributed, embed, inputs, modalities, settings, writers
from m5jax.config import Config
from m5jax.data.prepared import Prepared
from m5jax.evals import suite
from m5jax.evals.retrieval import PROTOCOLS, Retrieval
from m5jax.evals.suite import Scores, Split
from m5jax.report import agreement, curves, figures, health, tables
from m5jax.report.cards import Answers
from m5jax.run_folder import RunFolder

QUERIES, EXTREMES = 12, 5  # queries shown, and those at either end
HARMONY_CATEGORIES = 8
QUOTED = 200  # characters of one text of the catalogue
LIBRARIES = ("m5jax", "jax", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
BIDI_CONTROLS = dict.fromkeys(map(ord, "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"))


@dataclasses.dataclass(frozen=True)
class Scored:
    """A model that was scored: all that a report tells of.

    Attributes:
      folder: the run folder; its logs are read and the report is written there.
      prepared: the catalogue's records.
      config: the settings.
      step: updates the model has seen.
      parameters: numbers it consists of.
      command: the command line that scored it.
      scores: all scores, as in `scores.json`.
      results: per task and subset, what the queries found; empty without queries that have an answer.
      embedded: per split, index and embeddings.
    """

    folder: RunFolder
    prepared: Prepared
    config: Config
    step: int
    parameters: int
    command: str
    scores: Scores
    results: Mapping[tuple[str, str], Retrieval]
    embedded: Mapping[str, Split]


def write(scored: Scored) -> None:
    """Writes the report into the run folder, whole or not at all."""
    path = scored.folder.report
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(render(scored), encoding="utf-8")
    temporary.rename(path)


def render(scored: Scored) -> str:
    """The report as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
        autoescape=True,
        finalize=clean,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "count": count, "number": figures.label, "shorten": shorten}
    subsets = tuple(embed.subsets(scored.config))
    page = {
        "config": scored.config,
        "subsets": subsets,
        "colours": figures.COLOURS,
        "frame": figures.FRAME,
        "spark_frame": figures.SPARK_FRAME,
        "modalities": modalities.TABLE,
        "facts": _facts(scored),
        "training": curves.training(_logged(scored.folder.metrics, scored.step)),
        "evaluations": curves.evaluations(
            _logged(scored.folder.evaluations, scored.step), subsets, scored.config.evaluate.ks
        ),
        "agreements": _agreements(scored),
        "protocol": PROTOCOLS[scored.config.evaluate.protocol].describe().splitlines(),
        "reproduce": _reproduce(scored),
        "several_sources": len({source for split in scored.embedded.values() for source in split.index.sources}) > 1,
        "guessing": math.log(scored.config.batch_size),
    }
    page |= _scores(scored, subsets) | _answers(scored) | _health(scored)
    return environment.get_template("page.html.j2").render(page)


def clean(value: Any) -> Any:
    """What the page prints, without characters that would act on the text around them instead of being read.

    Those are control characters but for line ends, overrides of the direction of writing (Unicode Annex 9), and
    halves of surrogate pairs, which no file can hold.
    """
    if not isinstance(value, str) or isinstance(value, markupsafe.Markup):
        return value
    text = value.translate(BIDI_CONTROLS)
    return "".join(c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs") else "\ufffd" for c in text)


def shorten(text: str) -> str:
    """The text, or as much of it as is quoted: a title may be a megabyte long."""
    return text if len(text) <= QUOTED else text[: QUOTED - 1] + "…"


def percent(share: float) -> str:
    """A share as precise as it makes sense: 48 %, 9.2 %, under 0.1 %."""
    hundred = 100 * share
    if 0 < hundred < 0.05:
        return "under 0.1\u202f%"
    return f"{hundred:.1f}\u202f%" if 0 < hundred < 9.95 or 99.05 < hundred < 100 else f"{hundred:.0f}\u202f%"


def count(things: int) -> str:
    """A number of things: 12,345."""
    return f"{things:,}"


def _logged(path: pathlib.Path, step: int) -> list[dict[str, Any]]:
    """Rows of a log up to the model's step; an earlier run in the same folder may have gone further."""
    return [row for row in writers.read_jsonl(path) if row["step"] <= step]


def _facts(scored: Scored) -> dict[str, Any]:
    """What was trained on what."""
    config, splits = scored.config, scored.prepared.splits
    catalogue = pathlib.Path(scored.prepared.manifest["catalogue"]).parent.name
    seen = scored.step * config.batch_size
    trained_on = len(scored.prepared.complete("train")) if config.data.complete_only else splits.get("train")
    return {
        "catalogue": "the embedded catalogue" if config.data.catalogue == "toy" else catalogue,
        "splits": splits,
        "listings": sum(splits.values()),
        "family": config.model.family.upper(),
        "parameters": scored.parameters,
        "step": scored.step,
        "seen": seen,
        "passes": seen / trained_on if trained_on else None,
        "unused": [name for name in modalities.NAMES if name not in config.inputs.modalities],
    }


def _scores(scored: Scored, subsets: tuple[str, ...]) -> dict[str, Any]:
    """Headlines and tables, beside their chance levels."""
    scores, ks, embedded = scored.scores, scored.config.evaluate.ks, scored.embedded
    by_chance: dict[str, Scores] = {"clustering": {"ari": 0.0}}
    by_source = []
    if scored.results:
        query, gallery = embedded["query"].index, embedded["gallery"].index
        for task in {task for task, _ in scored.results}:
            by_chance[f"retrieval/{task}"] = tables.retrieval_by_chance(query, gallery, task, ks)
        if len(set(query.sources)) > 1:
            by_source = tables.source_tables(scores, subsets, ks, query, gallery)
    held_out = [embedded[split].index for split in suite.HELD_OUT if split in embedded]
    if "train" in embedded and held_out:
        always = tables.classification_by_chance(embedded["train"].index, suite.join(held_out))
        by_chance |= {f"classification/{by}": always for by in ("head", "knn", "probe")}
    return {
        "headlines": tables.headlines(scores, subsets, ks, by_chance),
        "tables": tables.score_tables(scores, subsets, ks, by_chance),
        "by_source": by_source,
    }


def _answers(scored: Scored) -> dict[str, Any]:
    """Queries with what they found."""
    task = "category" if ("category", tables.FUSED) in scored.results else "instance"
    result = scored.results.get((task, tables.FUSED))
    if result is None:
        return {"task": "", "answers": [], "best": [], "worst": [], "answered": 0}
    answers = Answers(scored.prepared, scored.embedded["query"], scored.embedded["gallery"], task, result)
    best, worst = answers.extremes(EXTREMES)
    return {"task": task, "answers": answers.spread(QUERIES), "best": best, "worst": worst, "answered": len(answers)}


def _agreements(scored: Scored) -> list[agreement.Agreement]:
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
        "tail": categories and _tail(categories),
        "rejections": health.rejections(prepared),
        "notes": health.notes(prepared),
        "rows": prepared.manifest["rows"],
    }


def _tail(categories: health.Categories) -> figures.Chart | None:
    """The sizes of the categories as a curve."""
    ranks = np.arange(1, len(categories.sizes) + 1)
    return figures.chart(
        "listings per category",
        {"categories": (ranks, categories.sizes)},
        unit="listings",
        x_label="categories, largest first",
        from_zero=True,
        may_log=True,
    )


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
