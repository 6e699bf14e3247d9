"""Records: what goes in comes out, TFDS reads the same, and damage never shifts or alters a neighbour."""

import dataclasses
import logging
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports import index_row
from small import small_config

from m5jax.data import index, prepared, records
from m5jax.data.records import DAMAGED, MEDIA, Record, RecordCodec, Records
from m5jax.errors import DataError
from m5jax.modalities import State

INPUTS = small_config().inputs
FEATURES = small_config(
    **{f"inputs__{name}__source": "features" for name in MEDIA},
    **{f"inputs__{name}__feature_dim": dim for name, dim in (("image", 3), ("video", 1), ("audio", 5))},
).inputs

text = st.text(max_size=8)  # any characters but halves of a surrogate pair, which the catalogue refuses
rows = st.integers(0, 4)


def array(rows, width, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float16)


def records_with(media):
    return st.builds(
        Record,
        id=text.filter(bool),
        source=text,
        instance_id=text,
        category=st.lists(text, max_size=3).map(tuple),
        states=st.tuples(*[st.sampled_from(State)] * 5),
        title=text,
        description=text,
        fields=st.lists(st.tuples(text, text), max_size=4).map(tuple),
        **media,
    )


def assert_same(left, right):
    for field in dataclasses.fields(Record):
        a, b = getattr(left, field.name), getattr(right, field.name)
        assert type(a) is type(b), field.name
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype == np.float16
            np.testing.assert_array_equal(a, b)
        else:
            assert a == b, field.name


RAW = {"image": st.binary(max_size=9), "video": st.binary(max_size=9), "audio": rows.map(lambda n: array(n, 16))}
VECTORS = {
    "image": rows.map(lambda n: array(n, 3)),
    "video": rows.map(lambda n: array(n, 1)),
    "audio": rows.map(lambda n: array(n, 5)),
}


@pytest.mark.parametrize(("inputs", "media"), [(INPUTS, RAW), (FEATURES, VECTORS)], ids=["raw", "features"])
@given(data=st.data())
def test_a_record_survives_and_tfds_reads_the_same(inputs, media, data):
    codec, record = RecordCodec(inputs), data.draw(records_with(media))
    encoded = codec.encode(record)
    assert_same(codec.decode(encoded), record)
    assert codec.encode(codec.decode(encoded)) == encoded
    slow = codec.features.deserialize_example_np(encoded)
    assert slow["title"] == record.title.encode()
    assert [part.decode() for part in slow["category"]] == list(record.category)
    assert slow["states"].tolist() == list(record.states)
    for key, part in (("name", 0), ("value", 1)):
        assert [item.decode() for item in slow["fields"][key]] == [field[part] for field in record.fields]
    for name in MEDIA:
        np.testing.assert_array_equal(slow[name], getattr(record, name))


@pytest.mark.parametrize("inputs", [INPUTS, FEATURES], ids=["raw", "features"])
def test_what_a_record_lacks_is_empty(inputs):
    codec = RecordCodec(inputs)
    record = codec.decode(codec.encode(Record("x")))
    assert all(len(getattr(record, name)) == 0 for name in MEDIA)
    assert (record.title, record.fields, record.category) == ("", (), ())
    assert record.states == (State.ABSENT,) * 5


def test_an_array_of_another_width_is_refused():
    codec = RecordCodec(FEATURES)
    for wrong in (array(3, 5), array(15, 1)):
        with pytest.raises(ValueError, match="reshape"):
            codec.encode(Record("x", image=wrong))


def titled(count):
    return [Record(f"id-{i}", title="t" * i, audio=array(3, 16, i)) for i in range(count)]


def write(folder, made, shards=1, split="train"):
    codec = RecordCodec(INPUTS)
    for shard in range(shards):
        path = folder / records.shard_name(split, shard, shards)
        records.write_shard(path, map(codec.encode, made[shard::shards]))
    return Records(folder, split, shards, INPUTS)


def test_equal_records_make_equal_files(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, titled(20))
    a, b = (next((tmp_path / name).iterdir()).read_bytes() for name in ("a", "b"))
    assert a == b


def test_shards_follow_one_another_and_positions_have_bounds(tmp_path):
    made = titled(10)
    source = write(tmp_path, made, shards=3)
    assert len(source) == 10
    assert [record.id for record in source] == [record.id for record in made[0::3] + made[1::3] + made[2::3]]
    assert_same(source[np.int64(1)], made[3])
    for place in (-1, 10, 10**9):
        with pytest.raises(IndexError, match=f"record {place} of 10 in split train"):
            source[place]


