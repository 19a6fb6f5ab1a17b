"""tanh(x) = −m / (2 + m),  m = e^(−2|x|) − 1, with x's sign.

In float32 by arithmetic alone, so that loops that call it are vectorized; m is computed as it is, not as a
difference from 1, so that small x lose no digits. In float64 it is the C library's tanh.
"""

import math

import numpy as np
from numba import types
from numba.extending import overload

from vqnp.kernels.exp import _LN2_HIGH, _LN2_LOW, _P0, _P1, _P2, _P3, _P4, _P5, _PER_LN2, _ROUND
from vqnp.kernels.jit import jit

_ONE, _TWO, _END = np.float32(1), np.float32(2), np.float32(10)  # tanh(10) is 1 in float32


@jit(nogil=True, inline="always")
def _tanh_float32(x):  # type: ignore[no-untyped-def]
    """To a few units in the last place; ±1 for ±∞, and for NaN any number."""
    near = -_TWO * min(abs(x), _END)
    n = (near * _PER_LN2 + _ROUND) - _ROUND
    r = (near - n * _LN2_HIGH) - n * _LN2_LOW
    p = ((((_P5 * r + _P4) * r + _P3) * r + _P2) * r + _P1) * r + _P0
    power = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    m = (p * r * r + r) * power + (power - _ONE)
    size = -m / (_TWO + m)
    return -size if x < 0 else size


def tanh(x):  # type: ignore[no-untyped-def]
    """tanh(x), for kernels."""
    raise NotImplementedError("for compiled kernels")


@overload(tanh, inline="always")
def _tanh(x):  # type: ignore[no-untyped-def]
    if x == types.float32:
        return lambda x: _tanh_float32(x)
    return lambda x: math.tanh(x)
