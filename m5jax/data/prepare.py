"""Preparation: a catalogue becomes a prepared folder, once.

The folder is named after a digest of the catalogue and of what decides the records, so other dials get
another folder and the same dials find theirs. Finished shards are kept when a run is killed; the manifest,
written last, makes the folder complete.
"""

import collections
import dataclasses
import json
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import filelock

from m5jax import inputs, modalities, settings
from m5jax.config import Config
from m5jax.data import catalogue, convert, media, pool, prepared, records, tokenizer, toy
from m5jax.data.catalogue import Listing, Rejection
from m5jax.errors import DataError
from m5jax.progress import progress

EARLY_STOP_LISTINGS = 1000  # from here on a catalogue that is mostly broken is not prepared to its end


def prepare(config: Config, quiet: bool = False) -> prepared.Prepared:
    """The prepared folder of the configured catalogue, made first if need be.

    Raises:
      DataError: there is no such catalogue, nothing in it can be trained on, or more than
        `config.data.max_rejected` of it was rejected.
    """
    listing_file = find_catalogue(config, quiet)
    facts = {
        "catalogue": catalogue.digest(listing_file),
        "inputs": inputs.recorded(config.inputs),
        "vocabulary": config.data.vocabulary,
        "shard_listings": config.data.shard_listings,
        "format": prepared.FORMAT_VERSION,
    }
    name = listing_file.parent.resolve().name
    folder = pathlib.Path(config.data.root) / f"prepared-{name}-{settings.digest(facts)[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / "lock"):
        if not (folder / prepared.MANIFEST).exists():
            _Preparation(config, listing_file, folder, quiet).run(facts)
    return prepared.Prepared.open(folder, config.inputs)


def find_catalogue(config: Config, quiet: bool = False) -> pathlib.Path:
    """The listing file of the configured catalogue; the embedded one is made first if need be."""
    if config.data.catalogue != "toy":
        return catalogue.find(config.data.catalogue)
    dials = config.data.toy
    folder = pathlib.Path(config.data.root) / f"toy-{settings.digest(dials)[:12]}"
    if not folder.exists():
        with progress("drawing the embedded catalogue", dials.listings, quiet=quiet) as advance:
            toy.make(dials, folder, config.data.prepare_workers, advance)
    return catalogue.find(folder)


@dataclasses.dataclass
class _Shard:
    """A run of listings of one split that becomes one file, and what is known of it once it has."""

    split: str
    number: int
    listings: list[Listing] = dataclasses.field(default_factory=list)


