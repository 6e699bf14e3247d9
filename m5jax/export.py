"""Embeddings as numpy files: one split or all, shard by shard, resumable, with what made them written beside.

``embeddings-NNNNN.npy`` [rows, D] and ``ids.txt`` have their rows in the same order; with
`config.export.per_modality` also ``image-NNNNN.npy`` and so on. A listing with none of the modalities of a
subset has a row of zeros. With `config.export.correction` all are corrected, and ``correction.npz`` holds what new
vectors are corrected with alike (docs/evaluation.md). `manifest.json` is there only when everything is.
"""

import dataclasses
import hashlib
import json
import pathlib
from typing import Any

import jax
import numpy as np

from m5jax import distributed, settings
from m5jax.catalogues import catalogue
from m5jax.config import Config
from m5jax.data.prepared import Prepared
from m5jax.embed import Embedder, concatenate
from m5jax.errors import DataError
from m5jax.evals import correction
from m5jax.models.interface import Params
from m5jax.optim import path_of
from m5jax.progress import progress
from m5jax.run import Run, open_run
from m5jax.studies.subject import some

MANIFEST, PARTIAL, IDS, FUSED = "manifest.json", "partial.json", "ids.txt", "embeddings"
CORRECTION, FITTED_ON = "correction.npz", "train"


def export(config: Config) -> None:
    """Exports embeddings of the newest good checkpoint of the run folder.

    Raises:
      ConfigError: the tokenizer or the preprocessing is not what the model was trained with.
      M5Error: see `errors`.
    """
    with open_run(config) as run:
        step, params = run.trained_params()
        write(run, params, step)
        run.say(f"done: {run.folder.embeddings}")


@dataclasses.dataclass(frozen=True)
class _Shard:
    """Rows `start` to `stop` of a split, which become the files numbered `number`."""

    number: int
    split: str
    start: int
    stop: int


def write(run: Run, params: Params, step: int) -> None:
    """Writes the embeddings of the configured split; what an interrupted export of the same wrote is kept.

    At most one shard of rows is in memory.
    """
    chosen, folder = run.config.export, run.folder.embeddings
    subset = chosen.subset or run.config.inputs.modalities
    wanted = {FUSED: subset} | ({name: (name,) for name in subset} if chosen.per_modality else {})
    facts = {
        "step": step,
        "split": chosen.split,
        "dtype": chosen.dtype,
        "subsets": {name: list(modalities) for name, modalities in wanted.items()},
        "correction": chosen.correction,
        "model": params_digest(params),
        "network": settings.digest(run.config.model),
        "precision": run.config.precision,
        "rows_per_file": _rows_per_file(run.config),
        "tokenizer": run.facts["tokenizer"],
        "preprocessing": run.facts["preprocessing"],
        "records": run.facts["data"]["digest"],
    }
    shards = _plan(run)
    noted, written = _verified(folder, facts) if distributed.is_lead() else (None, [])
    done = distributed.from_lead(len(written))
    embedder = Embedder(run.model, run.config, run.mesh, params, wanted)
    if chosen.correction != "none" and not distributed.from_lead(int(noted is not None)):
        noted = _fit(run, embedder)
    fitted = correction.load(folder / CORRECTION) if noted and distributed.is_lead() else {}
    rows = sum(shard.stop - shard.start for shard in shards)
    with progress("exporting", rows, quiet=not distributed.is_lead()) as advance:
        advance(sum(shard.stop - shard.start for shard in shards[:done]))
        for shard in shards[done:]:
            arrays = _embed(embedder, run.prepared, shard, run.config)
            if distributed.is_lead():
                arrays = {name: fitted[name](a, np.any(a != 0, axis=1)) if fitted else a for name, a in arrays.items()}
                written.append(_save(folder, shard, arrays, chosen.dtype))
                _write(folder / PARTIAL, {"facts": facts, "correction": noted, "shards": written})
            advance(shard.stop - shard.start)
    if distributed.is_lead():
        _finish(run, facts, noted, shards, written)
    distributed.barrier("export")


def _fit(run: Run, embedder: Embedder) -> dict[str, Any] | None:
    """Fits the correction of every subset on training listings, writes it, and returns what the manifest says of it.

    None but on the first process, which writes.

    Raises:
      DataError: there is no training split.
    """
    kind, prepared, folder = run.config.export.correction, run.prepared, run.folder.embeddings
    if FITTED_ON not in prepared.splits:
        raise DataError(
            f"config.export.correction = {kind!r} is fitted on the split {FITTED_ON}, which the catalogue lacks: use"
            " 'none'"
        )
    rows = some(prepared.length(FITTED_ON), correction.FITTED_ON, run.config.seed)
    made = embedder.split(prepared, FITTED_ON, rows=rows)
    if not distributed.is_lead():
        return None
    fitted = {name: correction.fit(kind, vectors, made.valid[name]) for name, vectors in made.vectors.items()}
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{CORRECTION}.tmp"
    correction.save(temporary, fitted)
    temporary.rename(folder / CORRECTION)
    return {
        "file": CORRECTION,
        "sha256": _sha256(folder / CORRECTION),
        "fitted_on": FITTED_ON,
        "listings": {name: of.listings for name, of in fitted.items()},
        "shrinkage": {name: of.shrinkage for name, of in fitted.items()},
    }


