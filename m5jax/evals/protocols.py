"""What a score means: named, exact definitions of the retrieval metrics, and the passport that every number carries."""

import dataclasses
import hashlib
from collections.abc import Iterable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Protocol:
    """A named, exact definition of the retrieval scores, in the words a report prints; `ranking` computes them.

    Scores compare only under one protocol; a definition that changes gets a new name.
    """

    name: str
    score: str
    relevant: str
    self_match: str
    ties: str
    at_k: str
    average_precision: str
    ndcg: str
    missing: str

    @property
    def rules(self) -> dict[str, str]:
        """What is defined -> how, in order."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "name"}

    def describe(self) -> str:
        """The name and the rules, one a line."""
        return "\n".join(f"{rule.replace('_', ' ')}: {text}" for rule, text in dataclasses.asdict(self).items())


_TIES = "of equal scores the lower gallery row comes first"
_MISSING = "without an embedding a query scores 0, and a gallery row is never found but stays a positive"
_OWN_LEFT_OUT = "the query's own gallery row is removed before the top k are taken"
_AT_K = "p@k = hits / k; recall@k = hits / positives; hit@k = any hit; mrr within the largest k"

STANDARD = Protocol(
    name="standard",
    score="cosine",
    relevant="gallery rows with a label of the query; a query without label or without any such row is left out",
    self_match=_OWN_LEFT_OUT,
    ties=_TIES,
    at_k=_AT_K,
    average_precision="precision at each hit, summed, / min(k, positives); map ranks the whole gallery",
    ndcg="gain 1 a hit, / log2(rank + 1); / that of min(k, positives) hits in front",
    missing=_MISSING,
)
RELEASED = Protocol(
    name="released",
    score="dot product",
    relevant="every labelled id with a label of the query, itself and ids outside the gallery among them",
    self_match="the top (largest k) are taken with the query's own row, which is then removed: the last may lack one",
    ties=_TIES,
    at_k="k' = min(k, positives, length of the list); p@k = hits / k'. Not the release's, on the same list of k':"
    " recall@k = hits / positives; hit@k; mrr",
    average_precision="precision at each hit within k', summed, / hits; 0 without any",
    ndcg="not the release's: gain 1 a hit within k', / log2(rank + 1); / that of min(k, positives) hits in front",
    missing=_MISSING,
)
TREC = Protocol(
    name="trec",
    score="cosine",
    relevant="gallery rows with a label of the query, the grade being how many they share;"
    " a query without label or without any such row is left out",
    self_match=_OWN_LEFT_OUT,
    ties=_TIES,
    at_k=_AT_K,
    average_precision="precision at each hit, summed, / positives; map ranks the whole gallery",
    ndcg="gain = grade, / log2(rank + 1); / that of all positives in the best order, cut at k",
    missing=_MISSING,
)
PROTOCOLS = {protocol.name: protocol for protocol in (STANDARD, RELEASED, TREC)}


@dataclasses.dataclass(frozen=True)
class Passport:
    """What a score was measured on and by which rules: two numbers compare only where these are equal.

    Attributes:
      protocol: name of the definition.
      rules: what it says, rule by rule, in the words a report prints.
      queries, gallery: how many were asked, and how many were searched.
      digest: of the gallery, see `digest`; of its labels alone where whoever scored knew no ids.
      label: what is shared by what is relevant to each other ("category"); empty where nobody said.
      sets: the names of the two sides, "QUERIES:GALLERY"; empty where nobody said.
      answerable: queries scored; None where it differs from number to number.
      distractors: gallery rows that are relevant to no query; None where nobody counted.
      lost: ids of the two sets that became no record, so that they are in none of the counts.
    """

    protocol: str
    rules: dict[str, str]
    queries: int
    gallery: int
    digest: str
    label: str = ""
    sets: str = ""
    answerable: int | None = None
    distractors: int | None = None
    lost: int = 0

    @property
    def counts(self) -> dict[str, float]:
        """How many of what, as far as it is known."""
        names = ("queries", "answerable", "gallery", "distractors")
        return {name: float(count) for name in names if (count := getattr(self, name)) is not None}

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return dataclasses.asdict(self)


def digest(ids: Iterable[str], labels: Iterable[str]) -> str:
    """The first 16 hexadecimal digits of SHA-256 over the ids and labels of a gallery, in its order."""
    total = hashlib.sha256()
    for identity, label in zip(ids, labels, strict=True):
        total.update(f"{identity}\x00{label}\n".encode(errors="surrogatepass"))
    return total.hexdigest()[:16]
