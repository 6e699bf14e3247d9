"""How a table's numbers are set, and what differences between rows say."""

import numpy as np
import pytest
from scipy import stats

from m5jax.series.cells import as_markdown, as_text
from m5jax.tables import layout
from m5jax.tables.layout import FINETUNE, PRETRAIN, Column, Measure, Outcome, Row, Table


@pytest.mark.parametrize(
    ("differences", "says"),
    [
        ([], "not known"),
        ([2.0], "+2.00 of one seed: not told from chance"),
        ([2.0, 3.0, 4.0], "+3.00 ± 1.00 better"),
        ([-2.0, -3.0, -4.0], "-3.00 ± 1.00 worse"),
        ([1.0, 2.0, 3.0], "+2.00 ± 1.00 not told from chance"),  # beyond the spread, but within 2.48 of it
        ([0.0, 0.0], "+0.00 ± 0.00 not told from chance"),
    ],
)
def test_a_difference_counts_only_beyond_chance(differences, says):
    assert layout.verdict(differences) == says


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_verdicts_are_those_of_the_paired_t_test(seeds):
    """Of noise alone one in twenty is called better or worse."""
    noise = np.random.default_rng(seeds).normal(size=(2000, seeds))
    told = np.array([not layout.verdict(row.tolist()).endswith("chance") for row in noise])
    (_, chance) = stats.ttest_1samp(noise, 0.0, axis=1)
    np.testing.assert_array_equal(told, np.asarray(chance) < 0.05)
    assert abs(told.mean() - 0.05) < 0.015


def test_differences_are_taken_seed_by_seed():
    measure = Measure(FINETUNE, "accuracy")
    rows = tuple(Row(name, None, {"Acc": (1.0,)}) for name in ("a", "b"))
    table = Table(0, "", (Column("Acc", (measure,)),), rows, claims=(("b", ("a",)),))
    outcomes = {
        "a": Outcome({0: {measure: 0.1}, 1: {measure: 0.9}, 2: {measure: 0.5}}),
        "b": Outcome({0: {measure: 0.2}, 1: {measure: 1.0}}),
    }
    assert layout.claims(table, outcomes) == ["b over a: Acc +10.00 ± 0.00 better"]
    assert layout.claims(table, {"a": outcomes["a"], "b": Outcome()}) == ["b over a: not known, for want of runs"]
    assert layout.told_by(table, outcomes) == "better and worse: paired t test over the seeds, 95%"
    assert layout.told_by(table, {"a": outcomes["a"], "b": Outcome()}) == ""


def test_all_modalities_of_a_model_are_compared_with_each_alone():
    fused, text = (Measure(PRETRAIN, f"retrieval/category/{name}/map@10") for name in ("fused", "text"))
    table = Table(
        0, "", (Column("mAP@1", (Measure(PRETRAIN, "x"),)),), (Row("all", None, {}), Row("less", None, {})), claims=(),
        fused="all", fused_judged=(Column("coarse mAP@10", (fused,)),),
    )  # fmt: skip
    assert {fused, text} <= set(layout.measures(table))
    values = {seed: {fused: 0.5 + seed / 100, text: 0.25} for seed in range(2)}
    said = layout.claims(table, {"all": Outcome(values), "less": Outcome()})
    assert len(said) == 5
    assert said[1] == "all, fused over text: coarse mAP@10 +25.50 ± 0.71 better"
    assert said[4] == "all, fused over audio: coarse mAP@10 not known"
    none = layout.claims(table, {"all": Outcome(), "less": Outcome()})
    assert none[1] == "all, fused over text: not known, for want of runs"


def test_cells_are_aligned_and_escaped():
    cells = [["", "", "Acc"], ["a|b", "paper", "1.00"], ["", "here", "10.00±1.00"]]
    assert as_text(cells).splitlines() == [
        "                   Acc",
        "a|b  paper        1.00",
        "     here   10.00±1.00",
    ]
    assert as_markdown(cells).splitlines()[2] == "| a\\|b | paper | 1.00 |"
