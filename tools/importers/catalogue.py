"""Our own layout (docs/data.md), and whatever else m5jax reads without an importer."""

import pathlib

from importers import Options
from m5jax.catalogues import layouts


def catalogue(path: pathlib.Path, options: Options) -> layouts.Catalogue:
    """The catalogue in a folder, or that a listing file is of.

    Raises:
      DataError: as `layouts.find`.
    """
    return layouts.find(path)
