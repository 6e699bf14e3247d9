"""Whatever a seller types, both kinds of tokenizer spell it; and as they spelled it yesterday."""

import json
import pathlib

import hypothesis
import numpy as np
import pytest
from conftest import SHARED, needs_shared
from hypothesis import strategies
from test_tokenizer import slow_wordpiece, trained, wordpiece

from m5jax.data.tokenizer_wordpiece import Rules

GOLDEN = pathlib.Path(__file__).parent / "golden" / "tokens.json"  # ASCII alone: editors lose what cannot be seen
KINDS = ("sentencepiece", "wordpiece")

LONG = [
    "x" * 65_536,
    "鞋" * 65_536,
    "\U00020000" * 20_000,
    "👩🏽\u200d🚀" * 10_000,
    "e" + "\u0301" * 30_000,
    "\u200b" * 65_536,
    "[MASK]" * 10_000,
]


@pytest.fixture(scope="module")
def golden():
    return json.loads(GOLDEN.read_text(encoding="ascii"))


@pytest.fixture(scope="module")
def tokenizers(golden, tmp_path_factory):
    """One of each kind: trained on the golden file's texts, and of its pieces."""
    folder = tmp_path_factory.mktemp("tokenizers")
    both = trained(folder, golden["learned"], vocabulary=420), wordpiece(folder, golden["pieces"])
    return dict(zip(KINDS, both, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_golden(tokenizers, golden, kind):
    """A checkpoint knows its pieces by id: another training, or another encoding, would read other words."""
    ids = [tokenizers[kind].encode(sequence["text"]) for sequence in golden["sequences"]]
    changed = [
        f"{sequence['text']!a}: {now}"
        for sequence, now in zip(golden["sequences"], ids, strict=True)
        if now != sequence[kind]
    ]
    assert len(ids) == 64
    assert not changed, f"if this is meant, write the new ids to {GOLDEN}: {changed[:5]}"


def spelled_soundly(made, text):
    """The ids of a text, which are ids, and none special but where WordPiece knows no piece."""
    ids = made.encode(text)
    assert ids == made.encode(text)
    assert all(0 <= i < made.size for i in ids)
    assert not made.is_special[[i for i in ids if i != made.special.unk]].any()
    return ids


@pytest.mark.parametrize("kind", KINDS)
def test_any_text_has_ids(tokenizers, kind):
    @hypothesis.given(strategies.text(max_size=60))
    @hypothesis.example("\U000e0001\U000e0067\U000e007f\ufff9\ufffb\uffff\u0000")
    def check(text):
        spelled_soundly(tokenizers[kind], text)

    check()


@pytest.mark.parametrize("text", LONG, ids=lambda text: f"{len(text)} of {text[0]!a}")
def test_the_longest_texts_have_ids_soon(tokenizers, text):
    pieces, words = (spelled_soundly(tokenizers[kind], text) for kind in KINDS)
    made = tokenizers["sentencepiece"]
    assert made.special.unk not in pieces
    assert made.decode(pieces) == made.normalize(text)
    assert len(words) <= max(1, sum(map(str.isprintable, text)))


# ---- what sentencepiece makes of a text before it looks for pieces


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Red SHOE ǅ Ǆ", "red shoe dž dž"),  # case
        ("ＲＥＤ　ｶﾞ ﬁ ① ㎏ ½ ﷺ", "red ガ fi 1 kg 1\u20442 صلى الله عليه وسلم"),  # compatibility forms
        ("cafe\u0301 \u1100\u1161 \u212b", "café 가 å"),  # combined
        ("straße İ", "straße İ"),  # case that would change the length stays
        ("  a \t\r\n b\u3000\u00a0", "a b"),  # blanks
        ("a\u200bb\u200cc\ufeffd\u200ee\u2581f\ufffdg", "a b c d e f g"),  # what sellers' exports use for blanks
        ("\u200b\ufeff", ""),
        ("a\u0001\u001f\u007f\u008f\u009fb", "ab"),  # control characters
        ("a\u0000b\u0085", "a\u0000b\u0085"),  # but for these
        (
            "👩🏽\u200d🚀 1\ufe0f\u20e3 🏳\ufe0f\u200d🌈 🇨🇳 👍🏿",
            "👩🏽\u200d🚀 1\ufe0f\u20e3 🏳\ufe0f\u200d🌈 🇨🇳 👍🏿",
        ),  # emoji
        ("שָׁלוֹם حِذَاء \u202eabc\u202c", "שָׁלוֹם حِذَاء \u202eabc\u202c"),  # right to left, with marks
        ("a\u00adb \ufe0f \u0301 \U00020000𠮷 \ue000", "a\u00adb \ufe0f \u0301 \U00020000𠮷 \ue000"),
        ("", ""),
    ],
)
def test_what_is_normalized_and_nothing_else(tokenizers, text, normal):
    made = tokenizers["sentencepiece"]
    assert made.normalize(text) == normal
    assert made.decode(made.encode(text)) == normal


def test_every_character_comes_back(tokenizers):
    made = tokenizers["sentencepiece"]
    scalars = [i for i in range(0x30000) if not 0xD800 <= i <= 0xDFFF][::11]
    for text in ("".join(f"a{chr(i)}" for i in scalars[start : start + 512]) for start in range(0, len(scalars), 512)):
        ids = made.encode(text)
        assert made.special.unk not in ids
        assert made.decode(ids) == made.normalize(text)


@hypothesis.given(strategies.text(max_size=60))
def test_decoding_gives_the_normalized_text_back(tokenizers, text):
    made = tokenizers["sentencepiece"]
    assert made.decode(spelled_soundly(made, text)) == made.normalize(text)


# ---- WordPiece and the reference, on what sellers wrote


@pytest.fixture(scope="module")
def titles():
    lines = (SHARED / "data" / "products" / "products.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines[::7] + [line for line in lines if '"language": "zh"' in line]]
    return [text for row in rows for text in (row["title"], row["description"]) if text]


@needs_shared
@pytest.mark.parametrize("lowercase", [True, False])
def test_real_titles_have_the_ids_of_berts_algorithm(titles, tmp_path, lowercase):
    assert len(titles) > 1000
    characters = sorted({character for title in titles for character in title if character.isprintable()} - {" "})
    words = sorted({word for title in titles for word in title.lower().split() if word.isalpha()})[::3]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters[::2], *words]
    pieces += [f"##{piece}" for piece in (*characters, *{word[-3:] for word in words})]
    pieces = list(dict.fromkeys(pieces))
    made, ids = wordpiece(tmp_path, pieces, lowercase), {piece: i for i, piece in enumerate(pieces)}
    rules, unknown, seen = Rules.of_bert(lowercase), 0, 0
    for title in titles:
        expected = slow_wordpiece(title, ids, rules)
        assert made.encode(title) == expected, title
        unknown, seen = unknown + expected.count(made.special.unk), seen + len(expected)
    assert 0 < unknown < seen / 2


@needs_shared
def test_a_tokenizer_trained_on_real_texts_spells_chinese_and_english(titles, tmp_path):
    made = trained(tmp_path, titles, vocabulary=4096)
    lengths = np.array(
        [[len(made.encode(title)), len(made.normalize(title))] for title in titles[:500] + titles[-300:]]
    )
    assert lengths[:500, 0].sum() < 0.45 * lengths[:500, 1].sum()  # words
    assert lengths[-300:, 0].sum() < 0.95 * lengths[-300:, 1].sum()
