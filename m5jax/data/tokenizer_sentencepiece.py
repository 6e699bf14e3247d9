"""A sentencepiece model, trained here on the texts of a catalogue or brought along."""

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

from m5jax.data.tokenizer_base import MAX_PIECES, REQUIRED, TRAINED, Special, Tokenizer, described
from m5jax.errors import DataError

BYTES = 256  # pieces that spell what no other piece can; they follow the special ones
LEARNED_CHARACTERS = 20_000_000  # of Chinese, the costlier text: 15 s and 0.7 GB; more teach nothing new
_SPELLING = {field.name: f"<{field.name}>" for field in dataclasses.fields(Special)}


class SentencePiece(Tokenizer):
    """A sentencepiece model (Kudo and Richardson 2018): in one that `train` wrote, bytes spell what no piece does.

    What is normalised is in the model. In ours text is compared as NFKC with case folded; blanks, line ends and
    zero-width spaces in a row are one blank, none stays at the ends, and ASCII's control characters but NUL go.
    Nothing else is lost: `decode` gives the normalised text back.
    """

    def __init__(self, path: pathlib.Path):
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return SentencePiece, (self._path,)

    @functools.cached_property
    def _processor(self) -> sentencepiece.SentencePieceProcessor:
        """The model.

        Raises:
          DataError: the file is none, or special pieces are missing or could be typed.
        """
        try:
            processor = sentencepiece.SentencePieceProcessor(model_file=str(self._path))
        except (RuntimeError, ValueError) as error:  # the latter where its message is not UTF-8
            raise DataError(f"{described(self._path)} cannot be read as a sentencepiece model: {error}") from error
        if processor.get_piece_size() > MAX_PIECES:
            raise DataError(f"{described(self._path)} has more than {MAX_PIECES:,} pieces")
        missing = [_SPELLING[field] for field in REQUIRED if field not in _controls(processor)]
        if missing:
            raise DataError(
                f"{described(self._path)} has no control symbols {', '.join(missing)}: take a model that"
                " tools/train_tokenizer.py wrote"
            )
        return processor

    def _special_ids(self) -> dict[str, int]:
        return _controls(self._processor)

    @property
    def size(self) -> int:
        """Ids run from 0 to size - 1."""
        return self._processor.get_piece_size()

    @property
    def digest(self) -> str:
        """SHA-256 of the model file."""
        return hashlib.sha256(self._path.read_bytes()).hexdigest()

    @functools.cached_property
    def spells_bytes(self) -> np.ndarray:
        """The ids that stand for one byte each, int [256], or [0] in a model without."""
        return np.flatnonzero([self._processor.is_byte(i) for i in range(self.size)])

    def normalize(self, text: str) -> str:
        """What pieces are looked for in, and what `decode` gives back of `encode`."""
        return self._processor.normalize(text).replace("\u2581", " ").strip(" ")

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without special ids."""
        return self._processor.encode(text)

    def decode(self, ids: list[int]) -> str:
        """Text of ids; special ids vanish, and of bytes that are no character U+FFFD stays."""
        return self._processor.decode(ids)

    def write(self, folder: pathlib.Path) -> None:
        """A copy of the model file."""
        (folder / TRAINED).write_bytes(self._path.read_bytes())


def _controls(processor: sentencepiece.SentencePieceProcessor) -> dict[str, int]:
    """The ids of the special pieces, by field of `Special`, as far as the model has them and no text becomes them."""
    ids = {field: processor.piece_to_id(piece) for field, piece in _SPELLING.items()}
    return {
        field: i
        for field, i in ids.items()  # of a piece it does not have, sentencepiece gives the unknown id
        if processor.id_to_piece(i) == _SPELLING[field] and (processor.is_control(i) or processor.is_unknown(i))
    }


def train(texts: Iterable[str], vocabulary: int, path: pathlib.Path, characters: int = LEARNED_CHARACTERS) -> None:
    """Trains byte-pair merges with byte fallback and writes them to `path`; equal texts, equal model.

    Special pieces are control symbols: a seller who types "<mask>" into a title does not get one.

    Args:
      texts: what to learn from, read once; a catalogue without any text still gets a tokenizer, of bytes.
      vocabulary: the most pieces, at least 300; a small catalogue ends with fewer.
      path: the file to write.
      characters: the most that are learned from, and held in memory; of more, a fixed sample of the texts.
    """
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_without_rare_characters([*sample(texts, characters), "text"], vocabulary)),
        model_writer=model,
        vocab_size=vocabulary,
        hard_vocab_limit=False,
        model_type="bpe",  # unigram spells a frequent word that shares no part with another one letter by letter
        byte_fallback=True,
        character_coverage=0.9995,
        normalization_rule_name="nmt_nfkc_cf",  # full-width, case and compatibility forms fold into one
        pad_id=0,
        unk_id=1,
        bos_id=-1,
        eos_id=-1,
        control_symbols=[piece for field, piece in _SPELLING.items() if field not in ("pad", "unk")],
        max_sentence_length=1 << 16,
        num_threads=1,  # the split of the work among threads changes the last pieces
        minloglevel=2,
    )
    path.write_bytes(model.getvalue())


def sample(texts: Iterable[str], characters: int) -> list[str]:
    """All texts, or of too many those of the lowest draws that stay within `characters`, in their order.

    Each text is drawn for by its position, so the same texts give the same sample; an even step instead would hit
    only names or only values of tables. At most `characters` and one text more are held at any time.
    """
    draws = np.random.default_rng(0)
    kept: list[tuple[float, str]] = []
    held, threshold = 0, 1.0
    for text in texts:
        draw = draws.random()
        if draw >= threshold:
            continue
        kept.append((draw, text))
        held += len(text)
        while held > characters:
            threshold /= 2
            kept = [(draw, text) for draw, text in kept if draw < threshold]
            held = sum(len(text) for _, text in kept)
    return [text for _, text in kept]


def _without_rare_characters(texts: list[str], vocabulary: int) -> list[str]:
    """The texts with blanks for the characters that will be spelled in bytes.

    Every character that is left gets a piece of its own, and they may take half of the vocabulary: a catalogue in
    Chinese has thousands of characters, and needs words as well.
    """
    counts = collections.Counter()
    for text in texts:
        counts.update(text)
    taken = BYTES + len(_SPELLING)
    rare = counts.most_common()[(vocabulary - taken) // 2 :]
    blanks = {ord(character): " " for character, _ in rare}
    return [text.translate(blanks) for text in texts] if blanks else texts
