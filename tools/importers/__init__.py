"""Catalogues in other forms than our own: one small file a kind (docs/data.md, "Importers").

A module of a kind has ``catalogue(path, options) -> layouts.Catalogue``.
"""

import argparse
import dataclasses
import importlib
import pathlib

from m5jax.catalogues import layouts
from m5jax.errors import ConfigError, DataError

KINDS: dict[str, tuple[str, ...]] = {
    "catalogue": (),
    "folder": ("source_name",),
    "table": ("columns", "attributes", "separator", "delimiter", "media", "source_name"),
    "m5product": (),
    "k3m": ("media", "source_name"),
    "feed": ("delimiter", "media", "source_name"),
    "pairs": ("delimiter", "source_name"),
}
"""The kinds, each a module of this package that is imported when it is asked for; and the options that it takes."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What a catalogue in a foreign form does not say of itself.

    Attributes:
      columns: (key of the schema, column of the table); a key of several columns has all of them, in this order.
      attributes: columns that are names in the table of a listing; "*" is every column that has no other use.
      separator: stands between the files that one cell names.
      delimiter: stands between cells; empty for what the file's name says, a tab or a comma.
      media: the folder of the media, downloaded or not; None for the folder of the listings.
      source_name: the source of listings that name none.
    """

    columns: tuple[tuple[str, str], ...] = ()
    attributes: tuple[str, ...] = ()
    separator: str = "|"
    delimiter: str = ""
    media: pathlib.Path | None = None
    source_name: str = ""


FLAGS = {
    "columns": "--column",
    "attributes": "--attribute",
    "separator": "--separator",
    "delimiter": "--delimiter",
    "media": "--media",
    "source_name": "--source-name",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that `options` reads."""
    group = parser.add_argument_group("what the input does not say of itself")

    def add(name: str, **settings: object) -> None:
        group.add_argument(FLAGS[name], dest=name, **settings)  # pyright: ignore[reportArgumentType]

    add("columns", action="append", default=[], metavar="KEY=COLUMN", help="read a key of the schema from this column")
    add("attributes", action="append", default=[], metavar="COLUMN", help="a column of the table; '*': all unused ones")
    add("separator", default="|", help="between the files that a cell names (default: |)")
    add("delimiter", default="", help="between cells (default: a tab, or in .csv files a comma)")
    add(
        "media",
        type=pathlib.Path,
        metavar="DIR",
        help="folder of the media, those of URLs under their file names or ids",
    )
    add("source_name", default="", metavar="NAME", help="source of listings that name none")


def options(arguments: argparse.Namespace) -> Options:
    """The options in parsed arguments.

    Raises:
      ConfigError: a `--column` is no KEY=COLUMN.
    """
    columns = []
    for given in arguments.columns:
        key, mark, column = given.partition("=")
        if not (key and mark and column):
            raise ConfigError(f"--column {given!r} must be KEY=COLUMN, as in --column title=name")
        columns.append((key, column))
    values = {name: getattr(arguments, name) for name in FLAGS if name not in ("columns", "attributes")}
    return Options(columns=tuple(columns), attributes=tuple(arguments.attributes), **values)


def open_catalogue(kind: str, path: pathlib.Path, options: Options) -> layouts.Catalogue:
    """The catalogue of a kind in a file or folder.

    Raises:
      ConfigError: there is no such kind, it does not take one of the options, or an option does not fit the file.
      DataError: there is no such path, or nothing of this kind in it.
    """
    if kind not in KINDS:
        raise ConfigError(f"--source {kind!r} is not one of {', '.join(KINDS)}")
    for field in dataclasses.fields(Options):
        if getattr(options, field.name) != field.default and field.name not in KINDS[kind]:
            takers = ", ".join(other for other, names in KINDS.items() if field.name in names)
            raise ConfigError(
                f"{FLAGS[field.name]} is of no use with --source {kind}: leave it out (it is for {takers})"
            )
    if not path.exists():
        raise DataError(f"there is nothing at {path}: --input must name a file or a folder")
    if options.media and not options.media.is_dir():
        raise DataError(f"there is no folder {options.media}: --media must name the folder of the media")
    return importlib.import_module(f"importers.{kind}").catalogue(path, options)
