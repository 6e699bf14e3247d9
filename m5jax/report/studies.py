"""How each study is shown: its section of the report. Where that stands on the page is `page.GROUPS`.

A study NAME has the template `NAME.html.j2`, which finds what its view made as `study`. A study that had nothing to
work on is a section that says why. What a view returns as "headline", one sentence, also stands in the summary of the
page: a plain string, or `html.sentence(...)` where it quotes a seller.
"""

from collections.abc import Callable
from typing import Any

from m5jax.report import answers, contradictions, gap, grid, losers, matching, robustness, space, sweeps
from m5jax.report.scored import Scored
from m5jax.studies.subject import Finding

View = Callable[[Finding, Scored], dict[str, Any]]

VIEWS: dict[str, tuple[str, View]] = {
    "grid": ("Asked with, searched by", grid.view),
    "sweeps": ("Missing and wrong", sweeps.view),
    "robustness": ("K3M’s tasks, corrupted", robustness.view),
    "losers": ("Who loses", losers.view),
    "gap": ("Modality gap", gap.view),
    "contradictions": ("Contradictions", contradictions.view),
    "space": ("Map of the product space", space.view),
    "matching": ("One product or two", matching.view),
    "answers": ("Questions about listings", answers.view),
}
"""By name: the title of the section, and what its template needs, made of what the study found."""


def views(scored: Scored) -> list[dict[str, Any]]:
    """The sections of the studies that were made: name, title, why it was skipped (or ""), and what its view made."""
    sections = []
    for name, (title, view) in VIEWS.items():
        finding = scored.findings.get(name)
        if finding is not None:
            reason = finding.get("skipped", "")
            made = {} if reason else view(finding, scored)
            sections.append({"name": name, "title": title, "skipped": reason, **made})
    return sections
