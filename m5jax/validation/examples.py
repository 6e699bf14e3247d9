"""Rows as a person sees them: the listings that a finding is shown by."""

import dataclasses
from collections.abc import Iterable

from m5jax.data.prepared import Prepared
from m5jax.data.records import Record
from m5jax.validation.columns import Columns


@dataclasses.dataclass(frozen=True)
class Example:
    """A listing that a finding is shown by; `record` is all of it."""

    split: str
    record: Record

    def plain(self) -> dict[str, str]:
        """What names it, as JSON holds it."""
        record = self.record
        return {
            "split": self.split,
            "id": record.id,
            "title": record.title,
            "category": record.category_path,
            "source": record.source,
        }


def read(prepared: Prepared, columns: Columns, rows: Iterable[int]) -> dict[int, Example]:
    """The listings of some rows, by row."""
    sources = {split: prepared.records(split) for split in columns.splits}
    places = {row: columns.place(row) for row in sorted(set(rows))}
    return {row: Example(split, sources[split][position]) for row, (split, position) in places.items()}
