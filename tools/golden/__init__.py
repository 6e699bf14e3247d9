"""Outputs of other implementations, held against what our networks make of the same weights and inputs.

A module of a kind has ``check(folder) -> compared.Differences``, and says in its docstring what the folder holds.
"""

import importlib
import pathlib

from golden.compared import Differences
from m5jax.errors import ConfigError, DataError

KINDS: tuple[str, ...] = ("bert", "clip", "lxmert", "scale", "vilbert", "visualbert")
"""The kinds, each a module of this package that is imported when it is asked for."""


def check(folder: pathlib.Path, kind: str) -> Differences:
    """The differences of every output of a folder.

    Raises:
      ConfigError: there is no such kind.
      CheckpointError: the weights or their configuration do not fit our network.
      DataError: a file is missing, damaged, or lacks an array.
    """
    if kind not in KINDS:
        raise ConfigError(f"{folder}: no kind is called {kind!r}; give --kind, one of {', '.join(KINDS)}")
    try:
        return importlib.import_module(f"golden.{kind}").check(folder)
    except KeyError as error:
        raise DataError(f"{folder}: its files have no {error}") from error
