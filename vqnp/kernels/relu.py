"""dx = dy · [y > 0]: the gradient of y = max(x, 0), in one pass."""

from __future__ import annotations

import numpy as np

from vqnp._check import Array
from vqnp.kernels.jit import JIT, jit
from vqnp.kernels.threads import in_blocks

PASSING = 1 << 5
"""An element that goes through memory once takes about as long as so many multiplications of a tile."""


def relu_gradient(dy: Array, y: Array) -> Array:
    """dx = dy where y > 0, else 0; dy, y: any shape -> the same."""
    if not JIT:
        return relu_gradient_plain(dy, y)
    flat_dy, flat_y = np.ascontiguousarray(dy).reshape(-1), np.ascontiguousarray(y).reshape(-1)
    dx = np.empty_like(flat_dy)
    in_blocks(lambda a, b: _relu_gradient(flat_dy[a:b], flat_y[a:b], dx[a:b]), dx.size, PASSING)
    return dx.reshape(y.shape)


def relu_gradient_plain(dy: Array, y: Array) -> Array:
    """The plain twin."""
    return np.where(y > 0, dy, dy.dtype.type(0))


@jit(nogil=True)
def _relu_gradient(dy: Array, y: Array, dx: Array) -> None:  # pragma: no cover - compiled
    for i in range(dx.size):
        dx[i] = dy[i] if y[i] > 0 else 0
