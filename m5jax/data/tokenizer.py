"""Text to ids: a sentencepiece model trained on the catalogue's own titles and tables."""

import collections
import hashlib
import io
import pathlib
from collections.abc import Iterable
from typing import Any

import sentencepiece

PAD, UNK, CLS, SEP, MASK, NAME, VALUE = range(7)
BYTES = 256  # pieces that spell what no other piece can; they follow the special ones
_CONTROLS = ["<cls>", "<sep>", "<mask>", "<name>", "<value>"]


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
        pad_id=PAD,
        unk_id=UNK,
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
    rare = counts.most_common()[(vocabulary - BYTES - VALUE - 1) // 2 :]
    blanks = {ord(character): " " for character, _ in rare}
    return [text.translate(blanks) for text in texts] if blanks else texts


class Tokenizer:
    """Encodes text; loads its model when first used, so that it travels to worker processes by path."""

    def __init__(self, path: pathlib.Path):
        self._path = path
        self._processor: sentencepiece.SentencePieceProcessor | None = None

    def _loaded(self) -> sentencepiece.SentencePieceProcessor:
        if self._processor is None:
            self._processor = sentencepiece.SentencePieceProcessor(model_file=str(self._path))
        return self._processor

    @property
    def size(self) -> int:
        """Ids run from 0 to size - 1."""
        return self._loaded().get_piece_size()

    @property
    def digest(self) -> str:
        """SHA-256 of the model file."""
        return hashlib.sha256(self._path.read_bytes()).hexdigest()

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without special ids."""
        return self._loaded().encode(text)

    def decode(self, ids: list[int]) -> str:
        """Text of ids; special ids vanish."""
        return self._loaded().decode(ids)

    def __getstate__(self) -> dict[str, Any]:
        return {"_path": self._path, "_processor": None}
