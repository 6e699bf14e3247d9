"""Where a run's numbers go: one JSON line and one readable line per log step, and TensorBoard beside them."""

import json
import pathlib
import time
from typing import Any

PARTS_SHOWN = {
    "contrastive": "con",
    "matching": "mat",
    "masked_region": "img",
    "masked_language": "txt",
    "masked_entity": "tab",
    "masked_frame": "vid",
    "masked_audio": "aud",
    "word_region": "w-r",
    "link_prediction": "link",
    "linked": "linked",
    "classification": "class",
}
"""The objectives that a line shows, and what it calls them."""


class Metrics:
    """The metrics of a run. `metrics.jsonl` is the truth; what a killed run logged beyond `start` is dropped."""

    def __init__(self, path: pathlib.Path, start: int, tensorboard: pathlib.Path | None = None):
        trim(path, start)
        self._file = path.open("a", encoding="utf-8")
        self._board = None
        if tensorboard is not None:
            import tensorboardX

            self._board = tensorboardX.SummaryWriter(str(tensorboard), purge_step=start)

    def write(self, row: dict[str, Any]) -> None:
        """Adds one row, flushed: a kill loses none of it."""
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        for name, value in row.items():
            if self._board and name != "step":
                self._board.add_scalar(name, value, row["step"])

    def close(self) -> None:
        """Ends both files."""
        self._file.close()
        if self._board:
            self._board.close()


def line(row: dict[str, Any], steps: int, seconds_left: float) -> str:
    """A row as a person reads it while the run goes on."""
    from m5jax.progress import duration

    parts = " ".join(f"{short} {row[name]:.3f}" for name, short in PARTS_SHOWN.items() if name in row)
    mfu = f" | mfu {row['mfu']:.0%}" if row.get("mfu") else ""
    return (
        f"{time.strftime('%H:%M:%S')} step {row['step']:>{len(str(steps))}}/{steps} | epoch {row['epoch']:.2f}"
        f" | loss {row['loss']:.4f} ({parts})"
        f" | grad {row['grad_norm']:.2f} | lr {row['learning_rate']:.2e} | {row['examples_per_s']:,.0f} ex/s"
        f" | {row['ms_per_step']:.0f} ms/step (data {row['data_wait_ms']:.0f}){mfu} | {duration(seconds_left)} left"
    )


def read_jsonl(path: pathlib.Path) -> list[dict[str, Any]]:
    """The whole rows of a JSONL file; a line cut by a kill is left out; no file, no rows."""
    if not path.exists():
        return []
    rows = []
    for text in path.read_text(encoding="utf-8").split("\n"):  # not splitlines(): JSON may hold U+2028
        try:
            rows.append(json.loads(text))
        except ValueError:
            break  # the line a kill cut; nothing follows it
    return rows


def trim(path: pathlib.Path, start: int) -> None:
    """Drops the rows that an earlier attempt wrote beyond step `start`."""
    write_jsonl(path, [row for row in read_jsonl(path) if row["step"] <= start])


def write_jsonl(path: pathlib.Path, rows: list[dict[str, Any]]) -> None:
    """Writes rows under a temporary name and renames: a file under its own name is whole."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    temporary.rename(path)
