"""y_m = b + Σ_t x[at(m, t) :] W_t and its gradients: the products of linear layers and of convolutions.

plain.py has the definitions, loops.py and tile.py the same sums in vector registers. Where these do not
compile, and with NUMBA_DISABLE_JIT=1, the plain forms run; only then do the bits of a row depend on the batch
it is in.
"""

import functools
from typing import Any

import numpy as np

from vqnp._check import Array
from vqnp.kernels.jit import JIT
from vqnp.kernels.llvm import compiles, vector_bytes
from vqnp.kernels.memory import empty, zeros
from vqnp.kernels.product.loops import adam_block, gradient_block, product_block
from vqnp.kernels.product.plain import gradient_plain, product_plain
from vqnp.kernels.product.tile import ADAM_ROWS_PER_TILE, ROWS_PER_TILE
from vqnp.kernels.threads import in_blocks
from vqnp.kernels.transpose import transpose

__all__ = [
    "adam_gradient", "compiled", "gradient", "gradient_plain", "linear", "linear_dW", "linear_dx", "product",
    "product_plain",
]  # fmt: skip

ROWS_PER_BLOCK = 168  # of x: they stay in L2 while all columns of W pass; a multiple of every tile's rows
GRADIENT_ROWS_PER_BLOCK = 128  # of dy: they stay in L1 and L2 while all columns of x pass
ROWS_OF_GRADIENT = 24  # to a block, a multiple of every tile's rows
LARGEST_FUSED = 1 << 17  # numbers of dy that stay in L2 while the columns of x pass, as adam_gradient needs


