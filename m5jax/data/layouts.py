"""Which layout a catalogue has, our own (`catalogue.py`) or that of the M5Product release (`m5product.py`)."""

import pathlib
from collections.abc import Iterator

from m5jax.data import catalogue, m5product
from m5jax.data.catalogue import Listing, Rejection
from m5jax.data.pool import KillablePool
from m5jax.inputs import Inputs


def find(path: str | pathlib.Path) -> pathlib.Path:
    """The listing file of a catalogue given as a folder or as the file itself.

    Raises:
      DataError: as `catalogue.find` and `m5product.find`.
    """
    return m5product.find(pathlib.Path(path)) or catalogue.find(path)


def digest(listing_file: pathlib.Path) -> str:
    """SHA-256 over what the listing file says, and over names and sizes of what it is read with."""
    return (m5product if listing_file.name == m5product.INFO else catalogue).digest(listing_file)


def read(
    listing_file: pathlib.Path, inputs: Inputs, processes: KillablePool, quiet: bool
) -> Iterator[Listing | Rejection]:
    """Every row, in order, as a listing or as a rejection, and notes of what was left out without loss.

    Raises:
      ConfigError: the settings do not fit the layout.
      DataError: as `catalogue.read` and `m5product.read`.
    """
    if listing_file.name == m5product.INFO:
        return m5product.read(listing_file, inputs, processes, quiet)
    return catalogue.read(listing_file)
