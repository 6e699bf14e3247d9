"""What a table is, and how its numbers here are set beside the paper's.

Numbers are percent. A spread is the sample standard deviation over seeds. Nothing here imports jax.
"""

import dataclasses
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

PRETRAIN, FINETUNE = "pretrain", "finetune"
NONE = "-"


@dataclasses.dataclass(frozen=True)
class Measure:
    """One score of one stage.

    Attributes:
      stage: `PRETRAIN` or `FINETUNE`: which run it is read from.
      score: its name in `scores.json`.
    """

    stage: str
    score: str


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table; two measures are printed as a/b."""

    title: str
    measures: tuple[Measure, ...]


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
      name: as the paper calls it.
      change: makes the settings of the table those of this row; None: a method that is not ours, never run.
      paper: the paper's values per column, as many as it has measures; of its subset.
      whole: those of its whole data set, where it has them.
      needs: modalities without which the row says nothing.
    """

    name: str
    change: Callable[[Any], None] | None
    paper: Mapping[str, tuple[float, ...]]
    whole: Mapping[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
    needs: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of the paper.

    Attributes:
      number, title: the paper's number, and what the table is about.
      columns, rows: in the paper's order.
      claims: what the table is to show: the row of the first name is better than each of the others.
      judged: the columns on which the claims are tested.
      notes: what a reader of the paper's values has to know.
    """

    number: int
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    claims: tuple[tuple[str, tuple[str, ...]], ...]
    judged: tuple[str, ...] = ("Acc", "mAP@1")
    notes: tuple[str, ...] = ()


@dataclasses.dataclass
class Outcome:
    """What became of a row.

    Attributes:
      values: per seed, measure -> score, from 0 to 1.
      failed: per seed, why it has no values.
      skipped: why the row was not run at all; empty if it was.
    """

    values: dict[int, dict[Measure, float]] = dataclasses.field(default_factory=dict)
    failed: dict[int, str] = dataclasses.field(default_factory=dict)
    skipped: str = ""

    def of(self, measure: Measure) -> dict[int, float]:
        """A measure per seed, percent; only the seeds that have it."""
        return {seed: 100 * values[measure] for seed, values in self.values.items() if measure in values}


Outcomes = Mapping[str, Outcome]


def mean_and_spread(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean, and standard deviation where there are two or more."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def verdict(differences: Sequence[float]) -> str:
    """What differences per seed say: whether their mean lies beyond their spread, and on which side."""
    if not differences:
        return "not known"
    mean, spread = mean_and_spread(differences)
    if spread is None:
        return f"{mean:+.2f} of one seed: not told from chance"
    says = "no difference beyond the spread" if abs(mean) <= spread else "better" if mean > 0 else "worse"
    return f"{mean:+.2f} ± {spread:.2f} {says}"


def claims(table: Table, outcomes: Outcomes) -> list[str]:
    """One line for every row that is to be better than others: by how much it is, seed by seed, and what that says."""
    lines = []
    for name, others in table.claims:
        for other in others:
            here, there = outcomes[name], outcomes[other]
            if not here.values or not there.values:
                lines.append(f"{name} over {other}: not known, for want of runs")
                continue
            said = []
            for column in (column for column in table.columns if column.title in table.judged):
                for measure in column.measures:
                    a, b = here.of(measure), there.of(measure)
                    differences = [a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())]
                    said.append(f"{_label(column, measure)} {verdict(differences)}")
            lines.append(f"{name} over {other}: {'; '.join(said)}")
    return lines


def grid(table: Table, outcomes: Outcomes) -> list[list[str]]:
    """The table as cells, head first: of every row the paper's values, and below them those here."""
    lines = [["", "", *(column.title for column in table.columns)]]
    for row in table.rows:
        lines.append([row.name, "paper", *(_printed(row.paper.get(column.title)) for column in table.columns)])
        if row.whole:
            lines.append(["", "paper, whole", *(_printed(row.whole.get(column.title)) for column in table.columns)])
        outcome = outcomes[row.name]
        lines.append(["", _who(outcome), *(_measured(column, outcome) for column in table.columns)])
    return lines


def as_text(cells: list[list[str]]) -> str:
    """Cells in aligned columns: names to the left, numbers to the right."""
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]

    def aligned(line: list[str]) -> str:
        cells = zip(line, widths, strict=True)
        return "  ".join(c.rjust(w) if i > 1 else c.ljust(w) for i, (c, w) in enumerate(cells)).rstrip()

    return "\n".join(map(aligned, cells))


def as_markdown(cells: list[list[str]]) -> str:
    """Cells as a Markdown table."""
    head, *body = ([cell.replace("|", "\\|") for cell in line] for line in cells)
    rule = ["---", "---", *("---:" for _ in head[2:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *body))


def _label(column: Column, measure: Measure) -> str:
    """The name of a measure, with what tells it from the other of its column."""
    if len(column.measures) == 1:
        return column.title
    stages = {m.stage for m in column.measures}
    if len(stages) > 1:
        return f"{column.title} {'pre-trained' if measure.stage == PRETRAIN else 'fine-tuned'}"
    return f"{column.title} {'coarse' if '/category/' in measure.score else 'fine'}"


def _who(outcome: Outcome) -> str:
    if outcome.failed and outcome.values:
        return f"here, {len(outcome.values)} of {len(outcome.values) + len(outcome.failed)} seeds"
    return "here, failed" if outcome.failed else "here"


def _printed(values: tuple[float, ...] | None) -> str:
    if values is None:
        return NONE
    return "/".join(NONE if math.isnan(value) else f"{value:.2f}" for value in values)


def _measured(column: Column, outcome: Outcome) -> str:
    """Mean and spread of a column's measures over the seeds that have them."""
    parts = []
    for measure in column.measures:
        values = list(outcome.of(measure).values())
        if not values:
            parts.append(NONE)
            continue
        mean, spread = mean_and_spread(values)
        parts.append(f"{mean:.2f}" if spread is None else f"{mean:.2f}±{spread:.2f}")
    return NONE if set(parts) == {NONE} else "/".join(parts)
