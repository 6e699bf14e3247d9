"""Models without a network: listings are embedded by what they show, so that what was shown can be told."""

import zlib

import numpy as np
from reports import write_prepared
from small import small_config

from m5jax.embed import FUSED, Embeddings
from m5jax.evals.suite import Split
from m5jax.modalities import NAMES, State
from m5jax.studies.subject import Subject

RATIOS = (0.0, 0.5, 1.0)
CONTENT = {"text": lambda r: r.title, "table": lambda r: repr(r.fields)}


class Contents:
    """Embeds records as the sum of a vector for every content that a model of some modalities sees, and counts them."""

    def __init__(self, seen):
        self.seen, self.listings = seen, 0

    @staticmethod
    def vector(record, names):
        parts = [
            np.random.default_rng([NAMES.index(name), zlib.crc32(content)]).normal(size=8)
            for name in names
            if record.state(name) == State.PRESENT
            for content in [CONTENT.get(name, lambda r, name=name: bytes(getattr(r, name)).hex())(record).encode()]
        ]
        return np.sum(parts, 0) if parts else np.zeros(8)

    def __call__(self, prepared, split, wanted, rows):
        self.listings += len(rows)
        records, (subset,) = prepared.records(split), wanted.values()
        names = [name for name in subset if name in self.seen]
        vectors = np.stack([self.vector(records[int(row)], names) for row in rows])
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit = (vectors / np.maximum(norms, 1e-9)).astype(np.float32)
        return Embeddings({FUSED: unit}, {FUSED: norms[:, 0] > 0}, None)


def subject_of(folder, splits, seen=("image", "text", "table"), **changes):
    config = small_config(
        **{"inputs__modalities": seen, "evaluate__sweep_ratios": RATIOS, "evaluate__study_listings": 30} | changes
    )
    prepared = write_prepared(folder, splits, config)
    embedded = {split: Split(prepared.index(split), Embeddings({}, {}, None)) for split in splits}
    return Subject(config, prepared, embedded, {}, {}, Contents(seen))
