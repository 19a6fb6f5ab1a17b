"""y = x W + b and its gradients.

x: (..., I), W: (I, O), b: (O,) -> y: (..., O)
"""

from __future__ import annotations

from typing import Any

from vqnp._check import Array, check_array

Cache = tuple[Any, ...]


def linear_forward(x: Array, W: Array, b: Array) -> tuple[Array, Cache]:
    """y = x W + b.

    x: (..., I), W: (I, O), b: (O,) -> y: (..., O)

    W is stored input by output, so that the equation reads as it is written; PyTorch's Linear
    stores its transpose.

    Raises
    ------
    InputError
        Wrong last axis, shape or dtype.
    """
    W = check_array("linear_forward", "W", W, ndim=2)
    x = check_array("linear_forward", "x", x, last=W.shape[0], dtype=W.dtype)
    b = check_array("linear_forward", "b", b, shape=W.shape[1:], dtype=W.dtype)
    y = x @ W
    y += b
    return y, (x, W)


def linear_backward(dy: Array, cache: Cache) -> tuple[Array, Array, Array]:
    """dx = dy Wᵀ,  dW = Σ xᵀ dy,  db = Σ dy, the sums over all leading axes.

    dy: (..., O) -> dx: (..., I), dW: (I, O), db: (O,)
    """
    _, W = cache
    dW, db = linear_backward_params(dy, cache)
    return dy @ W.T, dW, db


def linear_backward_params(dy: Array, cache: Cache) -> tuple[Array, Array]:
    """dW = Σ xᵀ dy,  db = Σ dy: linear_backward without dx, for a layer whose input needs no gradient.

    dy: (..., O) -> dW: (I, O), db: (O,)
    """
    x, W = cache
    dy = check_array("linear_backward", "dy", dy, shape=(*x.shape[:-1], W.shape[1]), dtype=W.dtype)
    rows, drows = x.reshape(-1, W.shape[0]), dy.reshape(-1, W.shape[1])
    return rows.T @ drows, drows.sum(axis=0)
