"""e^x in float32 by arithmetic alone, so that loops that call it are vectorized."""

import math

import numpy as np
from numba import types
from numba.extending import overload

from vqnp.kernels.jit import jit

LOWEST = np.float32(-87.0)
"""Below this the result is 0: e^−87 is 1.6e-38, and for smaller x the power of 2 would be subnormal."""
_HIGHEST = np.float32(88.0)
_PER_LN2 = np.float32(1 / np.log(2))
# ln 2 in two parts. The first has few bits, so that its products with the integers in question are exact.
_LN2_HIGH = np.float32(355 / 512)
_LN2_LOW = np.float32(np.log(2) - 355 / 512)
_ROUND = np.float32(3 << 22)  # adding and then subtracting it rounds to an integer
# e^r = 1 + r + r² p(r) for |r| ≤ ½ ln 2 and a little more: p through the Chebyshev points, error 1.3e-9.
_P0, _P1, _P2, _P3, _P4, _P5 = (
    np.float32(c) for c in (0.5, 0.16666666691276555, 0.04166638548305526, 0.00833330210261462,
                            0.0013941738337785248, 0.0001989997302078371)
)  # fmt: skip


@jit(nogil=True, inline="always")
def exp_of_sum(a, b):  # type: ignore[no-untyped-def]
    """e^(a + b) to a few units in the last place, a + b ≤ 88; 0 for a + b < LOWEST; NaN for NaN.

    a, b: float32. Rounding a + b near 80 would give e^(a + b) a relative error of up to 4e-6. Here b is added
    to the remainder of a after the multiple of ln 2 has been subtracted.
    """
    near = min(max(a + b, LOWEST), _HIGHEST)
    n = (near * _PER_LN2 + _ROUND) - _ROUND
    r = ((a - n * _LN2_HIGH) - n * _LN2_LOW) + b
    p = ((((_P5 * r + _P4) * r + _P3) * r + _P2) * r + _P1) * r + _P0
    # 2ⁿ, by its exponent bits
    power = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    y = (p * r * r + r + np.float32(1)) * power
    return np.float32(0) if a + b < LOWEST else y


def exp(x):  # type: ignore[no-untyped-def]
    """e^x, x ≤ 88, for kernels: in float32 as in exp_of_sum, in float64 by the C library."""
    raise NotImplementedError("for compiled kernels")


@overload(exp, inline="always")
def _exp(x):  # type: ignore[no-untyped-def]
    if x == types.float32:
        return lambda x: exp_of_sum(x, np.float32(0))
    return lambda x: math.exp(x)


# log(1 + y) = 2 artanh(s) = 2 (s + s³/3 + s⁵/5 + …), s = y/(2 + y) ≤ 1/3; the rest is 2e-9 of it.
_L = tuple(np.float32(2 / (2 * i + 1)) for i in range(8))
_L0, _L1, _L2, _L3, _L4, _L5, _L6, _L7 = _L
_TWO = np.float32(2)


@jit(nogil=True, inline="always")
def _log1p_float32(y):  # type: ignore[no-untyped-def]
    s = y / (_TWO + y)
    q = s * s
    p = (((_L7 * q + _L6) * q + _L5) * q + _L4) * q + _L3
    return s * (((p * q + _L2) * q + _L1) * q + _L0)


def log1p(y):  # type: ignore[no-untyped-def]
    """log(1 + y), 0 ≤ y ≤ 1, for kernels: in float32 to a few units in the last place."""
    raise NotImplementedError("for compiled kernels")


@overload(log1p, inline="always")
def _log1p(y):  # type: ignore[no-untyped-def]
    if y == types.float32:
        return lambda y: _log1p_float32(y)
    return lambda y: math.log1p(y)
