"""A prepared folder: what training, evaluation and export need to know of a catalogue.

It holds the record shards, one Parquet index per split, the tokenizer, `rejections.jsonl` and
`manifest.json`, which is written last and makes the folder complete.
"""

import dataclasses
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from m5jax import modalities
from m5jax.data import pieces, schemes, tokenizer, unfinished
from m5jax.data.corruption import NOTHING, Corrupted, Plan, draw
from m5jax.data.index import Index, Texts
from m5jax.data.records import Records, Source
from m5jax.errors import DataError
from m5jax.inputs import CLEAN, Corruption, Inputs
from m5jax.modalities import State

MANIFEST, REJECTIONS = "manifest.json", "rejections.jsonl"
PAIRS, SETS = "pairs.parquet", "sets.parquet"
FORMAT_VERSION = 3


def read_manifest(path: pathlib.Path) -> dict[str, Any]:
    """What a manifest says.

    Raises:
      DataError: it is damaged, or another format wrote it.
    """
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(manifest, dict):
            raise ValueError("it is no object")
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}): delete the folder and prepare again") from error
    if manifest.get("format") != FORMAT_VERSION:
        raise DataError(f"{path} has format {manifest.get('format')}, not {FORMAT_VERSION}: prepare again")
    return manifest


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes JSON: a file under its own name is whole."""
    path.parent.mkdir(exist_ok=True)
    with unfinished.whole(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A complete prepared folder, as a run sees it: records, states and titles are those that corruption leaves."""

    folder: pathlib.Path
    manifest: dict[str, Any]
    inputs: Inputs
    corruption: Corruption = CLEAN

    @classmethod
    def open(cls, folder: pathlib.Path, inputs: Inputs, corruption: Corruption = CLEAN) -> "Prepared":
        """Opens a folder that preparation has finished.

        Raises:
          DataError: there is no manifest, it is damaged, or another format wrote it.
        """
        path = folder / MANIFEST
        if not path.is_file():
            raise DataError(f"{folder} holds no {MANIFEST}: it is not a finished prepared folder")
        return cls(folder, read_manifest(path), inputs, corruption)

    @property
    def splits(self) -> dict[str, int]:
        """Listings per split; splits without any are left out."""
        return {split: sum(lengths) for split, lengths in self.manifest["shard_lengths"].items()}

    def length(self, split: str) -> int:
        """Listings of a split.

        Raises:
          DataError: there is none.
        """
        self._need(split)
        return self.splits[split]

    @property
    def tokenizer_path(self) -> pathlib.Path:
        """The file of the catalogue's tokenizer, for `tokenizer.load`.

        Raises:
          DataError: there is none.
        """
        return tokenizer.find(self.folder)

    @property
    def classes(self) -> tuple[str, ...]:
        """The categories of the training listings, sorted: class i of a classifier is the i-th. Empty without any."""
        names = self.groups("train", "category")[1] if "train" in self.splits else ()
        return tuple(name for name in names if name)

    @property
    def products(self) -> tuple[str, ...]:
        """The products that several training listings show, sorted: classes as well. Empty without any."""
        if "train" not in self.splits:
            return ()
        codes, names = self.groups("train", "instance_id")
        listings = np.bincount(codes, minlength=len(names))
        return tuple(name for name, count in zip(names, listings, strict=True) if name and count > 1)

    def groups(self, split: str, column: str) -> tuple[np.ndarray, tuple[str, ...]]:
        """The listings of a split by a text column of its index: int32 [N] into the sorted names, "" being unknown.

        Raises:
          DataError: the split has none.
        """
        names: dict[str, int] = {}
        codes = []
        for batch in self.batches(split, [column]):
            coded = batch.column(0).dictionary_encode()
            numbers = [names.setdefault(name, len(names)) for name in coded.dictionary.to_pylist()]
            codes.append(np.asarray(numbers, np.int32)[coded.indices.to_numpy()])
        ordered = sorted(names)
        ranks = np.empty(len(names), np.int32)
        ranks[[names[name] for name in ordered]] = np.arange(len(names))
        return ranks[np.concatenate(codes)], tuple(ordered)

    def records(self, split: str, words: tokenizer.Tokenizer | None = None) -> Source:
        """The records of a split; with a tokenizer, text comes as its ids as well.

        Raises:
          DataError: the split has none.
        """
        self._need(split)
        shards = len(self.manifest["shard_lengths"][split])
        known = None if words is None else pieces.find(self.folder, split, words, self.texts(split))
        return Corrupted(Records(self.folder, split, shards, self.inputs, known), self.corrupted(split))

    def texts(self, split: str) -> Texts:
        """The records of a split as far as they are text, uncorrupted.

        Raises:
          DataError: the split has none.
        """
        self._need(split)
        return Texts(self.folder / f"index-{split}.parquet")

    def corrupted(self, split: str) -> Plan:
        """Which listings of a split are corrupted on purpose, and how.

        Raises:
          DataError: the split has none.
        """
        self._need(split)
        if not self.corruption.active(self.inputs) or split not in self.corruption.splits:
            return NOTHING
        states = self._recorded_states(split)
        if self.corruption.scheme:
            categories, _ = self.groups(split, "category")
            return schemes.draw(self.corruption, self.ids(split), states, categories, self.inputs.shown)
        return draw(self.corruption, self.ids(split), states, self.corruption.counted(self.inputs))

    def states(self, split: str) -> np.ndarray:
        """What the listings of a split have: uint8 [N, 5], State of each modality of `modalities.NAMES`.

        Raises:
          DataError: the split has none.
        """
        return self.corrupted(split).states(self._recorded_states(split))

    def complete(self, split: str) -> np.ndarray:
        """Positions of the listings of a split that have every modality the model sees: int64 [n], ascending.

        Raises:
          DataError: the split has none, or none of them is complete.
        """
        columns = [modalities.NAMES.index(name) for name in self.inputs.shown]
        present = self.states(split)[:, columns] == State.PRESENT
        complete = np.flatnonzero(present.all(1))
        if not len(complete):
            counts = ", ".join(f"{n:,} {name}" for name, n in zip(self.inputs.shown, present.sum(0), strict=True))
            raise DataError(
                f"config.data.complete_only=True leaves no listing of split {split}: of {len(present):,} none has every"
                f" modality in use ({counts}); use fewer in config.inputs.modalities, or set it to False"
            )
        return complete

    def _recorded_states(self, split: str) -> np.ndarray:
        self._need(split)
        path = self.folder / f"index-{split}.parquet"
        column = pq.read_table(path, columns=["states"], page_checksum_verification=True)["states"]
        return column.combine_chunks().flatten().to_numpy().reshape(len(column), len(modalities.NAMES))

    def ids(self, split: str) -> Iterator[str]:
        """The ids of a split, in the order of its records, without holding them.

        Raises:
          DataError: the split has none.
        """
        for batch in self.batches(split, ["id"]):
            yield from batch.column(0).to_pylist()

    def batches(self, split: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Columns of a split's index as recorded, in the order of its records, without holding them.

        Raises:
          DataError: the split has none.
        """
        self._need(split)
        file = pq.ParquetFile(self.folder / f"index-{split}.parquet", page_checksum_verification=True)
        yield from file.iter_batches(columns=columns)

    def index(self, split: str) -> Index:
        """The index of a split.

        Raises:
          DataError: the split has none.
        """
        self._need(split)
        columns = ["id", "source", "instance_id", "category", "title"]
        path = self.folder / f"index-{split}.parquet"
        table = pq.read_table(path, columns=columns, page_checksum_verification=True)
        text = {name: np.asarray(table[name].to_pylist(), object) for name in columns}
        plan = self.corrupted(split)
        return Index(
            ids=text["id"],
            sources=text["source"],
            instance_ids=text["instance_id"],
            categories=text["category"],
            titles=plan.titles(text["title"]),
            states=plan.states(self._recorded_states(split)),
        )

    def beside(self, name: str) -> pa.Table:
        """What the catalogue says beside its listings; listings that became no record are named all the same.

        Args:
          name: `PAIRS`, with columns left, right, match, split; or `SETS`, with set, id.

        Raises:
          DataError: the catalogue has none.
        """
        if not (self.folder / name).is_file():
            raise DataError(f"the catalogue that {self.folder} was prepared of has no {name.partition('.')[0]}")
        return pq.read_table(self.folder / name, page_checksum_verification=True)

    def _need(self, split: str) -> None:
        if split not in self.splits:
            raise DataError(f"{self.folder} has no listing in split {split!r}; it has {', '.join(self.splits)}")


@dataclasses.dataclass(frozen=True)
class Variants(Prepared):
    """Listings as several plans have them, to be read in one go: any of them, each as often as there are variants.

    Only records are of the variants: index, states and lengths stay those of the splits.

    Attributes:
      positions: int [V], in the split.
      plan: what becomes of each variant, row by row.
    """

    positions: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))
    plan: Plan = NOTHING

    @classmethod
    def of(cls, prepared: Prepared, positions: np.ndarray, plan: Plan) -> "Variants":
        """Variants of the listings of a prepared folder, whose own corruption is left out of account."""
        return cls(prepared.folder, prepared.manifest, prepared.inputs, CLEAN, positions, plan)

    def records(self, split: str, words: tokenizer.Tokenizer | None = None) -> Source:
        """The variants as records of a split."""
        return Corrupted(super().records(split, words), self.plan, self.positions)
