"""One preparation under way: the plan, its shards, what was lost, and the files that make a folder complete."""

import collections
import dataclasses
import json
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from m5jax import modalities, settings
from m5jax.catalogues import layouts
from m5jax.config import Config
from m5jax.data import index, pieces, prepared, records, tokenizer, unfinished
from m5jax.errors import DataError
from m5jax.preparing import plan, shards
from m5jax.progress import progress

EARLY_STOP_LISTINGS = 1000  # from here on a catalogue that is mostly broken is not prepared to its end


class StoppedError(DataError):
    """A preparation that was stopped; `summary` says as much as is known of it."""

    def __init__(self, message: str, summary: dict[str, Any]):
        super().__init__(message)
        self.summary = summary


class Preparation:
    """One preparation under way."""

    def __init__(
        self, config: Config, found: layouts.Catalogue, folder: pathlib.Path, quiet: bool, runner: shards.Runner
    ):
        self.config, self.catalogue, self.folder, self.quiet, self.runner = config, found, folder, quiet, runner
        self.listings = self.records = self.damaged = 0  # of the shards that are made
        self.rejected, self.noted = collections.Counter[str](), collections.Counter[str]()
        self.states: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)

    def run(self, facts: dict[str, Any]) -> None:
        """Makes the folder complete; `facts` decide its content.

        Raises:
          DataError: as `prepare`.
        """
        data = self.config.data
        with shards.processes(self.config, self.catalogue.root) as workers:
            self.plan = plan.make(
                self.catalogue,
                self.config.inputs,
                self.folder,
                settings.digest(facts),
                data.shard_listings,
                workers,
                self.quiet,
            )
        self.rejected.update(self.plan.rejected)
        self.noted.update(self.plan.noted)
        self.work = shards.Work(self.folder, self.catalogue.root, self.config, self.plan.lengths)
        self.keys = [(split, i) for split, lengths in self.plan.lengths.items() for i in range(len(lengths))]
        if not self.keys:
            raise self._stopped(f"{self.catalogue.path} holds no usable listing")
        self._check_rejected(self.plan.rows)
        self._make_shards()
        self._check_rejected(self.plan.rows)
        self._finish(facts)
        if not self.quiet:
            self._say()

    def _make_shards(self) -> None:
        """Has all shards made that an earlier preparation has not finished."""
        with progress("preparing", self.plan.listings, quiet=self.quiet) as advance:
            todo = []
            for key in self.keys:
                part = shards.finished(self.work, key)
                if part is None:
                    todo.append(key)
                else:
                    self._count(part)
                    advance(self.work.length(key))
            for part in self.runner(self.work, todo, advance):
                self._count(part)
                if self.listings >= EARLY_STOP_LISTINGS:
                    self._check_rejected(self.listings, of_rows=False)

    def _count(self, part: shards.Part) -> None:
        self.listings += part.listings
        self.records += part.records
        self.damaged += part.damaged
        self.rejected.update(part.rejected)
        self.noted.update(part.noted)
        for name, counts in part.states.items():
            self.states[name].update(counts)

    def _check_rejected(self, rows: int, of_rows: bool = True) -> None:
        """Stops above the allowed share of `rows`; without `of_rows` they are converted listings, none a bad row."""
        limit = self.config.data.max_rejected
        lost = min(self.damaged + self.plan.bad_rows * of_rows, rows)  # entries of regions may be more
        if lost > limit * rows:
            stopped = self._stopped(
                f"{lost} of {rows} listings of {self.catalogue.path} were rejected or lost a file, more than"
                f" config.data.max_rejected = {limit:g} allows. Mend them, or raise the limit"
            )
            plan.forget(self.folder)  # files may be mended in place: the next preparation reads them again
            raise stopped

    def _stopped(self, why: str) -> StoppedError:
        """An error that counts the rejections by reason; all of them are written down."""
        self._write_rejections()
        counts = "".join(f"\n  {count:6,} {reason}" for reason, count in self.rejected.most_common())
        path = self.folder / prepared.REJECTIONS
        known = summary(self.plan.rows, self.records, self.rejected, self.noted, [self.states])
        return StoppedError(f"{why}. What was rejected, one by one in {path}:{counts}", known)

    def _write_rejections(self) -> None:
        """All that was rejected or noted: while reading, then shard by shard as far as they are made."""
        with (self.folder / prepared.REJECTIONS).open("w", encoding="utf-8") as file:
            for rejection in self._rejections():
                file.write(json.dumps(rejection, ensure_ascii=False) + "\n")

    def _rejections(self) -> Iterator[dict[str, Any]]:
        yield from plan.rejections(self.folder)
        for key in self.keys:
            if self.work.note(key).is_file():
                yield from shards.read_part(self.work, key).rejections

    def _say(self) -> None:
        """What became of the catalogue, by state and by reason."""
        print(f"prepared {self.records:,} listings from {self.plan.rows:,} rows")
        for name in self.config.inputs.kept:
            print(f"  {name:<6} " + ", ".join(f"{count:,} {state}" for state, count in self.states[name].most_common()))
        for name, count in self.plan.unknown.items():
            print(f"  {count:,} {name} entries name no listing: of the absent, up to as many are corrupt")
        for name, count in self.plan.beside.items():
            print(f"  {count:,} in {name}")
        for word, counts in (("rejected", self.rejected), ("noted", self.noted)):
            for reason, count in counts.most_common():
                print(f"  {word} {count:,} {reason}")
        if self.rejected or self.noted:
            print(f"  one by one in {self.folder / prepared.REJECTIONS}", flush=True)

    def _finish(self, facts: dict[str, Any]) -> None:
        parts = {split: self._parts(split) for split in self.plan.lengths}
        shard_lengths = {split: [part.records for part in of_split] for split, of_split in parts.items()}
        for split in [split for split, lengths in shard_lengths.items() if not any(lengths)]:
            del shard_lengths[split]
            for i in range(len(parts[split])):  # TFDS wants no file of a split without records
                self.work.path((split, i)).unlink(missing_ok=True)
        if not shard_lengths:
            raise self._stopped(f"{self.catalogue.path} holds no listing with anything present")
        for split, lengths in shard_lengths.items():
            indexes = [shards.index_path(self.work, (split, i)) for i in range(len(lengths))]
            index.join_indexes(self.folder / f"index-{split}.parquet", indexes)
        codec = records.RecordCodec(self.config.inputs)
        records.write_tfds_metadata(self.folder, codec, shard_lengths)
        self._write_rejections()
        unfinished.clear(self.folder)
        content = {split: [part.content for part in parts[split]] for split in shard_lengths}
        manifest = {
            "format": prepared.FORMAT_VERSION,
            "catalogue": str(self.catalogue.path),
            "facts": facts,
            "rows": self.plan.rows,
            "shard_lengths": shard_lengths,
            "shard_files": {split: [part.file for part in parts[split]] for split in shard_lengths},
            "states": {split: _sum_states(part.states for part in parts[split]) for split in shard_lengths},
            "rejected": dict(self.rejected),
            "noted": dict(self.noted),
            "beside": self.plan.beside,
            "tokenizer": self._make_tokenizer(shard_lengths),
            "digest": settings.digest({"facts": facts, "content": content}),
        }
        prepared.write_json(self.folder / prepared.MANIFEST, manifest)

    def _parts(self, split: str) -> list[shards.Part]:
        """What became of the shards of a split, without what was rejected, which is on disk."""
        keys = [key for key in self.keys if key[0] == split]
        return [dataclasses.replace(shards.read_part(self.work, key), rejections=[]) for key in keys]

    def _make_tokenizer(self, shard_lengths: dict[str, list[int]]) -> str:
        """Trains on the training split, or on the first that there is, if none was given; returns its digest.

        All texts are tokenised then, so that no epoch has to.
        """
        indexes = {split: self.folder / f"index-{split}.parquet" for split in shard_lengths}
        if not self.config.data.vocabulary_file:
            texts = _texts(next(iter(indexes.values())))
            tokenizer.train(texts, self.config.data.vocabulary, self.folder / tokenizer.TRAINED)
        words = tokenizer.load(tokenizer.find(self.folder))
        for stale in self.folder.glob("pieces-*"):  # of an earlier preparation, which may have had other records
            stale.unlink()
        for split, path in indexes.items():
            pieces.find(self.folder, split, words, index.Texts(path), self.quiet)
        return words.digest


def _texts(path: pathlib.Path) -> Iterator[str]:
    """What the tokenizer is trained on, of an index."""
    for record in index.Texts(path, tokenizer.learned(len(index.Texts(path))).step):
        yield from tokenizer.texts(record.title, record.description, record.fields)


def summary(
    rows: int,
    kept: int,
    rejected: Mapping[str, int],
    noted: Mapping[str, int],
    states: Iterable[Mapping[str, Mapping[str, int]]],
) -> dict[str, Any]:
    """What became of a catalogue, for scripts.

    Returns:
      rows_in; records; rejected, rows by reason; lost, files and parts by "modality/reason"; noted, likewise; states,
      listings by modality and state.
    """
    of_rows, of_parts = plan.by_reason(rejected)
    return {
        "rows_in": rows,
        "records": kept,
        "rejected": of_rows,
        "lost": of_parts,
        "noted": dict(noted),
        "states": _sum_states(states),
    }


def _sum_states(parts: Iterable[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    """Listings by modality and state, of several parts."""
    total = {name: collections.Counter[str]() for name in modalities.NAMES}
    for part in parts:
        for name, counts in part.items():
            total[name].update(counts)
    return {name: dict(counts) for name, counts in total.items()}
