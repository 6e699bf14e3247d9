"""Corrections of the modality gap: fitted on some embeddings, applied to any others of the same kind.

The embeddings of a modality fill a narrow cone of their own, away from that of another (Liang et al., Mind the Gap,
2022). Whatever lies in one cone can be moved by one affine map. Sees arrays of embeddings only.
"""

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float
from sklearn.covariance import oas

KINDS = ("mean_shift", "whitening")
FITTED_ON = 20_000  # embeddings at most that a correction is fitted on
LEAST_SHRINKAGE = 0.1
COINCIDING = 1e-10  # squared distance below which float32 cannot tell two unit vectors apart


@dataclasses.dataclass(frozen=True)
class Correction:
    """Takes `mean` off, multiplies by `matrix`, and brings to unit length.

    Attributes:
      mean: float32 [D].
      matrix: float32 [D, D], symmetric; the identity for a mean shift.
      listings: how many embeddings it was fitted on.
      shrinkage: share of a multiple of the identity in the covariance that was inverted; 0 for a mean shift.
    """

    mean: np.ndarray
    matrix: np.ndarray
    listings: int
    shrinkage: float

    def __call__(self, vectors: Float[np.ndarray, "n d"], valid: Bool[np.ndarray, "n"]) -> Float[np.ndarray, "n d"]:
        """The corrected embeddings, float32 of unit length; zero where not valid, and for one that is the mean itself.

        What stands in rows that are not valid is not read.
        """
        centred = (np.where(valid[:, None], vectors, self.mean) - self.mean).astype(np.float32)
        moved = centred @ self.matrix
        lengths = np.linalg.norm(moved, axis=1, keepdims=True)
        off_mean = (centred**2).sum(axis=1, keepdims=True) > COINCIDING
        return np.divide(moved, lengths, out=np.zeros_like(moved), where=off_mean)


def fit(kind: str, vectors: Float[np.ndarray, "n d"], valid: Bool[np.ndarray, "n"]) -> Correction:
    """The correction after which these embeddings have mean zero and, whitened, as much variance in every direction.

    Whitening multiplies by the inverse square root of the covariance: of all that whitens, what changes embeddings
    least (Kessy, Lewin and Strimmer, Optimal Whitening and Decorrelation, 2018), so that modalities whitened each by
    itself still compare. The covariance is first drawn towards a multiple of the identity, by as much as its number of
    embeddings and its shape ask for (OAS: Chen, Wiesel, Eldar and Hero, Shrinkage Algorithms for MMSE Covariance
    Estimation, 2010), and by `LEAST_SHRINKAGE` at least: it has an inverse with fewer embeddings than dimensions, too,
    and what hardly varies, which is noise more than content, is not blown up to the size of the rest.

    Args:
      kind: one of `KINDS`.
      vectors: of unit length.
      valid: whether a listing has an embedding. Where none has, nothing will be changed: mean zero, identity. Where
        all coincide there is no variance to even out: identity, shrinkage 1.

    Raises:
      ValueError: no such kind, or an embedding marked valid is not finite.
    """
    if kind not in KINDS:
        raise ValueError(f"correction {kind!r} is unknown; choose from {', '.join(KINDS)}")
    chosen = vectors[valid].astype(np.float64)
    if not np.isfinite(chosen).all():
        raise ValueError("an embedding marked valid is not finite; mark it invalid")
    mean = chosen.mean(axis=0) if len(chosen) else np.zeros(vectors.shape[1])
    matrix, shrinkage = _whitening(chosen - mean) if kind == "whitening" else (np.eye(len(mean)), 0.0)
    return Correction(mean.astype(np.float32), matrix.astype(np.float32), len(chosen), shrinkage)


def _whitening(centred: Float[np.ndarray, "n d"]) -> tuple[Float[np.ndarray, "d d"], float]:
    """The inverse square root of the shrunk covariance, and by how much it was shrunk."""
    if (centred**2).sum() <= COINCIDING * len(centred):
        return np.eye(centred.shape[1]), 1.0
    covariance, dim = centred.T @ centred / len(centred), centred.shape[1]
    shrinkage = max(LEAST_SHRINKAGE, float(oas(centred, assume_centered=True)[1]))
    shrunk = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / dim * np.eye(dim)
    variances, directions = np.linalg.eigh(shrunk)
    return (directions / np.sqrt(variances)) @ directions.T, shrinkage


def save(path: pathlib.Path, corrections: Mapping[str, Correction]) -> None:
    """Writes corrections by name: arrays ``NAME/mean``, ``NAME/matrix`` and so on; equal corrections, equal bytes."""
    arrays = {f"{name}/{field}": value for name, of in corrections.items() for field, value in vars(of).items()}
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def load(path: pathlib.Path) -> dict[str, Correction]:
    """The corrections that `save` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        names = [key.removesuffix("/mean") for key in arrays if key.endswith("/mean")]
        return {
            name: Correction(
                arrays[f"{name}/mean"],
                arrays[f"{name}/matrix"],
                int(arrays[f"{name}/listings"]),
                float(arrays[f"{name}/shrinkage"]),
            )
            for name in names
        }
