"""Which numbers of two runs may be subtracted: those whose passports are equal (`evals.protocols.Passport`)."""

from collections.abc import Mapping
from typing import Any

from m5jax.comparison.runs import ScoredRun

# What a score was measured on: shown, never subtracted.
COUNTS = frozenset(
    ("queries", "answerable", "gallery", "distractors", "train", "test", "unlabelled", "listings", "clusters", "seeds")
)
NO_PASSPORT = "a run was scored without passports: score it again"


def refused(ours: ScoredRun, theirs: ScoredRun, name: str) -> str:
    """Why two runs' scores of one name are not subtracted; "" if they compare."""
    pair = passport(ours.passports, name), passport(theirs.passports, name)
    if any(pair):
        return unlike(*pair)
    counts = {other.rpartition("/")[2] for run in (ours, theirs) for other in run.scores} & COUNTS
    head = name.rpartition("/")[0]
    for count in sorted(counts):
        if ours.scores.get(f"{head}/{count}") != theirs.scores.get(f"{head}/{count}"):
            return f"another number: {count}"
    if not ours.passports or not theirs.passports:
        return NO_PASSPORT
    shared = [prefix for prefix in ours.passports if prefix in theirs.passports]
    galleries = [unlike(ours.passports[prefix], theirs.passports[prefix]) for prefix in shared]
    return "" if shared and not any(galleries) else "other listings"


def passport(passports: Mapping[str, Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    """The passport of a score: that of the longest prefix of its name; empty if there is none."""
    prefixes = [prefix for prefix in passports if name == prefix or name.startswith(f"{prefix}/")]
    return passports[max(prefixes, key=len)] if prefixes else {}


def unlike(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """In which two passports differ, in words; "" if they are equal."""
    if not ours or not theirs:
        return "" if ours == theirs else NO_PASSPORT
    parts = [part for part in {**ours, **theirs} if ours.get(part) != theirs.get(part)]
    words = {"digest": "gallery", "gallery": "size of the gallery"}
    return f"another {', '.join(words.get(part, part) for part in parts)}" if parts else ""
