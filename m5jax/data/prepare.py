"""Preparation: a catalogue becomes a prepared folder, once.

The folder is named after a digest of the catalogue and of what decides the records, so other dials get
another folder and the same dials find theirs. Finished shards are kept when a run is killed; the manifest,
written last, makes the folder complete.
"""

import collections
import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import filelock

from m5jax import inputs, modalities, settings
from m5jax.config import Config
from m5jax.data import catalogue, convert, layouts, media, pool, prepared, records, tokenizer, toy
from m5jax.data.catalogue import Listing, Rejection
from m5jax.errors import DataError
from m5jax.progress import progress

TOKENIZER_LISTINGS = 200_000  # more teach a vocabulary nothing new, and cost memory
EARLY_STOP_LISTINGS = 1000  # from here on a catalogue that is mostly broken is not prepared to its end


def prepare(config: Config, quiet: bool = False) -> prepared.Prepared:
    """The prepared folder of the configured catalogue, made first if need be.

    Raises:
      DataError: there is no such catalogue or vocabulary, nothing in it can be trained on, or more than
        `config.data.max_rejected` of it was rejected.
    """
    found = find_catalogue(config, quiet)
    given = config.data.vocabulary_file and tokenizer.WordPiece(
        pathlib.Path(config.data.vocabulary_file), config.data.vocabulary_lowercase
    )
    facts = {
        "catalogue": found.digest(),
        "inputs": inputs.recorded(config.inputs),
        "vocabulary": given.digest if given else config.data.vocabulary,
        "shard_listings": config.data.shard_listings,
        "format": prepared.FORMAT_VERSION,
    }
    name = found.path.parent.resolve().name
    folder = pathlib.Path(config.data.root) / f"prepared-{name}-{settings.digest(facts)[:12]}"
    if not (folder / prepared.MANIFEST).exists():  # a complete folder is only read, and may be read-only
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / "lock"):
            if not (folder / prepared.MANIFEST).exists():
                if given:
                    given.write(folder)  # first, so that it is the one that the folder is named after
                _Preparation(config, found, folder, quiet).run(facts)
    return prepared.Prepared.open(folder, config.inputs, config.data.corruption)


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


@dataclasses.dataclass
class _Shard:
    """A run of listings of one split that becomes one file."""

    split: str
    number: int
    listings: list[Listing] = dataclasses.field(default_factory=list)


