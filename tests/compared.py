"""Folders of scored runs made up for comparisons: what `m5jax.compare` reads, and nothing else."""

import json

import numpy as np

from m5jax import settings
from m5jax.config import Config
from m5jax.evals.protocols import STANDARD, Passport

QUERIES = 60
PREFIXES = ("retrieval/category", "classification/probe")


def passport(**changes):
    """Of scores that all runs share, but for some parts."""
    parts = {"protocol": "standard", "rules": STANDARD.rules, "queries": QUERIES, "gallery": 200, "digest": "a" * 16}
    return Passport(**parts | changes).to_dict()


def queries(right, ids=None, names=("head", "tail"), seed=0):
    """Queries one by one: whether the first rank is right; two queries a product, half of them of each group."""
    right = np.asarray(right)
    precision = np.where(right, 0.9, np.random.default_rng(seed).uniform(0, 0.5, len(right)))
    return {
        "of_all": len(right),
        "id": [f"q{n}" for n in range(len(right))] if ids is None else list(ids),
        "product": [n // 2 for n in range(len(right))],
        "average_precision": precision.round(6).tolist(),
        "first_hit": [1 if hit else 3 for hit in right],
        "groups": {"frequency": {"names": list(names), "of": [n % 2 for n in range(len(right))]}},
    }


def losers(kept, **changes):
    """What study "losers" found, as far as a comparison reads it."""
    task = {"passport": passport(**changes), "queries": kept}
    return {"passport": passport(**changes), "metric": "map@10", "tasks": {"category": task}}


def sweeps(values, name="missing_image", **changes):
    """What study "sweeps" found of one sweep."""
    scores = {"retrieval/category/p@1": {"values": values, "area": float(np.mean(values))}}
    return {"passport": passport(**changes), "ratios": [0.0, 0.5, 1.0], "sweeps": {name: {"scores": scores}}}


def scores_of(kept, **more):
    """The scores that those queries have, and some that no query has."""
    return {
        "retrieval/category/fused/queries": float(len(kept["id"])),
        "retrieval/category/fused/p@1": float(np.mean(np.asarray(kept["first_hit"]) == 1)),
        "retrieval/category/fused/map@10": float(np.mean(kept["average_precision"])),
        "classification/probe/fused/accuracy": 0.8,
        "classification/probe/fused/train": 100.0,
    } | more


def write_run(folder, scores, *, studies=None, passports=None, config=None):
    """A scored run's folder; `passports` of its retrieval and its classifier unless others are given."""
    folder.mkdir(parents=True)
    values = settings.to_dict(Config())
    for path, value in (config or {}).items():
        *sections, name = path.split(".")
        target = values
        for section in sections:
            target = target[section]
        target[name] = value
    passports = dict.fromkeys(PREFIXES, passport()) if passports is None else passports
    files = {"scores": scores, "studies": studies or {}, "passports": passports, "config": values}
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return str(folder)


def two_runs(folder, better=10, **changes):
    """A run, and one that is right on so many more queries, which it lists in another order."""
    right = np.arange(QUERIES) % 3 == 0
    more = right.copy()
    more[np.flatnonzero(~right)[:better]] = True
    first, second = queries(right), queries(more, seed=1)
    second = {**second, **{key: second[key][::-1] for key in ("id", "product", "average_precision", "first_hit")}}
    second["groups"] = {"frequency": {"names": ["tail", "head"], "of": first["groups"]["frequency"]["of"]}}
    return [
        write_run(folder / name, scores_of(kept), studies={"losers": losers(kept), "sweeps": sweeps(line)}, **changes)
        for name, kept, line in (("a", first, [0.9, 0.6, 0.2]), ("b", second, [0.95, 0.8, 0.5]))
    ]
