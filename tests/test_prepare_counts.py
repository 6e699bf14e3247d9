"""Five thousand listings, some of them bad: every one is counted, none costs another, and too many end with 65."""

import collections
import json

import pytest
from media_files import picture
from test_prepare import config_for, read_rejections
from test_prepare_again import in_process  # noqa: F401 (a fixture)

from m5jax.errors import DataError
from m5jax.preparing import prepare

ROWS = 5000
DIALS = {"inputs__modalities": ("image", "text"), "data__shard_listings": 1000, "data__max_rejected": 0.01}
WHOLE = picture("PNG")
BAD = {
    "invalid_json": b'{"id": "bad",',
    "invalid_utf8": b'{"id": "bad", "title": "\xff"}',
    "missing_id": b'{"title": "nobody"}',
    "duplicate_id": b'{"id": "0", "title": "again"}',
    "nothing_present": b'{"id": "%d", "split": "train", "title": " "}',
    "truncated": b'{"id": "%d", "split": "train", "title": "x", "images": "cut.png"}',
    "missing_file": b'{"id": "%d", "split": "train", "title": "x", "images": "gone.png"}',
}
"""Seven ways in which a row, or a file of it, is of no use."""


def write(folder, bad):
    """A catalogue with so many bad rows, in turn of every kind and spread over the whole; gives the kinds."""
    (folder / "whole.png").write_bytes(WHOLE)
    (folder / "cut.png").write_bytes(WHOLE[: len(WHOLE) // 2])
    kinds = {(2 * i + 1) * ROWS // (2 * bad): list(BAD)[i % len(BAD)] for i in range(bad)}
    with (folder / "catalogue.jsonl").open("wb") as file:
        for number in range(ROWS):
            row = {"id": str(number), "split": "train", "title": f"shoe {number}"}
            row |= {"images": "whole.png"} if number % 100 == 0 else {}
            bad_row = BAD[kinds[number]].replace(b"%d", b"%d" % number) if number in kinds else None
            file.write((bad_row or json.dumps(row).encode()) + b"\n")
    return kinds


def test_thirty_seven_bad_ones_of_five_thousand_are_thirty_seven_lines(tmp_path, in_process):  # noqa: F811
    kinds = write(tmp_path, 37)
    made = prepare.prepare(config_for(tmp_path, tmp_path / "root", **DIALS), quiet=True)
    counts = collections.Counter(kinds.values())
    rejections = read_rejections(made.folder)
    assert len(kinds) == len(rejections) == 37
    assert collections.Counter(row["reason"] for row in rejections) == counts
    lines = {row["line"] - 1: row["reason"] for row in rejections if row["line"]}
    ids = {int(row["id"]): row["reason"] for row in rejections if not row["line"]}
    assert lines | ids == kinds
    lost = sum(counts[reason] for reason in counts.keys() - {"truncated", "missing_file"})
    assert made.manifest["rows"] == ROWS
    assert made.splits == {"train": ROWS - lost}
    kept = [number for number in range(ROWS) if kinds.get(number) in (None, "truncated", "missing_file")]
    assert made.index("train").ids.tolist() == list(map(str, kept))


def test_two_in_a_hundred_are_too_many(tmp_path, in_process):  # noqa: F811
    write(tmp_path, ROWS // 50)
    with pytest.raises(DataError, match=r"of 5000 listings .* config.data.max_rejected = 0.01") as caught:
        prepare.prepare(config_for(tmp_path, tmp_path / "root", **DIALS), quiet=True)
    assert caught.value.exit_code == 65
