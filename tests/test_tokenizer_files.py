"""Where vocabularies come from: Hugging Face's file, a sentencepiece model, a bounded sample of a catalogue's texts."""

import io
import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
import sentencepiece
import tokenizers
from test_tokenizer import PIECES, SPECIALS, TEXTS, slow_wordpiece, trained, wordpiece

from m5jax.data import tokenizer
from m5jax.data.tokenizer_sentencepiece import SentencePiece, sample
from m5jax.data.tokenizer_wordpiece import Rules, WordPiece
from m5jax.errors import ConfigError, DataError

SHOWN = ["RED É shoes, 鞋店 x\u200dy a\u0000b\tc", "Éa e\u0301 [MASK]红鞋", "unaffable" * 3, "שָׁלוֹם ǅ", ""]


def huggingface(folder, pieces=(*SPECIALS, *PIECES), name="tokenizer.json", change=None, **rules):
    """The file that Hugging Face's library writes of the pieces, and the library's own encoder."""
    ids = {piece: i for i, piece in enumerate(pieces)}
    theirs = tokenizers.BertWordPieceTokenizer(ids, **rules)
    theirs.enable_truncation(8)
    theirs.save(str(folder / name))
    if change:
        whole = json.loads((folder / name).read_text(encoding="utf-8"))
        change(whole)
        (folder / name).write_text(json.dumps(whole), encoding="utf-8")
    theirs.no_truncation()
    return folder / name, theirs


@pytest.mark.parametrize("strip_accents", [True, False, None])
@pytest.mark.parametrize(("lowercase", "handle_chinese_chars"), [(True, True), (True, False), (False, True)])
def test_the_rules_of_the_file_are_read(tmp_path, lowercase, strip_accents, handle_chinese_chars):
    path, theirs = huggingface(
        tmp_path, lowercase=lowercase, strip_accents=strip_accents, handle_chinese_chars=handle_chinese_chars
    )
    made = tokenizer.load(path, lowercase)
    ids = {piece: i for i, piece in enumerate((*SPECIALS, *PIECES))}
    rules = Rules(True, handle_chinese_chars, lowercase if strip_accents is None else strip_accents, lowercase)
    for text in SHOWN:
        assert made.encode(text) == slow_wordpiece(text, ids, rules)
        if "[" not in text:  # what is typed stays text for us alone
            assert made.encode(text) == theirs.encode(text, add_special_tokens=False).ids
    assert (made.size, made.special) == (len(ids), wordpiece(tmp_path).special)


def test_it_is_the_tokenizer_of_the_list_that_says_the_same(tmp_path):
    for lowercase in (True, False):
        path, _ = huggingface(tmp_path, lowercase=lowercase)
        assert tokenizer.load(path, lowercase).digest == wordpiece(tmp_path, lowercase=lowercase).digest
    others = [{"strip_accents": False}, {"handle_chinese_chars": False}, {"clean_text": False}]
    digests = {tokenizer.load(huggingface(tmp_path, **rules)[0]).digest for rules in ({}, *others)}
    assert len(digests) == 4


def test_a_file_of_the_first_years_has_no_type_of_model(tmp_path):
    path, _ = huggingface(tmp_path, change=lambda whole: whole["model"].pop("type"))
    assert tokenizer.load(path).digest == wordpiece(tmp_path).digest


def test_words_are_as_long_as_the_file_allows(tmp_path):
    path, _ = huggingface(tmp_path, change=lambda whole: whole["model"].update(max_input_chars_per_word=3))
    made = tokenizer.load(path)
    assert made.encode("red shoe") == [*made.encode("red"), made.special.unk]
    assert made.digest != wordpiece(tmp_path).digest


def put(*path):
    """A change of one value deep in the file; None takes the key away."""
    *keys, name, value = path

    def change(whole):
        for key in keys:
            whole = whole[key]
        if value is None:
            del whole[name]
        else:
            whole[name] = value

    return change


def few(whole):
    """Two pieces, one of them special."""
    return {"added_tokens": None, "model": whole["model"] | {"vocab": {"red": 0, "[PAD]": 1}}}