class _Preparation:
    """One preparation under way."""

    def __init__(self, config: Config, found: layouts.Catalogue, folder: pathlib.Path, quiet: bool):
        self.config, self.catalogue, self.folder, self.quiet = config, found, folder, quiet
        self.listing_file, self.root = found.path, found.root
        self.codec = records.RecordCodec(config.inputs)
        self.rejections: list[Rejection] = []
        self.rows = self.bad_rows = 0  # listings seen; and what was lost while reading, rows or parts of unknown rows
        self.damaged: set[str] = set()  # ids of listings that lost a file, or all they had

    def run(self, facts: dict[str, Any]) -> None:
        """Makes the folder complete; `facts` decide its content.

        Raises:
          DataError: as `prepare`.
        """
        with self._processes() as processes:
            parts = self._records(processes)
        self._check_rejected(self.rows)
        self._finish(parts, facts)
        if not self.quiet:
            self._say(parts)

    def _records(self, processes: pool.KillablePool) -> dict[str, list[dict[str, Any]]]:
        """Writes the shards of all splits, and gives what was noted of each."""
        shards = self._shards(processes)
        self._check_rejected(self.rows)
        lengths = collections.Counter(shard.split for shard in shards)
        parts: dict[str, list[dict[str, Any]]] = {split: [] for split in catalogue.SPLITS if lengths[split]}
        total = sum(len(shard.listings) for shard in shards)
        with progress("preparing", total, quiet=self.quiet) as advance:
            done = 0
            for shard in shards:
                path = self.folder / records.shard_name(shard.split, shard.number, lengths[shard.split])
                part = self._finished(shard, path)
                if part is None:
                    part = self._make(shard, path, processes, advance)
                else:
                    advance(len(shard.listings))
                rejections = [Rejection(**row) for row in part["rejections"]]
                self.rejections += rejections
                self.damaged |= {rejection.id for rejection in rejections if rejection.lost}
                parts[shard.split].append(part)
                done += len(shard.listings)
                if done >= EARLY_STOP_LISTINGS:
                    self._check_rejected(done, of_rows=False)
        return parts

    def _shards(self, processes: pool.KillablePool) -> list[_Shard]:
        """Reads the listing file: accepted rows go to shards in file order, the others to the rejections."""
        filling: dict[str, _Shard] = {}
        shards: list[_Shard] = []
        for row in self.catalogue.read(self.config.inputs, processes, self.quiet):
            if isinstance(row, Rejection):
                self.rejections.append(row)
                self.bad_rows += row.lost
                self.rows += row.lost and not row.modality  # of regions alone the listing comes by itself
                continue
            self.rows += 1
            shard = filling.get(row.split)
            if shard is None or len(shard.listings) == self.config.data.shard_listings:
                shard = filling[row.split] = _Shard(row.split, shard.number + 1 if shard else 0)
                shards.append(shard)
            shard.listings.append(row)
        if not shards:
            raise self._stopped(f"{self.listing_file} holds no usable listing")
        return shards

    def _part_path(self, shard: _Shard) -> pathlib.Path:
        return self.folder / "parts" / f"{shard.split}-{shard.number:05d}.json"

    def _finished(self, shard: _Shard, path: pathlib.Path) -> dict[str, Any] | None:
        """What an earlier, interrupted preparation noted of this shard after writing it, if it is still the same."""
        try:
            part = json.loads(self._part_path(shard).read_text(encoding="utf-8"))
            return part if part["sha256"] == _file_digest(path) else None
        except (FileNotFoundError, ValueError):
            return None

    def _make(
        self, shard: _Shard, path: pathlib.Path, processes: pool.KillablePool, advance: Callable[[int], None]
    ) -> dict[str, Any]:
        index: list[dict[str, Any]] = []
        rejections: list[Rejection] = []

        def encoded() -> Iterator[bytes]:
            for conversion in self._convert(shard.listings, processes):
                rejections.extend(conversion.rejections)
                for rejection in conversion.rejections:
                    if rejection.reason == "decoder_missing":  # not the fault of the file, and not to be kept
                        raise DataError(f"{rejection.detail}, or leave it out of config.inputs.modalities")
                if conversion.record is not None:
                    index.append(prepared.index_row(conversion))
                    yield self.codec.encode(conversion.record)
                advance(1)

        records.write_shard(path, encoded())
        lost = [dataclasses.asdict(rejection) for rejection in rejections]
        part = {"sha256": _file_digest(path), "index": index, "rejections": lost}
        _write_json(self._part_path(shard), part)
        return part

    def _convert(self, listings: Iterable[Listing], processes: pool.KillablePool) -> Iterator[convert.Conversion]:
        """Converts in processes that may die."""
        tasks = [convert.Task(listing, self.root, self.config.inputs) for listing in listings]
        results = processes.map(convert.run_task, tasks)
        for task, result in zip(tasks, results, strict=True):
            yield _take_apart(task, processes) if isinstance(result, pool.Failure) else result

    def _processes(self) -> pool.KillablePool:
        data = self.config.data
        limits = (int(data.decode_memory_gb * 1e9), tuple(self.root.glob("*.lmdb")))
        return pool.KillablePool(data.prepare_workers, data.decode_seconds, media.limit_process, limits)

    def _check_rejected(self, rows: int, of_rows: bool = True) -> None:
        """Stops above the allowed share of `rows`; without `of_rows` they are converted listings, none a bad row."""
        limit = self.config.data.max_rejected
        lost = min(len(self.damaged) + self.bad_rows * of_rows, rows)  # entries of regions may be more
        if lost > limit * rows:
            for part in (self.folder / "parts").glob("*.json"):
                part.unlink()  # files may be mended in place: the next preparation reads them again
            raise self._stopped(
                f"{lost} of {rows} listings of {self.listing_file} were rejected or lost a file, more than"
                f" config.data.max_rejected = {limit:g} allows. Mend them, or raise the limit"
            )

    def _stopped(self, why: str) -> DataError:
        """An error that counts the rejections by reason; all of them are written down."""
        path = self.folder / prepared.REJECTIONS
        _write_rejections(path, self.rejections)
        counts = "".join(f"\n  {count:6,} {reason}" for reason, count in self._counts().most_common())
        return DataError(f"{why}. What was rejected, one by one in {path}:{counts}")

    def _say(self, parts: dict[str, list[dict[str, Any]]]) -> None:
        """What became of the catalogue, by state and by reason."""
        states = _count_states([row for of_split in parts.values() for part in of_split for row in part["index"]])
        kept = sum(len(part["index"]) for of_split in parts.values() for part in of_split)
        print(f"prepared {kept:,} listings from {self.rows:,} rows")
        for name in self.config.inputs.kept:
            counts = ", ".join(
                f"{count:,} {state}" for state, count in sorted(states[name].items(), key=lambda c: -c[1])
            )
            print(f"  {name:<6} {counts}")
        unknown = collections.Counter(row.modality for row in self.rejections if row.modality and not row.id)
        for name, count in unknown.items():
            print(f"  {count:,} {name} entries name no listing: of the absent, up to as many are corrupt")
        for word, lost in (("rejected", True), ("noted", False)):
            for reason, count in self._counts(lost).most_common():
                print(f"  {word} {count:,} {reason}")
        if self.rejections:
            print(f"  one by one in {self.folder / prepared.REJECTIONS}", flush=True)

    def _counts(self, lost: bool = True) -> collections.Counter[str]:
        """Rejections by what was lost and why; or notes, by which nothing was."""
        rows = (row for row in self.rejections if row.lost == lost)
        return collections.Counter(f"{row.modality or 'listing'}/{row.reason}" for row in rows)

    def _finish(self, parts: dict[str, list[dict[str, Any]]], facts: dict[str, Any]) -> None:
        index = {split: [row for part in of_split for row in part["index"]] for split, of_split in parts.items()}
        index = {split: rows for split, rows in index.items() if rows}
        if not index:
            raise self._stopped(f"{self.listing_file} holds no listing with anything present")
        for split in parts.keys() - index.keys():  # TFDS wants no file of a split without records
            for shard in range(len(parts[split])):
                (self.folder / records.shard_name(split, shard, len(parts[split]))).unlink()
        for split, rows in index.items():
            prepared.write_index(self.folder / f"index-{split}.parquet", rows)
        shard_lengths = {split: [len(part["index"]) for part in parts[split]] for split in index}
        records.write_tfds_metadata(self.folder, self.codec, shard_lengths)
        _write_rejections(self.folder / prepared.REJECTIONS, self.rejections)
        manifest = {
            "format": prepared.FORMAT_VERSION,
            "catalogue": str(self.listing_file),
            "facts": facts,
            "rows": self.rows,
            "shard_lengths": shard_lengths,
            "states": {split: _count_states(rows) for split, rows in index.items()},
            "rejected": dict(self._counts()),
            "noted": dict(self._counts(lost=False)),
            "tokenizer": self._make_tokenizer(shard_lengths),
            "digest": settings.digest({"facts": facts, "shards": {s: [p["sha256"] for p in parts[s]] for s in index}}),
        }
        _write_json(self.folder / prepared.MANIFEST, manifest)

    def _make_tokenizer(self, shard_lengths: dict[str, list[int]]) -> str:
        """Trains on the training split, or on the first that there is, if none was given; returns its digest."""
        if not self.config.data.vocabulary_file:
            split = next(iter(shard_lengths))
            source = records.Records(self.folder, split, len(shard_lengths[split]), self.config.inputs)
            tokenizer.train(_texts(source), self.config.data.vocabulary, self.folder / tokenizer.TRAINED)
        return tokenizer.load(tokenizer.find(self.folder)).digest


