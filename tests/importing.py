"""Reads through an importer as preparation does."""

import pathlib

import importers

from m5jax.catalogues.catalogue import Listing
from m5jax.inputs import Inputs


def read(kind, path, **options):
    """The listings by id, rejections of rows or media, and notes; every row is one of the first two."""
    found = importers.open_catalogue(kind, pathlib.Path(path), importers.Options(**options))
    rows = list(found.read(Inputs(modalities=("text", "table")), processes=None, quiet=True))
    listings = [row for row in rows if isinstance(row, Listing)]
    others = [row for row in rows if not isinstance(row, Listing)]
    by_id = {listing.id: listing for listing in listings}
    assert len(by_id) == len(listings)
    return by_id, [row for row in others if row.lost], [row for row in others if not row.lost]


def reasons(rejections):
    return [rejection.reason for rejection in rejections]
