"""Trains a tokenizer alone: ``python tools/train_tokenizer.py --input PATH [PATH ...] --output mine.model``.

For catalogues that are to share their ids: name the file as --config.data.vocabulary_file wherever they are prepared.
An input is a catalogue (a folder or its listing file, the M5Product release too), a prepared folder, or a .txt of one
text a line. Of a catalogue the training split teaches, or all of it if nothing trains. Equal inputs, equal bytes.

The last line of the output is one JSON object: pieces (ids run from 0 to pieces - 1), digest (SHA-256 of the file, as
checkpoints carry it), titles and pieces_per_title (of the first 100,000), byte_share (of the pieces, those that spell
one byte of a character without a piece of its own: much of it asks for a larger vocabulary).

Exit codes: 0 done, 64 arguments, 65 data.
"""

import argparse
import itertools
import json
import pathlib
import sys
from collections.abc import Iterator

from m5jax import settings
from m5jax.catalogues import layouts
from m5jax.config import Config
from m5jax.data import prepared, tokenizer, unfinished
from m5jax.errors import ConfigError, DataError, M5Error
from m5jax.preparing import shards

MEASURED_TITLES = 100_000
_TEXT = {"inputs": {"modalities": ("text", "table")}}
Texts = tuple[str | None, str | None, tuple[tuple[str, str], ...] | None]  # title, description, table


def main(argv: list[str]) -> int:
    """Runs one command line and returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="tools/train_tokenizer.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--input", required=True, nargs="+", type=pathlib.Path, metavar="PATH", help="what to learn from")
    add("--output", required=True, type=pathlib.Path, metavar="FILE", help="the .model to write; must not exist")
    add("--vocabulary", type=int, default=4096, metavar="N", help="most pieces (default: 4096)")
    arguments = parser.parse_args(argv)
    try:
        result = train(arguments.input, arguments.vocabulary, arguments.output)
    except M5Error as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    print(json.dumps(result), flush=True)
    return 0


def train(inputs: list[pathlib.Path], vocabulary: int, output: pathlib.Path) -> dict[str, object]:
    """Trains on the inputs and writes the output; returns what is printed.

    Raises:
      ConfigError: the output has another suffix or exists, or the vocabulary is too small or too large.
      DataError: an input is none, or there is no text in any.
    """
    if output.suffix != ".model":
        raise ConfigError(f"--output {output} must end in .model: by that it is known as a sentencepiece model")
    if output.exists():
        raise ConfigError(f"--output {output} exists already: move it away, checkpoints may need it")
    config = settings.build(Config, _TEXT | {"data": {"vocabulary": vocabulary}}, "config")
    titles: list[str] = []

    def texts() -> Iterator[str]:
        for path in inputs:
            for title, description, fields in _listings(path, config):
                if title and len(titles) < MEASURED_TITLES:
                    titles.append(title)
                yield from tokenizer.texts(title, description, fields)

    learned = texts()
    if (first := next(learned, None)) is None:
        raise DataError(f"there is no text in {', '.join(map(str, inputs))}: nothing can be learned from it")
    output.parent.mkdir(parents=True, exist_ok=True)
    with unfinished.whole(output) as temporary:
        tokenizer.train(itertools.chain([first], learned), config.data.vocabulary, temporary)
    return measure(tokenizer.SentencePiece(output), titles)


def measure(made: tokenizer.SentencePiece, titles: list[str]) -> dict[str, object]:
    """How well a tokenizer fits titles."""
    bytes_, spelled = set(made.spells_bytes.tolist()), [made.encode(title) for title in titles]
    total = sum(map(len, spelled))
    return {
        "pieces": made.size,
        "digest": made.digest,
        "titles": len(titles),
        "pieces_per_title": round(total / max(len(titles), 1), 2),
        "byte_share": round(sum(i in bytes_ for ids in spelled for i in ids) / max(total, 1), 4),
    }


def _listings(path: pathlib.Path, config: Config) -> Iterator[Texts]:
    """The texts of an input, listing by listing."""
    if not path.exists():
        raise DataError(f"there is nothing at {path}: --input must name a catalogue, a prepared folder or a .txt")
    if path.suffix == ".txt":
        try:
            with path.open(encoding="utf-8-sig") as lines:
                for line in lines:
                    yield line.strip(), None, None
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is not UTF-8: {error}") from error
    elif (path / prepared.MANIFEST).is_file():
        folder = prepared.Prepared.open(path, config.inputs)
        source = folder.records(next(iter(folder.splits)))
        for record in (source[position] for position in tokenizer.learned(len(source))):
            yield record.title, record.description, record.fields
    else:
        yield from _rows(layouts.find(path), config)


def _rows(found: layouts.Catalogue, config: Config) -> Iterator[Texts]:
    """The texts of a catalogue's training split, or of all of it if there is none."""
    for wanted in ({"train"}, {"val", "gallery", "query"}):
        trains = False
        with shards.processes(config, found.root) as processes:
            for row in found.read(config.inputs, processes, quiet=True):
                if isinstance(row, layouts.Listing) and row.split in wanted:
                    trains = True
                    yield row.title, row.description, row.attributes
        if trains:
            return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
