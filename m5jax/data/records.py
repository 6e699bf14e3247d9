"""Prepared records: one listing each, checksummed, without a byte that we did not write ourselves.

They are tf.Examples in ArrayRecord shards, laid out as TFDS does it: `tfds.builder_from_directory` opens the
folder, without TensorFlow. What else a prepared folder holds is in `prepared.py`.
"""

import dataclasses
import logging
import pathlib
import types
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import (
    array_record_data_source,
    array_record_module,  # pyright: ignore[reportAttributeAccessIssue] (compiled, no stubs)
)
from etils import epath
from tensorflow_datasets.proto import tf_example_pb2

from m5jax import modalities
from m5jax.data import examples, feature_rows, memory, unfinished
from m5jax.errors import DataError
from m5jax.inputs import Inputs
from m5jax.modalities import State

Example = tf_example_pb2.Example  # pyright: ignore[reportAttributeAccessIssue] (generated, no stubs)
Features = type(Example().features)
log = logging.getLogger(__name__)

DATASET, METADATA = "m5jax", "dataset_info.json"  # by which TFDS knows the folder
MEDIA = ("image", "video", "audio")
_TEXTS = ("id", "source", "instance_id", "title", "description")
_LISTS = ("category", "fields/name", "fields/value")
_STATES = {int(state): state for state in State}  # faster than `State(number)`
_UNREADABLE = (RuntimeError, ValueError, LookupError, OSError)  # raised where a file is damaged or missing


@dataclasses.dataclass(frozen=True)
class Record:
    """One prepared listing.

    Attributes:
      id, source, instance_id, category: as in the catalogue.
      states: State of each modality of `modalities.NAMES`.
      title, description: text; empty where there is none.
      fields: (name, value) pairs of the table.
      image: a JPEG of the picture, or float16 [n, dim] features, [n, dim + 5] with boxes, and behind these columns
        the shares of a detector's classes.
      video: a JPEG film strip, the frames below one another, or float16 [n, dim] features.
      audio: float16 [n, frame_dim] frames of the sound, or float16 [n, dim] features.
        Features that are stored in less than float16 come back as [n] rows of `feature_rows.dtype`.
      text_pieces, table_pieces: ids of title and description, and of every name and value, if they are kept beside the
        records (`pieces`); None: not known.
    """

    id: str
    source: str = ""
    instance_id: str = ""
    category: tuple[str, ...] = ()
    states: tuple[State, ...] = (State.ABSENT,) * len(modalities.NAMES)
    title: str = ""
    description: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    image: bytes | np.ndarray = b""
    video: bytes | np.ndarray = b""
    audio: bytes | np.ndarray = b""
    text_pieces: list[list[int]] | None = None
    table_pieces: list[tuple[list[int], list[int]]] | None = None

    @property
    def category_path(self) -> str:
        """The category from coarse to fine as one string; empty if unknown."""
        return " > ".join(self.category)

    def state(self, modality: str) -> State:
        """What the listing has of a modality."""
        return self.states[modalities.NAMES.index(modality)]


DAMAGED = Record(id="")
"""Stands in for a record that cannot be read: nothing present, so it adds nothing to any loss."""


