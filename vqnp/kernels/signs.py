"""z_q = s·sign(z),  k = Σ_d 2^(d−1) [z_d > 0],  Σ(z − z_q)²: signs as codes in one pass over memory.

z: (N, D) -> z_q: (N, D), k: (N,); the sign of 0 is −1
"""

import numpy as np

from vqnp._check import Array
from vqnp.kernels.jit import JIT, jit
from vqnp.kernels.threads import MULTIPLY_ADDS_PER_ELEMENT, in_blocks

ROWS = 64
"""At a time, as in finite_scalar.py."""

SUMMED_ROWS = 1 << 12
"""Rows of which the squares are summed together, whatever the number of threads."""

COST = 2 * MULTIPLY_ADDS_PER_ELEMENT


def signs_plain(z: Array, s: float) -> tuple[Array, Array, float, bool]:
    """z_q, k, Σ(z − z_q)² in float64, and whether z is finite; z: (N, D) -> (N, D), (N,) int64."""
    bits = z > 0
    z_q = signed(bits, s, z.dtype)
    k = bits @ (1 << np.arange(z.shape[1], dtype=np.int64))
    square = float(np.square(z - z_q, dtype=np.float64).sum())
    return z_q, k, square, bool(np.isfinite(z).all())


def signed(bits: Array, s: float, dtype: np.dtype[np.floating]) -> Array:
    """s where a bit is 1, else −s, exactly; np.where is much slower."""
    return np.asarray(bits * dtype.type(2 * s) - dtype.type(s))


def signs_gradient_plain(dz_q: Array, z: Array, s: float, factor: float) -> Array:
    """dz_q + factor (z − s·sign(z)); dz_q, z: any shape -> the same."""
    return np.asarray(dz_q + factor * (z - signed(z > 0, s, z.dtype)))


def signs(z: Array, s: float) -> tuple[Array, Array, float, bool]:
    """signs_plain, compiled."""
    if not JIT:
        return signs_plain(z, s)
    z = np.ascontiguousarray(z)
    N, D = z.shape
    z_q, k, finite = np.empty_like(z), np.empty(N, np.int64), list[bool]()
    squares = np.zeros(-(-N // SUMMED_ROWS))
    worth = np.tile(2.0 ** np.arange(D), ROWS).astype(z.dtype)  # up to 2²³, whose sums float32 holds
    s = z.dtype.type(s)

    def work(i: int, j: int) -> None:
        sums = squares[i // SUMMED_ROWS : -(-j // SUMMED_ROWS)]
        finite.append(_signs(z[i:j].reshape(-1), s, worth, z_q[i:j].reshape(-1), k[i:j], sums))

    in_blocks(work, N, COST * D, SUMMED_ROWS)
    return z_q, k, float(squares.sum()), all(finite)


def signs_gradient(dz_q: Array, z: Array, s: float, factor: float) -> Array:
    """signs_gradient_plain, compiled."""
    if not JIT:
        return signs_gradient_plain(dz_q, z, s, factor)
    dz_q, z, number = np.ascontiguousarray(dz_q), np.ascontiguousarray(z), z.dtype.type
    dz = np.empty_like(z)
    arrays, numbers = (dz_q.reshape(-1), z.reshape(-1), dz.reshape(-1)), (number(s), number(factor))

    def work(i: int, j: int) -> None:
        _gradient(*(a[i:j] for a in arrays), *numbers)

    in_blocks(work, z.size, COST)
    return dz


@jit(nogil=True)
def _signs(z: Array, s: float, worth: Array, z_q: Array, k: Array, squares: Array) -> bool:
    """z, z_q: flat; worth: of each entry of ROWS rows; squares: a sum for each SUMMED_ROWS rows."""
    size = worth.size
    D, number = size // ROWS, z.dtype.type
    zero, infinity = number(0), number(np.inf)
    bit, sums, infinite, row = np.empty_like(worth), np.zeros(size), 0, 0
    for start in range(0, z.size, size):
        x, q = z[start : start + size], z_q[start : start + size]
        for i in range(x.size):
            infinite += not abs(x[i]) < infinity
        for i in range(x.size):
            q[i] = s if x[i] > zero else -s
        for i in range(x.size):
            r = np.float64(x[i] - q[i])
            sums[i] += r * r
        for i in range(x.size):
            bit[i] = worth[i] if x[i] > zero else zero
        for n in range(x.size // D):
            code = zero
            for d in range(D):
                code += bit[n * D + d]
            k[row] = np.int64(code)
            row += 1
        if row % SUMMED_ROWS == 0 or start + size >= z.size:
            squares[(row - 1) // SUMMED_ROWS] = sums.sum()
            sums[:] = 0
    return infinite == 0


@jit(nogil=True)
def _gradient(dz_q: Array, z: Array, dz: Array, s: float, factor: float) -> None:
    zero = z.dtype.type(0)
    for i in range(z.size):
        dz[i] = dz_q[i] + factor * (z[i] - (s if z[i] > zero else -s))
