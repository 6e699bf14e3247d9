"""The page of the validation: what a catalogue is like, with the listings that show it."""

import dataclasses
import pathlib

from m5jax.data.prepared import Prepared
from m5jax.report import figures, health, html
from m5jax.report.pictures import pictures
from m5jax.validation import duplicates
from m5jax.validation.examples import Example
from m5jax.validation.findings import Findings
from m5jax.validation.tail import RARE

FIELDS = 4  # rows of the table that a card quotes


@dataclasses.dataclass(frozen=True)
class Shown:
    """A listing on the page: `pictures` are data: URIs by modality, `fields` the first rows of its table."""

    split: str
    id: str
    title: str
    category: str
    source: str
    pictures: dict[str, str]
    fields: list[tuple[str, str]]


def render(found: Findings, prepared: Prepared) -> str:
    """The findings as HTML.

    Args:
      found: what validation found.
      prepared: where; its rejections are read.
    """
    values = {
        "found": found,
        "name": pathlib.Path(found.catalogue).parent.name,
        "states": {
            name: [health.StateBar(split, counts) for split, counts in by_split.items()]
            for name, by_split in found.states.items()
        },
        "combinations": health.most_frequent(found.combinations),
        "rejections": health.rejections(prepared),
        "notes": health.notes(prepared),
        "tails": [(tail, figures.tail(f"listings of {tail.what}", tail.sizes)) for tail in found.tails],
        "rare": RARE,
        "crossings": [pair for pair in duplicates.CROSSINGS if {*pair} <= {*found.splits}],
        "shown": {row: _shown(example, prepared) for row, example in found.shown.items()},
        "several_sources": any(tail.what == "sources" and tail.classes > 1 for tail in found.tails),
    }
    return html.render("validation.html.j2", values)


def _shown(example: Example, prepared: Prepared) -> Shown:
    record = example.record
    return Shown(
        split=example.split,
        id=record.id,
        title=record.title,
        category=record.category_path,
        source=record.source,
        pictures=pictures(record, prepared.inputs),
        fields=list(record.fields[:FIELDS]),
    )
