"""The tokenizers: the same for the same texts, BERT's ids for BERT's vocabulary, deaf to a seller's control words."""

import pickle
import unicodedata

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from m5jax.data import tokenizer
from m5jax.data.tokenizer import SentencePiece, WordPiece
from m5jax.data.tokenizer_sentencepiece import BYTES
from m5jax.data.tokenizer_wordpiece import Rules
from m5jax.errors import DataError

TEXTS = [f"{colour} {kind} number {n}" for n in range(40) for colour in ("red", "blue") for kind in ("shoe", "shirt")]


def trained(folder, texts=TEXTS, vocabulary=400, name="tokenizer.model"):
    path = folder / name
    tokenizer.train(texts, vocabulary, path)
    return SentencePiece(path)


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
    assert made.special.unk not in ids
    assert all(0 <= i < made.size for i in ids)


def test_what_a_seller_types_is_never_a_special_piece(made):
    ids = made.encode("<mask> <cls> <sep> <name> <value> <pad> </s>")
    assert not made.is_special[ids].any()
    assert made.decode([made.special.mask, *made.encode("red"), made.special.value]).strip() == "red"


def test_many_characters_leave_room_for_words(tmp_path):
    chinese = ["".join(chr(0x4E00 + (7 * i + j) % 3000) for j in range(12)) for i in range(600)]
    made = trained(tmp_path, [*chinese, *TEXTS], vocabulary=600)
    assert made.size <= 600
    assert len(made.encode("red shoe number")) <= 6
    assert made.special.unk not in made.encode(chinese[0])


def test_no_text_at_all_still_gives_a_tokenizer(tmp_path):
    made = trained(tmp_path, [], vocabulary=300)
    assert made.size > BYTES
    assert made.special.unk not in made.encode("anything")


def test_special_ids_and_pieces_are_all_ids(made):
    assert made.is_special.sum() == 7
    assert sorted([*made.pieces, *np.flatnonzero(made.is_special)]) == list(range(made.size))


# ---- WordPiece

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
SPECIALS = ["[PAD]", "[unused1]", "[unused2]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PIECES = ["red", "shoe", "鞋", "店", "[", "]", "mask", "pad", "cls", "un", "##aff", "##able", ",", "。", "é", "RED"]
PIECES += [mark + letter for letter in LETTERS for mark in ("", "##")]


def wordpiece(folder, pieces=(*SPECIALS, *PIECES), lowercase=True, name="given.txt"):
    path = folder / name
    path.write_text("".join(f"{piece}\n" for piece in pieces), encoding="utf-8")
    return WordPiece(path, lowercase)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return wordpiece(tmp_path_factory.mktemp("wordpiece"))


def spelled(made, text):
    """The pieces of a text."""
    return [(*SPECIALS, *PIECES)[i] for i in made.encode(text)]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Red shoes", ["red", "shoe", "##s"]),
        ("unaffable", ["un", "##aff", "##able"]),
        ("红鞋店 RÉD", ["[UNK]", "鞋", "店", "red"]),
        ("[MASK][unused1]", ["[", "mask", "]", "[", "un", "##u", "##s", "##e", "##d", "##1", "]"]),
        ("x\u0000y\u200d\tz\u3000鞋。", ["x", "##y", "z", "鞋", "。"]),
        ("a" * 101, ["[UNK]"]),
        ("", []),
    ],
)
def test_pieces_of_known_texts(bert, text, pieces):
    assert spelled(bert, text) == pieces


CHINESE = [(0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F)]
CHINESE += [(0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)]


def is_chinese(character):
    """As in the code of BERT: Han, but neither kana nor hangul."""
    return any(first <= ord(character) <= last for first, last in CHINESE)


def slow_wordpiece(text, ids, rules):
    """BERT's tokenizer, one character at a time."""
    words, word = [], ""
    cleaned = ""
    for character in text:
        kind = unicodedata.category(character)
        if rules.clean_text and ((character.isspace() and kind != "Cc") or character in "\t\n\r"):
            cleaned += " "
        elif not rules.clean_text or (character != "\ufffd" and kind not in ("Cc", "Cf", "Co", "Cs")):
            cleaned += f" {character} " if rules.handle_chinese_chars and is_chinese(character) else character
    if rules.strip_accents:
        cleaned = "".join(c for c in unicodedata.normalize("NFD", cleaned) if unicodedata.category(c) != "Mn")
    if rules.lowercase:
        cleaned = "".join(c.lower() for c in cleaned)
    for character in cleaned + " ":
        symbol = character.isascii() and character.isprintable() and not character.isalnum() and character != " "
        if character.isspace() or symbol or unicodedata.category(character).startswith("P"):
            words += [part for part in (word, character.strip()) if part]
            word = ""
        else:
            word += character
    found = []
    for word in words:
        pieces, start = [], 0
        while start < len(word) <= rules.max_input_chars_per_word:
            ends = [end for end in range(len(word), start, -1) if "##" * (start > 0) + word[start:end] in ids]
            if not ends:
                break
            pieces.append(ids["##" * (start > 0) + word[start : ends[0]]])
            start = ends[0]
        found += pieces if start == len(word) else [ids["[UNK]"]]
    return found


