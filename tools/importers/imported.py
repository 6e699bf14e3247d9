"""What importers make: a catalogue out of numbered rows, and of rejections that go with a row."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Iterable, Iterator

from importers import Options
from m5jax.catalogues import catalogue
from m5jax.catalogues.catalogue import Listing, Member, Pair, Rejection, Row
from m5jax.inputs import Inputs
from m5jax.media.pool import KillablePool


@dataclasses.dataclass(frozen=True)
class Imported:
    """A catalogue in a foreign form (`layouts.Catalogue`).

    Attributes:
      kind: how it is read.
      path: what names it, a file or a folder.
      root: holds its media.
      options: decide, with the files, what the rows are.
      rows: gives numbered rows, anew with every call. A rejection comes before the row that it goes with: a note, or
        why a modality of the listing is corrupt. Notes behind the last row are about the whole.
      files: what rows and extras are read from; their bytes are in the digest.
      names: files of which names and sizes are in the digest, because rows depend on what there is.
      extras: gives what is beside the listings, anew with every call.
    """

    kind: str
    path: pathlib.Path
    root: pathlib.Path
    options: Options
    rows: Callable[[], Iterator[tuple[int, Row | Rejection]]]
    files: Callable[[], Iterable[pathlib.Path]]
    names: Callable[[], Iterable[pathlib.Path]] = tuple
    extras: Callable[[], Iterator[Pair | Member | Rejection]] = lambda: iter(())

    def digest(self) -> str:
        """SHA-256 over kind, options, bytes of the files, and names and sizes; where the folders lie does not count."""
        total = hashlib.sha256(f"{self.kind}:{dataclasses.replace(self.options, media=None)}".encode())
        for path in self.files():
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        for path in self.names():
            line = f"{path.relative_to(self.root).as_posix()}:{path.lstat().st_size}\n"
            total.update(line.encode("utf-8", "surrogateescape"))
        return total.hexdigest()

    def read(self, inputs: Inputs, processes: KillablePool, quiet: bool) -> Iterator[Listing | Rejection]:
        """Every row, in order, as a listing or as a rejection; notes come before their listing."""
        beside: list[Rejection] = []

        def rows() -> Iterator[tuple[int, Row]]:
            for line, row in self.rows():
                if isinstance(row, Rejection):
                    beside.append(row)
                else:
                    yield line, row

        for found in catalogue.listings(rows()):
            if isinstance(found, Listing):
                yield from (rejection for rejection in beside if not rejection.lost)
                corrupt = tuple(rejection for rejection in beside if rejection.lost)
                found = dataclasses.replace(found, corrupt=corrupt)
            beside.clear()
            yield found
        yield from beside

    def beside(self) -> Iterator[Pair | Member | Rejection]:
        """What `extras` gives."""
        return self.extras()


def direct_files(folder: pathlib.Path | None) -> list[pathlib.Path]:
    """The files that lie directly in a folder, if one is given, by name."""
    return sorted(path for path in folder.iterdir() if path.is_file()) if folder else []
