"""Which rules every number of the page follows, and on what it was measured."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

COUNTS = {
    "queries": "queries",
    "answerable": "with an answer",
    "gallery": "in the gallery",
    "distractors": "relevant to no query",
    "lost": "ids without a record",
}
WHERE_ANY = (COUNTS["distractors"], COUNTS["lost"])  # said only where there are some


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
      changed: those of them that are not as in an earlier definition of the same name; all of a new name.
      holders: in the order of the page.
    """

    protocol: str
    rules: list[tuple[str, str]]
    changed: list[tuple[str, str]]
    holders: list[Holder]


def by_rules(held: Mapping[str, Mapping[str, Any]]) -> list[Rules]:
    """Passports by name of what they belong to (`evals.protocols.Passport.to_dict`), those of equal rules together."""
    found: dict[str, Rules] = {}
    for name, passport in held.items():
        key = json.dumps([passport["protocol"], passport["rules"]], sort_keys=True)
        rules = [(rule.replace("_", " "), text) for rule, text in passport["rules"].items() if rule != "name"]
        earlier = next((one.rules for one in found.values() if one.protocol == passport["protocol"]), [])
        changed = [rule for rule in rules if rule not in earlier]
        same = found.setdefault(key, Rules(passport["protocol"], rules, changed, []))
        counts = [(passport.get(part), words) for part, words in COUNTS.items()]
        known = [(count, words) for count, words in counts if count or (count == 0 and words not in WHERE_ANY)]
        said = {part: passport.get(part, "") for part in ("label", "sets", "digest")}
        same.holders.append(Holder(name, counts=known, **said))
    return list(found.values())
