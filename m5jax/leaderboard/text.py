"""The leaderboard as Markdown, for a page and for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from m5jax.series import cells

NONE = "–"
LEGEND = (
    "Best of each column in bold; ± is the standard deviation over seeds. K3M's tasks damaged are the mean over"
    " its seven schemes, and clean of the same listings, fewer than other columns have. “untrained” trains no network:"
    " TF-IDF cosines of what is written, and the most frequent value of the property."
)
COSTS = {
    "parameters": ("parameters, million", "{:.2f}", 1e6),
    "flops": ("forward MFLOP a listing", "{:.1f}", 1e6),
    "training_s": ("training, s", "{:.0f}", 1.0),
    "evaluation_s": ("evaluation, s", "{:.0f}", 1.0),
}
"""Title, form and unit of what `cost.json` has."""
Board = Mapping[str, Any]


def markdown(board: Board) -> str:
    """The page: one table with every task, clean and damaged, then cost, claims, papers, and every number."""
    parts = ["# Leaderboard", _list(board["notes"]), "## Every method, every task", cells.as_markdown(_first(board))]
    parts += [LEGEND, "## Cost", cells.as_markdown(_costs(board))]
    if board["orders"]:
        parts.append("## The papers' orders")
        parts += [_list([told["said"] for told in board[what]]) for what in ("orders", "claims")]
        parts += ["### What the papers print", cells.as_markdown(_papers(board))]
        parts += ["Percent, of other catalogues and larger models: compare the order of rows, not the numbers."]
    parts += ["## Every score"]
    parts += [cells.as_markdown(_scores(board, list(board["columns"])))]
    for line, scores in board["damage"].items():
        parts.append(f"## Damage: {board['said'][line]}")
        for score, schemes in scores.items():
            parts += [f"### {board['said'][score]}", cells.as_markdown(_damage(board, schemes))]
    return "\n\n".join(parts) + "\n"


def lines(board: Board) -> list[str]:
    """What the terminal shows: the one table, the claims and the notes."""
    said = [told["said"] for told in (*board["orders"], *board["claims"])]
    return [cells.as_text(_first(board)), "", *said, "", *board["notes"]]


def _first(board: Board) -> list[list[str]]:
    return _scores(board, [key for key, column in board["columns"].items() if column["first"]])


def _scores(board: Board, keys: Sequence[str]) -> list[list[str]]:
    """A row a method, a column a score."""
    heads = [f"{board['columns'][key]['task']}: {board['columns'][key]['title']}" for key in keys]
    rows = [
        [method["title"], "+".join(method["sees"]), *(_cell(board, key, name) for key in keys)]
        for name, method in board["methods"].items()
    ]
    for said, levels in board["yardsticks"].items():
        rows.append([said, "", *(f"{100 * levels[key]:.1f}" if key in levels else NONE for key in keys)])
    return [["method", "sees", *heads], *rows]


def _cell(board: Board, key: str, name: str) -> str:
    cell = board["cells"][key].get(name)
    if cell is None:
        return NONE
    said = _percent(cell)
    return f"**{said}**" if board["best"][key] == name else said


def _percent(cell: Mapping[str, Any]) -> str:
    """Mean and spread in percent."""
    spread = "" if cell["spread"] is None else f"±{100 * cell['spread']:.1f}"
    return f"{100 * cell['mean']:.1f}{spread}"


def _costs(board: Board) -> list[list[str]]:
    heads = [title for title, _, _ in COSTS.values()]
    rows = []
    for method in board["methods"].values():
        values = [(method["cost"].get(name), form, unit) for name, (_, form, unit) in COSTS.items()]
        told = [NONE if value is None else form.format(value / unit) for value, form, unit in values]
        rows.append([method["title"], "+".join(method["sees"]), *told])
    return [["method", "sees", *heads], *rows]


def _papers(board: Board) -> list[list[str]]:
    heads = [f"{column['source']}: {column['title']}" for column in board["paper"]]
    rows = []
    for name, method in board["methods"].items():
        values = [column["percent"][name] for column in board["paper"]]
        if any(value is not None for value in values):
            rows.append([method["title"], "", *(NONE if value is None else f"{value:g}" for value in values)])
    return [["method", "", *heads], *rows]


def _damage(board: Board, schemes: Mapping[str, Any]) -> list[list[str]]:
    """A row a method, a column a scheme and ratio; of the clean catalogue one column."""
    ratios = board["ratios"]
    shown = [(scheme, at) for scheme in schemes for at, ratio in enumerate(ratios) if ratio]
    heads = [f"{scheme} {100 * ratios[at]:g}" for scheme, at in shown]
    rows = []
    for name, method in board["methods"].items():
        curves = {scheme: of[name] for scheme, of in schemes.items() if name in of}
        clean = next(iter(curves.values()), None)
        if clean:
            told = [_percent(curves[scheme][at]) if scheme in curves else NONE for scheme, at in shown]
            rows.append([method["title"], "", _percent(clean[0]), *told])
    return [["method", "", "clean", *heads], *rows]


def _list(said: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in said)
