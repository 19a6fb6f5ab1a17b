"""y = x Φ(x) and its slope Φ(x) + x Φ'(x),  Φ(x) = ½ erfc(−x/√2),  Φ'(x) = exp(−x²/2) / √(2π).

NumPy has no erfc, and calling Python's for each element takes many times as long as the compiled loop
(docs/benchmarks/elementwise.md).
"""

import math

import numpy as np

from vqnp._check import Array
from vqnp.kernels.exp import exp_of_sum
from vqnp.kernels.jit import JIT, jit
from vqnp.kernels.threads import in_blocks

MULTIPLY_ADDS = {np.dtype(np.float32): 1 << 7, np.dtype(np.float64): 1 << 11}
"""The cost of an element: 2 ns, and 20 ns with the C library's erfc and exp."""
FLAT = 40.0
"""Beyond ±40, Φ is 0 or 1 and Φ' is 0 in float64: exp(−40²/2) underflows."""
ROOT_HALF = math.sqrt(0.5)
PER_ROOT_TWO_PI = 1 / math.sqrt(2 * math.pi)


def gelu_plain(x: Array) -> tuple[Array, Array]:
    """y and slope, computed in float64 and rounded once; x: any shape -> two arrays of its shape and dtype.

    ½ (1 + erf(x/√2)) would cancel for negative x; in float32 it is 0 below about −5.6.
    """
    wide = x.astype(np.float64)
    phi = 0.5 * np.vectorize(math.erfc, otypes=[np.float64])(-ROOT_HALF * wide)
    near = np.clip(wide, -FLAT, FLAT)
    slope = phi + near * (PER_ROOT_TWO_PI * np.exp(-near * near / 2))
    return np.asarray(wide * phi, x.dtype), np.asarray(slope, x.dtype)


def gelu(x: Array) -> tuple[Array, Array]:
    """gelu_plain, compiled; x: any shape -> two arrays of this shape."""
    if not JIT:
        return gelu_plain(x)
    flat = np.ascontiguousarray(x).reshape(-1)
    y, slope = np.empty_like(flat), np.empty_like(flat)
    kernel = _gelu_float32 if x.dtype == np.float32 else _gelu_float64
    in_blocks(lambda i, j: kernel(flat[i:j], y[i:j], slope[i:j]), flat.size, MULTIPLY_ADDS[x.dtype])
    return y.reshape(x.shape), slope.reshape(x.shape)


@jit(nogil=True)
def _gelu_float64(x: Array, y: Array, slope: Array) -> None:
    for i in range(x.size):
        phi = 0.5 * math.erfc(-x[i] * ROOT_HALF)
        near = min(max(x[i], -FLAT), FLAT)
        y[i] = x[i] * phi
        slope[i] = phi + near * (PER_ROOT_TWO_PI * math.exp(-0.5 * near * near))


# ln(erfc(z) e^(z²) / t),  t = 1/(1 + z/2),  for 0 ≤ z ≤ 14.3: a polynomial in t through the Chebyshev points,
# with an error of 8e-8. The form is that of Press et al., Numerical Recipes, section 6.2.
_C0, _C1, _C2, _C3, _C4, _C5, _C6, _C7, _C8, _C9 = (
    np.float32(c) for c in (
        -1.2655044794082642, 0.9998595118522644, 0.3754529058933258, 0.09098562598228455,
        -0.1723945289850235, 0.2600865662097931, -1.1225006580352783, 1.4869356155395508,
        -0.824937641620636, 0.17201712727546692,
    )
)  # fmt: skip
_HALF, _ONE, _END = np.float32(0.5), np.float32(1), np.float32(20)
_ROOT_HALF, _PER_ROOT_TWO_PI = np.float32(ROOT_HALF), np.float32(PER_ROOT_TWO_PI)
_HIGH_BITS = np.int32(-(1 << 12))


@jit(nogil=True, inline="always")
def _normal(x):  # type: ignore[no-untyped-def]
    """Φ(x), and |x| (at most 20), and −x²/2 in two parts, the first exact, all in float32.

    Φ(−|x|) = ½ t exp(−x²/2 + c(t)): one exp of a sum.
    """
    a = min(abs(x), _END)  # there Φ(−a) and Φ'(a) are 0 in float32
    h = np.int32(np.float32(a).view(np.int32) & _HIGH_BITS).view(np.float32)  # 12 bits of a: h² is exact
    exact, rest = -_HALF * h * h, -_HALF * (a - h) * (a + h)
    t = _ONE / (_ONE + _HALF * _ROOT_HALF * a)
    c = ((((_C9 * t + _C8) * t + _C7) * t + _C6) * t + _C5) * t + _C4
    c = (((c * t + _C3) * t + _C2) * t + _C1) * t + _C0
    tail = _HALF * t * exp_of_sum(exact, rest + c)
    phi = tail if x < 0 else _ONE - tail
    return phi, a, exact, rest


@jit(nogil=True, error_model="numpy")  # a division that may raise keeps a loop scalar
def _gelu_float32(x: Array, y: Array, slope: Array) -> None:
    for i in range(x.size):
        phi, a, exact, rest = _normal(x[i])
        y[i] = x[i] * phi
        near = a if x[i] >= 0 else -a
        slope[i] = phi + near * (_PER_ROOT_TWO_PI * exp_of_sum(exact, rest))


@jit(nogil=True, error_model="numpy")
def _values_float32(x: Array, y: Array) -> None:
    for i in range(x.size):
        phi, _, _, _ = _normal(x[i])
        y[i] = x[i] * phi


@jit(nogil=True)
def gelu_values(x: Array) -> Array:
    """y of gelu alone, for kernels; x: flat. (With y in x's place the loop would not be vectorized.)"""
    y = np.empty_like(x)
    if x.itemsize == 4:
        _values_float32(x, y)
    else:
        for i in range(x.size):
            y[i] = x[i] * (0.5 * math.erfc(-x[i] * ROOT_HALF))
    return y
