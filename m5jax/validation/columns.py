"""The index of a whole prepared catalogue as arrays: all that validation knows of a listing, some 100 bytes."""

import dataclasses

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int, UInt8, UInt16, UInt64

from m5jax import modalities
from m5jax.data.prepared import Prepared
from m5jax.modalities import State

UNKNOWN = -1  # the number of a category or product that is not known


@dataclasses.dataclass(frozen=True)
class Coded:
    """Strings of the listings as numbers: row i has `names[codes[i]]`, or none where the code is `UNKNOWN`.

    `names` may be left out where nobody asks for them: then it is empty.
    """

    codes: Int[np.ndarray, "n"]
    names: list[str]

    @property
    def sizes(self) -> Int[np.ndarray, "names"]:
        """Listings of every code."""
        return np.bincount(self.codes[self.codes != UNKNOWN])


@dataclasses.dataclass(frozen=True)
class Columns:
    """Every listing of a prepared catalogue is a row, split behind split, each in the order of its records.

    Attributes:
      splits: their names.
      starts: the first row of every split, and the number of rows.
      states: State of each modality of `modalities.NAMES`.
      content, pictures, spread, fields, values: `fingerprints.Fingerprints`.
      categories, sources, products: of every row; of products only which are the same.
      pictured: whether `pictures` has a hash: pictures that are present, and no features.
    """

    splits: tuple[str, ...]
    starts: tuple[int, ...]
    states: UInt8[np.ndarray, "n m"]
    content: UInt64[np.ndarray, "n m"]
    pictures: UInt64[np.ndarray, "n 4"]
    spread: UInt8[np.ndarray, "n"]
    fields: UInt16[np.ndarray, "n"]
    values: UInt16[np.ndarray, "n"]
    categories: Coded
    sources: Coded
    products: Coded
    pictured: Bool[np.ndarray, "n"]

    def __len__(self) -> int:
        return len(self.states)

    def of(self, modality: str) -> int:
        """The column number of a modality's states and content."""
        return modalities.NAMES.index(modality)

    def rows(self, split: str) -> slice:
        """The rows of a split; none if the catalogue has no such split."""
        if split not in self.splits:
            return slice(0, 0)
        number = self.splits.index(split)
        return slice(self.starts[number], self.starts[number + 1])

    def place(self, row: int) -> tuple[str, int]:
        """Split and position of a row."""
        number = int(np.searchsorted(self.starts, row, side="right")) - 1
        return self.splits[number], row - self.starts[number]


_LISTS = {"states": len(modalities.NAMES), "content": len(modalities.NAMES), "picture": 4}
_NUMBERS = ("spread", "fields", "values")


def read(prepared: Prepared) -> Columns:
    """The columns of a prepared folder."""
    arrays: dict[str, list[np.ndarray]] = {name: [] for name in (*_LISTS, *_NUMBERS)}
    strings: dict[str, list[pa.Array]] = {name: [] for name in ("category", "source", "instance_id")}
    for split in prepared.splits:
        for batch in prepared.batches(split, [*arrays, *strings]):
            for name, width in _LISTS.items():
                arrays[name].append(batch.column(name).flatten().to_numpy().reshape(-1, width))
            for name in _NUMBERS:
                arrays[name].append(batch.column(name).to_numpy())
            for name, kept in strings.items():
                kept.append(batch.column(name))
    joined = {name: np.concatenate(parts) for name, parts in arrays.items()}
    present = joined["states"][:, modalities.NAMES.index("image")] == State.PRESENT
    return Columns(
        splits=tuple(prepared.splits),
        starts=tuple(np.cumsum([0, *prepared.splits.values()]).tolist()),
        states=joined["states"],
        content=joined["content"],
        pictures=joined["picture"],
        spread=joined["spread"],
        fields=joined["fields"],
        values=joined["values"],
        categories=_coded(strings["category"]),
        sources=_coded(strings["source"], unknown=False),
        products=_coded(strings["instance_id"], named=False),
        pictured=present & (prepared.inputs.image.source == "raw"),
    )


def _coded(parts: list[pa.Array], unknown: bool = True, named: bool = True) -> Coded:
    """Numbers in the order of first appearance; with `unknown`, the empty string is `UNKNOWN`."""
    encoded = pa.chunked_array(parts, pa.string()).dictionary_encode().unify_dictionaries()
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in encoded.chunks])
    names = encoded.chunk(0).dictionary
    nothing = names.index("").as_py() if unknown else -1
    if nothing >= 0:  # the codes above move down, so that there is no gap
        codes = np.where(codes == nothing, UNKNOWN, codes - (codes > nothing)).astype(np.int32)
        names = pa.concat_arrays([names[:nothing], names[nothing + 1 :]])
    return Coded(codes, names.to_pylist() if named else [])
