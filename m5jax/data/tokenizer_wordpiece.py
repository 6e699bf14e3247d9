"""BERT's tokenizer, from its `vocab.txt` or from the `tokenizer.json` of Hugging Face."""

import dataclasses
import functools
import json
import pathlib
from typing import Any

import tokenizers

from m5jax import settings
from m5jax.data.tokenizer_base import JSON, MAX_PIECES, REQUIRED, VOCABULARY, VOCABULARY_CASED, Tokenizer, described
from m5jax.errors import ConfigError, DataError

_SPELLING = {field: f"[{field.upper()}]" for field in REQUIRED} | {"name": "[unused1]", "value": "[unused2]"}
_CONTINUES = "##"


@dataclasses.dataclass(frozen=True)
class Rules:
    """What text goes through before its words are looked up; the names are those of a `tokenizer.json`."""

    clean_text: bool  # control characters go, all white space becomes blanks
    handle_chinese_chars: bool  # each is a word of its own
    strip_accents: bool
    lowercase: bool
    max_input_chars_per_word: int = 100  # longer words are unknown

    @classmethod
    def of_bert(cls, lowercase: bool) -> "Rules":
        """As the code beside every `vocab.txt` has them (Devlin et al. 2019): accents go where case goes."""
        return cls(True, True, lowercase, lowercase)


class WordPiece(Tokenizer):
    """BERT's tokenizer (Devlin et al. 2019; greedy longest match, Wu et al. 2016).

    Ids are those that BERT was trained with: line i of a `vocab.txt`, counted from 0, is piece i. Unlike in other
    readers a "[MASK]" typed into a title is three pieces of text. What is punctuation or an accent is that of
    Unicode 8, as in all that the library `tokenizers` runs; BERT's own code asks the Unicode of its Python.
    """

    def __init__(self, path: pathlib.Path, lowercase: bool = True):
        """From a ``.json``, or from one piece a line.

        With `lowercase`, text loses case and accents first, as for uncased vocabularies; a ``.json`` says this itself.
        """
        self._path, self._lowercase = path, lowercase

    def __reduce__(self) -> tuple[Any, ...]:
        return WordPiece, (self._path, self._lowercase)

    @functools.cached_property
    def _read(self) -> tuple[dict[str, int], Rules]:
        """The id of every piece, ascending, and the rules.

        Raises:
          ConfigError: a ``.json`` keeps the case otherwise than asked.
          DataError: the file is no WordPiece vocabulary, naming the line, the piece or the key that is wrong.
        """
        ids, rules = _read_json(self._path) if self._is_json else (_read_list(self._path), None)
        rules = rules or Rules.of_bert(self._lowercase)
        if rules.lowercase and not self._lowercase:
            raise ConfigError(
                f"config.data.vocabulary_lowercase = False, but {self._path} says lowercase = true itself: leave the"
                " setting alone, it is for a vocab.txt"
            )
        missing = [_SPELLING[field] for field in REQUIRED if _SPELLING[field] not in ids]
        if missing:
            raise DataError(f"{described(self._path)} has no {', '.join(missing)}: take the vocabulary of a BERT")
        if not ids.keys() - set(_SPELLING.values()):
            raise DataError(f"{described(self._path)} has special pieces only, and none that text is made of")
        return ids, rules

    @property
    def _is_json(self) -> bool:
        return self._path.suffix == ".json"

    @functools.cached_property
    def _encoder(self) -> tokenizers.Tokenizer:
        # No piece is made known to it as special: only so can none be typed.
        ids, rules = self._read
        normalizer = dataclasses.asdict(rules)
        longest = normalizer.pop("max_input_chars_per_word")
        model = tokenizers.models.WordPiece(
            ids, unk_token=_SPELLING["unk"], max_input_chars_per_word=longest, continuing_subword_prefix=_CONTINUES
        )
        encoder = tokenizers.Tokenizer(model)
        encoder.normalizer = tokenizers.normalizers.BertNormalizer(**normalizer)
        encoder.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
        encoder.decoder = tokenizers.decoders.WordPiece(cleanup=False)
        return encoder

    def _special_ids(self) -> dict[str, int]:
        return {field: self._read[0][piece] for field, piece in _SPELLING.items() if piece in self._read[0]}

    @property
    def size(self) -> int:
        """Ids run from 0 to size - 1."""
        return len(self._read[0])

    @property
    def digest(self) -> str:
        """SHA-256 over pieces, case, and the rules that are not BERT's: one and the same from either kind of file."""
        ids, rules = self._read
        usual = dataclasses.asdict(Rules.of_bert(rules.lowercase))
        unusual = {name: value for name, value in dataclasses.asdict(rules).items() if value != usual[name]}
        return settings.digest({"pieces": list(ids), "lowercase": rules.lowercase, **unusual})

    def encode(self, text: str) -> list[int]:
        """Ids of a text; a word that no pieces spell is one `unk`, and so is a word longer than the rules allow."""
        return self._encoder.encode(text, add_special_tokens=False).ids

    def decode(self, ids: list[int]) -> str:
        """Text of ids with a blank between words; special ids vanish."""
        return self._encoder.decode([i for i in ids if not self.is_special[i]], skip_special_tokens=False)

    def write(self, folder: pathlib.Path) -> None:
        """Pieces and rules as they were read, in a file of the same kind."""
        if self._is_json:
            self._encoder.save(str(folder / JSON))
        else:
            lines = "".join(f"{piece}\n" for piece in self._read[0])
            (folder / (VOCABULARY if self._lowercase else VOCABULARY_CASED)).write_text(lines, encoding="utf-8")


