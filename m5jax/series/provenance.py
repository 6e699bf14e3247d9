"""What the runs of a series were made from, and whether that is one thing, and today's."""

import contextlib
import pathlib
from collections.abc import Sequence
from typing import Any

from m5jax import settings, source
from m5jax.catalogues import layouts
from m5jax.config import Config
from m5jax.data.prepared import MANIFEST, Prepared
from m5jax.errors import DataError
from m5jax.series.runs import Result


def facts(config: Config, made: Sequence[Result]) -> dict[str, Any]:
    """Settings of a series, and of its runs what they were made from and how long they took."""
    return {
        "settings": settings.to_dict(config),
        "commit": sorted({result.commit for result in made}, key=str),  # null: not known
        "code": sorted({result.code for result in made}),
        "hardware": sorted({result.hardware for result in made}),
        "records": sorted({result.records for result in made}),
        "seconds": round(sum(result.seconds for result in made), 1),
    }


def notes(config: Config, made: Sequence[Result]) -> list[str]:
    """What makes numbers of one series not compare with one another, or with what there is today."""
    lines, anew = [], f"delete {config.workdir} to make them anew"
    for what, seen in (("versions of the code", "code"), ("records", "records"), ("machines", "hardware")):
        if len({getattr(result, seen) for result in made}) > 1:
            lines.append(f"made by runs of different {what}: {anew}")
    now = source.digest()
    commits = {result.commit or "not known" for result in made if result.code != now}
    if commits:
        lines.append(f"made by other code than today's (commit: {', '.join(sorted(commits))}): {anew}")
    embedded = config.data.catalogue == "toy"  # drawn from settings, which name the runs
    if not embedded and {result.records for result in made} - _records_now(config):
        lines.append(f"made from other records than {config.data.root} has of {catalogue(config)} as it is now: {anew}")
    return lines


def catalogue(config: Config) -> str:
    """The catalogue as a note calls it."""
    return "the embedded catalogue" if config.data.catalogue == "toy" else config.data.catalogue


def length(config: Config) -> str:
    """How long a run of the series trains: steps, or epochs."""
    return str(config.steps) if config.steps else f"{config.epochs:g} epochs"


def _records_now(config: Config) -> set[str]:
    """Digests of the prepared folders that are of the catalogue as it is now; nothing is prepared for that."""
    try:
        now = layouts.find(config.data.catalogue).digest()
    except DataError:
        return set()
    found = set()
    for path in pathlib.Path(config.data.root).glob(f"prepared-*/{MANIFEST}"):
        with contextlib.suppress(DataError):  # a damaged folder has nothing of the catalogue
            manifest = Prepared.open(path.parent, config.inputs).manifest
            if manifest["facts"]["catalogue"] == now:
                found.add(manifest["digest"])
    return found
