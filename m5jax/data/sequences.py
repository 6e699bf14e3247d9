"""Title, description and table to sequences of ids, with what their masked objectives select.

The one order and the one set of separators for training, evaluation and export: CLS, then title SEP description SEP, or
NAME name VALUE value ... SEP; what is not there leaves nothing, not even its separator.
"""

import dataclasses
from typing import Any

import numpy as np

from m5jax.data import masking, pieces, triples
from m5jax.data.batching import Arrays
from m5jax.data.records import Record
from m5jax.data.tokenizer import Tokenizer
from m5jax.inputs import Inputs
from m5jax.token_spec import TokenSpec

Parts = list[list[int]]


@dataclasses.dataclass(frozen=True)
class Sequences:
    """Writes records down as ids; `inputs` and `tokenizer` as `transforms.Transform` has them."""

    inputs: Inputs
    tokenizer: Tokenizer

    def of(self, name: str) -> tuple[str, ...]:
        """The modalities of the record that a sequence shows: with `text.with_table` the title's shows two."""
        return ("text", "table") if name == "text" and self.inputs.text.with_table else (name,)

    def arrays(
        self,
        spec: TokenSpec,
        record: Record,
        rng: np.random.Generator | None,
        *,
        rate: float,
        alone: bool,
        filled: bool,
    ) -> Arrays:
        """The arrays of title and description, or of the table.

        Args:
          spec: of the modality.
          record: with what is shown of it.
          rng: in training, what draws.
          rate: share that the masked objective selects; of pieces, or of whole names and values.
          alone: the listing has nothing but its table.
          filled: where there is nothing, CLS and SEP instead of nothing.
        """
        arrays: Arrays = {}
        if spec.triples:
            shown, questions = self._graph(spec, record, rng, alone)
            parts = [[self.tokenizer.special.cls], *self._fields(shown)]
            if rng is not None and spec.asked:
                pad = self.tokenizer.special.pad
                arrays["asked"] = triples.arrays(questions, spec.asked, spec.asked_length, pad)
        else:
            parts = self.parts(spec.name, record, rng)
        parts += [[self.tokenizer.special.sep]] if filled and len(parts) == 1 else []
        ids, arrays["mask"] = self._padded(parts, spec.length)
        entities = self._entities(parts, spec.length) if spec.name == "table" else []
        if spec.triples:
            arrays["spans"] = _spans(entities, spec.length)
        if rng is not None:
            if spec.name == "text" or self.inputs.table.masking == "token":
                ids, masked = masking.mask_language(rng, ids, rate, spec.masked, self.tokenizer)
            else:
                rate = 0.0 if self.inputs.table.masking == "none" else rate
                ids, masked = masking.mask_entities(rng, ids, entities, rate, spec.masked, self.tokenizer)
            arrays["masked"] = masked
        return arrays | {"ids": ids}

    def parts(self, name: str, record: Record, rng: np.random.Generator | None) -> Parts:
        """What the record says as ids, each name and value a part of its own, the table in random order by `rng`."""
        special = self.tokenizer.special
        parts = [[special.cls]]
        if name == "text":
            texts = zip((record.title, record.description), pieces.of_text(record, self.tokenizer), strict=True)
            parts += [[*ids, special.sep] for text, ids in texts if text]
        if "table" in self.of(name):
            parts += self._fields(self._shuffled(pieces.of_table(record, self.tokenizer), rng))
        return parts

    def _shuffled(self, rows: list[Any], rng: np.random.Generator | None) -> list[Any]:
        if rng is None or not self.inputs.table.shuffle:
            return rows
        return [rows[i] for i in rng.permutation(len(rows))]

    def _graph(
        self, spec: TokenSpec, record: Record, rng: np.random.Generator | None, alone: bool
    ) -> tuple[pieces.Table, list[triples.Question]]:
        """Name and value of the triples that are shown, whole; and those that are asked for."""
        rows, questions = triples.rows(record, self.tokenizer), []
        if rng is not None and spec.asked:
            questions, rows = triples.ask(rows, spec.asked, alone, rng)
        room = spec.length - 2  # besides CLS and SEP
        shown = triples.fitting(self._shuffled(rows, rng), spec.triples, room, int(self.inputs.table.markers))
        return [(row.name_ids, row.value_ids) for row in shown], questions

    def _fields(self, fields: pieces.Table) -> Parts:
        """Every name and value of the table as ids behind its marker, and what closes the table; nothing of none."""
        special = self.tokenizer.special
        before = ([special.name], [special.value]) if self.inputs.table.markers else ([], [])
        parts = []
        for name, value in fields:
            parts += [[*before[0], *name], [*before[1], *value]]
        return [*parts, [special.sep]] if fields else []

    def _padded(self, parts: Parts, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Parts in a row; too long, they are cut behind a piece and closed by a SEP. A lone CLS is nothing: absent."""
        special = self.tokenizer.special
        flat = [token for part in parts for token in part]
        if len(flat) > length:
            flat = flat[: length - 1]
            while flat[-1] in (special.name, special.value, special.sep):  # they announce or close what is cut off
                flat.pop()
            flat.append(special.sep)
        count = len(flat) if len(flat) > 1 else 0
        ids = np.empty(length, np.int32)
        ids.fill(special.pad)
        ids[:count] = flat[:count]
        return ids, masking.leading(count, length)

    def _entities(self, parts: Parts, length: int) -> list[range]:
        """Positions of every name and value, without the markers before them, as far as they were not cut."""
        end, spans, marked = len(parts[0]), [], int(self.inputs.table.markers)
        for part in parts[1:-1]:
            spans.append(range(end + marked, end + len(part)))
            end += len(part)
        pairs = zip(spans[::2], spans[1::2], strict=True)
        return [span for name, value in pairs if name and value and value.stop < length for span in (name, value)]


def _spans(entities: list[range], length: int) -> np.ndarray:
    """Whose a piece is: int32 [length], 2k + 1 of the k-th triple's property, 2k + 2 of its value, 0 of none."""
    spans = np.zeros(length, np.int32)
    for number, entity in enumerate(entities, 1):
        spans[entity.start : entity.stop] = number
    return spans
