"""How product matching is shown: per source a table of scores, and the worst errors with both titles."""

from typing import Any

from m5jax.report import html
from m5jax.report.scored import Scored
from m5jax.studies.subject import Finding

HEAD, WORDS = "fused (trained head)", "words (TF-IDF, untrained)"
NO_THRESHOLD = "no validation pair with both vectors is a match: no threshold"
NO_HEAD = "no threshold, or no matches and others among the training pairs to learn from"
COLUMNS = {
    "f1": "of precision and recall",
    "macro_f1": "mean of f1 and that of the others",
    "precision": "of those called, right",
    "recall": "of the matches, found",
    "accuracy": "of all pairs, right",
    "auc": "matches rank above",
    "coverage": "pairs with both vectors",
}
"""Score -> what it says."""


def view(finding: Finding, scored: Scored) -> dict[str, Any]:
    """What the template draws."""
    told = finding["sources"] if len(finding["sources"]) == 1 else [finding["all"], *finding["sources"]]
    shown = [source | {"rows": _rows(source)} for source in told]
    return {
        "shown": shown,
        "rule": finding["rule"],
        "columns": COLUMNS,
        "headline": _headline(finding["sources"]),
    }


def _rows(source: dict[str, Any]) -> list[dict[str, Any]]:
    """A row a subset: the threshold and F1 on validation, then the test scores, None where there is none."""
    rows = []
    for name, of in (source["subsets"] | {HEAD: source["head"], WORDS: source["words"]}).items():
        scores = {column: of["test"].get(column) if of else None for column in COLUMNS}
        threshold = {"threshold": of and of["threshold"], "reason": NO_HEAD if name == HEAD else NO_THRESHOLD}
        rows.append({"name": name, "val_f1": of and of["val"]["f1"], "scores": scores} | threshold)
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
