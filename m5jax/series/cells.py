"""Numbers over seeds, and tables of cells for a terminal and for Markdown."""

import statistics
from collections.abc import Sequence


def mean_and_spread(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean, and standard deviation where there are two or more."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


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