def test_a_shard_without_records_is_fine(tmp_path):
    assert len(write(tmp_path, titled(1), shards=3)) == 1
    assert len(write(tmp_path, [], split="val")) == 0


def test_records_travel_to_other_processes(tmp_path):
    source = write(tmp_path, titled(5), shards=2)
    copy = pickle.loads(pickle.dumps(source))  # noqa: S301 (our own bytes)
    assert [record.id for record in copy] == [record.id for record in source]


def test_damage_is_logged_and_costs_one_record_in_its_place(tmp_path, caplog):
    made = titled(40)
    write(tmp_path, made)
    path = tmp_path / records.shard_name("train", 0, 1)
    whole, rng, outcomes = path.read_bytes(), np.random.default_rng(0), []
    start = whole.index(b"id-0")
    end = whole.rindex(b"id-39")
    for position in rng.integers(start, end, 60):
        data = bytearray(whole)
        data[position] ^= 1 << rng.integers(8)
        path.write_bytes(data)
        caplog.clear()
        source = Records(tmp_path, "train", 1, INPUTS)
        got = [source[i] for i in range(40)]
        lost = [i for i in range(40) if got[i] is DAMAGED]
        for i in set(range(40)) - set(lost):
            assert_same(got[i], made[i])
        logged = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert all(
            f"record {i} of split train in {tmp_path} cannot be read" in line
            for i, line in zip(lost, logged, strict=True)
        )
        outcomes.append(len(lost))
    assert set(outcomes) <= {0, 1}
    assert sum(outcomes) > 20


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "zeros"])
def test_a_shard_that_cannot_be_opened_is_an_error_that_says_what_to_do(tmp_path, damage):
    write(tmp_path, titled(5), shards=2)
    path = tmp_path / records.shard_name("train", 1, 2)
    whole = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "zeros": bytes(len(whole))}[damage])
    with pytest.raises(DataError, match=r"split train in .* cannot be opened: .*Delete the folder and prepare again"):
        Records(tmp_path, "train", 2, INPUTS)


def test_an_interrupted_write_leaves_no_shard(tmp_path):
    def encoded():
        yield RecordCodec(INPUTS).encode(Record("x"))
        raise KeyboardInterrupt

    path = tmp_path / records.shard_name("train", 0, 1)
    with pytest.raises(KeyboardInterrupt):
        records.write_shard(path, encoded())
    assert not path.exists()


def test_an_index_keeps_what_scores_need(tmp_path):
    states = (State.PRESENT, State.EMPTY, State.ABSENT, State.CORRUPT, State.PRESENT)
    made = [Record("a", "s", "p", ("goods", "shoe"), states, "鞋\x00"), Record("b")]
    index.write_index(tmp_path / "index-query.parquet", [index_row(record) for record in made])
    manifest = {"shard_lengths": {"query": [1, 1]}}
    folder = prepared.Prepared(tmp_path, manifest, INPUTS)
    read = folder.index("query")
    assert len(read) == folder.splits["query"] == 2
    assert read.ids.tolist() == ["a", "b"]
    assert read.sources.tolist() == ["s", ""]
    assert read.instance_ids.tolist() == ["p", ""]
    assert read.categories.tolist() == ["goods > shoe", ""]
    assert read.titles.tolist() == ["鞋\x00", ""]
    assert read.states.dtype == np.uint8
    assert read.states.tolist() == [[1, 2, 0, 3, 1], [0] * 5]
    for ask in (folder.index, folder.records):
        with pytest.raises(DataError, match="no listing in split 'train'; it has query"):
            ask("train")


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (None, "not a finished prepared folder"),
        ("", "is damaged"),
        ('{"format": 0}', f"format 0, not {prepared.FORMAT_VERSION}: prepare again"),
    ],
)
def test_a_folder_that_is_not_ready_is_an_error_that_names_it(tmp_path, manifest, message):
    if manifest is not None:
        (tmp_path / prepared.MANIFEST).write_text(manifest)
    with pytest.raises(DataError, match=f"{tmp_path}.*{message}"):
        prepared.Prepared.open(tmp_path, INPUTS)


def test_texts_are_the_records_without_their_media(tmp_path):
    fields = (("colour", "red"), ("size", "7"))
    made = [Record(f"{i}", title=f"t{i}", description="d" * (i % 3), fields=fields[: i % 3]) for i in range(10_000)]
    path = tmp_path / "index-train.parquet"
    index.write_index(path, [index_row(record) for record in made])
    for every in (1, 3, 4099):
        texts = index.Texts(path, every)
        assert len(texts) == len(made[::every])
        assert [(r.title, r.description, r.fields) for r in texts] == [
            (r.title, r.description, r.fields) for r in made[::every]
        ]
