"""How question answering is shown: the scores beside what needs no model, property by property, and some questions."""

from typing import Any

from m5jax.report import html
from m5jax.report.scored import Scored
from m5jax.studies.subject import Finding

SCORES = {
    "rank@1": "the answer comes first",
    "rank@3": "among the first three",
    "rank@10": "among the first ten",
    "mrr": "mean of 1 / rank",
}
"""Score -> what it says."""
ROWS = {
    "scores": "product vector of all modalities",
    "prior": "most frequent value of the property in training",
    "chance": "random order",
}
KINDS = {"best": "Answered best", "worst": "Answered worst"}


def view(finding: Finding, _: Scored) -> dict[str, Any]:
    """What the template draws."""
    return {
        "headline": _headline(finding),
        "columns": SCORES,
        "rows": [{"name": name, "scores": finding[of]} for of, name in ROWS.items()],
        "examples": [(title, finding[kind]) for kind, title in KINDS.items() if finding[kind]],
    } | {name: finding[name] for name in ("questions", "candidates", "coverage", "unseen", "properties")}


def _headline(finding: Finding) -> str:
    """What a model that saw nothing would say as well, and what this one says."""
    own, prior = finding["scores"]["rank@1"], finding["prior"]["rank@1"]
    told = "more than" if own > prior else "no more than"
    return (
        f"Of questions for a value that the model is not shown {html.percent(own)} are answered right at once,"
        f" {told} by naming the most frequent value ({html.percent(prior)})."
    )
