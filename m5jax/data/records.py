"""Prepared records: one listing each, checksummed, without a byte that we did not write ourselves.

They are tf.Examples in ArrayRecord shards, laid out as TFDS does it: `tfds.builder_from_directory` opens the
folder, without TensorFlow. What else a prepared folder holds is in `prepared.py`.
"""

import dataclasses
import logging
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import (
    array_record_data_source,
    array_record_module,  # pyright: ignore[reportAttributeAccessIssue] (compiled, no stubs)
)
from etils import epath

from m5jax import modalities
from m5jax.inputs import Inputs
from m5jax.modalities import State

log = logging.getLogger(__name__)

DATASET = "m5jax"


@dataclasses.dataclass(frozen=True)
class Record:
    """One prepared listing.

    Attributes:
      id, source, instance_id, category: as in the catalogue.
      states: State of each modality of `modalities.NAMES`.
      title, description: text; empty where there is none.
      fields: (name, value) pairs of the table.
      image: a JPEG of the picture, or float16 [n, dim] features.
      video: a JPEG film strip, the frames below one another, or float16 [n, dim] features.
      audio: float16 [n, mels] log-mel frames, or float16 [n, dim] features.
    """

    id: str
    source: str = ""
    instance_id: str = ""
    category: tuple[str, ...] = ()
    states: tuple[State, ...] = (State.ABSENT,) * len(modalities.NAMES)
    title: str = ""
    description: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    image: Any = b""
    video: Any = b""
    audio: Any = b""

    def state(self, modality: str) -> State:
        """What the listing has of a modality."""
        return self.states[modalities.NAMES.index(modality)]


DAMAGED = Record(id="")
"""Stands in for a record that cannot be read: nothing present, so it adds nothing to any loss."""


class RecordCodec:
    """`Record` to bytes (a tf.Example) and back, for one choice of inputs."""

    def __init__(self, inputs: Inputs):
        text = tfds.features.Text()
        # Vectors per row where a medium is stored as an array; the others are stored as encoded bytes.
        self._widths = {"audio": inputs.audio.mels}
        self._widths |= {
            name: getattr(inputs, name).feature_dim
            for name in ("image", "video", "audio")
            if getattr(inputs, name).source == "features"
        }
        self.features = tfds.features.FeaturesDict(
            {
                "id": text,
                "source": text,
                "instance_id": text,
                "category": tfds.features.Sequence(text),
                "states": tfds.features.Tensor(shape=(len(modalities.NAMES),), dtype=np.uint8),
                "title": text,
                "description": text,
                "fields": tfds.features.Sequence({"name": text, "value": text}),
                **{name: self._payload(name) for name in ("image", "video", "audio")},
            }
        )

    def _payload(self, name: str) -> Any:
        if name in self._widths:
            return tfds.features.Tensor(shape=(None, self._widths[name]), dtype=np.float16, encoding="bytes")
        return tfds.features.Text()  # takes any bytes, UTF-8 or not

    def encode(self, record: Record) -> bytes:
        """The record as a serialised tf.Example."""
        example: dict[str, Any] = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
        example["states"] = np.asarray(record.states, np.uint8)
        example["category"] = list(record.category)
        example["fields"] = [{"name": name, "value": value} for name, value in record.fields]
        for name, width in self._widths.items():
            if not isinstance(example[name], np.ndarray):
                example[name] = np.zeros((0, width), np.float16)
        return self.features.serialize_example(example)

    def decode(self, data: bytes) -> Record:
        """The record in a serialised tf.Example."""
        example: Any = self.features.deserialize_example_np(data)
        names, values = example["fields"]["name"], example["fields"]["value"]
        return Record(
            id=example["id"].decode(),
            source=example["source"].decode(),
            instance_id=example["instance_id"].decode(),
            category=tuple(label.decode() for label in example["category"]),
            states=tuple(State(state) for state in example["states"]),
            title=example["title"].decode(),
            description=example["description"].decode(),
            fields=tuple((name.decode(), value.decode()) for name, value in zip(names, values, strict=True)),
            image=example["image"],
            video=example["video"],
            audio=example["audio"],
        )


def shard_name(split: str, shard: int, shards: int) -> str:
    """TFDS's name for one shard of a split."""
    return f"{DATASET}-{split}.array_record-{shard:05d}-of-{shards:05d}"


def write_shard(path: pathlib.Path, records: Iterable[bytes]) -> None:
    """Writes serialised records under a temporary name and renames: a shard under its own name is whole."""
    temporary = path.with_name(path.name + ".tmp")
    writer = array_record_module.ArrayRecordWriter(str(temporary), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()
    temporary.rename(path)


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
    """

    def __init__(self, folder: pathlib.Path, split: str, shards: int, inputs: Inputs):
        self._paths = [str(folder / shard_name(split, shard, shards)) for shard in range(shards)]
        self._inputs = inputs
        self._open()

    def _open(self) -> None:
        self._codec = RecordCodec(self._inputs)
        self._source = array_record_data_source.ArrayRecordDataSource(self._paths)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Record:
        try:
            return self._codec.decode(self._source[int(index)])
        except (RuntimeError, ValueError, OSError) as error:  # what ArrayRecord and protobuf raise on damaged chunks
            log.warning("record %d of %s cannot be read: %s", index, self._paths[0], error)
            return DAMAGED

    def __getstate__(self) -> dict[str, Any]:
        return {"_paths": self._paths, "_inputs": self._inputs}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()
