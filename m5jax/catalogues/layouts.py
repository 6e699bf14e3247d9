"""Where listings come from: a `Catalogue`, whatever its layout.

Here are our own layout and the M5Product release; importers of other forms (`tools/importers`) make a `Rows`.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Iterator
from typing import Protocol

from m5jax.catalogues import catalogue, catalogue_files, m5product
from m5jax.catalogues.catalogue import Listing, Member, Pair, Rejection, Row
from m5jax.inputs import Inputs
from m5jax.media.pool import KillablePool


class Catalogue(Protocol):
    """What preparation needs to know of a catalogue."""

    @property
    def path(self) -> pathlib.Path:
        """The file or folder that says which listings there are; its name names the prepared folder."""
        ...

    @property
    def root(self) -> pathlib.Path:
        """The folder that holds the media; no path leaves it."""
        ...

    def digest(self) -> str:
        """SHA-256 over what the listings say, and over names and sizes of what they are read with."""
        ...

    def read(self, inputs: Inputs, processes: KillablePool, quiet: bool) -> Iterator[Listing | Rejection]:
        """Every row, in order, as a listing or as a rejection, and notes of what was left out without loss.

        Args:
          inputs: what records keep.
          processes: parse what this process must not.
          quiet: show no progress.

        Raises:
          ConfigError: the settings do not fit the layout.
          DataError: a file is damaged, so that nobody knows its rows.
        """
        ...

    def beside(self) -> Iterator[Pair | Member | Rejection]:
        """What it says beside listings: pairs of a matching benchmark, named sets; or why an entry is neither.

        The modality of such a rejection is "pair" or "set": no row of the catalogue is lost by it.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Rows:
    """A catalogue that is a stream of rows.

    Attributes:
      path: what names it, a file or a folder.
      root: holds its media.
      rows: gives numbered rows, anew with every call.
      files: what the rows and all beside them are read from; their bytes are in the digest.
      extras: gives what is beside the listings, anew with every call.
    """

    path: pathlib.Path
    root: pathlib.Path
    rows: Callable[[], Iterator[tuple[int, Row]]]
    files: tuple[pathlib.Path, ...]
    extras: Callable[[], Iterator[Pair | Member | Rejection]] = lambda: iter(())

    def digest(self) -> str:
        """SHA-256 over the bytes of the files, and over names and sizes of the tar shards below the root."""
        total = hashlib.sha256()
        for path in self.files:
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        for shard in sorted(self.root.rglob("*.tar")):
            total.update(f"{shard.relative_to(self.root).as_posix()}:{shard.stat().st_size}\n".encode())
        return total.hexdigest()

    def read(self, inputs: Inputs, processes: KillablePool, quiet: bool) -> Iterator[Listing | Rejection]:
        """Every row as a listing or as a rejection."""
        return catalogue.listings(self.rows())

    def beside(self) -> Iterator[Pair | Member | Rejection]:
        """What `extras` gives."""
        return self.extras()


@dataclasses.dataclass(frozen=True)
class Release:
    """The M5Product release; `path` is its `id_info_dict.json`."""

    path: pathlib.Path

    @property
    def root(self) -> pathlib.Path:
        """The release's folder."""
        return self.path.parent

    def digest(self) -> str:
        """As `m5product.digest`."""
        return m5product.digest(self.path)

    def read(self, inputs: Inputs, processes: KillablePool, quiet: bool) -> Iterator[Listing | Rejection]:
        """As `m5product.read`."""
        return m5product.read(self.path, inputs, processes, quiet)

    def beside(self) -> Iterator[Pair | Member | Rejection]:
        """As `m5product.beside`."""
        return m5product.beside(self.path)


def find(path: str | pathlib.Path) -> Catalogue:
    """The catalogue in a folder, or that a listing file is of.

    Raises:
      DataError: as `m5product.find` and `catalogue_files.find`.
    """
    if info := m5product.find(pathlib.Path(path)):
        return Release(info)
    listing_file = catalogue_files.find(path)
    if listing_file.name == m5product.INFO:
        return Release(listing_file)
    return of_file(listing_file)


def of_file(listing_file: pathlib.Path) -> Rows:
    """The catalogue of a listing file in our own layout."""
    return Rows(listing_file, listing_file.parent, lambda: catalogue_files.rows(listing_file), (listing_file,))
