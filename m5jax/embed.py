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

FUSED = "fused"  # the subset of every modality in use


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Embeddings:
    """Embeddings of some listings.

    Attributes:
      vectors: per named subset of modalities, float32 [N, D], unit length; zero where a listing has none of them.
      valid: per named subset, bool [N].
      harmony: float32 [N, M, M], or None for a model without harmony.
      predicted: int32 [N], the class that the classifier names, of `Prepared.classes`; None without a classifier.
    """

    vectors: dict[str, np.ndarray]
    valid: dict[str, np.ndarray]
    harmony: np.ndarray | None
    predicted: np.ndarray | None = None

    def __len__(self) -> int:
        return len(next(iter(self.valid.values())))

    def rows(self, keep: np.ndarray | slice) -> "Embeddings":
        """The rows that `keep` selects."""
        return Embeddings(
            {name: vectors[keep] for name, vectors in self.vectors.items()},
            {name: valid[keep] for name, valid in self.valid.items()},
            None if self.harmony is None else self.harmony[keep],
            None if self.predicted is None else self.predicted[keep],
        )


def subsets(config: Config) -> dict[str, tuple[str, ...]]:
    """The subsets that are scored: every modality together ("fused"), and each alone, with config.evaluate.alone."""
    names = config.inputs.modalities
    return {FUSED: names} | ({name: (name,) for name in names} if config.evaluate.alone else {})


class Embedder:
    """Embeds listings with one model, in chosen subsets of modalities; compiled once."""

    def __init__(
        self,
        model: Model,
        config: Config,
        mesh: jax.sharding.Mesh,
        params: Params,
        wanted: Mapping[str, tuple[str, ...]],
    ):
        self._config, self._mesh, self._params = config, mesh, params

        def embed(params: Params, batch: Batch) -> dict:
            pairs = model.embed(params, batch, wanted)
            return {
                "vectors": {n: v for n, (v, _) in pairs.items()},
                "valid": {n: v for n, (_, v) in pairs.items()},
                "harmony": model.agreement(params, batch) if model.agreement else None,
                "predicted": model.classify(params, batch).argmax(-1).astype("int32") if model.classify else None,
            }

        # Every process needs every row: gathered here, once, by the compiler.
        self._embed = jax.jit(embed, out_shardings=sharding.replicated(mesh))

    def batches(
        self, prepared: Prepared, split: str, *, start: int = 0, rows: np.ndarray | None = None
    ) -> Iterator[Embeddings]:
        """Embeddings batch by batch from batch `start` on, padding taken off; the same on every process."""
        share = pipeline.Share(*distributed.share())
        total, size = prepared.splits[split] if rows is None else len(rows), self._config.evaluate.batch_size
        batches = pipeline.evaluation_batches(prepared, self._config, split, start=start, share=share, rows=rows)
        for number, batch in enumerate(batches, start):
            made = jax.device_get(self._embed(self._params, distributed.to_devices(batch, self._mesh)))
            yield Embeddings(**made).rows(slice(min(size, total - number * size)))

    def split(
        self, prepared: Prepared, split: str, *, rows: np.ndarray | None = None, quiet: bool = False
    ) -> Embeddings:
        """The embeddings of a whole split, row i for record i, or of the listings at some positions.

        Args:
          prepared: the records.
          split: of the catalogue.
          rows: positions of the listings; None = all.
          quiet: without a bar that shows how far it is.

        Raises:
          DataError: the rows do not add up to the listings.
        """
        parts, total = [], prepared.length(split) if rows is None else len(rows)
        with progress(f"embedding {split}", total, quiet=quiet or not distributed.is_lead()) as advance:
            for part in self.batches(prepared, split, rows=rows):
                parts.append(part)
                advance(len(part))
        whole = concatenate(parts)
        if len(whole) != total:
            raise DataError(f"split {split} gave {len(whole)} embeddings for {total} listings")
        return whole


def concatenate(parts: list[Embeddings]) -> Embeddings:
    """Rows of all parts, in order."""
    return jax.tree.map(lambda *rows: np.concatenate(rows), *parts)
