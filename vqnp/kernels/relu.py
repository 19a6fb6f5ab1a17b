"""dx = dy · [y > 0]: the gradient of y = max(x, 0).

np.where branches at each element, and the sign of an activation is hard to predict: at random signs it takes
5 to 30 times as long as the compiled loop, which has no branch (docs/benchmarks/elementwise.md).
"""

import numpy as np

from vqnp._check import Array
from vqnp.kernels.jit import JIT, jit
from vqnp.kernels.threads import MULTIPLY_ADDS_PER_ELEMENT, elementwise


def relu_gradient_plain(dy: Array, y: Array) -> Array:
    """dx = dy where y > 0, else 0; dy, y: any shape -> the same."""
    return np.where(y > 0, dy, 0)


def relu_gradient(dy: Array, y: Array) -> Array:
    """relu_gradient_plain, compiled; dy, y: any shape -> the same."""
    if not JIT:
        return relu_gradient_plain(dy, y)
    return elementwise(_relu_gradient, MULTIPLY_ADDS_PER_ELEMENT, dy, y)


@jit(nogil=True)
def _relu_gradient(dy: Array, y: Array, dx: Array) -> None:
    for i in range(dx.size):
        dx[i] = dy[i] if y[i] > 0 else 0
