"""Φ(x) = ½ erfc(−x/√2) = ∫_{−∞}ˣ exp(−t²/2) dt / √(2π).

x: any shape -> Φ: the same

NumPy has no erfc. Python's, called for each element, takes 10 to 16 times as long as the compiled loop
(docs/benchmarks/elementwise.md).
"""

import math

import numpy as np

from vqnp._check import Array
from vqnp.kernels.jit import JIT, jit
from vqnp.kernels.threads import in_blocks

MULTIPLY_ADDS_PER_ERFC = 1 << 11
"""The C library's erfc takes 10 to 15 ns, about as long as 2048 multiply-adds of a tile."""

ROOT_HALF = math.sqrt(0.5)


def normal_cdf_plain(x: Array) -> Array:
    """Φ(x) = ½ erfc(−x/√2), in float64 and rounded once to x's dtype; x: any shape -> the same.

    Not ½ (1 + erf(x/√2)): that cancels for negative x, and in float32 is 0 from −5.6 down.
    """
    erfc = np.vectorize(math.erfc, otypes=[np.float64])
    return np.asarray(0.5 * erfc(-ROOT_HALF * x.astype(np.float64)), x.dtype)


def normal_cdf(x: Array) -> Array:
    """Φ(x) = ½ erfc(−x/√2), in float64 and rounded once to x's dtype; x: any shape -> the same."""
    if not JIT:
        return normal_cdf_plain(x)
    flat = np.ascontiguousarray(x).reshape(-1)
    y = np.empty_like(flat)
    in_blocks(
        lambda start, stop: _normal_cdf(flat[start:stop], y[start:stop]), flat.size, MULTIPLY_ADDS_PER_ERFC
    )
    return y.reshape(x.shape)


@jit(nogil=True)
def _normal_cdf(x: Array, y: Array) -> None:  # pragma: no cover - compiled
    for i in range(x.size):
        y[i] = 0.5 * math.erfc(-np.float64(x[i]) * ROOT_HALF)
