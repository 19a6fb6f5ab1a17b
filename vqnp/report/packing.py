"""Arrays as text that JavaScript reads: {shape, type, base64} or, compressed, {shape, type, deflate}.

Numbers are little-endian and in row-major order. Compressed, all first bytes of the numbers come first, then
all second ones, and so on: the last byte of a weight, its sign and exponent, has few values (zlib, RFC 1950).
"""

import base64
import zlib
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


def compressed(array: Array, dtype: Any) -> dict[str, Any]:
    """The same in about nine tenths of the bytes, for weights."""
    x = np.ascontiguousarray(array, np.dtype(dtype).newbyteorder("<"))
    planes = x.reshape(-1).view(np.uint8).reshape(-1, x.itemsize).T
    text = base64.b64encode(zlib.compress(planes.tobytes(), 9)).decode()
    return {"shape": list(array.shape), "type": np.dtype(dtype).name, "deflate": text}


def smallest_type(array: Array) -> str:
    """That of integers of at least 0 in as few bytes as hold the largest: one, two or four."""
    most = int(array.max(initial=0))
    return "uint8" if most < 2**8 else "uint16" if most < 2**16 else "int32"


def packed_bytes(array: Array) -> dict[str, Any]:
    """Integers of at least 0 in as few bytes as hold the largest."""
    return packed(array, smallest_type(array))


def compressed_all(arrays: Mapping[str, Array], precision: str) -> dict[str, Any]:
    """Every array, by name."""
    return {name: compressed(array, precision) for name, array in arrays.items()}


def rounded(array: Array, precision: str) -> Array:
    """The numbers that a page has in place of these, in the same dtype."""
    return array.astype(precision).astype(array.dtype)


def fits(arrays: Mapping[str, Array], precision: str) -> bool:
    """Whether no number is too large for this precision."""
    return precision != "float16" or all(np.abs(x).max(initial=0) <= HALF_LARGEST for x in arrays.values())
