"""What the page says first: sentences a reader can take away, each from numbers further down."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from m5jax.embed import FUSED
from m5jax.report.health import StateBar
from m5jax.report.html import percent
from m5jax.report.tables import Headline


@dataclasses.dataclass(frozen=True)
class Sentence:
    """What is said (`text`, plain or of `html.sentence`), and the section (`name`, `title`) that proves it."""

    name: str
    title: str
    text: str


def sentences(
    headlines: Sequence[Headline], states: dict[str, list[StateBar]], groups: Sequence[dict[str, Any]]
) -> list[Sentence]:
    """What the scores, the studies and the catalogue come to, in the order of the page.

    Args:
      headlines: of the scores; the first tells which modality helps.
      states: what the splits have of each modality in use.
      groups: the page's sections; a study that has a headline gives it.
    """
    own = {"scores": _modalities(headlines[0]) if headlines else "", "health": _missing(states)}
    found = []
    for section in (section for group in groups for section in group["sections"]):
        text = own.get(section["name"]) or (section["study"] or {}).get("headline", "")
        found += [Sentence(section["name"], section["title"], text)] if text else []
    return found


def _modalities(headline: Headline) -> str:
    """Which modality finds most alone, which least, and what all together add."""
    alone = {name: value for name, value in headline.row.values.items() if name != FUSED and value is not None}
    if len(alone) < 2:
        return ""
    best, least = max(alone, key=alone.__getitem__), min(alone, key=alone.__getitem__)
    low, high = headline.interval
    told = "better" if low > alone[best] else "worse" if high < alone[best] else ""
    says = f", {told} than {best} alone" if told else f", which cannot be told from {best} alone"
    return (
        f"Of the {headline.asked}, {percent(headline.value)} {headline.sentence} by all modalities together{says}"
        f" ({percent(alone[best])}); {least} alone does least ({percent(alone[least])})."
    )


def _missing(states: dict[str, list[StateBar]]) -> str:
    """Which modality is missing most often."""
    lacking = {
        name: 1 - sum(bar.counts.get("present", 0) for bar in bars) / max(1, sum(bar.total for bar in bars))
        for name, bars in states.items()
    }
    worst = max(lacking, key=lacking.__getitem__, default="")
    if not worst or not lacking[worst]:
        return "No listing lacks a modality that is in use."
    return f"Most often missing is {worst}: {percent(lacking[worst])} of the listings have none that can be used."
