"""Which rules every number of the page follows, and on what it was measured."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

LOST = "ids without a record"
COUNTS = {
    "queries": "queries",
    "answerable": "with an answer",
    "gallery": "in the gallery",
    "distractors": "relevant to no query",
    "lost": LOST,
}


@dataclasses.dataclass(frozen=True)
class Holder:
    """Numbers with one passport.

    Attributes:
      name: what their names in `scores.json` begin with, or a study's.
      label: what is shared by what is relevant to each other; "" where nobody said.
      sets: "QUERIES:GALLERY"; "" where nobody said.
      counts: (number, of what), as far as it is known.
      digest: of the gallery.
    """

    name: str
    label: str
    sets: str
    counts: list[tuple[int, str]]
    digest: str


@dataclasses.dataclass(frozen=True)
class Rules:
    """One definition, and all the numbers that follow it.

    Attributes:
      protocol: its name.
      rules: (rule, what it says).
      holders: in the order of the page.
    """

    protocol: str
    rules: list[tuple[str, str]]
    holders: list[Holder]


def by_rules(held: Mapping[str, Mapping[str, Any]]) -> list[Rules]:
    """Passports by name of what they belong to (`evals.protocols.Passport.to_dict`), those of equal rules together."""
    found: dict[str, Rules] = {}
    for name, passport in held.items():
        key = json.dumps([passport["protocol"], passport["rules"]], sort_keys=True)
        rules = [(rule.replace("_", " "), text) for rule, text in passport["rules"].items() if rule != "name"]
        same = found.setdefault(key, Rules(passport["protocol"], rules, []))
        counts = [(passport.get(part), words) for part, words in COUNTS.items()]
        known = [(count, words) for count, words in counts if count is not None and (count or words != LOST)]
        said = {part: passport.get(part, "") for part in ("label", "sets", "digest")}
        same.holders.append(Holder(name, counts=known, **said))
    return list(found.values())
