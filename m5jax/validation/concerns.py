"""What a person should look at first: findings that are large enough to spoil a training or its scores."""

from collections.abc import Iterator

from m5jax.validation.findings import Concern, Findings
from m5jax.validation.tail import RARE

LEAKED = 0.001  # share of the held-out listings whose twin trains, from which on it is told
LOST = 0.01  # likewise, of what could not be used, and of what a rule points at
CUT = 0.05  # of the listings that a budget cuts
FEW = 0.5  # of the categories that are rare
TWINS = {
    "listing": "are in all they have the same as a listing in train",
    "near picture": "show a picture that looks the same as one in train",
    "picture": "show the very picture of a listing in train",
    "title": "have the title of a listing in train",
}


def concerns(found: Findings) -> list[Concern]:
    """The concerns of a catalogue, gravest first."""
    return [concern for source in (_leaks, _lost, _suspicions, _budgets, _tail) for concern in source(found)]


def _leaks(found: Findings) -> Iterator[Concern]:
    advice = "Scores on them are partly memory: put listings that belong together into one split."
    kinds = {repeats.kind: repeats for repeats in found.repeats}
    if "near picture" in kinds:
        kinds.pop("picture", None)  # of which it is a part
    for kind in (kind for kind in TWINS if kind in kinds):
        into_train = [leak for leak in kinds[kind].leaks if leak.into == "train"]
        count, asked = sum(leak.listings for leak in into_train), sum(leak.asked for leak in into_train)
        if count > LEAKED * asked:
            yield Concern(count, asked, f"held-out listings {TWINS[kind]}", advice)


def _lost(found: Findings) -> Iterator[Concern]:
    rejected = sum(count for reason, count in found.rejected.items() if reason.startswith("listing/"))
    if rejected > LOST * found.rows:
        yield Concern(rejected, found.rows, "rows were rejected", "The reasons are counted below.")
    for name, by_split in found.states.items():
        total = {state: sum(counts[state] for counts in by_split.values()) for state in ("present", "empty", "corrupt")}
        there = sum(total.values())
        for state, means in (("corrupt", "could not be decoded"), ("empty", "have nothing in them")):
            if total[state] > LOST * there:
                yield Concern(total[state], there, f"listings with {name}: theirs {means}", "They train without it.")


def _suspicions(found: Findings) -> Iterator[Concern]:
    for suspicion in found.suspicions:
        if suspicion.count > LOST * suspicion.asked:
            what = f"listings are {suspicion.rule}: {suspicion.meaning}"
            yield Concern(suspicion.count, suspicion.asked, what, "Examples are shown below.")


def _budgets(found: Findings) -> Iterator[Concern]:
    for budget in found.budgets:
        if budget.share > CUT:
            fits = ", ".join(f"{100 * share:.0f} % fit into {length}" for share, length in budget.suggested.items())
            what = f"sampled listings are cut by config.inputs.{budget.name}.length = {budget.length}"
            yield Concern(budget.cut, budget.listings, what, f"Of them {fits}.")


def _tail(found: Findings) -> Iterator[Concern]:
    for tail in found.tails:
        if tail.what == "categories" and tail.rare > FEW * tail.classes:
            what = f"categories have fewer than {RARE} listings"
            yield Concern(tail.rare, tail.classes, what, "Expect little of them; a coarser level may serve better.")
