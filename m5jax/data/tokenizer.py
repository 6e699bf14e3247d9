"""Text to ids: pieces learned from the catalogue's own titles and tables, or the vocabulary of another model."""

import pathlib
from collections.abc import Iterable, Iterator

from m5jax.data.tokenizer_base import FILES, JSON, TRAINED, VOCABULARY, VOCABULARY_CASED, Tokenizer
from m5jax.data.tokenizer_sentencepiece import SentencePiece, train
from m5jax.data.tokenizer_wordpiece import WordPiece
from m5jax.errors import DataError

__all__ = [
    "JSON",
    "TRAINED",
    "VOCABULARY",
    "SentencePiece",
    "Tokenizer",
    "WordPiece",
    "find",
    "learned",
    "load",
    "texts",
    "train",
]

LEARNED_LISTINGS = 200_000  # more teach a vocabulary nothing new, and a record is read with its pictures


def find(folder: pathlib.Path) -> pathlib.Path:
    """The file of a prepared folder's tokenizer, for `load`.

    Raises:
      DataError: there is none.
    """
    for name in FILES:
        if (folder / name).is_file():
            return folder / name
    raise DataError(f"{folder} has lost its tokenizer, one of {', '.join(FILES)}: delete the folder and prepare again")


def load(path: pathlib.Path, lowercase: bool | None = None) -> Tokenizer:
    """The tokenizer in a file: a sentencepiece model in a ``.model``, WordPiece in a ``.json`` or in a list of pieces.

    Of a list of pieces `lowercase` says whether text loses case and accents first; left out, the name of the file
    does, as in a prepared folder. Nothing is read yet: what raises, raises when the tokenizer is first used.
    """
    if path.suffix == ".model":
        return SentencePiece(path)
    if lowercase is None:
        lowercase = path.name != VOCABULARY_CASED
    return WordPiece(path, lowercase)


def texts(title: str | None, description: str | None, fields: Iterable[tuple[str, str]] | None) -> Iterator[str]:
    """What a listing gives to learn from, for `train`: title, description, names and values, as far as it has them."""
    for text in (title, description, *(part for field in fields or () for part in field)):
        if text:
            yield text


def learned(length: int) -> range:
    """Which of `length` records a tokenizer is trained on: all, or of many evenly spaced ones."""
    return range(0, length, 1 + length // LEARNED_LISTINGS)