class _Preparation:
    """One preparation under way."""

    def __init__(self, config: Config, listing_file: pathlib.Path, folder: pathlib.Path, quiet: bool):
        self.config, self.listing_file, self.folder, self.quiet = config, listing_file, folder, quiet
        self.root = listing_file.parent
        self.codec = records.RecordCodec(config.inputs)
        self.rejections: list[Rejection] = []
        self.rows = 0
        self.lost: set[str] = set()  # listings that were rejected or lost a file

    def run(self, facts: dict[str, Any]) -> None:
        shards = self._shards()
        lengths = collections.Counter(shard.split for shard in shards)
        parts: dict[str, list[dict[str, Any]]] = {split: [] for split in catalogue.SPLITS if lengths[split]}
        total = sum(len(shard.listings) for shard in shards)
        with progress("preparing", total, quiet=self.quiet) as advance, self._processes() as processes:
            done = 0
            for shard in shards:
                part = self._finished(shard) or self._make(shard, lengths[shard.split], processes, advance)
                self.rejections += [Rejection(**row) for row in part["rejections"]]
                self.lost |= {row["id"] for row in part["rejections"]}
                parts[shard.split].append(part)
                done += len(shard.listings)
                if done >= EARLY_STOP_LISTINGS:
                    self._check_rejected(done + self.rows - total)
        self._check_rejected(self.rows)
        self._finish(parts, facts)

    def _shards(self) -> list[_Shard]:
        """Reads the listing file: accepted rows go to shards in file order, the others to the rejections."""
        filling: dict[str, _Shard] = {}
        shards: list[_Shard] = []
        for row in catalogue.read(self.listing_file):
            self.rows += 1
            if isinstance(row, Rejection):
                self.rejections.append(row)
                self.lost.add(row.id or f"line {row.line}")
                continue
            shard = filling.get(row.split)
            if shard is None or len(shard.listings) == self.config.data.shard_listings:
                shard = filling[row.split] = _Shard(row.split, shard.number + 1 if shard else 0)
                shards.append(shard)
            shard.listings.append(row)
        if not shards:
            raise DataError(f"{self.listing_file} holds no usable listing ({self.rows} rows rejected){self._why()}")
        return shards

    def _part_path(self, shard: _Shard) -> pathlib.Path:
        return self.folder / "parts" / f"{shard.split}-{shard.number:05d}.json"

    def _finished(self, shard: _Shard) -> dict[str, Any] | None:
        """What an earlier, interrupted preparation noted of this shard after writing it."""
        path = self._part_path(shard)
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def _make(self, shard: _Shard, shards: int, processes: pool.KillablePool, advance: Any) -> dict[str, Any]:
        index: list[dict[str, Any]] = []
        rejections: list[Rejection] = []

        def encoded() -> Iterator[bytes]:
            for conversion in self._convert(shard.listings, processes):
                rejections.extend(conversion.rejections)
                if conversion.record is not None:
                    index.append(prepared.index_row(conversion.record))
                    yield self.codec.encode(conversion.record)
                advance(1)

        records.write_shard(self.folder / records.shard_name(shard.split, shard.number, shards), encoded())
        part = {"index": index, "rejections": [dataclasses.asdict(rejection) for rejection in rejections]}
        _write_json(self._part_path(shard), part)
        return part

    def _convert(self, listings: Iterable[Listing], processes: pool.KillablePool) -> Iterator[convert.Conversion]:
        """Converts in processes that may die; a listing whose decoder died is taken apart to find the file."""
        tasks = [convert.Task(listing, self.root, self.config.inputs) for listing in listings]
        results = processes.map(convert.run_task, tasks)
        for task, result in zip(tasks, results, strict=True):
            if isinstance(result, pool.Failure):
                probes = [dataclasses.replace(task, only=name) for name in task.media]
                deaths = dict(zip(task.media, processes.map(convert.probe, probes), strict=True))
                broken = {
                    name: media.MediaError(death.reason, death.detail)
                    for name, death in deaths.items()
                    if isinstance(death, pool.Failure)
                }
                # With nothing to blame (a machine short of memory, say) every file of the listing goes.
                broken = broken or {name: media.MediaError(result.reason, result.detail) for name in task.media}
                result = convert.run_task(dataclasses.replace(task, broken=broken))
            yield result

    def _processes(self) -> pool.KillablePool:
        data = self.config.data
        memory = int(data.decode_memory_gb * 1e9)
        return pool.KillablePool(data.prepare_workers, data.decode_seconds, media.limit_process, (memory,))

    def _check_rejected(self, rows: int) -> None:
        if len(self.lost) > self.config.data.max_rejected * rows:
            _write_rejections(self.folder / prepared.REJECTIONS, self.rejections)
            raise DataError(
                f"{len(self.lost)} of {rows} listings of {self.listing_file} were rejected or lost a file, more than"
                f" config.data.max_rejected = {self.config.data.max_rejected:g} allows{self._why()}; each is named in"
                f" {self.folder / prepared.REJECTIONS}. Mend them, or raise the limit."
            )

    def _why(self) -> str:
        counts = collections.Counter(f"{r.modality or 'listing'} {r.reason}" for r in self.rejections)
        return "".join(f"\n  {count:6,} {reason}" for reason, count in counts.most_common())

    def _finish(self, parts: dict[str, list[dict[str, Any]]], facts: dict[str, Any]) -> None:
        index = {split: [row for part in of_split for row in part["index"]] for split, of_split in parts.items()}
        if not any(index.values()):
            raise DataError(f"{self.listing_file} holds no listing with anything present{self._why()}")
        for split, rows in index.items():
            prepared.write_index(self.folder / f"index-{split}.parquet", rows)
        shard_lengths = {split: [len(part["index"]) for part in of_split] for split, of_split in parts.items()}
        records.write_tfds_metadata(self.folder, self.codec, shard_lengths)
        _write_rejections(self.folder / prepared.REJECTIONS, self.rejections)
        tokenizer_path = self.folder / prepared.TOKENIZER
        texts = "train" if index.get("train") else next(split for split, rows in index.items() if rows)
        shards = records.Records(self.folder, texts, len(shard_lengths[texts]), self.config.inputs)
        tokenizer.train(_texts(shards), self.config.data.vocabulary, tokenizer_path)
        manifest = {
            "format": prepared.FORMAT_VERSION,
            "catalogue": str(self.listing_file),
            "facts": facts,
            "rows": self.rows,
            "shard_lengths": shard_lengths,
            "states": {split: _count_states(rows) for split, rows in index.items()},
            "rejected": dict(collections.Counter(f"{r.modality or 'listing'}/{r.reason}" for r in self.rejections)),
            "tokenizer": tokenizer.Tokenizer(tokenizer_path).digest,
            "digest": settings.digest({"facts": facts, "ids": {s: [r["id"] for r in i] for s, i in index.items()}}),
        }
        _write_json(self.folder / prepared.MANIFEST, manifest)


def _texts(source: records.Records) -> Iterator[str]:
    """Everything the tokenizer is trained on: titles, descriptions, names and values, in record order."""
    empty = True
    for position in range(len(source)):
        record = source[position]
        for text in (record.title, record.description, *(part for field in record.fields for part in field)):
            if text:
                empty = False
                yield text
    if empty:
        yield "text"  # a catalogue of pictures alone still gets a tokenizer, of bytes


def _count_states(rows: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Listings by modality and state."""
    counts = {name: collections.Counter() for name in modalities.NAMES}
    for row in rows:
        for name, state in zip(modalities.NAMES, row["states"], strict=True):
            counts[name][modalities.State(state).name.lower()] += 1
    return {name: dict(count) for name, count in counts.items()}


def _write_rejections(path: pathlib.Path, rejections: list[Rejection]) -> None:
    lines = (json.dumps(dataclasses.asdict(rejection), ensure_ascii=False) + "\n" for rejection in rejections)
    path.write_text("".join(lines), encoding="utf-8")


def _write_json(path: pathlib.Path, value: Any) -> None:
    """Writes JSON under a temporary name and renames: a file under its own name is whole."""
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")
    temporary.rename(path)
