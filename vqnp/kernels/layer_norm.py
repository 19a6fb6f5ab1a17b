"""y = γ x̂ + β,  x̂ = (x − μ) / √(σ² + ε), row by row, and its gradients, each in one pass over memory.

x: (M, C), γ, β: (C,) -> y: (M, C)
"""

import math

import numpy as np

from vqnp._check import Array
from vqnp.kernels.jit import JIT, jit
from vqnp.kernels.threads import MULTIPLY_ADDS_PER_ELEMENT, in_blocks

PARTS = 16
"""Sums over a row are computed in this many parts, which a processor computes in parallel."""

ROWS = 64
"""Rows in a partial sum of dγ and dβ: a fixed number, so that the number of threads changes no bit."""


def layer_norm_plain(x: Array, gamma: Array, beta: Array, epsilon: float) -> tuple[Array, Array, Array]:
    """y, x̂: (M, C) and 1/√(σ² + ε): (M, 1); σ² from the differences: mean(x²) − μ² would cancel."""
    centred = x - x.mean(axis=-1, keepdims=True)
    scale = 1 / np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + epsilon)
    x_hat = centred * scale
    return gamma * x_hat + beta, x_hat, scale


def layer_norm_gradient_plain(
    dy: Array, x_hat: Array, scale: Array, gamma: Array
) -> tuple[Array, Array, Array]:
    """dx, dγ, dβ: dx̂ = γ dy without its components along 1 (through μ) and x̂ (through σ), scaled."""
    dx_hat = gamma * dy
    along_1 = dx_hat.mean(axis=-1, keepdims=True)
    along_x = (dx_hat * x_hat).mean(axis=-1, keepdims=True)
    return scale * (dx_hat - along_1 - x_hat * along_x), (dy * x_hat).sum(axis=0), dy.sum(axis=0)


def layer_norm(x: Array, gamma: Array, beta: Array, epsilon: float) -> tuple[Array, Array, Array]:
    """layer_norm_plain, compiled."""
    if not JIT:
        return layer_norm_plain(x, gamma, beta, epsilon)
    x = np.ascontiguousarray(x)
    y, x_hat, scale = np.empty_like(x), np.empty_like(x), np.empty((len(x), 1), x.dtype)
    arrays = np.ascontiguousarray(gamma), np.ascontiguousarray(beta), y, x_hat, scale
    cost = 2 * MULTIPLY_ADDS_PER_ELEMENT * x.shape[1]
    in_blocks(lambda i, j: layer_norm_block(i, j, x, epsilon, *arrays), len(x), cost)
    return y, x_hat, scale


def layer_norm_gradient(
    dy: Array, x_hat: Array, scale: Array, gamma: Array
) -> tuple[Array, Array, Array]:
    """layer_norm_gradient_plain, compiled."""
    if not JIT:
        return layer_norm_gradient_plain(dy, x_hat, scale, gamma)
    (M, C), blocks = dy.shape, -(-len(dy) // ROWS)
    dx, sums = np.empty_like(x_hat), np.zeros((2, blocks, C), dy.dtype)
    arrays = np.ascontiguousarray(dy), x_hat, scale, np.ascontiguousarray(gamma), dx, sums
    cost = 3 * MULTIPLY_ADDS_PER_ELEMENT * C * ROWS
    in_blocks(lambda i, j: _layer_norm_gradient(i * ROWS, min(j * ROWS, M), *arrays), blocks, cost)
    dgamma, dbeta = sums.sum(axis=1)
    return dx, dgamma, dbeta


@jit(nogil=True)
def _sum(row: Array, part: Array) -> float:
    """Σ row, as PARTS partial sums; part: (PARTS,)."""
    part[:] = 0
    whole = row.size // PARTS * PARTS
    for c in range(0, whole, PARTS):
        for l in range(PARTS):
            part[l] += row[c + l]
    for c in range(whole, row.size):
        part[c - whole] += row[c]
    width = PARTS // 2
    while width:
        for l in range(width):
            part[l] += part[l + width]
        width //= 2
    return part[0]


@jit(nogil=True)
def layer_norm_block(
    start: int, stop: int, x: Array, epsilon: float, gamma: Array, beta: Array, y: Array, x_hat: Array,
    scale: Array,
) -> None:  # fmt: skip
    """Rows start to stop − 1."""
    C, number = x.shape[1], x.dtype.type
    squares, part = np.empty(C, x.dtype), np.empty(PARTS, x.dtype)
    for m in range(start, stop):
        row, hat, out = x[m], x_hat[m], y[m]
        mean = _sum(row, part) / number(C)
        for c in range(C):
            hat[c] = row[c] - mean
            squares[c] = hat[c] * hat[c]
        s = number(1 / math.sqrt(_sum(squares, part) / number(C) + epsilon))
        scale[m, 0] = s
        for c in range(C):
            hat[c] *= s
            out[c] = gamma[c] * hat[c] + beta[c]


@jit(nogil=True)
def _layer_norm_gradient(
    start: int, stop: int, dy: Array, x_hat: Array, scale: Array, gamma: Array, dx: Array, sums: Array
) -> None:
    """Rows start to stop − 1; start: a multiple of ROWS."""
    C, number = dy.shape[1], dy.dtype.type
    products, part = np.empty(C, dy.dtype), np.empty(PARTS, dy.dtype)
    for m in range(start, stop):
        row, hat, out = dy[m], x_hat[m], dx[m]
        dgamma, dbeta = sums[0, m // ROWS], sums[1, m // ROWS]
        for c in range(C):
            dgamma[c] += row[c] * hat[c]
            dbeta[c] += row[c]
            out[c] = gamma[c] * row[c]
            products[c] = out[c] * hat[c]
        along_1, along_x = _sum(out, part) / number(C), _sum(products, part) / number(C)
        s = scale[m, 0]
        for c in range(C):
            out[c] = s * (out[c] - along_1 - hat[c] * along_x)
