"""What a table is, and how its numbers here are set beside the paper's.

Numbers are percent. A spread is the sample standard deviation over seeds. Nothing here imports jax.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scipy import special

from m5jax.modalities import NAMES
from m5jax.series.cells import mean_and_spread

PRETRAIN, FINETUNE = "pretrain", "finetune"
NONE = "-"
CONFIDENCE = 0.95


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
      fused: the row of which all modalities together are to be better than each alone; empty: none.
      fused_judged: on what; measures of the score of all together.
      notes: what a reader of the paper's values has to know.
    """

    number: int
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    claims: tuple[tuple[str, tuple[str, ...]], ...]
    judged: tuple[str, ...] = ("Acc", "mAP@1")
    fused: str = ""
    fused_judged: tuple[Column, ...] = ()
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


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One claim of a table: this is better than that.

    Attributes:
      claim: in words.
      rows: the row that is to be better, and the other; one and the same where parts of a model are compared.
      judged: label -> the measure of the first row, and that of the other.
    """

    claim: str
    rows: tuple[str, str]
    judged: Mapping[str, tuple[Measure, Measure]]

    def differences(self, outcomes: Outcomes) -> dict[str, list[float]]:
        """Percent points per label, seed by seed; only the seeds that have both."""
        here, there = (outcomes[name] for name in self.rows)
        pairs = {label: (here.of(a), there.of(b)) for label, (a, b) in self.judged.items()}
        return {label: [a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())] for label, (a, b) in pairs.items()}


def comparisons(table: Table) -> list[Comparison]:
    """What a table is to show, claim by claim."""
    judged = {
        _label(column, measure): (measure, measure)
        for column in table.columns
        if column.title in table.judged
        for measure in column.measures
    }
    found = [
        Comparison(f"{name} over {other}", (name, other), judged) for name, others in table.claims for other in others
    ]
    for name in NAMES if table.fused else ():
        alone = {
            _label(column, measure): (measure, _alone(measure, name))
            for column in table.fused_judged
            for measure in column.measures
        }
        found.append(Comparison(f"{table.fused}, fused over {name}", (table.fused, table.fused), alone))
    return found


def measures(table: Table) -> list[Measure]:
    """Every measure that a table prints or compares, once."""
    printed = [measure for column in table.columns for measure in column.measures]
    compared = [measure for c in comparisons(table) for pair in c.judged.values() for measure in pair]
    return list(dict.fromkeys(printed + compared))


def verdict(differences: Sequence[float]) -> str:
    """What differences per seed say: which side of 0 their mean is on, if beyond chance (paired t test, two-sided).

    Not told from chance is |mean| <= t spread / sqrt(n), t the quantile of Student's distribution of n - 1 degrees of
    freedom: 4.30 for three seeds. Where nothing differs, a share of 1 - `CONFIDENCE` is called better or worse.
    """
    if not differences:
        return "not known"
    mean, spread = mean_and_spread(differences)
    if spread is None:
        return f"{mean:+.2f} of one seed: not told from chance"
    chance = special.stdtrit(len(differences) - 1, (1 + CONFIDENCE) / 2) * spread / math.sqrt(len(differences))
    says = "not told from chance" if abs(mean) <= chance else "better" if mean > 0 else "worse"
    return f"{mean:+.2f} ± {spread:.2f} {says}"


def claims(table: Table, outcomes: Outcomes) -> list[str]:
    """One line for every comparison: by how much the first is better, seed by seed, and what that says."""
    lines = []
    for comparison in comparisons(table):
        said = [f"{label} {verdict(found)}" for label, found in comparison.differences(outcomes).items()]
        known = all(outcomes[name].values for name in comparison.rows)
        lines.append(f"{comparison.claim}: {'; '.join(said) if known else 'not known, for want of runs'}")
    return lines


def told_by(table: Table, outcomes: Outcomes) -> str:
    """How better and worse are told from chance, and how many of the verdicts to expect wrong; empty: none to tell."""
    found = [d for comparison in comparisons(table) for d in comparison.differences(outcomes).values() if len(d) > 1]
    if not found:
        return ""
    said = f"better and worse: paired t test over the seeds, {CONFIDENCE:.0%}"
    wrong = len(found) * (1 - CONFIDENCE)
    many = f". About one verdict in twenty is chance where nothing differs: of these {len(found)}, about {wrong:.0f}"
    return said + (many if wrong >= 0.5 else "")


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


def _alone(measure: Measure, modality: str) -> Measure:
    """The measure of all modalities together, of one of them alone."""
    return Measure(measure.stage, measure.score.replace("/fused/", f"/{modality}/"))


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
