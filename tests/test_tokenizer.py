"""The tokenizer: learned from the catalogue, the same for the same texts, and deaf to a seller's control words."""

import pickle

import pytest

from m5jax.data import tokenizer
from m5jax.data.tokenizer import BYTES, MASK, UNK, VALUE, Tokenizer

TEXTS = [f"{colour} {kind} number {n}" for n in range(40) for colour in ("red", "blue") for kind in ("shoe", "shirt")]


def trained(folder, texts=TEXTS, vocabulary=400, name="tokenizer.model"):
    path = folder / name
    tokenizer.train(texts, vocabulary, path)
    return Tokenizer(path)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("tokenizer"))


def test_equal_texts_give_an_equal_model(made, tmp_path):
    assert trained(tmp_path).digest == made.digest
    assert trained(tmp_path, [*TEXTS, "green"], name="other").digest != made.digest


def test_frequent_words_are_one_piece_and_case_and_width_do_not_matter(made):
    assert len(made.encode("red shoe")) <= 4
    assert made.encode("RED ｓｈｏｅ") == made.encode("red shoe")


@pytest.mark.parametrize("text", ["red shoe", "鞋 👟 žluťoučký", "a\u0000b", "\u202eabc", "½"])
def test_every_text_is_spelled_without_unknown_pieces(made, text):
    ids = made.encode(text)
    assert ids
    assert UNK not in ids
    assert all(0 <= i < made.size for i in ids)


def test_what_a_seller_types_is_never_a_special_piece(made):
    ids = made.encode("<mask> <cls> <sep> <name> <value> <pad> </s>")
    assert min(ids) > VALUE
    assert made.decode([MASK, *made.encode("red"), VALUE]).strip() == "red"


def test_many_characters_leave_room_for_words(tmp_path):
    chinese = ["".join(chr(0x4E00 + (7 * i + j) % 3000) for j in range(12)) for i in range(600)]
    made = trained(tmp_path, [*chinese, *TEXTS], vocabulary=600)
    assert made.size <= 600
    assert len(made.encode("red shoe number")) <= 6
    assert UNK not in made.encode(chinese[0])


def test_no_text_at_all_still_gives_a_tokenizer(tmp_path):
    made = trained(tmp_path, [], vocabulary=300)
    assert made.size > BYTES
    assert UNK not in made.encode("anything")


def test_it_travels_to_other_processes_by_path(made):
    made.encode("loaded")
    again = pickle.loads(pickle.dumps(made))  # noqa: S301 (our own)
    assert again.encode("red shoe") == made.encode("red shoe")
