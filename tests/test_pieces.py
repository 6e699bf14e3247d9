"""Text that was tokenised once: the same ids as tokenised anew, whatever happens to the files that keep them."""

import pickle

import numpy as np
import pytest
from small import small_config
from test_tokenizer import trained, wordpiece

from m5jax.data import pieces, records
from m5jax.data.corruption import Corrupted, Plan
from m5jax.data.records import Record, RecordCodec, Records
from m5jax.data.transforms import Transform
from m5jax.errors import DataError
from m5jax.modalities import State

INPUTS = small_config(inputs__modalities=("text", "table")).inputs
PRESENT = (State.ABSENT, State.PRESENT, State.PRESENT, State.ABSENT, State.ABSENT)
WORDS = ["red", "shoe", "blue", "shirt", "7", "size", "鞋", "🥿", "<cls>", "[MASK]"]


@pytest.fixture(scope="module", params=[trained, wordpiece], ids=lambda make: make.__name__)
def words(request, tmp_path_factory):
    """A tokenizer of either kind."""
    return request.param(tmp_path_factory.mktemp("words"))


def text(rng, most):
    return " ".join(rng.choice(WORDS, rng.integers(most + 1)))


def listings(count=30, seed=0):
    rng = np.random.default_rng(seed)
    return [
        Record(
            f"id-{i}", states=PRESENT, title=text(rng, 5), description=text(rng, 9) * int(i % 2),
            fields=tuple((text(rng, 2), text(rng, 4)) for _ in range(rng.integers(6))),
        )
        for i in range(count)
    ]  # fmt: skip


@pytest.fixture
def plain(tmp_path):
    """Records of two shards, without pieces."""
    made, codec = listings(), RecordCodec(INPUTS)
    for shard in range(2):
        path = tmp_path / records.shard_name("train", shard, 2)
        records.write_shard(path, [codec.encode(record) for record in made[shard * 12 : 12 + shard * 18]])
    return Records(tmp_path, "train", 2, INPUTS)


def tokenised(folder, words):
    source = Records(folder, "train", 2, INPUTS)
    return Records(folder, "train", 2, INPUTS, pieces.find(folder, "train", words, source))


def test_the_ids_of_every_listing_are_those_of_its_text(plain, words, tmp_path):
    kept = tokenised(tmp_path, words)
    for i, record in enumerate(plain):
        assert record.text_pieces is record.table_pieces is None
        assert kept[i].text_pieces == [words.encode(record.title), words.encode(record.description)]
        assert kept[i].table_pieces == [(words.encode(name), words.encode(value)) for name, value in record.fields]


def test_batches_are_the_same_with_and_without(plain, words, tmp_path):
    kept, transform = tokenised(tmp_path, words), Transform(INPUTS, words)
    for i in range(len(plain)):
        for seed in (None, 1, 2):
            slow, fast = (
                transform.draft(source[i], None if seed is None else np.random.default_rng(seed))
                for source in (plain, kept)
            )
            for name in ("text", "table"):
                np.testing.assert_equal(fast[name], slow[name])


def test_another_listings_text_comes_with_its_ids(plain, words, tmp_path):
    donors = np.full(30, -1)
    donors[3], gone = 7, np.arange(30) == 4
    shown = Corrupted(tokenised(tmp_path, words), Plan({"table": gone}, {"text": donors}))
    assert shown[3].text_pieces == [words.encode(plain[7].title), words.encode(plain[7].description)]
    assert shown[3].table_pieces == [(words.encode(name), words.encode(value)) for name, value in plain[3].fields]
    assert (shown[4].fields, pieces.of_table(shown[4], words)) == ((), [])


def test_they_are_made_once_for_every_tokenizer_and_travel(plain, words, tmp_path, monkeypatch):
    first = tokenised(tmp_path, words)
    made = sorted(tmp_path.glob("pieces-train-*"))
    assert [path.suffix for path in made] == [".ends", ".ids"]
    assert words.digest[:12] in made[0].name
    monkeypatch.setattr(type(words), "encode", lambda self, text: 1 / 0)
    again = pickle.loads(pickle.dumps(tokenised(tmp_path, words)))  # noqa: S301 (our own bytes)
    assert [record.table_pieces for record in again] == [record.table_pieces for record in first]


def test_a_damaged_block_is_logged_and_tokenised_anew(plain, words, tmp_path, caplog):
    transform, rng = Transform(INPUTS, words), np.random.default_rng(0)
    expected = [transform.draft(record) for record in plain]
    tokenised(tmp_path, words)
    (path,) = tmp_path.glob("*.ids")
    whole = path.read_bytes()
    for position in rng.integers(len(whole), size=20):
        data = bytearray(whole)
        data[position] ^= 1 << rng.integers(8)
        path.write_bytes(data)
        caplog.clear()
        for i, record in enumerate(tokenised(tmp_path, words)):
            np.testing.assert_equal(transform.draft(record), expected[i])
        assert len(caplog.messages) == 1
        assert "are damaged: it is tokenised anew" in caplog.text


@pytest.mark.parametrize("suffix", [".ids", ".ends"])
def test_files_of_another_length_are_an_error_that_names_them(plain, words, tmp_path, suffix):
    tokenised(tmp_path, words)
    (path,) = tmp_path.glob(f"*{suffix}")
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DataError, match=r"pieces-train-.*ids and pieces-train-.*ends are not those of 30"):
        tokenised(tmp_path, words)


def test_in_a_folder_that_cannot_be_written_text_is_tokenised_anew(plain, words, tmp_path, monkeypatch, caplog):
    def refuse(*arguments):
        raise PermissionError("read-only")

    monkeypatch.setattr(pieces.filelock, "FileLock", refuse)
    assert tokenised(tmp_path, words)[5].text_pieces is None
    assert "read-only" in caplog.text
