"""Listings that are probably not what their seller meant, by rules that have names."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import pyarrow.compute as pc

from m5jax.data.prepared import Prepared
from m5jax.validation.columns import UNKNOWN, Columns

EXAMPLES = 4
MANY_PRODUCTS = 10  # under one title
MANY_TITLES = 5  # of one picture
LONG = 500  # characters of a title
SPREAD = 12  # of 255: a picture that varies by less is of one colour, but for the traces of compression
REPEATED_ROWS = 3  # rows of a table from which on one and the same value in all of them is odd
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"  # scripts without blanks

TITLES = {
    "title_one_word": (
        "the title is a single word (of scripts without blanks: two characters at most)",
        rf"^([^\s{_UNSPACED}]+|[{_UNSPACED}]{{1,2}})$",
    ),
    "title_html": (
        "HTML tags or entities in the title",
        r"(?i)</?[a-z][a-z0-9]*(\s[^<>]*)?/?>|&([a-z]{2,8}|#x?[0-9a-f]+);",
    ),
    "title_url": ("a web address in the title", r"(?i)https?://|\bwww\.[a-z0-9-]+\."),
    "title_mojibake": (
        "characters that wrong decoding leaves: U+FFFD, or UTF-8 read as Latin-1 or Windows-1252",
        "\ufffd|[ÂÃ][\u0080-\u00bf]|[ã-ï]([\u0080-\u009f][\u0080-\u00bf]|[\u0080-\u00bf][\u0080-\u009f])|â€|ï»¿",
    ),
    "title_without_letters": ("no letter of any script in the title", r"^\P{L}+$"),
}
"""Rules on a title alone: meaning, and the regular expression (RE2) that finds it."""

OTHERS = {
    "title_is_id": "the title is the listing's own id",
    "title_very_long": f"the title has {LONG} characters or more",
    "title_of_many_products": f"{MANY_PRODUCTS} products or more have this title; without instance_id a listing is one",
    "title_in_several_categories": "listings of this very title are in different categories",
    "picture_of_many_titles": f"listings with {MANY_TITLES} different titles or more show this very picture",
    "picture_in_several_categories": "listings with this very picture are in different categories",
    "picture_of_one_colour": "the picture is of one colour",
    "table_of_one_value": f"all rows of the table, {REPEATED_ROWS} or more, have the same value",
    "category_not_in_train": "a held-out listing of a category that no training listing has",
    "query_without_answer": "no listing of the gallery is of the query's product, nor of its category",
}
"""Rules on more than a title, and what they mean."""


@dataclasses.dataclass(frozen=True)
class Suspicion:
    """Listings that a rule points at.

    Attributes:
      rule: its name.
      meaning: in plain words.
      count: listings, of `asked` that the rule is about.
      examples: rows, evenly spaced over those found; each by itself.
    """

    rule: str
    meaning: str
    count: int
    asked: int
    examples: list[list[int]]

    @property
    def share(self) -> float:
        """Of the listings asked about."""
        return self.count / max(self.asked, 1)


def find(columns: Columns, flags: Mapping[str, np.ndarray], characters: np.ndarray) -> list[Suspicion]:
    """What the rules find, most listings first; rules that find nothing are left out.

    Args:
      columns: the catalogue.
      flags, characters: what `titles` gives.
    """
    titled, keys = characters > 0, columns.content
    title, picture = keys[:, columns.of("text")], keys[:, columns.of("image")]
    category = columns.categories.codes
    product = np.where(columns.products.codes == UNKNOWN, -2 - np.arange(len(columns)), columns.products.codes)
    held_out, trained = _not_trained(columns)
    asked, unanswered = _unanswered(columns)
    known = category != UNKNOWN
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {rule: (flag, titled) for rule, flag in flags.items()}
    found |= {
        "title_very_long": (characters >= LONG, titled),
        "title_of_many_products": (_shared(title, product, MANY_PRODUCTS), title != 0),
        "title_in_several_categories": (_shared(np.where(known, title, 0), category, 2), (title != 0) & known),
        "picture_of_many_titles": (_shared(np.where(title != 0, picture, 0), title, MANY_TITLES), picture != 0),
        "picture_in_several_categories": (_shared(np.where(known, picture, 0), category, 2), (picture != 0) & known),
        "picture_of_one_colour": (columns.pictured & (columns.spread < SPREAD), columns.pictured),
        "table_of_one_value": ((columns.values == 1) & (columns.fields >= REPEATED_ROWS), columns.fields > 0),
        "category_not_in_train": (held_out & ~trained, held_out),
        "query_without_answer": (unanswered, asked),
    }
    meanings = {rule: meaning for rule, (meaning, _) in TITLES.items()} | OTHERS
    suspicions = [
        Suspicion(rule, meanings[rule], int(mask.sum()), int(about.sum()), _examples(mask))
        for rule, (mask, about) in found.items()
        if mask.any()
    ]
    return sorted(suspicions, key=lambda suspicion: -suspicion.count)


def titles(prepared: Prepared) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Of every listing, which rules on titles it breaks, bool [N], and the characters of its title, int32 [N]."""
    flags: dict[str, list[np.ndarray]] = {rule: [] for rule in ("title_is_id", *TITLES)}
    characters = []
    for split in prepared.splits:
        for batch in prepared.batches(split, ["id", "title"]):
            identity, title = batch.column("id"), batch.column("title")
            length, same = (pc.call_function("utf8_length", [title]), pc.call_function("equal", [title, identity]))
            characters.append(length.to_numpy())
            flags["title_is_id"].append(same.to_numpy(zero_copy_only=False) & (characters[-1] > 0))
            for rule, (_, pattern) in TITLES.items():
                options = pc.MatchSubstringOptions(pattern)
                found = pc.call_function("match_substring_regex", [title], options)
                flags[rule].append(found.to_numpy(zero_copy_only=False))
    return {rule: np.concatenate(parts) for rule, parts in flags.items()}, np.concatenate(characters)


