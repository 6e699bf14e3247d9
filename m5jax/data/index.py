"""The index of a split: what is asked of its records without reading them, as columns; row i is record i."""

import dataclasses
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from m5jax.data import unfinished
from m5jax.data.fingerprints import Fingerprints
from m5jax.data.records import Record


@dataclasses.dataclass(frozen=True)
class Index:
    """What evaluation and reports need of a split without reading its records; row i is record i.

    Attributes:
      ids, sources, instance_ids, categories, titles: strings, one a listing ("" unknown); a category is its
        whole path, joined by " > ".
      states: uint8 [N, 5], State of each modality of `modalities.NAMES`.
    """

    ids: np.ndarray
    sources: np.ndarray
    instance_ids: np.ndarray
    categories: np.ndarray
    titles: np.ndarray
    states: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, keep: np.ndarray) -> "Index":
        """The rows that `keep` selects."""
        return Index(**{field.name: getattr(self, field.name)[keep] for field in dataclasses.fields(Index)})


def index_row(record: Record, prints: Fingerprints) -> dict[str, Any]:
    """What the index of its split keeps of a record and of its fingerprints, as JSON holds it."""
    return {
        "id": record.id,
        "source": record.source,
        "instance_id": record.instance_id,
        "category": record.category_path,
        "title": record.title,
        "description": record.description,
        "names": [name for name, _ in record.fields],
        "contents": [value for _, value in record.fields],
        "states": [int(state) for state in record.states],
        "content": list(prints.content),
        "picture": list(prints.picture),
        "spread": prints.spread,
        "fields": prints.fields,
        "values": prints.values,
    }


def write_index(path: pathlib.Path, rows: list[dict[str, Any]]) -> None:
    """Writes index rows as Parquet with page checksums."""
    text = pa.string()
    schema = pa.schema(
        [(name, text) for name in ("id", "source", "instance_id", "category", "title", "description")]
        + [("names", pa.list_(text)), ("contents", pa.list_(text))]
        + [("states", pa.list_(pa.uint8())), ("content", pa.list_(pa.uint64())), ("picture", pa.list_(pa.uint64()))]
        + [("spread", pa.uint8()), ("fields", pa.uint16()), ("values", pa.uint16())]
    )
    with unfinished.whole(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), temporary, write_page_checksum=True)


def join_indexes(path: pathlib.Path, parts: Iterable[pathlib.Path]) -> None:
    """Writes indexes one behind the other into one, holding one at a time."""
    writer = None
    for part in parts:
        table = pq.read_table(part, page_checksum_verification=True)
        writer = writer or pq.ParquetWriter(path, table.schema, write_page_checksum=True)
        writer.write_table(table)
    if writer is not None:
        writer.close()


class Texts:
    """The records of a split as far as they are text, in order: what tokenising needs, without reading any medium."""

    def __init__(self, path: pathlib.Path, every: int = 1):
        """Of the index in `path`; every so many-th record, from the first."""
        self._file, self._every = pq.ParquetFile(path, page_checksum_verification=True), every

    def __len__(self) -> int:
        return -(-self._file.metadata.num_rows // self._every)

    def __iter__(self) -> Iterator[Record]:
        start = 0
        for batch in self._file.iter_batches(batch_size=4096, columns=["title", "description", "names", "contents"]):
            chosen = batch.take(pa.array(range(-start % self._every, len(batch), self._every)))
            start += len(batch)
            for row in chosen.to_pylist():
                fields = tuple(zip(row["names"], row["contents"], strict=True))
                yield Record(id="", title=row["title"], description=row["description"], fields=fields)
