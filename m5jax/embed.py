"""Listings to embeddings: a split in record order, every listing exactly once, on any number of processes."""

import dataclasses
from collections.abc import Iterator, Mapping

import jax
import numpy as np

from m5jax import distributed, sharding
from m5jax.config import Config
from m5jax.data import pipeline
from m5jax.data.prepared import Prepared
from m5jax.errors import DataError
from m5jax.models.interface import Batch, Model, Params
from m5jax.progress import progress

HARMONY = "harmony"


@dataclasses.dataclass(frozen=True)
class Embeddings:
    """Embeddings of some listings.

    Attributes:
      vectors: per named subset of modalities, float32 [N, D], unit length; zero where a listing has none of them.
      valid: per named subset, bool [N].
      harmony: float32 [N, M, M], or None for a model without harmony.
    """

    vectors: dict[str, np.ndarray]
    valid: dict[str, np.ndarray]
    harmony: np.ndarray | None

    def __len__(self) -> int:
        return len(next(iter(self.valid.values())))


def subsets(config: Config) -> dict[str, tuple[str, ...]]:
    """The subsets that are scored: every modality together ("fused"), and each alone."""
    names = config.inputs.modalities
    return {"fused": names} | {name: (name,) for name in names}


class Embedder:
    """Embeds splits of one prepared catalogue with one model."""

    def __init__(
        self,
        model: Model,
        config: Config,
        prepared: Prepared,
        mesh: jax.sharding.Mesh,
        wanted: Mapping[str, tuple[str, ...]],
    ):
        self._config, self._prepared, self._mesh = config, prepared, mesh

        def embed(params: Params, batch: Batch) -> dict:
            pairs = model.embed(params, batch, wanted)
            harmony = model.agreement(params, batch) if model.agreement else None
            return {
                "vectors": {n: v for n, (v, _) in pairs.items()},
                "valid": {n: v for n, (_, v) in pairs.items()},
            } | {HARMONY: harmony}

        # Every process needs every row: gathered here, once, by the compiler.
        self._embed = jax.jit(embed, out_shardings=sharding.replicated(mesh))

    def batches(self, params: Params, split: str, start: int = 0) -> Iterator[Embeddings]:
        """Embeddings batch by batch from batch `start` on, padding taken off; the same on every process."""
        share = pipeline.Share(*distributed.share())
        total, size = self._prepared.splits[split], self._config.evaluate.batch_size
        batches = pipeline.evaluation_batches(self._prepared, self._config, split, start=start, share=share)
        for number, batch in enumerate(batches, start):
            rows = min(size, total - number * size)
            made = jax.device_get(self._embed(params, distributed.to_devices(batch, self._mesh)))
            yield Embeddings(
                {name: vectors[:rows] for name, vectors in made["vectors"].items()},
                {name: valid[:rows] for name, valid in made["valid"].items()},
                None if made[HARMONY] is None else made[HARMONY][:rows],
            )

    def split(self, params: Params, split: str) -> Embeddings:
        """The embeddings of a whole split, row i for record i.

        Raises:
          DataError: the rows do not add up to the listings of the split.
        """
        parts, total = [], self._prepared.splits[split]
        with progress(f"embedding {split}", total, quiet=not distributed.is_lead()) as advance:
            for part in self.batches(params, split):
                parts.append(part)
                advance(len(part))
        whole = concatenate(parts)
        if len(whole) != total:
            raise DataError(f"split {split} gave {len(whole)} embeddings for {total} listings")
        return whole


def concatenate(parts: list[Embeddings]) -> Embeddings:
    """Rows of all parts, in order."""
    return Embeddings(
        {name: np.concatenate([part.vectors[name] for part in parts]) for name in parts[0].vectors},
        {name: np.concatenate([part.valid[name] for part in parts]) for name in parts[0].valid},
        None if parts[0].harmony is None else np.concatenate([p.harmony for p in parts if p.harmony is not None]),
    )