def _text(path: pathlib.Path) -> str:
    """What is in the file; raises DataError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")  # some editors put a mark before the first piece
    except OSError as error:
        raise DataError(f"{described(path)} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{described(path)} is not UTF-8: byte {error.start} does not decode") from error


def _read_list(path: pathlib.Path) -> dict[str, int]:
    """The id of every piece of a `vocab.txt`; raises DataError naming the line."""
    text = _text(path)
    if not text:
        raise DataError(f"{described(path)} is empty: it must have one piece a line")
    lines = text.removesuffix("\n").split("\n")  # not splitlines: a piece may be a separator of lines in Unicode
    if len(lines) > MAX_PIECES:
        raise DataError(f"{described(path)} has {len(lines):,} lines, more than {MAX_PIECES:,}")
    ids: dict[str, int] = {}
    for number, piece in enumerate(lines):
        if ids.setdefault(piece, number) != number:
            raise DataError(f"{described(path)} has {piece!r} twice, in lines {ids[piece] + 1} and {number + 1}")
    return ids


# What of a tokenizer.json is left alone: how sequences are cut, padded and framed, and how ids become text again.
_LEFT_ALONE = {"version", "truncation", "padding", "post_processor", "decoder"}
_READ = {
    "model": {"unk_token", "continuing_subword_prefix", "max_input_chars_per_word", "vocab"},
    "normalizer": {"clean_text", "handle_chinese_chars", "strip_accents", "lowercase"},
    "pre_tokenizer": set(),
}
_TYPES = {"model": "WordPiece", "normalizer": "BertNormalizer", "pre_tokenizer": "BertPreTokenizer"}
_LONGEST_WORD = 10_000


def _read_json(path: pathlib.Path) -> tuple[dict[str, int], Rules]:
    """Pieces and rules of a `tokenizer.json`; raises DataError naming what in it is not as BERT has it."""
    try:
        whole = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{described(path)} is not JSON: {error}") from error
    strange = _strange(whole)
    if strange:
        raise DataError(
            f"{described(path)} {strange}. m5jax reads the tokenizer.json of a BERT: type WordPiece, BertNormalizer,"
            " BertPreTokenizer. Name such a one or a vocab.txt, or leave the setting empty: a tokenizer is trained"
        )
    model, rules = whole["model"], {name: whole["normalizer"][name] for name in _READ["normalizer"]}
    if rules["strip_accents"] is None:
        rules["strip_accents"] = rules["lowercase"]
    ids = dict(sorted(model["vocab"].items(), key=lambda entry: entry[1]))
    return ids, Rules(**rules, max_input_chars_per_word=model["max_input_chars_per_word"])


def _strange(whole: Any) -> str | None:
    """The first thing in a `tokenizer.json` that would not be done as it says."""
    if not isinstance(whole, dict):
        return "is no object"
    unknown = whole.keys() - _LEFT_ALONE - _READ.keys() - {"added_tokens"}
    if unknown:
        return f"holds {', '.join(sorted(unknown))}, which is not known"
    for name, keys in _READ.items():
        part = whole.get(name)
        if not isinstance(part, dict):
            return f"has {name} = {part!r}"
        # A model of the first years has no type: its keys tell.
        if part.get("type", _TYPES[name] if name == "model" and keys <= part.keys() else None) != _TYPES[name]:
            return f"has a {name} of type {part.get('type')!r}"
        if part.keys() - {"type"} != keys:
            return f"has a {name} with other keys than {', '.join(sorted(keys))}: {', '.join(sorted(part))}"
    return _strange_rules(whole["model"], whole["normalizer"]) or _strange_pieces(
        whole["model"]["vocab"], whole.get("added_tokens") or []
    )


def _strange_rules(model: dict[str, Any], normalizer: dict[str, Any]) -> str | None:
    for key, wanted in (("unk_token", _SPELLING["unk"]), ("continuing_subword_prefix", _CONTINUES)):
        if model[key] != wanted:
            return f"has {key} = {model[key]!r} and not {wanted!r}"
    longest = model["max_input_chars_per_word"]
    if type(longest) is not int or not 1 <= longest <= _LONGEST_WORD:
        return f"has max_input_chars_per_word = {longest!r}, which must be from 1 to {_LONGEST_WORD:,}"
    for key in _READ["normalizer"]:
        if type(normalizer[key]) is not bool and not (key == "strip_accents" and normalizer[key] is None):
            return f"has {key} = {normalizer[key]!r}, which must be true or false"
    return None


def _strange_pieces(vocabulary: Any, added: Any) -> str | None:
    if not isinstance(vocabulary, dict) or not all(type(i) is int for i in vocabulary.values()):
        return "has a vocab that is no object of pieces and their ids"
    if len(vocabulary) > MAX_PIECES:
        return f"has {len(vocabulary):,} pieces, more than {MAX_PIECES:,}"
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        return f"has {len(vocabulary):,} pieces whose ids are not 0 to {len(vocabulary) - 1:,}, each once"
    if not isinstance(added, list) or not all(isinstance(token, dict) for token in added):
        return "has added_tokens that are no list of objects"
    for token in added:  # one that is not special would be looked for in the text before any rule
        content = token.get("content")
        if not token.get("special") or not isinstance(content, str) or vocabulary.get(content) != token.get("id"):
            return f"has an added token {content!r} that is not special, or not among the pieces under its id"
    return None
