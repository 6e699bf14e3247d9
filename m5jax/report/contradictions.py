"""How contradictions are shown: how far the ranking can be trusted, then the listings with their pictures."""

from typing import Any

from m5jax.report.cards import card
from m5jax.report.gap import SHOWN_AS
from m5jax.report.html import percent
from m5jax.report.scored import Scored
from m5jax.studies.subject import Finding

SHOWN = 20
ASKED_AT = 50  # the rank of the headline


def view(finding: Finding, scored: Scored) -> dict[str, Any]:
    """What the template shows, and the headline of the summary."""
    split, planted = finding["split"], finding["planted"]
    index, records = scored.embedded[split].index, scored.prepared.records(split)
    worst = []
    for rank, told in enumerate(finding["worst"][:SHOWN], start=1):
        first, second = (SHOWN_AS[name] for name in told["pair"])
        shown = card(index, told["row"], records[told["row"]], scored.prepared.inputs)
        worst.append({"card": shown, "mark": f"{rank} {first} ≠ {second}", **told})
    ks = [name.partition("@")[2] for name in planted if name.startswith("precision@")]
    return {
        "headline": _headline(planted, ks),
        "planted": planted,
        "exchanged": [SHOWN_AS[name] for name in planted["exchanged"]],
        "shown_as": SHOWN_AS,
        "ks": ks,
        "split": split,
        "judged": finding["judged"],
        "worst": worst,
    }


def _headline(planted: dict[str, Any], ks: list[str]) -> str:
    """How many of those ranked first are among those that were made to contradict themselves."""
    if not planted["planted"] or not ks:
        return "Too few listings could be judged to say how surely contradictions are found."
    k = str(ASKED_AT) if str(ASKED_AT) in ks else ks[-1]
    return (
        f"Of the {k} most contradictory listings {percent(planted[f'precision@{k}'])} are among the"
        f" {planted['planted']:,} of {planted['judged']:,} that were given another listing's content on purpose; at"
        f" best it could be {percent(planted[f'best@{k}'])}, in random order {percent(planted['share'])}."
    )
