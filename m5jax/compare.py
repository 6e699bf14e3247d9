"""Scored runs side by side: what their folders say, told apart from chance where that can be told.

Reads `scores.json`, `studies.json`, `passports.json` and `config.json`; no model, no records, no device.
"""

import json
import shlex
import sys
from typing import Any

from m5jax.comparison.runs import read
from m5jax.comparison.side_by_side import compared
from m5jax.config import Config
from m5jax.data import unfinished
from m5jax.report import comparison as page
from m5jax.run_folder import hold

HEADLINES = ("p@1", "map@10", "map", "accuracy", "nmi", "purity")  # of the fused embeddings, on the screen


def compare(config: Config) -> None:
    """Writes `compare.json` and `compare.html` of `config.compare.runs` into the run folder, and prints a table.

    Raises:
      ConfigError: fewer than two runs, one of them twice, or a folder that was not scored.
      DataError: a file of a run cannot be read.
      RunFolderError: the run folder is in use or cannot be written.
    """
    runs = read(config.compare.runs)
    with hold(config.workdir) as folder:
        made = compared(runs, seed=config.seed)
        made["command"] = f"python -m m5jax.main {shlex.join(sys.argv[1:])}"
        findings = [run.findings for run in runs]
        for path, text in (
            (folder.path / "compare.json", json.dumps(made, indent=1, allow_nan=False)),
            (folder.path / "compare.html", page.render(made, findings)),
        ):
            with unfinished.whole(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
        print(table(made), flush=True)
        print(f"done: {folder.path / 'compare.html'}, {folder.path / 'compare.json'}", flush=True)


def table(made: dict[str, Any]) -> str:
    """The headline scores: a row a score, a column a run, and after each run its difference from the first.

    A difference that is told from chance is marked "*"; "?" stands where two numbers do not compare.
    """
    names = ["".join(c if c.isprintable() else "\ufffd" for c in run["name"]) for run in made["runs"]]
    shown = [row for row in made["scores"] if "fused" in row["name"].split("/") and row["metric"] in HEADLINES]
    shown = [row for row in shown if not row["name"].startswith("source/")]
    width = max((len(row["name"]) for row in shown), default=0)
    wide = max(18, *(len(name) + 2 for name in names))
    lines = [" " * width + "".join(f"{name:>{wide}}" for name in names)]
    for row in shown:
        cells = [_cell(value, against) for value, against in zip(row["values"], row["against"], strict=True)]
        lines.append(f"{row['name']:<{width}}" + "".join(f"{cell:>{wide}}" for cell in cells))
    return "\n".join([*lines, "", *(f"! {warning}" for warning in made["warnings"])]).rstrip()


def _cell(value: float | None, against: dict[str, Any] | None) -> str:
    if value is None:
        return "-"
    if against is None:
        return f"{value:.3f}"
    if against["refused"]:
        return f"{value:.3f} ?"
    return f"{value:.3f} {against['difference']:+.3f}{'*' if against['told'] else ' '}"