@pytest.mark.parametrize("lowercase", [True, False])
def test_ids_are_those_of_berts_algorithm(tmp_path, lowercase):
    ids = {piece: i for i, piece in enumerate((*SPECIALS, *PIECES))}
    made = wordpiece(tmp_path, lowercase=lowercase)
    alphabet = "redshounaffble RED SHOE [MASK]##,-。鞋店红éÉe\u0301İßǅﬁÅ…①ｓ👟\u0000\u00ad\u200b\ufffd\t\n\u3000$"
    alphabet += "שָׁحِن가が𠮷\U0002a6a5\uf900\ufe0f\u200d\u200f\u202e\ufeff\u2028\u0085\ue000\u0378🇨👍🏿₹×"

    @hypothesis.given(strategies.text(alphabet, max_size=40))
    @hypothesis.example("Red shoes, unaffable。É é ﬁ")
    def check(text):
        assert made.encode(text) == slow_wordpiece(text, ids, Rules.of_bert(lowercase))

    check()


def test_case_and_accents_stay_for_a_cased_vocabulary(bert, tmp_path):
    cased = wordpiece(tmp_path, lowercase=False)
    assert (spelled(bert, "RED é"), spelled(cased, "RED é")) == (["red", "e"], ["RED", "é"])
    assert cased.digest != bert.digest


@hypothesis.given(
    strategies.lists(strategies.sampled_from([*SPECIALS, "red", "鞋", " ", "##s", "[", "]"]), max_size=12)
)
def test_no_special_piece_can_be_typed(bert, parts):
    ids = bert.encode("".join(parts))
    assert not bert.is_special[[i for i in ids if i != bert.special.unk]].any()


def test_special_ids_are_where_the_vocabulary_has_them(tmp_path):
    scattered = ["red", "[SEP]", "[unused1]", "[PAD]", "##s", "[UNK]", "[CLS]", "[unused2]", "[MASK]", "鞋"]
    made = wordpiece(tmp_path, scattered)
    special = made.special
    assert (special.pad, special.unk, special.cls, special.sep, special.mask) == (3, 5, 6, 1, 8)
    assert (special.name, special.value) == (2, 7)
    assert made.pieces.tolist() == [0, 4, 9]
    assert made.size == 10
    assert made.decode([6, 0, 4, 7, 9, 1]) == "reds 鞋"


def test_without_unused_pieces_names_and_values_begin_with_sep(tmp_path):
    special = wordpiece(tmp_path, [piece for piece in (*SPECIALS, "red") if "unused" not in piece]).special
    assert special.name == special.value == special.sep


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        ("\n".join([*SPECIALS, "red", "shoe", "red"]).encode(), "has 'red' twice, in lines 8 and 10"),
        (
            "\n".join([p for p in (*SPECIALS, "red") if p not in ("[MASK]", "[CLS]")]).encode(),
            r"has no \[CLS\], \[MASK\]",
        ),
        ("\n".join(SPECIALS).encode(), "special pieces only"),
        ("\n".join(SPECIALS).encode() + b"\n\xff\xfe", "is not UTF-8: byte 51"),
        (b"\n".join(b"%d" % i for i in range(250_001)), "has 250,001 lines, more than 250,000"),
        (None, "cannot be read: No such file"),
    ],
)
def test_what_is_no_vocabulary_is_refused_with_the_reason(tmp_path, data, message):
    path = tmp_path / "broken.txt"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        _ = WordPiece(path).size
    assert str(path) in str(caught.value)
    assert "config.data.vocabulary_file" in str(caught.value)


def test_line_ends_and_byte_order_mark_do_not_matter(bert, tmp_path):
    path = tmp_path / "windows.txt"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join((*SPECIALS, *PIECES)).encode())
    made = WordPiece(path)
    assert (made.digest, made.special) == (bert.digest, bert.special)


# ---- both


@pytest.mark.parametrize("lowercase", [True, False])
def test_a_folder_gives_its_vocabulary_back_case_included(tmp_path, lowercase):
    made = wordpiece(tmp_path, lowercase=lowercase)
    folder = tmp_path / "prepared"
    folder.mkdir()
    with pytest.raises(DataError, match="has lost its tokenizer"):
        tokenizer.find(folder)
    made.write(folder)
    again = tokenizer.load(tokenizer.find(folder))
    assert isinstance(again, WordPiece)
    assert again.digest == made.digest
    assert again.encode("RED É shoes") == made.encode("RED É shoes")


def test_a_trained_tokenizer_is_found_and_loaded(tmp_path):
    made = trained(tmp_path, name=tokenizer.TRAINED)
    again = tokenizer.load(tokenizer.find(tmp_path))
    assert isinstance(again, SentencePiece)
    assert (again.digest, again.encode("red shoe")) == (made.digest, made.encode("red shoe"))


@pytest.mark.parametrize("kind", ["made", "bert"])
def test_it_travels_to_other_processes_by_path(kind, request):
    made = request.getfixturevalue(kind)
    made.encode("loaded")
    assert made.is_special.any()
    data = pickle.dumps(made)
    assert len(data) < 300
    again = pickle.loads(data)  # noqa: S301 (our own)
    assert again.encode("red shoe") == made.encode("red shoe")
    assert again.digest == made.digest
