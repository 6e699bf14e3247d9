"""The findings of a validation as text for a terminal: the numbers of the page, and one example of each."""

from collections.abc import Iterator, Sequence

from m5jax.report.html import clean, count, percent
from m5jax.validation.findings import Findings

QUOTED = 60  # characters of one text of the catalogue


def render(found: Findings) -> str:
    """The findings, section by section."""
    lines: list[str] = []
    for section in (_summary, _states, _rejections, _tails, _repeats, _leaks, _budgets, _suspicions):
        lines += [*section(found), ""]
    return "\n".join(lines)


def quote(text: str) -> str:
    """A text of the catalogue in one line, shortened, without what would act on a terminal."""
    line = " ".join(clean(text[: 4 * QUOTED]).split())
    return line if len(line) <= QUOTED else line[: QUOTED - 1] + "…"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns, numbers to the right: the first column is a name, and the last one too if its head is empty."""
    cells = [[*head], *map(list, rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    names = {0, len(head) - 1} if not head[-1] else {0}
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if column in names else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def _summary(found: Findings) -> Iterator[str]:
    splits = ", ".join(f"{count(n)} {split}" for split, n in found.splits.items())
    yield f"Validation of {quote(found.catalogue)}"
    yield f"  {count(found.listings)} listings of {count(found.rows)} rows: {splits}"
    for concern in found.concerns:
        share = percent(concern.count / concern.asked)
        yield f"  ! {count(concern.count)} of {count(concern.asked)} ({share}) {concern.what}. {concern.advice}"


def _states(found: Findings) -> Iterator[str]:
    rows = [
        [f"{name} {split}", *map(count, counts.values())]
        for name, by_split in found.states.items()
        for split, counts in by_split.items()
    ]
    yield from _table(["States", "present", "absent", "empty", "corrupt"], rows)
    yield ""
    together = [[" + ".join(one.names), count(one.count), percent(one.share)] for one in found.combinations]
    yield from _table(["Which modalities occur together", "listings", "share"], together)


def _rejections(found: Findings) -> Iterator[str]:
    rows = [
        [reason, count(n), word]
        for word, counts in (("lost", found.rejected), ("noted", found.noted))
        for reason, n in sorted(counts.items(), key=lambda item: -item[1])
    ]
    yield from _table(["Rejections", "", ""], rows) if rows else ["Rejections: none"]


def _tails(found: Findings) -> Iterator[str]:
    for tail in found.tails:
        top = "".join(f", largest {count(most)} {percent(share)}" for most, share in tail.top.items())
        yield f"{tail.what.capitalize()}: {count(tail.classes)}, Gini {tail.gini:.2f}{top}, {count(tail.rare)} rare"
        yield f"  without {count(tail.unknown)}; listings by deciles: {' '.join(map(count, tail.deciles))}"
        if tail.largest:
            yield "  largest: " + ", ".join(f"{quote(name) or '-'} {count(n)}" for name, n in tail.largest[:5])


def _repeats(found: Findings) -> Iterator[str]:
    rows = [
        [
            repeats.kind,
            count(repeats.repeated),
            percent(repeats.repeated / repeats.listings),
            count(repeats.groups),
            count(repeats.largest),
            "(lower bounds: not all could be compared)" if repeats.skipped else "",
        ]
        for repeats in found.repeats
    ]
    yield from _table(["The same", "listings", "share", "groups", "largest", ""], rows)


def _leaks(found: Findings) -> Iterator[str]:
    if not any(repeats.leaks for repeats in found.repeats):
        yield "Across splits: fewer than two splits"
        return
    crossings = [f"{leak.split} in {leak.into}" for leak in found.repeats[0].leaks]
    rows = [[repeats.kind, *(count(leak.listings) for leak in repeats.leaks)] for repeats in found.repeats]
    yield from _table(["Across splits, the same", *crossings], rows)
    for repeats in found.repeats:
        for leak in repeats.leaks:
            if leak.examples and repeats.kind in ("listing", "near picture") and leak.into == "train":
                one, twin = (found.shown[row].record for row in leak.examples[0])
                yield f"  {repeats.kind}: {leak.split} {quote(one.id)} and train {quote(twin.id)}  {quote(one.title)}"


def _budgets(found: Findings) -> Iterator[str]:
    if found.budgets:
        rows = [
            [b.name, count(b.length), percent(b.share), percent(b.lost), *map(count, b.suggested.values())]
            for b in found.budgets
        ]
        fits = [f"{percent(share)} fit" for share in found.budgets[0].suggested]
        yield from _table(["Token budgets", "length", "listings cut", "tokens lost", *fits], rows)
        yield f"  by {count(found.sampled)} of {count(found.listings)} listings"
    for what, lengths in (("characters of a title", found.title_characters), ("rows of a table", found.table_rows)):
        if lengths:
            yield (
                f"  {what}: mean {lengths.mean:.1f}, median {count(lengths.median)}, 95 % {count(lengths.p95)},"
                f" 99 % {count(lengths.p99)}, most {count(lengths.largest)}"
            )


def _suspicions(found: Findings) -> Iterator[str]:
    if not found.suspicions:
        yield "Suspicious: nothing"
        return
    rows = []
    for suspicion in found.suspicions:
        record = found.shown[suspicion.examples[0][0]].record
        example = f"{quote(record.id)}  {quote(record.title)}"
        rows.append([suspicion.rule, count(suspicion.count), percent(suspicion.share), example])
    yield from _table(["Suspicious", "listings", "share", ""], rows)
