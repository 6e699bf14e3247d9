"""The M5Product release in the layout it comes in, features or media (docs/data.md)."""

import pathlib

from importers import Options
from m5jax.catalogues import layouts, m5product
from m5jax.errors import DataError


def catalogue(path: pathlib.Path, options: Options) -> layouts.Catalogue:
    """The release in a folder, or that a file of products is of.

    Raises:
      DataError: it is something else.
    """
    info = m5product.find(path) if path.is_dir() else path
    if info is None or info.name != m5product.INFO:
        raise DataError(f"{path} is no M5Product release: it has no {m5product.INFO}")
    return layouts.Release(info)
