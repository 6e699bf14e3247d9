"""The studies by name, in the order of the report."""

from collections.abc import Callable

from m5jax.studies import answers, contradictions, gap, grid, losers, matching, robustness, space, sweeps
from m5jax.studies.subject import Finding, Subject

Study = Callable[[Subject], Finding]

STUDIES: dict[str, Study] = {
    "grid": grid.study,
    "sweeps": sweeps.study,
    "robustness": robustness.study,
    "losers": losers.study,
    "gap": gap.study,
    "contradictions": contradictions.study,
    "space": space.study,
    "matching": matching.study,
    "answers": answers.study,
}


def chosen(subject: Subject) -> dict[str, Finding]:
    """What the studies of `config.evaluate.studies` found, by name."""
    return {name: study(subject) for name, study in STUDIES.items() if name in subject.config.evaluate.studies}
