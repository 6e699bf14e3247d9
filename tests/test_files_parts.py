"""Parts of files: values of an LMDB, lines of a table; and a database larger than the memory of who reads it."""

import os

import lmdb
import pytest
from m5product_files import regions, write_layout, write_lmdb
from test_m5product import RELEASE, product
from test_prepare import config_for

from m5jax.media import files
from m5jax.media.files import MediaRef
from m5jax.preparing import prepare


def test_an_lmdb_gives_values_by_key_and_names_what_it_lacks(tmp_path):
    write_lmdb(tmp_path / "x.lmdb", [b"one", b""])
    assert files.read(tmp_path, MediaRef("x.lmdb", "00000000"), 3) == b"one"
    for key, limit, expected in (
        ("00000000", 2, "too_large"),
        ("00000001", 9, "empty"),
        ("00000002", 9, "missing_file"),
        ("k" * 600, 9, "missing_file"),
    ):
        with pytest.raises(files.MediaError) as caught:
            files.read(tmp_path, MediaRef("x.lmdb", key), limit)
        assert caught.value.reason == expected
    with lmdb.open(str(tmp_path / "y.lmdb"), subdir=False, lock=False) as database, database.begin(write=True) as t:
        t.put(b"00000000", b"another")
    (tmp_path / "y.lmdb").replace(tmp_path / "x.lmdb")
    assert files.read(tmp_path, MediaRef("x.lmdb", "00000000"), 9) == b"another"


@pytest.mark.parametrize(
    ("member", "expected"),
    [
        ("0:3", b"abc"),
        ("3:2", b"de"),
        ("3:9", "truncated"),
        ("9:1", "truncated"),
        ("0:0", "empty"),
        ("0:11", "too_large"),
    ]
    + [(member, "missing_file") for member in ("-1:3", "0", "0:", "a:b", "1:2:3", f"0:{'9' * 19}", "٣:1")],
)
def test_parts_of_a_table_are_offset_and_length(tmp_path, member, expected):
    (tmp_path / "x.tsv").write_bytes(b"abcdef")
    try:
        found = files.read(tmp_path, MediaRef("x.tsv", member), 10)
    except files.MediaError as error:
        found = error.reason
    assert found == expected


def test_a_database_may_be_larger_than_the_memory_of_a_decoding_process(tmp_path):
    info = write_layout(tmp_path / "release", {"1": product()}, database=[regions("1")])
    os.truncate(info.parent / "features.lmdb", 3 << 30)  # without taking space on the disk
    config = config_for(info.parent, tmp_path / "root", **RELEASE, data__decode_memory_gb=0.5)
    made = prepare.prepare(config, quiet=True)
    assert made.manifest["rejected"] == {}
    assert made.manifest["states"]["train" if "train" in made.splits else next(iter(made.splits))]["image"] == {
        "present": 1
    }
