"""z_q = round(h tanh(z + s) − o) / a,  k = Σ_d (round(·) + a_d) w_d: finite scalars in one pass over memory.

z: (N, D); h, o, s, a = ⌊L/2⌋ and w, the digits' place values: (D,) -> z_q: (N, D), k: (N,)
"""

from typing import NamedTuple

import numpy as np

from vqnp._check import Array
from vqnp.kernels.jit import JIT, jit
from vqnp.kernels.tanh import tanh
from vqnp.kernels.threads import MULTIPLY_ADDS_PER_ELEMENT, in_blocks

ROWS = 64
"""At a time, with the grid's numbers repeated for as many rows: the loops run over entries, whatever D is."""

COST = 4 * MULTIPLY_ADDS_PER_ELEMENT


class Grid(NamedTuple):
    """h, o, s, a and w of each coordinate, in z's dtype: (D,) each. In float32 w is exact up to 2²⁴."""

    h: Array
    o: Array
    s: Array
    a: Array
    w: Array


def finite_scalar_plain(z: Array, grid: Grid) -> tuple[Array, Array, bool]:
    """z_q, k, and whether z is finite; if not, the others mean nothing; z: (N, D) -> (N, D), (N,) int64."""
    if not np.isfinite(z).all():
        return z, np.empty(len(z), np.int64), False
    digits = np.rint(np.tanh(z + grid.s) * grid.h - grid.o) + 0.0  # which turns −0 into 0
    k = (digits + grid.a).astype(np.int64) @ grid.w.astype(np.int64)
    return digits / grid.a, k, True


def finite_scalar_gradient_plain(dz_q: Array, z: Array, grid: Grid) -> Array:
    """dz_q · h (1 − tanh²(z + s)) / a; dz_q, z: (N, D) -> (N, D)."""
    t = np.tanh(z + grid.s)
    return np.asarray(dz_q * (grid.h / grid.a) * (1 - t * t))


def finite_scalar(z: Array, grid: Grid) -> tuple[Array, Array, bool]:
    """finite_scalar_plain, compiled."""
    if not JIT:
        return finite_scalar_plain(z, grid)
    z = np.ascontiguousarray(z)
    z_q, k, finite = np.empty_like(z), np.empty(len(z), np.int64), list[bool]()
    repeated = Grid(*(np.tile(a, ROWS) for a in grid))

    def work(i: int, j: int) -> None:
        finite.append(_finite_scalar(z[i:j].reshape(-1), repeated, z_q[i:j].reshape(-1), k[i:j]))

    in_blocks(work, len(z), COST * z.shape[1], ROWS)
    return z_q, k, all(finite)


def finite_scalar_gradient(dz_q: Array, z: Array, grid: Grid) -> Array:
    """finite_scalar_gradient_plain, compiled."""
    if not JIT:
        return finite_scalar_gradient_plain(dz_q, z, grid)
    dz_q, z = np.ascontiguousarray(dz_q), np.ascontiguousarray(z)
    dz = np.empty_like(z)
    s, slope = np.tile(grid.s, ROWS), np.tile(grid.h / grid.a, ROWS)

    def work(i: int, j: int) -> None:
        _gradient(dz_q[i:j].reshape(-1), z[i:j].reshape(-1), s, slope, dz[i:j].reshape(-1))

    in_blocks(work, len(z), COST * z.shape[1], ROWS)
    return dz


@jit(nogil=True, error_model="numpy")
def _finite_scalar(z: Array, grid: Grid, z_q: Array, k: Array) -> bool:
    """z, z_q: flat; grid: repeated. Each loop reads and writes few arrays, so that it is vectorized."""
    h, o, s, a, w = grid
    size = h.size
    D, number = size // ROWS, z.dtype.type
    to_integer = number(3 << 22 if z.itemsize == 4 else 3 << 51)  # adding and then subtracting it rounds
    infinity = number(np.inf)
    digit, worth, infinite, row = np.empty_like(h), np.empty_like(h), 0, 0
    for start in range(0, z.size, size):
        x, q = z[start : start + size], z_q[start : start + size]
        for i in range(x.size):
            infinite += not abs(x[i]) < infinity
        for i in range(x.size):
            t = tanh(x[i] + s[i])  # type: ignore[no-untyped-call]
            digit[i] = (t * h[i] - o[i] + to_integer) - to_integer
        for i in range(x.size):
            q[i] = digit[i] / a[i]
        for i in range(x.size):
            worth[i] = (digit[i] + a[i]) * w[i]
        for n in range(x.size // D):
            code = number(0)
            for d in range(D):
                code += worth[n * D + d]
            k[row] = np.int64(code)
            row += 1
    return infinite == 0


@jit(nogil=True, error_model="numpy")
def _gradient(dz_q: Array, z: Array, s: Array, slope: Array, dz: Array) -> None:
    one = z.dtype.type(1)
    for start in range(0, z.size, s.size):
        x, dq, dx = z[start : start + s.size], dz_q[start : start + s.size], dz[start : start + s.size]
        for i in range(x.size):
            t = tanh(x[i] + s[i])  # type: ignore[no-untyped-call]
            dx[i] = dq[i] * slope[i] * (one - t * t)
