"""Text to ids: pieces learned from the catalogue's own titles and tables, or the WordPiece vocabulary of a BERT."""

import abc
import collections
import dataclasses
import functools
import hashlib
import io
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import sentencepiece
import tokenizers

from m5jax import settings
from m5jax.errors import DataError

TRAINED, VOCABULARY, VOCABULARY_CASED = FILES = "tokenizer.model", "vocab.txt", "vocab-cased.txt"
MAX_PIECES = 250_000
BYTES = 256  # pieces that spell what no other piece can; they follow the special ones
_CONTROLS = ["<cls>", "<sep>", "<mask>", "<name>", "<value>"]
_BERT = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
_MARKERS = {"name": "[unused1]", "value": "[unused2]"}


@dataclasses.dataclass(frozen=True)
class Special:
    """Ids that no text is encoded into, but `unk`: padding, what no piece spells, start, end, hidden.

    `name` and `value` go before the name and the value of a table's row. A WordPiece vocabulary lends its
    ``[unused1]`` and ``[unused2]`` for them; in one without these both are `sep`, and take turns all the same.
    """

    pad: int
    unk: int
    cls: int
    sep: int
    mask: int
    name: int
    value: int


_FIRST = Special(*range(7))  # of a tokenizer that is trained here


class Tokenizer(abc.ABC):
    """Encodes text; loads its file when first used, so that it travels to worker processes by path."""

    @property
    @abc.abstractmethod
    def special(self) -> Special:
        """The special ids."""

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """Ids run from 0 to size - 1."""

    @property
    @abc.abstractmethod
    def digest(self) -> str:
        """SHA-256 of what decides the ids, as 64 hex digits."""

    @abc.abstractmethod
    def encode(self, text: str) -> list[int]:
        """Ids of a text, without special ids other than `unk`, whatever is typed in it."""

    @abc.abstractmethod
    def decode(self, ids: list[int]) -> str:
        """Text of ids; special ids vanish."""

    @functools.cached_property
    def is_special(self) -> np.ndarray:
        """bool [size]."""
        special = np.zeros(self.size, bool)
        special[list(dataclasses.astuple(self.special))] = True
        return special

    @functools.cached_property
    def pieces(self) -> np.ndarray:
        """The ids that are not special, int [n], ascending."""
        return np.flatnonzero(~self.is_special)


def find(folder: pathlib.Path) -> pathlib.Path:
    """The file of a prepared folder's tokenizer, for `load`.

    Raises:
      DataError: there is none.
    """
    for name in FILES:
        if (folder / name).is_file():
            return folder / name
    raise DataError(f"{folder} has lost its tokenizer, one of {', '.join(FILES)}: delete the folder and prepare again")


def load(path: pathlib.Path) -> Tokenizer:
    """The tokenizer in a file of a prepared folder, of the kind that its name says: one of `FILES`."""
    return SentencePiece(path) if path.name == TRAINED else WordPiece(path, lowercase=path.name == VOCABULARY)