def params_digest(params: Params) -> str:
    """SHA-256 over path, shape, dtype and bytes of every parameter, in path order."""
    total = hashlib.sha256()
    for keys, leaf in sorted(jax.tree_util.tree_leaves_with_path(params), key=lambda pair: path_of(pair[0])):
        array = distributed.to_host(leaf)
        total.update(f"{path_of(keys)} {array.shape} {array.dtype}\n".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def _plan(run: Run) -> list[_Shard]:
    """Shards of whole batches, so that an export can go on at any of them; none crosses a split."""
    chosen, splits = run.config.export, run.prepared.splits
    if chosen.split != "all" and chosen.split not in splits:
        raise DataError(f"config.export.split = {chosen.split!r}: the catalogue has {', '.join(splits)}, or use all")
    length = _rows_per_file(run.config)
    shards: list[_Shard] = []
    for split in (name for name in catalogue.SPLITS if name in splits and chosen.split in ("all", name)):
        for start in range(0, splits[split], length):
            shards.append(_Shard(len(shards), split, start, min(start + length, splits[split])))
    return shards


def _rows_per_file(config: Config) -> int:
    """Whole batches."""
    batch = config.evaluate.batch_size
    return max(1, config.export.shard_listings // batch) * batch


def _embed(embedder: Embedder, prepared: Prepared, shard: _Shard, config: Config) -> dict[str, np.ndarray]:
    """The vectors of a shard's rows per subset, float32 [rows, D]."""
    batch, parts = config.evaluate.batch_size, []
    batches = embedder.batches(prepared, shard.split, start=shard.start // batch)
    while sum(map(len, parts)) < shard.stop - shard.start:
        parts.append(next(batches))
    return concatenate(parts).vectors


def _save(folder: pathlib.Path, shard: _Shard, arrays: dict[str, np.ndarray], dtype: str) -> dict[str, Any]:
    """Writes a shard's files and returns what the manifest says of them."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for name, vectors in arrays.items():
        path = folder / f"{name}-{shard.number:05d}.npy"
        temporary = path.with_name(path.name + ".tmp")
        with temporary.open("wb") as file:
            np.save(file, vectors.astype(dtype), allow_pickle=False)
        temporary.rename(path)
        files[path.name] = _sha256(path)
    return {"split": shard.split, "rows": shard.stop - shard.start, "files": files}


def _verified(folder: pathlib.Path, facts: dict[str, Any]) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """What is noted of the correction, and the leading shards, of what an earlier export of the same facts wrote.

    Only what is still as it was written; shards that were corrected by what is not, are not. The rest is removed.
    """
    noted: dict[str, Any] = {"shards": []}
    for name in (PARTIAL, MANIFEST):
        path = folder / name
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            (folder / MANIFEST).unlink(missing_ok=True)  # until everything is there again
            if found["facts"] == json.loads(json.dumps(facts)):
                noted = found
                break
    good: list[dict[str, Any]] = []
    fitted = noted.get("correction")
    if fitted is not None and not _as_written(folder, {fitted["file"]: fitted["sha256"]}):
        fitted, noted = None, {"shards": []}
    for shard in noted["shards"]:
        if not _as_written(folder, shard["files"]):
            break
        good.append(shard)
    kept = {name for shard in good for name in shard["files"]} | ({fitted["file"]} if fitted else set())
    for path in (*folder.glob("*.npy"), folder / CORRECTION):
        if path.name not in kept:
            path.unlink(missing_ok=True)
    return fitted, good


def _as_written(folder: pathlib.Path, files: dict[str, str]) -> bool:
    """Whether files are there with the digests that were noted."""
    return all((folder / name).exists() and _sha256(folder / name) == sha for name, sha in files.items())


def _finish(
    run: Run,
    facts: dict[str, Any],
    fitted: dict[str, Any] | None,
    shards: list[_Shard],
    written: list[dict[str, Any]],
) -> None:
    folder, ids = run.folder.embeddings, 0
    with (folder / IDS).open("w", encoding="utf-8") as file:
        for split in dict.fromkeys(shard.split for shard in shards):
            for identity in run.prepared.ids(split):
                file.write(f"{identity}\n")
                ids += 1
    rows = sum(shard["rows"] for shard in written)
    if ids != rows:
        raise DataError(f"{rows} embeddings for {ids} listings: delete {folder} and export again")
    first = np.load(folder / next(iter(written[0]["files"])), mmap_mode="r", allow_pickle=False)
    manifest = {"rows": rows, "dim": int(first.shape[1]), "ids": IDS, "facts": facts, "correction": fitted}
    manifest["shards"] = written
    _write(folder / MANIFEST, manifest)
    (folder / PARTIAL).unlink(missing_ok=True)


def _write(path: pathlib.Path, value: Any) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value, indent=1), encoding="utf-8")
    temporary.rename(path)


def _sha256(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
