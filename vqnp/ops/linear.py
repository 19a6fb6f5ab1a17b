"""y = x W + b and its gradients.

x: (..., I), W: (I, O), b: (O,) -> y: (..., O)
"""

from typing import Any

from vqnp._check import Array, check_array
from vqnp._shapes import checked

Cache = tuple[Any, ...]


@checked(W="(I, O)", x="(..., I)", b="(O,)")
def linear_forward(x: Array, W: Array, b: Array) -> tuple[Array, Cache]:
    """y = x W + b.

    x: (..., I), W: (I, O), b: (O,) -> y: (..., O)

    W has the shape (inputs, outputs), so that the code reads like the equation; PyTorch's Linear stores
    the transpose.

    Raises
    ------
    InputError
        Wrong shape or dtype.
    """
    return x @ W + b, (x, W)


def linear_backward(dy: Array, cache: Cache, need_dx: bool = True) -> tuple[Array | None, Array, Array]:
    """dx = dy Wᵀ,  dW = Σ xᵀ dy,  db = Σ dy, summed over all leading axes.

    dy: (..., O) -> dx: (..., I), dW: (I, O), db: (O,)

    With need_dx=False, dx is None: the input of a network's first layer is data and needs no gradient.
    """
    x, W = cache
    check_array("linear_backward", "dy", dy, shape=(*x.shape[:-1], W.shape[1]), dtype=W.dtype)
    rows, drows = x.reshape(-1, W.shape[0]), dy.reshape(-1, W.shape[1])
    dW = rows.T @ drows
    db = drows.sum(axis=0)
    dx = dy @ W.T if need_dx else None
    return dx, dW, db