class Source(Protocol):
    """Records of a split by position: read from disk, or a view of others."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Record: ...


class RecordCodec:
    """`Record` to bytes (a tf.Example) and back, for one choice of inputs.

    Reads and writes the protocol buffer itself, as `features` describes it to TFDS: a seventh of the time, and
    equal records give equal bytes.
    """

    def __init__(self, inputs: Inputs):
        # Numbers per row where a medium is stored as an array; the others are stored as encoded bytes.
        self._widths = {"audio": inputs.audio.frame_dim}
        self._packed: dict[str, np.dtype] = {}  # the rows that are not plain float16
        for name in MEDIA:
            chosen = getattr(inputs, name)
            beside = (chosen.geometry, chosen.classes) if name == "image" else (0, 0)
            if chosen.source == "features":
                self._widths[name] = chosen.feature_dim + sum(beside)
                if chosen.stored != feature_rows.FLOAT16:
                    self._packed[name] = feature_rows.dtype(chosen.stored, chosen.feature_dim, *beside)

    @property
    def features(self) -> tfds.features.FeaturesDict:
        """What a record holds, in TFDS's terms."""
        text = tfds.features.Text()  # takes any bytes, UTF-8 or not
        arrays = {
            name: tfds.features.Tensor(shape=(None, width), dtype=np.float16, encoding="bytes")
            for name, width in self._widths.items()
        }
        # TFDS has neither bfloat16 nor rows of several dtypes: these are bytes, `rows.view(feature_rows.dtype(...))`.
        arrays |= {
            name: tfds.features.Tensor(shape=(None, packed.itemsize), dtype=np.uint8, encoding="bytes")
            for name, packed in self._packed.items()
        }
        return tfds.features.FeaturesDict(
            dict.fromkeys(_TEXTS, text)
            | {"category": tfds.features.Sequence(text)}
            | {"states": tfds.features.Tensor(shape=(len(modalities.NAMES),), dtype=np.uint8)}
            | {"fields": tfds.features.Sequence({"name": text, "value": text})}
            | dict.fromkeys(MEDIA, text)
            | arrays
        )

    def encode(self, record: Record) -> bytes:
        """The record as a serialised tf.Example.

        Raises:
          ValueError: an array has another width than the inputs say.
        """
        values = {name: [getattr(record, name).encode()] for name in _TEXTS}
        values["category"] = [label.encode() for label in record.category]
        values["fields/name"] = [name.encode() for name, _ in record.fields]
        values["fields/value"] = [value.encode() for _, value in record.fields]
        values |= {name: [self._stored(name, getattr(record, name))] for name in MEDIA}
        example = Example()
        example.features.feature["states"].int64_list.value.extend(record.states)
        for name, items in values.items():
            example.features.feature[name].bytes_list.value.extend(items)
        return example.SerializeToString(deterministic=True)

    def _stored(self, name: str, payload: bytes | np.ndarray) -> bytes:
        if isinstance(payload, bytes):
            return payload
        rows = payload.reshape(len(payload), self._widths[name]).astype(np.float16)
        return (feature_rows.pack(rows, self._packed[name]) if name in self._packed else rows).tobytes()

    def decode(self, data: bytes, pieces: Mapping[str, Any] = types.MappingProxyType({})) -> Record:
        """The record in a serialised tf.Example, arrays being views of its bytes; `pieces` as `Record` has them."""
        large, rest = examples.apart(data, MEDIA)
        feature = Features.FromString(rest).feature
        lists = {name: feature[name].bytes_list.value for name in (*_TEXTS, *_LISTS)}
        names, values = lists["fields/name"], lists["fields/value"]
        payloads: dict[str, Any] = {}
        for name in MEDIA:
            payload = large[name] if name in large else feature[name].bytes_list.value[0]
            if name in self._packed:
                payloads[name] = np.frombuffer(payload, self._packed[name])
            elif name in self._widths:
                payloads[name] = np.frombuffer(payload, np.float16).reshape(-1, self._widths[name])
            else:
                payloads[name] = bytes(payload)
        return Record(
            **{name: lists[name][0].decode() for name in _TEXTS},
            category=tuple(label.decode() for label in lists["category"]),
            states=tuple(map(_STATES.__getitem__, feature["states"].int64_list.value)),
            fields=tuple((name.decode(), value.decode()) for name, value in zip(names, values, strict=True)),
            **payloads,
            **pieces,
        )


def shard_name(split: str, shard: int, shards: int) -> str:
    """TFDS's name for one shard of a split."""
    return f"{DATASET}-{split}.array_record-{shard:05d}-of-{shards:05d}"


def write_shard(path: pathlib.Path, records: Iterable[bytes]) -> None:
    """Writes serialised records: a shard under its own name is whole.

    Uncompressed: to undo it takes longer than all the rest that a batch of features needs, and a JPEG is compressed
    already. Features that are to take less space are stored as int8.
    """
    with unfinished.whole(path) as temporary:
        writer = array_record_module.ArrayRecordWriter(str(temporary), "group_size:1,uncompressed")
        for record in records:
            writer.write(record)
        writer.close()


def write_tfds_metadata(folder: pathlib.Path, codec: RecordCodec, shard_lengths: dict[str, list[int]]) -> None:
    """Lets `tfds.builder_from_directory(folder)` open the shards."""
    splits = []
    for split, lengths in shard_lengths.items():
        template = tfds.core.ShardedFileTemplate(
            data_dir=epath.Path(folder), dataset_name=DATASET, split=split, filetype_suffix="array_record"
        )
        num_bytes = sum((folder / shard_name(split, i, len(lengths))).stat().st_size for i in range(len(lengths)))
        splits.append(
            tfds.core.SplitInfo(name=split, shard_lengths=lengths, num_bytes=num_bytes, filename_template=template)
        )
    tfds.folder_dataset.write_metadata(
        data_dir=str(folder), features=codec.features, split_infos=splits, check_data=False
    )


class Records:
    """The records of one split, by position; the source that the input pipeline reads.

    A record that cannot be read is named in the log and comes back as `DAMAGED`, so that positions never shift.

    Raises:
      DataError: a shard is missing, or damaged where it says how many records it holds.
    """

    def __init__(self, folder: pathlib.Path, split: str, shards: int, inputs: Inputs, pieces: Any = None):
        """`pieces`: what there is of text as ids, by position, for `RecordCodec.decode`; None: nothing."""
        self._folder, self._split, self._shards, self._inputs = folder, split, shards, inputs
        self._codec, self._pieces = RecordCodec(inputs), pieces
        self._open()

    def _open(self) -> None:
        memory.keep_freed()
        paths = [str(self._folder / shard_name(self._split, shard, self._shards)) for shard in range(self._shards)]
        try:
            self._source = array_record_data_source.ArrayRecordDataSource(paths)
        except _UNREADABLE as error:
            raise DataError(
                f"the records of split {self._split} in {self._folder} cannot be opened: {error}. Delete the folder"
                " and prepare again."
            ) from error

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)} in split {self._split}")
        try:
            pieces = {} if self._pieces is None else self._pieces[int(index)]
            return self._codec.decode(self._source[int(index)], pieces)
        except _UNREADABLE as error:
            log.warning("record %d of split %s in %s cannot be read: %s", index, self._split, self._folder, error)
            return DAMAGED

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_source"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()
