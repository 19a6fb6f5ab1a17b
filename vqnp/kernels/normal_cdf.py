"""Φ(x) = ½ erfc(−x/√2) = ∫_{−∞}ˣ exp(−t²/2) dt / √(2π).

NumPy has no erfc. Python's, called for each element, takes 10 to 16 times as long as the compiled loop
(docs/benchmarks/elementwise.md).
"""

import math

import numpy as np

from vqnp._check import Array
from vqnp.kernels.jit import JIT, jit
from vqnp.kernels.threads import elementwise

MULTIPLY_ADDS_PER_ERFC = 1 << 11  # the C library's erfc takes 10 to 15 ns
ROOT_HALF = math.sqrt(0.5)


def normal_cdf_plain(x: Array) -> Array:
    """Φ(x) = ½ erfc(−x/√2), in float64 and rounded once to x's dtype; x: any shape -> the same.

    Not ½ (1 + erf(x/√2)): that cancels for negative x, and in float32 is 0 from −5.6 down.
    """
    erfc = np.vectorize(math.erfc, otypes=[np.float64])
    return np.asarray(0.5 * erfc(-ROOT_HALF * x.astype(np.float64)), x.dtype)


def normal_cdf(x: Array) -> Array:
    """normal_cdf_plain, compiled; x: any shape -> the same."""
    return elementwise(_normal_cdf, MULTIPLY_ADDS_PER_ERFC, x) if JIT else normal_cdf_plain(x)


@jit(nogil=True)
def _normal_cdf(x: Array, y: Array) -> None:
    for i in range(x.size):
        y[i] = 0.5 * math.erfc(-np.float64(x[i]) * ROOT_HALF)
