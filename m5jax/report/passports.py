"""Which rules every number of the page follows, and on what it was measured."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Holder:
    """Numbers with one passport: `name` is what their names in `scores.json` begin with, or a study's."""

    name: str
    queries: int
    gallery: int
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
        same.holders.append(Holder(name, passport["queries"], passport["gallery"], passport["digest"]))
    return list(found.values())
