"""Arrays as text that JavaScript reads: {shape, type, base64}, little-endian and in row-major order."""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

from vqnp._check import Array

PRECISIONS = ("float32", "float16")
"""In the order in which they are tried: 4 bytes a weight, or 2 where the file would be too large."""

HALF_LARGEST = float(np.finfo(np.float16).max)


def packed(array: Array, dtype: Any) -> dict[str, Any]:
    """The array as numbers of this dtype."""
    x = np.ascontiguousarray(array, np.dtype(dtype).newbyteorder("<"))
    name = np.dtype(dtype).name
    return {"shape": list(array.shape), "type": name, "base64": base64.b64encode(x.tobytes()).decode()}


def packed_bytes(array: Array) -> dict[str, Any]:
    """Integers of at least 0 in as few bytes as hold the largest: one, two or four."""
    most = int(array.max(initial=0))
    return packed(array, "uint8" if most < 2**8 else "uint16" if most < 2**16 else "int32")


def packed_all(arrays: Mapping[str, Array], precision: str) -> dict[str, Any]:
    """Every array, by name."""
    return {name: packed(array, precision) for name, array in arrays.items()}


def rounded(array: Array, precision: str) -> Array:
    """The numbers that a page has in place of these, in the same dtype."""
    return array.astype(precision).astype(array.dtype)


def fits(arrays: Mapping[str, Array], precision: str) -> bool:
    """Whether no number is too large for this precision."""
    return precision != "float16" or all(np.abs(x).max(initial=0) <= HALF_LARGEST for x in arrays.values())