ADDED = {"id": 9, "content": "鞋", "special": False}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("model", "type", "BPE"), "has a model of type 'BPE'"),
        (put("model", {"type": "Unigram", "vocab": []}), "has a model of type 'Unigram'"),
        (put("model", "dropout", 0.1), "has a model with other keys than .*dropout"),
        (put("model", "unk_token", "<unk>"), r"has unk_token = '<unk>' and not '\[UNK\]'"),
        (put("model", "continuing_subword_prefix", "@@"), "has continuing_subword_prefix = '@@'"),
        (put("model", "max_input_chars_per_word", -1), "has max_input_chars_per_word = -1"),
        (put("model", "vocab", []), "has a vocab that is no object"),
        (put("model", "vocab", "red", 1.0), "has a vocab that is no object"),
        (put("model", "vocab", "red", 3), "has .* pieces whose ids are not 0 to"),
        (put("model", "vocab", "[MASK]", None), "has .* pieces whose ids are not 0 to"),
        (lambda whole: whole.update(few(whole)), r"has no \[UNK\], \[CLS\], \[SEP\], \[MASK\]"),
        (put("normalizer", "type", "Sequence"), "has a normalizer of type 'Sequence'"),
        (put("normalizer", "lowercase", "yes"), "has lowercase = 'yes'"),
        (put("normalizer", None), "has normalizer = None"),
        (put("normalizer", "extra", 1), "has a normalizer with other keys"),
        (put("pre_tokenizer", "type", "Whitespace"), "has a pre_tokenizer of type 'Whitespace'"),
        (put("added_tokens", [ADDED]), "has an added token '鞋' that is not special"),
        (put("added_tokens", 0, "id", 77), r"has an added token '\[PAD\]' that is not special, or not among"),
        (put("added_tokens", {"鞋": 9}), "has added_tokens that are no list"),
        (put("stemmer", {}), "holds stemmer, which is not known"),
    ],
)
def test_what_would_not_be_done_as_the_file_says_is_refused_by_name(tmp_path, change, message):
    path, _ = huggingface(tmp_path, change=change)
    with pytest.raises(DataError, match=message) as caught:
        _ = tokenizer.load(path).size
    assert str(path) in str(caught.value)
    assert "config.data.vocabulary_file" in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"[]", b"[" * 100_000, b"{", b"null", b"\xff", b'{"model": 1}', b'{"a": NaN}'])
def test_a_file_that_is_none_is_refused(tmp_path, data):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"tokenizer\.json"):
        _ = tokenizer.load(path).size


def test_a_setting_does_not_contradict_the_file(tmp_path):
    path, _ = huggingface(tmp_path, lowercase=True)
    with pytest.raises(ConfigError, match=r"config.data.vocabulary_lowercase = False, but .*lowercase = true"):
        _ = tokenizer.load(path, lowercase=False).size
    path, _ = huggingface(tmp_path, lowercase=False)
    assert tokenizer.load(path).encode("RED") != tokenizer.load(path).encode("red")


@pytest.mark.parametrize("rules", [{}, {"strip_accents": False, "handle_chinese_chars": False}, {"lowercase": False}])
def test_a_prepared_folder_gives_it_back(tmp_path, rules):
    made = tokenizer.load(huggingface(tmp_path, name="mine.json", **rules)[0])
    folder = tmp_path / "prepared"
    folder.mkdir()
    made.write(folder)
    again = tokenizer.load(tokenizer.find(folder))
    assert isinstance(again, WordPiece)
    assert again.digest == made.digest
    assert [again.encode(text) for text in SHOWN] == [made.encode(text) for text in SHOWN]


# ---- sentencepiece models


def model(path, **settings):
    """A model as somebody else trains it."""
    data = io.BytesIO()
    defaults = {"vocab_size": 120, "model_type": "unigram", "hard_vocab_limit": False, "pad_id": 3, "minloglevel": 2}
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(TEXTS), model_writer=data, **defaults | settings)
    path.write_bytes(data.getvalue())
    return path


def test_a_model_of_somebody_else_is_read_by_its_control_symbols(tmp_path):
    made = tokenizer.load(model(tmp_path / "theirs.model", control_symbols=["<mask>", "<sep>", "<cls>"]))
    assert isinstance(made, SentencePiece)
    special = made.special
    assert (special.pad, special.unk, special.mask, special.sep, special.cls) == (3, 0, 4, 5, 6)
    assert special.name == special.value == special.sep  # as for a WordPiece vocabulary without pieces for them
    assert set(np.flatnonzero(made.is_special)) & set(made.encode("red shoe <mask>")) == {special.unk}
    assert len(made.spells_bytes) == 0
    assert made.encode("鞋")[-1] == special.unk
    marked = model(tmp_path / "marked.model", control_symbols=["<value>", "<name>", "<mask>", "<sep>", "<cls>"])
    assert (tokenizer.load(marked).special.value, tokenizer.load(marked).special.name) == (4, 5)


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        ({}, "<cls>, <sep>, <mask>"),
        ({"control_symbols": ["<cls>", "<sep>", "<mask>"], "pad_id": -1}, "<pad>"),
        ({"control_symbols": ["<cls>", "<sep>"], "user_defined_symbols": ["<mask>"]}, "<mask>"),  # could be typed
    ],
)
def test_a_model_without_special_pieces_is_refused(tmp_path, settings, missing):
    path = model(tmp_path / "theirs.model", **settings)
    with pytest.raises(DataError, match=f"{path}.*has no control symbols {missing}: take .*train_tokenizer.py"):
        _ = tokenizer.load(path).special


