"""Who loses, as a reader meets it: sentences first, then every group with its interval, then what is mixed up."""

from collections.abc import Iterable
from typing import Any

import markupsafe

from m5jax.embed import FUSED
from m5jax.evals import slices
from m5jax.report.html import sentence
from m5jax.report.scored import Scored
from m5jax.studies.subject import Finding

TASKS = {"category": "Same category", "path": "Same category or one above it", "instance": "Same product"}
# Per grouping the title of its chart, and whom a group of it is about, as a sentence begins.
GROUPINGS = {
    "frequency": ("By how often training showed the category, head to tail", "Listings of categories {name}"),
    "count": ("By how many modalities a listing has", "Listings that have {name} modalities"),
    "present": ("By which modalities a listing has", "Listings with {name} and no more"),
    "source": ("By source", "Listings of the source {name}"),
    "category": ("By category", "Listings of {name}"),
}
SHOWN_AS = {"text": "title and text", "image": "photo"}
VERDICTS = {
    slices.BELOW: "below the whole",
    slices.ABOVE: "above the whole",
    slices.ALIKE: "",
    slices.TOO_FEW: "too few to tell",
}


def view(finding: Finding, scored: Scored) -> dict[str, Any]:
    """What the template shows, and the headline of the summary."""
    score = f"{FUSED}/{finding['metric']}"
    tasks = [_task(_title(name), task, score) for name, task in finding["tasks"].items()]
    return {
        "tasks": tasks,
        "score": score,
        "hit": f"{FUSED}/hit@1",
        "metric": finding["metric"],
        "confidence": finding["confidence"],
        "replicates": finding["replicates"],
        "least": finding["least"],
        "verdicts": VERDICTS,
        "shown_as": SHOWN_AS,
        "confusion": _confusion(finding["confusion"]),
        "headline": tasks[0]["sentences"][0],
    }


def _title(task: str) -> str:
    """What a task looks for; where it is not the queries and the gallery of the catalogue, its sets too."""
    relevance, _, sets = task.partition("/")
    return TASKS[relevance] + (f" ({sets})" if sets else "")


def _task(title: str, task: dict[str, Any], score: str) -> dict[str, Any]:
    """One task: its sentences; its charts; its table of categories; its cold starts."""
    charts = [
        {"name": name, "title": GROUPINGS[name][0], **task["groupings"][name]}
        for name in GROUPINGS
        if name in task["groupings"]
    ]
    return {
        "title": title,
        "whole": task["whole"],
        "sentences": [*_sentences(task, score)],
        "charts": [chart for chart in charts if chart["name"] != "category"],
        "categories": next((chart for chart in charts if chart["name"] == "category"), None),
        "cold_start": task["cold_start"],
        "scores": list(task["whole"]["scores"]),
    }


def _sentences(task: dict[str, Any], score: str) -> Iterable[str | markupsafe.Markup]:
    """Who loses, by how much, and whether that is told from chance."""
    whole = task["whole"]["scores"][score]["mean"]
    kinds = {name: task["groupings"][name] for name in GROUPINGS if name in task["groupings"] and name != "category"}
    below = [(name, group) for name, kind in kinds.items() for group in _below(kind)]
    if below:
        name, group = min(below, key=lambda one: one[1]["scores"][score]["high"])  # surely so much below
        mean, low, high = (group["scores"][score][end] for end in ("mean", "low", "high"))
        yield sentence(
            GROUPINGS[name][1] + f" lose most: average precision {mean:.2f}, where all queries together have"
            f" {whole:.2f}, which is more than chance explains (with 95 % confidence {low:.2f} to {high:.2f}, from"
            f" {group['queries']:,} queries).",
            name=_seen(group["name"]) if name == "frequency" else group["name"],
        )
    elif kinds and not any(kind["judged"] for kind in kinds.values()):
        yield "No kind of listing has enough products among the queries to tell it from the others."
    elif kinds:
        yield "No kind of listing is told from chance to do worse than all together."
    else:
        yield "All queries are of one kind; there is none that could lose against another."
    if categories := task["groupings"].get("category"):
        yield _of_categories(categories, score, whole)
    changes = [one for one in task["cold_start"] if one["change"]["high"] < 0]
    if changes:
        worst = min(changes, key=lambda one: one["change"]["mean"])
        yield (
            f"A new listing that comes with its {SHOWN_AS.get(worst['only'], worst['only'])} only loses most:"
            f" {worst['shown']['mean']:.2f} instead of {worst['complete']['mean']:.2f} with all it has."
        )


def _seen(name: str) -> str:
    """How often training showed the categories of a group of `slices.by_frequency`, as a sentence says it."""
    times = name.partition(": ")[2].removesuffix(" in training")
    return f"that training showed {times} times" if times else name


def _of_categories(categories: dict[str, Any], score: str, whole: float) -> str | markupsafe.Markup:
    below, judged = list(_below(categories)), categories["judged"]
    if not judged:
        return "No category has enough products among the queries to tell it from the others."
    if not below:
        return f"Of {judged:,} categories with enough queries to tell, none is below the whole beyond chance."
    return sentence(
        f"Of {judged:,} categories with enough queries to tell, {len(below):,}"
        f" {'is' if len(below) == 1 else 'are'} below the whole ({whole:.2f}), where chance alone would put at most"
        f" {categories['by_chance']:.1f}; the worst is {{name}} ({below[0]['scores'][score]['mean']:.2f}).",
        name=below[0]["name"],
    )


def _below(grouping: dict[str, Any]) -> Iterable[dict[str, Any]]:
    return (group for group in grouping["groups"] if group["verdict"] == slices.BELOW)


def _confusion(found: dict[str, Any] | None) -> dict[str, Any] | None:
    """The pairs, and the table as shares of its rows; None in a catalogue without retrieval by category."""
    if found is None:
        return None
    nothing = any(counts[-1] for counts in found["table"])
    rows = [
        {"name": name, "queries": sum(counts), "counts": counts, "shares": [n / max(1, sum(counts)) for n in counts]}
        for name, counts in zip([*found["names"], ""], found["table"], strict=True)
    ]
    columns = [*range(1, len(found["names"]) + 1), "other", *(["none"] if nothing else [])]
    return {"pairs": found["pairs"], "columns": columns, "rows": [row for row in rows if row["queries"]]}
