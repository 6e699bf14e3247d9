"""Catalogues in Parquet: read like JSONL, with the same care for damaged rows and files."""

import decimal
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from m5jax.catalogues import catalogue, catalogue_files
from m5jax.catalogues.catalogue import Rejection
from m5jax.errors import DataError


def test_parquet_reads_like_jsonl(tmp_path):
    rows = [
        {"id": "a", "split": "train", "title": "红色的鞋", "attributes": [["colour", "red"], ["colour", "blue"]]}
        | {"images": [{"path": "a.jpg", "shard": None, "member": None, "sha256": None}], "category": ["goods", "shoe"]},
        {"id": "b", "split": "never", "title": None, "attributes": None, "images": None, "category": None},
        {"id": "", "split": None, "title": "", "attributes": [], "images": [], "category": []},
        {"id": "c", "split": None, "title": "", "attributes": [], "category": []}
        | {"images": [{"path": None, "shard": "i.tar", "member": "c.jpg", "sha256": "00"}]},
        {"id": "a", "split": "train", "title": None, "attributes": None, "images": None, "category": None},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "catalogue.parquet")
    (tmp_path / "catalogue.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    from_parquet = list(catalogue.listings(catalogue_files.rows(tmp_path / "catalogue.parquet")))
    assert from_parquet == list(catalogue.listings(catalogue_files.rows(tmp_path / "catalogue.jsonl")))
    kinds = [row.reason if isinstance(row, Rejection) else row.id for row in from_parquet]
    assert kinds == ["a", "invalid_split", "missing_id", "c", "duplicate_id"]


def test_parquet_tables_may_be_structs_or_maps(tmp_path):
    path = tmp_path / "catalogue.parquet"
    ids, fields = ["a", "b"], [{"colour": "red", "size": None}, {"colour": None, "size": "7"}]
    pq.write_table(pa.table({"id": ids, "attributes": fields}), path)
    assert [row.attributes for row in catalogue.listings(catalogue_files.rows(path))] == [
        (("colour", "red"),),
        (("size", "7"),),
    ]
    maps = pa.array([[("colour", "red")], None], pa.map_(pa.string(), pa.string()))
    pq.write_table(pa.table({"id": ids, "attributes": maps}), path)
    assert [row.attributes for row in catalogue.listings(catalogue_files.rows(path))] == [(("colour", "red"),), None]


def test_columns_of_other_makers_are_not_even_read_and_their_tables_are_understood(tmp_path):
    fields = pa.array([[{"name": "price", "value": decimal.Decimal("9.90")}]])
    strange = pa.array([2**62], pa.timestamp("ns"))  # Python cannot hold it without pandas
    pq.write_table(pa.table({"id": ["a"], "attributes": fields, "created": strange}), tmp_path / "catalogue.parquet")
    (row,) = catalogue.listings(catalogue_files.rows(tmp_path / "catalogue.parquet"))
    assert row.attributes == (("price", "9.90"),)
    pq.write_table(
        pa.table({"id": ["a", "b"], "title": pa.array([None, 2**62], pa.timestamp("ns"))}), tmp_path / "x.parquet"
    )
    first, second = catalogue.listings(catalogue_files.rows(tmp_path / "x.parquet"))
    assert first.id == "a"
    assert second.reason == "invalid_field"


def test_parquet_with_bytes_that_are_no_text_loses_these_rows_only(tmp_path):
    text = pa.array([b"fine", b"\xff", b"fine too"], pa.binary())
    title = pa.StringArray.from_buffers(len(text), text.buffers()[1], text.buffers()[2])
    pq.write_table(pa.table({"id": ["a", "b", "c"], "title": title}), tmp_path / "catalogue.parquet")
    first, bad, last = catalogue.listings(catalogue_files.rows(tmp_path / "catalogue.parquet"))
    assert (first.id, last.id) == ("a", "c")
    assert (bad.reason, bad.line) == ("invalid_utf8", 2)


def test_a_damaged_parquet_file_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "catalogue.parquet"
    path.write_bytes(b"no parquet")
    with pytest.raises(DataError, match=str(path)):
        list(catalogue.listings(catalogue_files.rows(path)))
    table = pa.table({"id": [f"{i:064}" for i in range(2000)]})
    pq.write_table(table, path, write_page_checksum=True, compression="none", use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=str(path)):
        list(catalogue.listings(catalogue_files.rows(path)))