def _take_apart(task: convert.Task, processes: pool.KillablePool) -> convert.Conversion:
    """Converts a listing that ended its process without the file that is to blame, or without any of its files."""
    probes = [dataclasses.replace(task, only=name) for name in task.media]
    ends = dict(zip(task.media, processes.map(convert.probe, probes), strict=True))
    broken = {name: end for name, end in ends.items() if isinstance(end, pool.Failure)}
    (result,) = processes.map(convert.run_task, [dataclasses.replace(task, broken=broken)])
    if isinstance(result, pool.Failure):
        result = convert.run_task(dataclasses.replace(task, broken=dict.fromkeys(task.media, result)))
    return result


def _texts(source: records.Records) -> Iterator[str]:
    """What the tokenizer is trained on: titles, descriptions, names and values, of evenly spaced listings if many."""
    for position in range(0, len(source), 1 + len(source) // TOKENIZER_LISTINGS):
        record = source[position]
        for text in (record.title, record.description, *(part for field in record.fields for part in field)):
            if text:
                yield text


def _count_states(rows: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Listings by modality and state."""
    counts = {name: collections.Counter() for name in modalities.NAMES}
    for row in rows:
        for name, state in zip(modalities.NAMES, row["states"], strict=True):
            counts[name][modalities.State(state).name.lower()] += 1
    return {name: dict(count) for name, count in counts.items()}


def _file_digest(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_rejections(path: pathlib.Path, rejections: list[Rejection]) -> None:
    lines = (json.dumps(dataclasses.asdict(rejection), ensure_ascii=False) + "\n" for rejection in rejections)
    path.write_text("".join(lines), encoding="utf-8")


def _write_json(path: pathlib.Path, value: Any) -> None:
    """Writes JSON under a temporary name and renames: a file under its own name is whole."""
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")
    temporary.rename(path)
