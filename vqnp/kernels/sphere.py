"""y = x/‖x‖ and dx = (dy − y (y·dy))/‖x‖, row by row, each in one pass over memory.

x: (N, D) -> y: (N, D); 1/‖x‖: (N, 1), 0 for a vector of length 0
"""

import math

import numpy as np

from vqnp._check import Array
from vqnp.kernels.jit import JIT, jit
from vqnp.kernels.threads import MULTIPLY_ADDS_PER_ELEMENT, in_blocks

ROWS = 64
"""At a time: sums over D run beside each other for so many rows, everything else over entries."""


def normalize_plain(x: Array) -> tuple[Array, Array]:
    """y and 1/‖x‖. The length is computed in float64, so that no square overflows or vanishes in float32."""
    length = np.sqrt(np.square(x, dtype=np.float64).sum(axis=-1, keepdims=True))
    scale = np.divide(1, length, out=np.zeros_like(length), where=length >= np.finfo(x.dtype).tiny)
    return (x * scale).astype(x.dtype), scale.astype(x.dtype)


def normalize_gradient_plain(dy: Array, y: Array, scale: Array) -> Array:
    """dx; dy, y: (N, D), scale: (N, 1) -> (N, D)."""
    return scale * (dy - y * (y * dy).sum(axis=-1, keepdims=True))


def normalize(x: Array) -> tuple[Array, Array]:
    """normalize_plain, compiled."""
    if not JIT:
        return normalize_plain(x)
    x = np.ascontiguousarray(x)
    y, scale, least = np.empty_like(x), np.empty((len(x), 1), x.dtype), float(np.finfo(x.dtype).tiny)
    cost = 2 * MULTIPLY_ADDS_PER_ELEMENT * x.shape[1]
    in_blocks(lambda i, j: _normalize(x[i:j], least, y[i:j], scale[i:j, 0]), len(x), cost, ROWS)
    return y, scale


def normalize_gradient(dy: Array, y: Array, scale: Array) -> Array:
    """normalize_gradient_plain, compiled."""
    if not JIT:
        return normalize_gradient_plain(dy, y, scale)
    dy, y = np.ascontiguousarray(dy), np.ascontiguousarray(y)
    dx, cost = np.empty_like(y), 3 * MULTIPLY_ADDS_PER_ELEMENT * y.shape[1]
    in_blocks(lambda i, j: _gradient(dy[i:j], y[i:j], scale[i:j, 0], dx[i:j]), len(y), cost, ROWS)
    return dx


@jit(nogil=True)
def _sums(terms: Array, D: int, sums: Array) -> None:
    """sums: (ROWS,) of the rows of terms: flat, from d = 0 to D − 1."""
    sums[:] = 0
    for d in range(D):
        column = terms[d:]
        for n in range(ROWS):
            sums[n] += column[n * D]


@jit(nogil=True)
def _spread(values: Array, D: int, flat: Array) -> None:
    """Each value D times."""
    for n in range(values.size):
        for d in range(D):
            flat[n * D + d] = values[n]


@jit(nogil=True, error_model="numpy")
def _normalize(x: Array, least: float, y: Array, scale: Array) -> None:
    N, D = x.shape
    terms, sums, spread = np.zeros(ROWS * D), np.empty(ROWS), np.empty(ROWS * D)
    for start in range(0, N, ROWS):
        stop = min(start + ROWS, N)
        a, b = x[start:stop].reshape(-1), y[start:stop].reshape(-1)
        for i in range(a.size):
            terms[i] = np.float64(a[i]) * np.float64(a[i])
        _sums(terms, D, sums)
        for n in range(ROWS):
            length = math.sqrt(sums[n])
            sums[n] = 1 / length if length >= least else 0.0
        for n in range(stop - start):
            scale[start + n] = sums[n]
        _spread(sums, D, spread)
        for i in range(a.size):
            b[i] = np.float64(a[i]) * spread[i]


@jit(nogil=True)
def _gradient(dy: Array, y: Array, scale: Array, dx: Array) -> None:
    N, D = y.shape
    terms, dots = np.zeros(ROWS * D, y.dtype), np.empty(ROWS, y.dtype)
    dot, factor = np.empty(ROWS * D, y.dtype), np.empty(ROWS * D, y.dtype)
    for start in range(0, N, ROWS):
        stop = min(start + ROWS, N)
        a, b, c = dy[start:stop].reshape(-1), y[start:stop].reshape(-1), dx[start:stop].reshape(-1)
        for i in range(a.size):
            terms[i] = b[i] * a[i]
        _sums(terms, D, dots)
        _spread(dots, D, dot)
        _spread(scale[start:stop], D, factor)
        for i in range(a.size):
            c[i] = factor[i] * (a[i] - b[i] * dot[i])
