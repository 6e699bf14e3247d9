"""How a record keeps the vectors that were extracted beforehand: float16, bfloat16, or int8 with a scale a row.

A row is a field of numbers, `values`; of regions then `boxes`, always float16, since 1/256 of a picture is too coarse,
and `classes`, a detector's shares, float16 as well; and with int8 `scale`, float32: a value is its int8 times the scale
of its row. Against the float16 that was decoded,

* bfloat16 is off by at most 2**-8 of a value,
* int8 by at most half a scale, 1/254 of the largest magnitude in the row (symmetric quantisation of a row by its
  largest magnitude, Jacob et al., arXiv:1712.05877, section 2.1, with a zero point of 0).
"""

import ml_dtypes
import numpy as np

FLOAT16, INT8 = "float16", "int8"
LARGEST = 127  # -128 is left out: the quantised numbers are as symmetric as the values


def dtype(stored: str, dim: int, geometry: int, classes: int = 0) -> np.dtype:
    """A row as a structured dtype without gaps.

    Args:
      stored: one of `inputs.STORED`.
      dim: numbers in a vector.
      geometry: columns behind it that say where its region lies, 5 or 0.
      classes: columns behind these, shares of a detector's classes.
    """
    numbers = {"bfloat16": ml_dtypes.bfloat16}.get(stored, stored)
    boxes = [("boxes", np.float16, (geometry,))] if geometry else []
    told = [("classes", np.float16, (classes,))] if classes else []
    scale = [("scale", np.float32)] if stored == INT8 else []
    return np.dtype([("values", numbers, (dim,)), *boxes, *told, *scale])


def pack(rows: np.ndarray, packed: np.dtype) -> np.ndarray:
    """Rows as decoded, float16 [n, dim + geometry + classes], as they are stored: [n] of the dtype `packed`."""
    fields = packed.fields or {}
    dim = packed["values"].shape[0]
    told = rows.shape[1] - (packed["classes"].shape[0] if "classes" in fields else 0)
    made = np.zeros(len(rows), packed)
    values = rows[:, :dim].astype(np.float32)
    if "boxes" in fields:
        made["boxes"] = rows[:, dim:told]
    if "classes" in fields:
        made["classes"] = rows[:, told:]
    if "scale" in fields:
        scale = np.abs(values).max(1) / np.float32(LARGEST)
        made["scale"] = scale
        # A row so small that its scale is no normal number would not come back: it is zeros.
        values = np.rint(np.divide(values, scale[:, None], out=np.zeros_like(values), where=scale[:, None] > 0))
    made["values"] = values
    return made


def fields(rows: np.ndarray, dim: int, classes: int = 0) -> dict[str, np.ndarray]:
    """The parts of rows without a copy: of those that `pack` gave, or a record's float16 [n, dim + geometry + classes].

    Where a part has no columns there is none.
    """
    if rows.dtype.fields:
        return {name: rows[name] for name in rows.dtype.fields}
    told = rows.shape[1] - classes
    parts = {"values": rows[:, :dim], "boxes": rows[:, dim:told], "classes": rows[:, told:]}
    return {name: part for name, part in parts.items() if part.shape[1]}
