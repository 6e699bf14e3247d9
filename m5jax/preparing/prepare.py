"""Preparation: a catalogue becomes a prepared folder, once.

The folder is named after a digest of the catalogue and of what decides the records, so other dials get
another folder and the same dials find theirs. Every row is read once into a plan (`plan.py`), shards are made from
it by a runner (`shards.py`), and kept when a run is killed; the manifest, written last, makes the folder complete.
"""

import fnmatch
import json
import pathlib
import shutil
from typing import Any

import filelock

from m5jax import inputs, settings
from m5jax.catalogues import layouts, toy
from m5jax.config import Config
from m5jax.data import prepared, records, tokenizer, unfinished
from m5jax.errors import ConfigError, DataError
from m5jax.preparing import preparation, shards
from m5jax.progress import progress

# What a preparation writes, and nothing else: whatever else lies in a folder is somebody's, and stays.
OURS = (
    *(prepared.MANIFEST, prepared.REJECTIONS, prepared.PAIRS, prepared.SETS, records.METADATA, "features.json"),
    *("lock", "pieces.lock", "pieces-*.ids", "pieces-*.ends", "index-*.parquet", f"{records.DATASET}-*.array_record*"),
    *("plan.json", "plan", "plan/*.jsonl", "parts", "parts/*.json", "parts/*.parquet"),
    *tokenizer.FILES,
)


def prepare(config: Config, quiet: bool = False) -> prepared.Prepared:
    """The prepared folder of the configured catalogue, made first if need be; or the one that is configured.

    Raises:
      ConfigError: the configured prepared folder was made with other inputs, or with another vocabulary.
      DataError: there is no such catalogue or vocabulary, nothing in it can be trained on, or more than
        `config.data.max_rejected` of it was rejected.
    """
    given = pathlib.Path(config.data.catalogue)
    if (given / prepared.MANIFEST).is_file() and (given / records.METADATA).is_file():
        return _as_it_is(given, config)
    found = find_catalogue(config, quiet)
    facts = what_decides(found, config)
    name = found.path.parent.resolve().name
    folder = pathlib.Path(config.data.root) / f"prepared-{name}-{settings.digest(facts)[:12]}"
    return prepare_into(folder, found, config, facts, quiet)


def find_catalogue(config: Config, quiet: bool = False) -> layouts.Catalogue:
    """The configured catalogue; the embedded one is made first if need be."""
    if config.data.catalogue != "toy":
        return layouts.find(config.data.catalogue)
    dials = config.data.toy
    folder = pathlib.Path(config.data.root) / f"toy-{settings.digest(dials)[:12]}"
    if not folder.exists():
        with progress("drawing the embedded catalogue", dials.listings, quiet=quiet) as advance:
            toy.make(dials, folder, config.data.prepare_workers, advance)
    return layouts.find(folder)


def what_decides(found: layouts.Catalogue, config: Config) -> dict[str, Any]:
    """The facts that decide what a prepared folder holds."""
    given = _given_vocabulary(config)
    return {
        "catalogue": found.digest(),
        "inputs": inputs.recorded(config.inputs),
        "vocabulary": given.digest if given else config.data.vocabulary,
        "shard_listings": config.data.shard_listings,
        "format": prepared.FORMAT_VERSION,
    }


def prepare_into(
    folder: pathlib.Path,
    found: layouts.Catalogue,
    config: Config,
    facts: dict[str, Any],
    quiet: bool = False,
    runner: shards.Runner = shards.run_here,
    overwrite: bool = False,
) -> prepared.Prepared:
    """The prepared folder of a catalogue; what is there already of the same facts is kept.

    Args:
      folder: made if need be.
      found: the catalogue.
      config: how to decode it, within which limits.
      facts: as `what_decides` gives them.
      quiet: say nothing.
      runner: makes the shards.
      overwrite: prepare anew what is there already, of whatever facts.

    Raises:
      DataError: as `prepare`; or the folder was prepared of other facts, or holds something else.
    """
    if overwrite or not _is_complete(folder, facts):  # a complete folder is only read, and may be read-only
        _require_ours(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / "lock"):
            if overwrite:
                _clear(folder)
            if not _is_complete(folder, facts):
                if given := _given_vocabulary(config):
                    given.write(folder)  # first, so that it is the one that the folder is named after
                preparation.Preparation(config, found, folder, quiet, runner).run(facts)
    return prepared.Prepared.open(folder, config.inputs, config.data.corruption)


