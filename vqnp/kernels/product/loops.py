"""The order in which tiles are computed, one function for each kind of product. Every array is flat."""

from vqnp._check import Array
from vqnp.kernels.jit import jit
from vqnp.kernels.product.tile import ADAM_ROWS_PER_TILE, add_columns, add_rows

NUMBERS_PER_BLOCK = 256
"""K numbers of a row to a block in linear layers, where one number after the other meets rows of W that are
far apart. With 784 rows 2 KB apart at once, a prototype took a quarter longer on an Intel Xeon."""

COLUMNS_PER_BLOCK = 192
"""Rows of a linear layer's dW to a block, so that these columns of x stay in L2 while all rows of the batch
pass."""


ADAM_ROWS = max(ADAM_ROWS_PER_TILE.values())


@jit(nogil=True)
def product_block(
    x: Array, at: Array, T: int, K: int, w: Array, N: int, b: Array, y: Array, to: Array, relu: bool,
    m0: int, m1: int, n0: int, n1: int,
) -> None:  # fmt: skip
    """y[to_m + n] = b_n + Σ_t Σ_k x[at(m, t) + k] w[(t K + k) N + n] for m0 ≤ m < m1 and n0 ≤ n < n1.

    n1: N, or n0 plus a multiple of a tile's widest strip
    """
    step = NUMBERS_PER_BLOCK if T == 1 else K
    for k in range(0, K, step):
        n = n0
        while n < n1:
            n = add_rows(x, at, m0, m1, T, K, k, min(k + step, K), w, N, b, n, y, to, relu)  # type: ignore


@jit(nogil=True)
def gradient_block(
    x: Array, at: Array, T: int, dy: Array, N: int, dw: Array, rows: int,
    c0: int, c1: int, t0: int, t1: int, K: int,
) -> None:  # fmt: skip
    """dw[(t K + c) N + n] = Σ_m x[at(m, t) + c] dy[m N + n] for c0 ≤ c < c1, t0 ≤ t < t1, by blocks of rows
    m."""
    M = at.size // T
    few = COLUMNS_PER_BLOCK if T == 1 else c1 - c0
    for c in range(c0, c1, few):
        end = min(c + few, c1)
        for m in range(0, M, rows):
            n = 0
            while n < N:
                first, m1 = n, min(m + rows, M)
                for t in range(t0, t1):
                    n = add_columns(  # type: ignore
                        x, at, T, t, m, m1, c, end, dy, N, first, dw, t * K * N, dw, dw, dw, False
                    )


@jit(nogil=True)
def adam_block(
    x: Array, at: Array, dy: Array, N: int, w: Array, mean: Array, square: Array, factors: Array,
    c0: int, c1: int,
) -> None:  # fmt: skip
    """gradient_block with T = 1, and a step of Adam as each tile leaves the registers: dW is never in memory.

    A few rows of θ, m and v at a time, so that each is read along the rows of memory.
    """
    for c in range(c0, c1, ADAM_ROWS):
        n, end = 0, min(c + ADAM_ROWS, c1)
        while n < N:
            n = add_columns(  # type: ignore
                x, at, 1, 0, 0, at.size, c, end, dy, N, n, w, 0, mean, square, factors, True
            )
