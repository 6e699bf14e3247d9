"""What a score means: named, exact definitions of the retrieval metrics, and the passport that every number carries."""

import dataclasses
import hashlib
from collections.abc import Iterable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Protocol:
    """A named, exact definition of the retrieval scores, in the words a report prints.

    Scores compare only under one protocol; a definition that changes gets a new name.
    """

    name: str
    score: str
    relevant: str
    self_match: str
    ties: str
    at_k: str
    average_precision: str
    missing: str

    def describe(self) -> str:
        """The rules, one a line."""
        return "\n".join(f"{rule.replace('_', ' ')}: {text}" for rule, text in dataclasses.asdict(self).items())


PROTOCOLS = {
    "standard": Protocol(
        name="standard",
        score="cosine",
        relevant="gallery rows with the query's label; a query without label or without any such row is left out",
        self_match="the query's own gallery row is removed before the top k are taken",
        ties="of equal scores the lower gallery row comes first",
        at_k="p@k = hits / k; recall@k = hits / positives; hit@k = any hit; mrr within the largest k",
        average_precision="precision at each hit, summed, / min(k, positives); map ranks the whole gallery",
        missing="without an embedding a query scores 0, and a gallery row is never found but stays a positive",
    )
}


@dataclasses.dataclass(frozen=True)
class Passport:
    """What a score was measured on and by which rules: two numbers compare only where these are equal.

    Attributes:
      protocol: name of the definition.
      rules: what it says, rule by rule, in the words a report prints.
      queries, gallery: how many were asked, and how many were searched.
      digest: of the gallery, see `digest`.
    """

    protocol: str
    rules: dict[str, str]
    queries: int
    gallery: int
    digest: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return dataclasses.asdict(self)


def digest(ids: Iterable[str], labels: Iterable[str]) -> str:
    """The first 16 hexadecimal digits of SHA-256 over the ids and labels of a gallery, in its order."""
    total = hashlib.sha256()
    for identity, label in zip(ids, labels, strict=True):
        total.update(f"{identity}\x00{label}\n".encode(errors="surrogatepass"))
    return total.hexdigest()[:16]
