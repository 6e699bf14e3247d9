"""How product matching is shown: per source a table of scores, and the worst errors with both titles."""

from typing import Any

from m5jax.report import html
from m5jax.report.scored import Scored
from m5jax.studies.subject import Finding

WORDS = "words (TF-IDF, untrained)"
COLUMNS = {
    "f1": "of precision and recall",
    "precision": "of those called, right",
    "recall": "of the matches, found",
    "accuracy": "of all pairs, right",
    "auc": "matches rank above",
    "coverage": "pairs with both vectors",
}
"""Score -> what it says."""


def view(finding: Finding, scored: Scored) -> dict[str, Any]:
    """What the template draws."""
    sources = [source | {"rows": _rows(source["subsets"] | {WORDS: source["words"]})} for source in finding["sources"]]
    return {"sources": sources, "columns": COLUMNS, "headline": _headline(finding["sources"])}


def _rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """A row a subset: the threshold and F1 on validation, then the test scores, None where there is none."""
    rows = []
    for name, of in found.items():
        scores = {column: of["test"].get(column) if of else None for column in COLUMNS}
        rows.append(
            {"name": name, "threshold": of and of["threshold"], "val_f1": of and of["val"]["f1"], "scores": scores}
        )
    return rows


def _headline(sources: list[dict[str, Any]]) -> str:
    """One sentence about the source with most test pairs; nothing where no threshold could be chosen."""
    told = [source for source in sources if source["best"] and "recall" in source["subsets"][source["best"]]["test"]]
    if not told:
        return ""
    largest = max(told, key=lambda source: source["pairs"].get("test", 0))
    test = largest["subsets"][largest["best"]]["test"]
    right = f"{html.percent(test['precision'])} of those called are right" if "precision" in test else "none is called"
    return html.sentence(
        "Of pairs of listings of {source} that are one product "
        + f"{html.percent(test['recall'])} are recognised by {largest['best']}, and {right}.",
        source=largest["source"],
    )
