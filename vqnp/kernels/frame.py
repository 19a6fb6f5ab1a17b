"""An image in a frame of zeros, as convolutions with padding read it.

x: (B, H, W, C) -> (B, before + H + after, before' + W + after', C)
"""

import numpy as np

from vqnp._check import Array
from vqnp.kernels.jit import JIT, jit
from vqnp.kernels.memory import empty
from vqnp.kernels.threads import MULTIPLY_ADDS_PER_ELEMENT, in_blocks

Sides = tuple[int, int]


def framed_plain(x: Array, rows: Sides, columns: Sides) -> Array:
    """x with (before, after) rows and columns of zeros."""
    return np.pad(x, ((0, 0), rows, columns, (0, 0)))


def framed(x: Array, rows: Sides, columns: Sides) -> Array:
    """framed_plain in one pass over memory; without zeros to add, x itself."""
    if not any((*rows, *columns)):
        return x
    if not JIT:
        return framed_plain(x, rows, columns)
    B, H, W, C = x.shape
    y = empty((B, H + sum(rows), W + sum(columns), C), x.dtype)
    x = np.ascontiguousarray(x)

    def work(start: int, stop: int) -> None:
        _framed(x[start:stop], y[start:stop], rows[0], columns[0])

    in_blocks(work, B, MULTIPLY_ADDS_PER_ELEMENT * (y.size // max(B, 1)))
    return y


@jit(nogil=True)
def _framed(x: Array, y: Array, top: int, left: int) -> None:
    B, H, W, C = x.shape
    for n in range(B):
        y[n, :top] = 0
        y[n, top + H :] = 0
        for h in range(H):
            row, line = y[n, top + h].reshape(-1), x[n, h].reshape(-1)
            row[: left * C] = 0
            for i in range(W * C):
                row[left * C + i] = line[i]
            row[(left + W) * C :] = 0
