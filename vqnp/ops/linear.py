"""y = x W + b and its gradients.

x: (..., I), W: (I, O), b: (O,) -> y: (..., O)
"""

import math
from typing import Any

import numpy as np

from vqnp._check import Array, check_array
from vqnp._shapes import checked
from vqnp.kernels.product import linear, linear_dW, linear_dx

Cache = tuple[Any, ...]


def linear_plain(x: Array, W: Array, b: Array) -> Array:
    """y = x W + b; x: (..., I), W: (I, O), b: (O,) -> y: (..., O)."""
    return x @ W + b


@checked(W="(I, O)", x="(..., I)", b="(O,)")
def linear_forward(x: Array, W: Array, b: Array, relu: bool = False) -> tuple[Array, Cache]:
    """y = x W + b, or max(x W + b, 0) with `relu`, whose backward pass is then the caller's.

    x: (..., I), W: (I, O), b: (O,) -> y: (..., O)

    W has the shape (inputs, outputs), so that the code reads like the equation; PyTorch's Linear stores
    the transpose. A row of y has the same bits in any batch and with any number of threads.

    Raises
    ------
    InputError
        Wrong shape or dtype.
    """
    y = linear(_rows(x), W, b, relu)  # x W + b
    return y.reshape(*x.shape[:-1], W.shape[1]), (x, W)


def linear_backward(dy: Array, cache: Cache, need_dx: bool = True) -> tuple[Array | None, Array, Array]:
    """dx = dy Wᵀ,  dW = Σ xᵀ dy,  db = Σ dy, summed over all leading axes.

    dy: (..., O) -> dx: (..., I), dW: (I, O), db: (O,)

    With need_dx=False, dx is None: the input of a network's first layer is data and needs no gradient.
    """
    dx, x, dy, db = linear_backward_rows(dy, cache, need_dx)
    return dx, linear_dW(x, dy), db


def linear_backward_rows(
    dy: Array, cache: Cache, need_dx: bool = True
) -> tuple[Array | None, Array, Array, Array]:
    """dx, the factors x: (M, I) and dy: (M, O) of dW = xᵀ dy, and db: see linear_backward."""
    x, W = cache
    check_array("linear_backward", "dy", dy, shape=(*x.shape[:-1], W.shape[1]), dtype=W.dtype)
    rows, drows = _rows(x), _rows(dy)
    db = drows.sum(axis=0)
    dx = linear_dx(drows, W).reshape(x.shape) if need_dx else None  # dy Wᵀ
    return dx, rows, drows, db


def _rows(x: Array) -> Array:
    """(..., I) -> (M, I), contiguous."""
    return np.ascontiguousarray(x).reshape(math.prod(x.shape[:-1]), x.shape[-1])