@pytest.mark.parametrize("data", [None, b"", b"no model" * 99])
def test_a_model_that_is_none_is_refused(tmp_path, data):
    path = tmp_path / "broken.model"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(
        DataError, match=f"{path} .config.data.vocabulary_file.*cannot be read as a sentencepiece model"
    ):
        _ = tokenizer.load(path).size


def test_a_cut_model_is_refused_or_sound(tmp_path):
    whole = model(tmp_path / "theirs.model", control_symbols=["<mask>", "<sep>", "<cls>"]).read_bytes()
    refused = 0
    for end in range(0, len(whole), len(whole) // 40):
        path = tmp_path / f"{end}.model"
        path.write_bytes(whole[:end])
        try:
            assert max(tokenizer.load(path).encode("red shoe")) < tokenizer.load(path).size
        except DataError:
            refused += 1
    assert refused > 20


def test_a_prepared_folder_holds_a_copy_of_the_model(tmp_path):
    made = trained(tmp_path, name="mine.model")
    folder = tmp_path / "prepared"
    folder.mkdir()
    made.write(folder)
    assert (folder / tokenizer.TRAINED).read_bytes() == (tmp_path / "mine.model").read_bytes()
    assert tokenizer.load(tokenizer.find(folder)).digest == made.digest


# ---- training


def test_another_process_trains_the_same_bytes(tmp_path):
    mine = trained(tmp_path, [*TEXTS, *(f"红色{n}鞋 包邮" for n in range(50))], name="mine.model")
    program = (
        "import pathlib, sys; from m5jax.data import tokenizer\n"
        "texts = sys.stdin.buffer.read().decode().split('|')\n"
        "tokenizer.train(texts, 400, pathlib.Path(sys.argv[1]))"
    )
    texts = "|".join([*TEXTS, *(f"红色{n}鞋 包邮" for n in range(50))])
    command = [sys.executable, "-c", program, str(tmp_path / "other.model")]
    subprocess.run(command, input=texts.encode(), check=True, env={"PYTHONHASHSEED": "7"})
    assert (tmp_path / "other.model").read_bytes() == (tmp_path / "mine.model").read_bytes()
    assert SentencePiece(tmp_path / "other.model").digest == mine.digest


def test_few_texts_are_all_learned_from():
    assert sample(iter(TEXTS), 10**6) == TEXTS
    assert sample([], 10) == []
    assert sample(["x" * 11], 10) == []


def test_of_many_texts_a_fixed_sample_is_held():
    held = peak = 0

    class Text(str):
        def __del__(self):
            nonlocal held
            held -= len(self)

    def texts():
        nonlocal held, peak
        for number in range(40_000):
            made = Text(f"{'name' if number % 2 else 'value'} {number:06}")
            held += len(made)
            peak = max(peak, held)
            yield made
            del made

    chosen = sample(texts(), 20_000)
    assert peak <= 2 * 20_000  # while the kept are thinned out, old and new list are there
    assert 20_000 / 2 / 2 < sum(map(len, chosen)) <= 20_000
    numbers = [int(text[-6:]) for text in chosen]
    assert numbers == sorted(numbers)
    names = sum(text.startswith("name") for text in chosen)
    assert 0.4 < names / len(chosen) < 0.6  # an even step would take only the ones
    assert all(sum(a <= n < a + 10_000 for n in numbers) > len(numbers) / 8 for a in range(0, 40_000, 10_000))
    plain = [f"{'name' if number % 2 else 'value'} {number:06}" for number in range(40_000)]
    assert sample(plain, 20_000) == [str(text) for text in chosen]


def test_training_reads_the_texts_once_and_learns_from_the_sample(tmp_path):
    rows = (text for text in itertools.chain(TEXTS, (f"green {n}" for n in range(3000))))
    tokenizer.train(rows, 320, tmp_path / "all.model", characters=5_000)
    assert next(rows, None) is None
    kept = sample([*TEXTS, *(f"green {n}" for n in range(3000))], 5_000)
    tokenizer.train(kept, 320, tmp_path / "kept.model")
    assert (tmp_path / "all.model").read_bytes() == (tmp_path / "kept.model").read_bytes()
