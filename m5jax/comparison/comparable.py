"""Which numbers of two runs may be subtracted: those whose passports are equal (`evals.protocols.Passport`)."""

from collections.abc import Mapping
from typing import Any

from m5jax.comparison.runs import ScoredRun

# What a score was measured on: shown, never subtracted.
COUNTS = frozenset(
    ("queries", "answerable", "gallery", "distractors", "train", "test", "unlabelled", "listings", "clusters", "seeds")
)
FOUND = frozenset(("clusters",))  # not what was asked but what came of it
WORDS = {"digest": "gallery", "gallery": "size of the gallery", "rules": "definition", "queries": "number of queries"}
NO_PASSPORT = "a run was scored without passports: score it again"


def refused(ours: ScoredRun, theirs: ScoredRun, name: str) -> str:
    """Why two runs' scores of one name are not subtracted; "" if they compare: equal passports and equal counts."""
    reason = unlike(passport(ours.passports, name), passport(theirs.passports, name))
    head = name.rpartition("/")[0]
    for count in sorted(COUNTS - FOUND):
        if not reason and ours.scores.get(f"{head}/{count}") != theirs.scores.get(f"{head}/{count}"):
            reason = f"another number: {count}"
    return reason


def passport(passports: Mapping[str, Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    """The passport of a score: that of the longest prefix of its name; empty if there is none."""
    prefixes = [prefix for prefix in passports if name == prefix or name.startswith(f"{prefix}/")]
    return passports[max(prefixes, key=len)] if prefixes else {}


def unlike(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """In which two passports differ, in words; "" if they are equal."""
    if not ours or not theirs:
        return NO_PASSPORT
    parts = [WORDS.get(part, part) for part in {**ours, **theirs} if ours.get(part) != theirs.get(part)]
    return f"another {', '.join(parts)}" if parts else ""
