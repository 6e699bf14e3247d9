"""A trained model and the catalogue it is asked about: all that a study sees, and all that it may say."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from m5jax.config import Config
from m5jax.data.prepared import Prepared
from m5jax.embed import Embeddings
from m5jax.evals.retrieval import Retrieval
from m5jax.evals.suite import Scores, Split
from m5jax.inputs import CLEAN, Corruption

Finding = dict[str, Any]
"""What a study found, as JSON holds it: plain names, numbers, strings, lists and null; never NaN.

"passport" is that of its numbers (`evals.protocols.Passport`). A study that has nothing to work on says so instead:
`{"skipped": reason}`.
"""

Embed = Callable[[Prepared, str, Mapping[str, tuple[str, ...]], np.ndarray | None], Embeddings]


@dataclasses.dataclass(frozen=True)
class Subject:
    """What a study sees. Every process of a run sees the same and comes to the same findings.

    Attributes:
      config: the settings.
      prepared: the records.
      embedded: per split of the catalogue, index and embeddings (`embed.subsets`).
      scores: all scores of the run, as in `scores.json`.
      results: per task and subset, what the queries found.
      again: embeds once more: (records, split, named subsets of modalities, positions or None for all) -> embeddings.
      aligned: the same with config.model.readout = "contrastive", whose modalities lie in one space; None for a model
        that was not trained to bring them there.
    """

    config: Config
    prepared: Prepared
    embedded: Mapping[str, Split]
    scores: Scores
    results: Mapping[tuple[str, str], Retrieval]
    again: Embed
    aligned: Embed | None = None

    def split(
        self,
        name: str,
        wanted: Mapping[str, tuple[str, ...]],
        *,
        corruption: Corruption = CLEAN,
        rows: np.ndarray | None = None,
        embed: Embed | None = None,
    ) -> Split:
        """Index and embeddings of a split, or of the listings at some positions, corrupted on purpose.

        Args:
          name: of a split of the catalogue.
          wanted: named subsets of modalities.
          corruption: what happens to the listings; its `splits` must name this one to have an effect.
          rows: ascending positions; None = all. What is corrupted does not depend on which are chosen.
          embed: `again`, if None, or `aligned`.
        """
        prepared = dataclasses.replace(self.prepared, corruption=corruption)
        embedded = Split(prepared.index(name), (embed or self.again)(prepared, name, wanted, rows))
        return embedded if rows is None else Split(embedded.index.rows(rows), embedded.embeddings)


def skipped(reason: str) -> Finding:
    """The finding of a study that has nothing to work on."""
    return {"skipped": reason}


def some(count: int, most: int, seed: int) -> np.ndarray:
    """Ascending positions of at most so many of `count` listings, drawn without regard to their order."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))
