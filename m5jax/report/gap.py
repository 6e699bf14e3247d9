"""How the modality gap is shown: sentences, a heat map per readout and correction, and the numbers of every pair."""

from typing import Any

from m5jax.report.agreement import Agreement
from m5jax.report.html import percent
from m5jax.report.scored import Scored
from m5jax.studies.gap import ALIGNED
from m5jax.studies.subject import Finding

SCORE, FIRST = "recall@10", "recall@1"
WORTH = 0.01  # gain of the score from which on a correction is recommended
TITLES = {"none": "As they are", "mean_shift": "After a mean shift", "whitening": "After whitening"}
SHOWN_AS = {"image": "photo", "text": "title", "table": "table", "video": "clip", "audio": "sound"}


def view(finding: Finding, scored: Scored) -> dict[str, Any]:
    """What the template shows, and the headline of the summary."""
    names, sentences = finding["modalities"], [_headline(finding)]
    best = {readout: max(kinds, key=lambda kind: kinds[kind]["mean"][SCORE]) for readout, kinds in _all(finding)}
    sentences += [_correction(readout, kinds, best[readout]) for readout, kinds in _all(finding)]
    configured = next(iter(finding["readouts"]))
    if ALIGNED in finding["readouts"] and configured != ALIGNED:
        here, there = (finding["readouts"][name][best[name]]["mean"][SCORE] for name in (configured, ALIGNED))
        if there > here:
            sentences.append(
                f"To search one modality by another, read the vectors with config.model.readout={ALIGNED}: there"
                f" {percent(there)} of all pairs are found among the ten nearest, with {configured} {percent(here)}."
            )
    return {
        "headline": sentences[0],
        "sentences": sentences,
        "score": SCORE,
        "readouts": [
            {
                "name": readout,
                "heats": [
                    Agreement(f"{TITLES[kind]}: {SCORE}", finding["passport"]["gallery"], made[SCORE])
                    for kind, made in kinds.items()
                ],
                "pairs": _pairs(names, kinds),
                "kinds": {kind: TITLES[kind] for kind in kinds},
                "fitted": [
                    {"kind": kind, "name": name, "listings": count, "shrinkage": made["shrinkage"][name]}
                    for kind, made in kinds.items()
                    for name, count in made["fitted_on"].items()
                ],
            }
            for readout, kinds in _all(finding)
        ],
        "chance": [row[:] for row in finding["chance"][SCORE]],
    }


def _all(finding: Finding) -> list[tuple[str, dict[str, Any]]]:
    return list(finding["readouts"].items())


def _headline(finding: Finding) -> str:
    """The pair a reader knows best, in the space and after the correction that finds most."""
    names = finding["modalities"]
    pairs = [(r, c) for r in range(len(names)) for c in range(len(names)) if finding["both"][r][c]]
    row, column = next((p for p in pairs if (names[p[0]], names[p[1]]) == ("image", "text")), pairs[0])
    spaces = [(readout, kind, made) for readout, kinds in _all(finding) for kind, made in kinds.items()]
    readout, kind, made = max(spaces, key=lambda space: space[2][SCORE][row][column])
    asked, searched = SHOWN_AS[names[row]], SHOWN_AS[names[column]]
    after = "" if kind == "none" else f", {TITLES[kind].lower()}"
    return (
        f"Asked with a {asked}, its own {searched} comes first in {percent(made[FIRST][row][column])} and is among the"
        f" ten nearest of {finding['both'][row][column]:,} in {percent(made[SCORE][row][column])} of the cases (readout"
        f" {readout}{after}); by chance it would be {percent(finding['chance'][SCORE][row][column])}."
    )


def _correction(readout: str, kinds: dict[str, Any], best: str) -> str:
    """Whether a correction is worth storing."""
    means = {kind: made["mean"][SCORE] for kind, made in kinds.items()}
    plain = f"With readout {readout} {percent(means['none'])} of all pairs find each other among the ten nearest"
    if len(means) == 1:
        return f"{plain}; without a training split there is nothing that a correction could be fitted on."
    told = ", ".join(f"{percent(mean)} {TITLES[kind].lower()}" for kind, mean in means.items() if kind != "none")
    if means[best] - means["none"] < WORTH:
        return f"{plain}, {told}: no correction is worth it, leave the vectors as they are."
    return f"{plain}, {told}: config.export.correction={best} stores what helps most with the vectors."


def _pairs(names: list[str], kinds: dict[str, Any]) -> list[dict[str, Any]]:
    """Per unordered pair of modalities, what lies between them under each correction."""
    rows = []
    for r, first in enumerate(names):
        for c, second in enumerate(names[:r]):
            if kinds["none"]["gap"][r][c] is not None:
                made = {kind: {of: made[of][r][c] for of in ("gap", "own", "others")} for kind, made in kinds.items()}
                rows.append({"name": f"{second} – {first}", "kinds": made})
    return rows
