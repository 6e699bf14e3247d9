"""What a run's embeddings are asked, as its settings say it: which sets of listings, and what is to be found in them.

A set is a split of the catalogue, one of its named sets, or several of them: ``gallery+query+val``.
"""

import dataclasses

from m5jax.errors import ConfigError
from m5jax.settings import suggest

RELEVANCES = ("category", "path", "instance")
"""What two listings share that are relevant to each other: the whole category, any part of its path from the top down
(under protocol "trec" the grade is how many), or the product."""
SIDES = "query:gallery"
HELD_OUT = "gallery+query+val"
RETRIEVAL = (f"category:{SIDES}", f"instance:{SIDES}")
CLASSIFICATION = f"train:{HELD_OUT}"
"""Asked of every catalogue as far as it has these splits; whatever else is asked for must be there."""


@dataclasses.dataclass(frozen=True)
class Question:
    """One retrieval task.

    Attributes:
      relevance: of `RELEVANCES`.
      queries, gallery: sets.
    """

    relevance: str
    queries: str
    gallery: str

    @property
    def sets(self) -> str:
        """The two sides in one word."""
        return f"{self.queries}:{self.gallery}"

    @property
    def task(self) -> str:
        """What its scores are called: the relevance, and the sets where they are not query and gallery."""
        return self.relevance if self.sets == SIDES else f"{self.relevance}/{self.sets}"


def question(text: str) -> Question:
    """Reads "RELEVANCE:QUERIES:GALLERY".

    Raises:
      ConfigError: it is not of this form.
    """
    parts = text.split(":")
    if len(parts) != 3 or not all(parts):
        raise ConfigError(f"config.evaluate.retrieval has {text!r}: write RELEVANCE:QUERIES:GALLERY, category:{SIDES}")
    if parts[0] not in RELEVANCES:
        raise ConfigError(
            f"config.evaluate.retrieval has {text!r}: {parts[0]!r} must be one of"
            f" {', '.join(RELEVANCES)}{suggest(parts[0], RELEVANCES)}"
        )
    return Question(*parts)


def classification(text: str) -> tuple[str, str]:
    """Reads "TRAIN:TEST".

    Raises:
      ConfigError: it is not of this form.
    """
    train, _, test = text.partition(":")
    if not train or not test or ":" in test:
        raise ConfigError(f"config.evaluate.classification = {text!r}: write TRAIN:TEST, train:{HELD_OUT}")
    return train, test