class SentencePiece(Tokenizer):
    """A sentencepiece model that `train` has written; what no piece spells is spelled in bytes."""

    def __init__(self, path: pathlib.Path):
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return SentencePiece, (self._path,)

    @property
    def special(self) -> Special:
        """The first ids."""
        return _FIRST

    @functools.cached_property
    def _processor(self) -> sentencepiece.SentencePieceProcessor:
        return sentencepiece.SentencePieceProcessor(model_file=str(self._path))

    @property
    def size(self) -> int:
        """Ids run from 0 to size - 1."""
        return self._processor.get_piece_size()

    @property
    def digest(self) -> str:
        """SHA-256 of the model file."""
        return hashlib.sha256(self._path.read_bytes()).hexdigest()

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without special ids."""
        return self._processor.encode(text)

    def decode(self, ids: list[int]) -> str:
        """Text of ids; special ids vanish."""
        return self._processor.decode(ids)


class WordPiece(Tokenizer):
    """BERT's tokenizer (Devlin et al. 2019; greedy longest match, Wu et al. 2016), from its `vocab.txt`.

    Ids are those that BERT was trained with: line i of the file, counted from 0, is piece i. Unlike in other
    readers a "[MASK]" typed into a title is three pieces of text.
    """

    def __init__(self, path: pathlib.Path, lowercase: bool = True):
        """One piece a line; with `lowercase`, text loses case and accents first, as for uncased vocabularies."""
        self._path, self._lowercase = path, lowercase

    def __reduce__(self) -> tuple[Any, ...]:
        return WordPiece, (self._path, self._lowercase)

    @functools.cached_property
    def _ids(self) -> dict[str, int]:
        return _read_vocabulary(self._path)

    @functools.cached_property
    def _encoder(self) -> tokenizers.Tokenizer:
        # No piece is made known to it as special: only so can none be typed.
        model = tokenizers.models.WordPiece(self._ids, unk_token=_BERT["unk"], max_input_chars_per_word=100)
        encoder = tokenizers.Tokenizer(model)
        encoder.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=self._lowercase)
        encoder.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
        encoder.decoder = tokenizers.decoders.WordPiece(cleanup=False)
        return encoder

    @property
    def special(self) -> Special:
        """As BERT has them; `Special` says what marks names and values."""
        ids, named = self._ids, {field: self._ids[piece] for field, piece in _BERT.items()}
        marked = all(piece in ids for piece in _MARKERS.values())
        return Special(**named, **{field: ids[piece] if marked else named["sep"] for field, piece in _MARKERS.items()})

    @property
    def size(self) -> int:
        """Ids run from 0 to size - 1."""
        return len(self._ids)

    @property
    def digest(self) -> str:
        """SHA-256 over the pieces and their case."""
        return settings.digest({"pieces": list(self._ids), "lowercase": self._lowercase})

    def encode(self, text: str) -> list[int]:
        """Ids of a text; a word that no pieces spell is one `unk`, and so is a word of more than 100 characters."""
        return self._encoder.encode(text, add_special_tokens=False).ids

    def decode(self, ids: list[int]) -> str:
        """Text of ids with a blank between words; special ids vanish."""
        return self._encoder.decode([i for i in ids if not self.is_special[i]], skip_special_tokens=False)

    def write(self, folder: pathlib.Path) -> None:
        """Writes the vocabulary where `load` finds it again."""
        name = VOCABULARY if self._lowercase else VOCABULARY_CASED
        (folder / name).write_text("".join(f"{piece}\n" for piece in self._ids), encoding="utf-8")


def _read_vocabulary(path: pathlib.Path) -> dict[str, int]:
    """The id of every piece.

    Raises:
      DataError: the file is no WordPiece vocabulary, naming the line or the piece that is missing.
    """
    name = f"the vocabulary {path} (config.data.vocabulary_file, or its copy)"
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors put a mark before the first piece
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not UTF-8: byte {error.start} does not decode") from error
    if not text:
        raise DataError(f"{name} is empty: it must have one piece a line")
    lines = text.removesuffix("\n").split("\n")  # not splitlines: a piece may be a separator of lines in Unicode
    if len(lines) > MAX_PIECES:
        raise DataError(f"{name} has {len(lines):,} lines, more than {MAX_PIECES:,}")
    ids: dict[str, int] = {}
    for number, piece in enumerate(lines):
        if ids.setdefault(piece, number) != number:
            raise DataError(f"{name} has {piece!r} twice, in lines {ids[piece] + 1} and {number + 1}")
    missing = [piece for piece in _BERT.values() if piece not in ids]
    if missing:
        raise DataError(f"{name} has no {', '.join(missing)}: take the vocab.txt of a BERT")
    if not ids.keys() - {*_BERT.values(), *_MARKERS.values()}:
        raise DataError(f"{name} has special pieces only, and none that text is made of")
    return ids


def train(texts: Iterable[str], vocabulary: int, path: pathlib.Path) -> None:
    """Trains byte-pair merges with byte fallback and writes it to `path`; equal texts, equal model.

    Special pieces are control symbols: a seller who types "<mask>" into a title does not get one.

    Args:
      texts: what to learn from; a catalogue without any text still gets a tokenizer, of bytes.
      vocabulary: the most pieces, at least 300; a small catalogue ends with fewer.
      path: the file to write.
    """
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_without_rare_characters([*texts, "text"], vocabulary)),
        model_writer=model,
        vocab_size=vocabulary,
        hard_vocab_limit=False,
        model_type="bpe",  # unigram spells a frequent word that shares no part with another one letter by letter
        byte_fallback=True,
        character_coverage=0.9995,
        normalization_rule_name="nmt_nfkc_cf",  # full-width, case and compatibility forms fold into one
        pad_id=_FIRST.pad,
        unk_id=_FIRST.unk,
        bos_id=-1,
        eos_id=-1,
        control_symbols=_CONTROLS,
        max_sentence_length=1 << 16,
        num_threads=1,  # the split of the work among threads changes the last pieces
        minloglevel=2,
    )
    path.write_bytes(model.getvalue())


def _without_rare_characters(texts: list[str], vocabulary: int) -> list[str]:
    """The texts with blanks for the characters that will be spelled in bytes.

    Every character that is left gets a piece of its own, and they may take half of the vocabulary: a catalogue in
    Chinese has thousands of characters, and needs words as well.
    """
    counts = collections.Counter()
    for text in texts:
        counts.update(text)
    taken = BYTES + len(dataclasses.fields(Special))
    rare = counts.most_common()[(vocabulary - taken) // 2 :]
    blanks = {ord(character): " " for character, _ in rare}
    return [text.translate(blanks) for text in texts] if blanks else texts
