"""What a catalogue is like, before anyone spends an hour of an accelerator on it: as data, text and a page."""

import dataclasses
import json
import pathlib
import sys

from m5jax import run_folder
from m5jax.config import Config
from m5jax.data import unfinished
from m5jax.inputs import CLEAN
from m5jax.preparing.prepare import prepare
from m5jax.report import validation, validation_text
from m5jax.validation import findings, survey


def validate(config: Config) -> None:
    """Prepares the catalogue if need be, and writes what it is like into the run folder.

    What `config.data.corruption` takes away on purpose is left as it was.

    Raises:
      M5Error: see `errors`.
    """
    with run_folder.hold(config.workdir) as folder:
        prepared = dataclasses.replace(prepare(config), corruption=CLEAN)
        found = survey.survey(prepared)
        path, text = folder.validation, validation_text.render(found)
        _write(path, json.dumps(findings.plain(found), indent=1, ensure_ascii=False))
        _write(path.with_suffix(".txt"), text)
        _write(path.with_suffix(".html"), validation.render(found, prepared))
        encoding = sys.stdout.encoding or "utf-8"  # a terminal that lacks a seller's script still shows the numbers
        print(text.encode(encoding, "replace").decode(encoding), flush=True)
        print(f"done: {path.with_suffix('.html')}, {path}", flush=True)


def _write(path: pathlib.Path, text: str) -> None:
    with unfinished.whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