def _shared(keys: np.ndarray, values: np.ndarray, most: int) -> np.ndarray:
    """Rows whose key, not 0, comes with at least `most` different values: bool [N]."""
    rows = np.flatnonzero(keys)
    _, key = np.unique(keys[rows], return_inverse=True)
    _, value = np.unique(values[rows], return_inverse=True)
    pairs = np.unique(key * (value.max(initial=0) + 1) + value)
    different = np.bincount(pairs // (value.max(initial=0) + 1), minlength=key.max(initial=-1) + 1)
    shared = np.zeros(len(keys), bool)
    shared[rows] = different[key] >= most
    return shared


def _not_trained(columns: Columns) -> tuple[np.ndarray, np.ndarray]:
    """Held-out listings with a category, and listings of a category that training has: bool [N] each."""
    category, train = columns.categories.codes, columns.rows("train")
    held_out = category != UNKNOWN
    held_out[train] = False
    seen = np.zeros(category.max(initial=-1) + 2, bool)
    seen[category[train]] = True
    return held_out & (train.stop > train.start), seen[category]


def _unanswered(columns: Columns) -> tuple[np.ndarray, np.ndarray]:
    """Queries whose product or category is known, and those of them without an answer: bool [N] each."""
    asked, answered = np.zeros(len(columns), bool), np.zeros(len(columns), bool)
    gallery, query = columns.rows("gallery"), columns.rows("query")
    for codes in (columns.products.codes, columns.categories.codes):
        known = codes[query] != UNKNOWN
        asked[query] |= known & (gallery.stop > gallery.start)
        answered[query] |= known & np.isin(codes[query], codes[gallery])
    return asked, asked & ~answered


def _examples(mask: np.ndarray) -> list[list[int]]:
    rows = np.flatnonzero(mask)
    return [[int(rows[place])] for place in np.linspace(0, len(rows) - 1, min(EXAMPLES, len(rows))).astype(int)]