def summary(manifest: dict[str, Any]) -> dict[str, Any]:
    """What became of a catalogue, for scripts: rows_in = records + all of rejected."""
    return preparation.summary(
        manifest["rows"],
        sum(map(sum, manifest["shard_lengths"].values())),
        manifest["rejected"],
        manifest["noted"],
        manifest["states"].values(),
    ) | {"beside": manifest["beside"], "digest": manifest["digest"]}


def _given_vocabulary(config: Config) -> tokenizer.Tokenizer | None:
    path = config.data.vocabulary_file
    return tokenizer.load(pathlib.Path(path), config.data.vocabulary_lowercase) if path else None


def _as_it_is(folder: pathlib.Path, config: Config) -> prepared.Prepared:
    """A prepared folder that was named itself, if its records are what the inputs ask for."""
    opened = prepared.Prepared.open(folder, config.inputs, config.data.corruption)
    wanted, there = inputs.recorded(config.inputs), opened.manifest["facts"]["inputs"]
    missing = [name for name in wanted["modalities"] if name not in there["modalities"]]
    if missing:
        raise ConfigError(
            f"{folder} was prepared without {', '.join(missing)}: it has {', '.join(there['modalities'])}"
        )
    for name in wanted["modalities"]:
        for field, value in wanted[name].items():
            if (other := there[name].get(field)) != value:
                raise ConfigError(
                    f"config.inputs.{name}.{field} = {value!r}, but {folder} was prepared with {other!r}: set that, or"
                    " prepare the catalogue again"
                )
    given = _given_vocabulary(config)
    if given and given.digest != opened.manifest["tokenizer"]:
        raise ConfigError(f"{folder} was prepared with another vocabulary than {config.data.vocabulary_file}")
    return opened


def _is_complete(folder: pathlib.Path, facts: dict[str, Any]) -> bool:
    """Whether a folder is prepared of these facts.

    Raises:
      DataError: it is prepared of others.
    """
    path = folder / prepared.MANIFEST
    if not path.is_file() or not (folder / records.METADATA).is_file():  # others have a manifest.json as well
        return False
    there = prepared.read_manifest(path)["facts"]
    if there != json.loads(json.dumps(facts)):
        other = ", ".join(name for name in facts if there.get(name) != json.loads(json.dumps(facts[name])))
        raise DataError(f"{folder} was prepared of another {other}: give another folder, or overwrite it")
    return True


def _require_ours(folder: pathlib.Path) -> None:
    """Whether preparation may write into a folder and take away what it finds there.

    Raises:
      DataError: it holds anything that no preparation writes.
    """
    there = sorted(folder.rglob("*"))
    begun = any((folder / name).exists() for name in ("lock", records.METADATA))  # what is called so may be another's
    for path in there:
        name = path.relative_to(folder).as_posix()
        finished = unfinished.finished(name)
        if path.is_symlink() or not begun or not any(fnmatch.fnmatchcase(finished, ours) for ours in OURS):
            raise DataError(f"{folder} holds {name}, which no preparation wrote: give a folder of its own")


def _clear(folder: pathlib.Path) -> None:
    """Empties a prepared folder, which holds nothing else."""
    there = [path for path in folder.iterdir() if path.name != "lock"]
    for path in sorted(there, key=lambda path: path.name != prepared.MANIFEST):  # first, so that it is not complete
        shutil.rmtree(path) if path.is_dir() else path.unlink()
