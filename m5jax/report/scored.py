"""A model that was scored: all that a report tells of."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from m5jax.config import Config
from m5jax.data.prepared import Prepared
from m5jax.evals.retrieval import Retrieval
from m5jax.evals.suite import Scores, Split
from m5jax.run_folder import RunFolder
from m5jax.studies.subject import Finding


@dataclasses.dataclass(frozen=True)
class Scored:
    """A model that was scored: all that a report tells of.

    Attributes:
      folder: the run folder; its logs are read and the report is written there.
      prepared: the catalogue's records.
      config: the settings.
      step: updates the model has seen.
      parameters: numbers it consists of.
      command: the command line that scored it.
      scores: all scores, as in `scores.json`.
      results: per task and subset, what the queries found; empty without queries that have an answer.
      embedded: per split, index and embeddings.
      findings: what the studies found, by name.
      passports: what names in `scores` begin with -> the passport of those scores (`Passport.to_dict`).
    """

    folder: RunFolder
    prepared: Prepared
    config: Config
    step: int
    parameters: int
    command: str
    scores: Scores
    results: Mapping[tuple[str, str], Retrieval]
    embedded: Mapping[str, Split]
    findings: Mapping[str, Finding] = dataclasses.field(default_factory=dict)
    passports: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
