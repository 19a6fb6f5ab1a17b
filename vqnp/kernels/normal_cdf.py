"""Φ(x) = ½ erfc(−x/√2) = ∫_{−∞}ˣ exp(−t²/2) dt / √(2π), element by element, in x's dtype."""

from __future__ import annotations

import math

import numba
import numpy as np

from vqnp._check import Array
from vqnp.kernels.jit import JIT, jit

_ROOT_HALF = math.sqrt(0.5)


def normal_cdf(x: Array) -> Array:
    """Φ(x), evaluated in float64 and rounded once to x's dtype: any shape -> the same shape.

    By erfc, not as ½ (1 + erf(x/√2)): that cancels for negative x, and in float32 is 0 from −5.6 on.
    """
    flat = np.ascontiguousarray(x).reshape(-1)
    y: Array = (_normal_cdf_compiled if JIT else normal_cdf_plain)(flat)
    return y.reshape(x.shape)


def normal_cdf_plain(x: Array) -> Array:
    """The plain twin: the C library's erfc, one number at a time."""
    return np.fromiter((0.5 * math.erfc(-float(v) * _ROOT_HALF) for v in x), dtype=x.dtype, count=x.size)


@jit(parallel=True)
def _normal_cdf_compiled(x: Array) -> Array:  # pragma: no cover - compiled
    y = np.empty_like(x)
    for i in numba.prange(x.size):
        y[i] = 0.5 * math.erfc(-np.float64(x[i]) * _ROOT_HALF)
    return y
