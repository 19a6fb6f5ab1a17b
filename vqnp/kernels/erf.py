"""erf(x) = 2/√π ∫₀ˣ exp(−t²) dt, element by element, in x's dtype."""

from __future__ import annotations

import math

import numba
import numpy as np

from vqnp._check import Array
from vqnp.kernels.jit import JIT, jit


def erf(x: Array) -> Array:
    """erf(x), evaluated in float64 and rounded once to x's dtype: any shape -> the same shape."""
    flat = np.ascontiguousarray(x).reshape(-1)
    y: Array = (_erf_compiled if JIT else erf_plain)(flat)
    return y.reshape(x.shape)


def erf_plain(x: Array) -> Array:
    """The plain twin: the C library's erf, one number at a time."""
    return np.fromiter((math.erf(value) for value in x), dtype=x.dtype, count=x.size)


@jit(parallel=True)
def _erf_compiled(x: Array) -> Array:  # pragma: no cover - compiled
    y = np.empty_like(x)
    for i in numba.prange(x.size):
        y[i] = math.erf(np.float64(x[i]))
    return y
