"""A prepared catalogue, looked through from its index, its manifest and a sample of its records."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from m5jax.data.prepared import Prepared
from m5jax.validation import budgets, columns, concerns, duplicates, examples, findings, states, suspicious, tail


def survey(prepared: Prepared) -> findings.Findings:
    """What the index, the manifest, and a sample of the records say. Costs nothing that grows faster than n log n."""
    table, manifest = columns.read(prepared), prepared.manifest
    tails = [
        tail.tail("categories", table.categories),
        tail.tail("sources", table.sources),
        tail.tail("products", table.products),
    ]
    _, characters = titles = suspicious.titles(prepared)
    sampled = budgets.sample(table)
    found = findings.Findings(
        catalogue=manifest["catalogue"],
        digest=manifest["digest"],
        rows=manifest["rows"],
        splits=prepared.splits,
        concerns=[],
        states=states.count(table, prepared.inputs.kept),
        combinations=states.combinations(table.states),
        rejected=manifest["rejected"],
        noted=manifest["noted"],
        tails=[found for found in tails if found],
        repeats=duplicates.find(table),
        title_characters=_lengths(characters),
        table_rows=_lengths(table.fields),
        sampled=len(sampled),
        budgets=budgets.find(prepared, table, sampled),
        suspicions=suspicious.find(table, *titles),
        shown={},
    )
    shown = examples.read(prepared, table, _rows(findings.plain(found)))
    return dataclasses.replace(found, shown=shown, concerns=concerns.concerns(found))


def _lengths(counts: np.ndarray) -> budgets.Lengths | None:
    return budgets.lengths(counts[counts > 0]) if counts.any() else None


def _rows(value: Any, within: str = "") -> Iterator[int]:
    """Every row in a field called examples."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _rows(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _rows(item, within)
    elif within == "examples":
        yield value