def product(
    x: Array, at: Array, W: Array, b: Array | None = None, y: Array | None = None, to: Array | None = None,
    relu: bool = False,
) -> Array:  # fmt: skip
    """y_m = b + Σ_t x[at(m, t) : at(m, t) + K] W_t, then max(y, 0) if relu.

    x: flat, at: (M, T) int64, W: (T, K, N), b: (N,) -> y: (M, N)

    With y, a flat and contiguous array, and to: (M,), row m is written to y[to_m : to_m + N], and y is
    returned. Each number is one chain of multiply-adds from b on, in the order of t and k: its bits do not
    depend on the other rows, nor on the number of threads.
    """
    M, T = at.shape
    _, K, N = W.shape
    if not compiled(x.dtype) or T * K == 0:
        rows = product_plain(x, at, W, b)
        rows = np.maximum(rows, 0) if relu else rows
        if y is None or to is None:
            return rows
        y[to[:, None] + np.arange(N)] = rows
        return y
    if y is None or to is None:
        y, to = empty((M, N), x.dtype), _steps(M, N)
    x, starts, out = np.ascontiguousarray(x), to, y.reshape(-1)
    b = _no_bias(N, x.dtype) if b is None else np.ascontiguousarray(b)
    flat, table = np.ascontiguousarray(W).reshape(-1), np.ascontiguousarray(at).reshape(-1)
    strip = max(ROWS_PER_TILE) * (vector_bytes() // x.itemsize)
    if M >= 2 * ROWS_PER_BLOCK or N < 2 * strip:

        def rows_of(start: int, stop: int) -> None:
            for m in range(start, stop, ROWS_PER_BLOCK):
                end = min(m + ROWS_PER_BLOCK, stop)
                product_block(x, table, T, K, flat, N, b, out, starts, relu, m, end, 0, N)

        in_blocks(rows_of, M, T * K * N, max(ROWS_PER_TILE.values()))
    else:

        def strips_of(start: int, stop: int) -> None:
            end = min(stop * strip, N)
            product_block(x, table, T, K, flat, N, b, out, starts, relu, 0, M, start * strip, end)

        in_blocks(strips_of, -(-N // strip), T * K * M * strip)
    return y


def gradient(x: Array, at: Array, K: int, dy: Array) -> Array:
    """dW_t = Σ_m x[at(m, t) : at(m, t) + K]ᵀ dy_m; x: flat, at: (M, T), dy: (M, N) -> dW: (T, K, N).

    Each number is one chain in the order of m, whatever the number of threads.
    """
    M, T = at.shape
    N = dy.shape[1]
    if not compiled(x.dtype) or M * T * K * N == 0:
        return gradient_plain(x, at, K, dy)
    dW = empty((T, K, N), x.dtype)
    x, table, out = np.ascontiguousarray(x), np.ascontiguousarray(at).reshape(-1), dW.reshape(-1)
    flat = np.ascontiguousarray(dy).reshape(-1)

    def work(start: int, stop: int) -> None:
        """Rows start to stop − 1 of dW: a part of one W_t, then whole ones together, then a part of
        another."""
        while start < stop:
            t, c = divmod(start, K)
            whole = (stop - start) // K if c == 0 else 0
            c1 = K if whole else min(K, c + stop - start)
            gradient_block(x, table, T, flat, N, out, GRADIENT_ROWS_PER_BLOCK, c, c1, t, t + max(1, whole), K)
            start += whole * K if whole else c1 - c

    in_blocks(work, T * K, M * N, ROWS_OF_GRADIENT)
    return dW


def adam_gradient(x: Array, dy: Array, value: Array, mean: Array, square: Array, factors: Array) -> None:
    """A step of Adam with the gradient xᵀ dy, which is never in memory; x: (M, K), dy: (M, N) -> value: (K,
    N).

    value, mean, square: θ, m and v, changed in place; factors: as in kernels/adam.py. The same bits as from
    `linear_dW` and `adam_step`.
    """
    M, K = x.shape
    arrays = [a.reshape(-1) for a in (value, mean, square)]
    flat, table, rows = x.reshape(-1), _steps(M, K), dy.reshape(-1)

    def work(start: int, stop: int) -> None:
        adam_block(flat, table, rows, dy.shape[1], *arrays, factors, start, stop)

    in_blocks(work, K, M * dy.shape[1], max(ADAM_ROWS_PER_TILE.values()))


# The products of a linear layer.


def linear(x: Array, W: Array, b: Array | None = None, relu: bool = False) -> Array:
    """y = x W + b; x: (M, I), W: (I, O), b: (O,) -> y: (M, O)."""
    x = np.ascontiguousarray(x)
    return product(x.reshape(-1), _table(*x.shape), W[None], b, relu=relu)


def linear_dx(dy: Array, W: Array) -> Array:
    """dx = dy Wᵀ; dy: (M, O), W: (I, O) -> dx: (M, I).

    The kernel needs contiguous columns. So either W is transposed or, for small batches, dy is: dxᵀ = W dyᵀ
    has the same chains over O, hence the same bits.
    """
    if not compiled(dy.dtype):
        return dy @ W.T
    if dy.shape[0] * sum(W.shape) >= W.size:
        return linear(dy, transposed(W))
    return transposed(linear(W, transposed(dy)))


def linear_dW(x: Array, dy: Array) -> Array:
    """dW = xᵀ dy; x: (M, I), dy: (M, O) -> dW: (I, O)."""
    x = np.ascontiguousarray(x)
    return gradient(x.reshape(-1), _table(*x.shape), x.shape[1], dy)[0]


def transposed(x: Array) -> Array:
    """xᵀ as a contiguous array; x: (R, C) -> (C, R)."""
    if not compiled(x.dtype):
        return np.ascontiguousarray(x.T)
    x = np.ascontiguousarray(x)
    (R, C), y = x.shape, empty(x.shape[::-1], x.dtype)
    transpose(x.reshape(-1), 0, C, R, C, y.reshape(-1), 0, R, vector_bytes() // x.itemsize)
    return y


def fusible(x: Array, dy: Array) -> bool:
    """Whether adam_gradient pays for these arrays."""
    return compiled(x.dtype) and 0 < dy.size <= LARGEST_FUSED and x.size > 0


@functools.cache
def compiled(dtype: Any) -> bool:
    """Whether products of this dtype run in vector registers."""
    if not JIT:
        return False

    def probe() -> None:
        x, at = np.zeros(1, dtype), np.zeros(1, np.int64)
        product_block(x, at, 1, 1, x, 1, x, x.copy(), at, False, 0, 1, 0, 1)

    return compiles("vqnp's products", probe)


@functools.lru_cache(maxsize=256)
def _steps(count: int, step: int) -> Array:
    """0, step, 2 step, …"""
    return np.arange(count, dtype=np.int64) * step


def _table(rows: int, width: int) -> Array:
    """The table of a matrix: (rows, 1)."""
    return _steps(rows, width)[:, None]


@functools.lru_cache(maxsize=64)
def _no_bias(N: int, dtype: Any) -> Array:
    return zeros((N,), dtype)
