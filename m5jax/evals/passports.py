"""Passports of the scores that are no retrieval: how, and on what, classifiers and clusters were measured."""

from collections.abc import Collection

from m5jax.config import Config
from m5jax.evals import classification, clustering, protocols
from m5jax.evals.protocols import Passport
from m5jax.evals.suite import Split

RIGHT = "the category named is the listing's own, by its whole path and source; unknown ones are left out"
MISSING = "a test listing without an embedding counts as wrong"


def of_classification(train: Split | None, test: Split, config: Config, sets: str) -> dict[str, Passport]:
    """Of every classifier by what its scores' names begin with; `train` None = there is the model's own at most."""
    rules = {
        "classification/head": {"answer": "the class of the model's own classifier that scores highest"},
        "classification/knn": {
            "score": "cosine",
            "answer": f"vote of the {config.evaluate.neighbours} nearest training listings, each of weight"
            f" exp(cosine / {classification.TEMPERATURE}); of equal votes the one seen nearest",
        },
        "classification/probe": {
            "answer": f"multinomial logistic regression on standardised embeddings, C = {classification.PROBE_C}, at"
            f" most {classification.PROBE_ROWS:,} training listings and {classification.PROBE_ITERATIONS} iterations",
        },
    }
    return {
        name: _passport(name, told | {"right": RIGHT, "missing": MISSING}, test, train or test, sets)
        for name, told in rules.items()
    }


def of_clustering(split: Split, config: Config, sets: str) -> dict[str, Passport]:
    """Of the clusters of a split, by what their scores' names begin with."""
    rules = {
        "answer": f"k-means on unit vectors, k = the number of categories; by mini-batches above"
        f" {clustering.MINI_BATCH_ROWS:,} listings",
        "seeds": f"mean over {config.evaluate.cluster_seeds}; _std is the standard deviation over them",
        "nmi": "mutual information / the arithmetic mean of the two entropies",
        "ari": "Rand index, adjusted for chance",
        "purity": "share of listings whose category is the commonest of their cluster",
        "missing": "listings without a category or an embedding are in no cluster",
    }
    return {"clustering": _passport("clustering", rules, split, split, sets)}


def chosen(passports: dict[str, Passport], scores: Collection[str]) -> dict[str, Passport]:
    """Those whose scores there are."""
    return {prefix: held for prefix, held in passports.items() if any(name.startswith(f"{prefix}/") for name in scores)}


def _passport(name: str, rules: dict[str, str], asked: Split, learned: Split, sets: str) -> Passport:
    digest = protocols.digest(learned.index.ids, learned.index.categories)
    return Passport(name, rules, len(asked.index), len(learned.index), digest, label="category", sets=sets)
