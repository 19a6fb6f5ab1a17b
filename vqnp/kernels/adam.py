"""m ← β₁m + (1−β₁)g,  v ← β₂v + (1−β₂)g²,  θ ← θ − (α/(1−β₁ᵗ)) · m / (√(v/(1−β₂ᵗ)) + ε), in place.

θ, g, m, v: all of one shape
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vqnp._check import Array
from vqnp.kernels.jit import JIT, jit
from vqnp.kernels.threads import MULTIPLY_ADDS_PER_ELEMENT, in_blocks

ELEMENTS_PER_BLOCK = 1 << 15  # of one parameter: 512 KB of θ, g, m and v in float32

# With fewer, a second thread was measured to gain nothing in training: memory is the limit, and OpenBLAS's
# threads still occupy the other cores, waiting for the next product.
ELEMENTS_WORTH_SHARING = 1 << 22


def adam_step_plain(
    value: Array, grad: Array, m: Array, v: Array,
    t: int, lr: float, beta1: float, beta2: float, epsilon: float,
) -> None:  # fmt: skip
    """The update above. value, grad, m, v: θ, g, m, v of one parameter; t: the step's number, from 1.

    References
    ----------
    Kingma & Ba 2015, arXiv 1412.6980, algorithm 1.
    """
    m[:] = beta1 * m + (1 - beta1) * grad
    v[:] = beta2 * v + (1 - beta2) * (grad * grad)
    value -= lr / (1 - beta1**t) * (m / (np.sqrt(v * (1 / (1 - beta2**t))) + epsilon))


def adam_step(
    arrays: Sequence[tuple[Array, Array, Array, Array]],
    t: int, lr: float, beta1: float, beta2: float, epsilon: float,
) -> None:  # fmt: skip
    """adam_step_plain on every parameter, with the same bits, in one pass over memory instead of ten.

    arrays: (θ, g, m, v) of each parameter, each (n,) and contiguous
    """
    t, lr, beta1, beta2, epsilon = int(t), float(lr), float(beta1), float(beta2), float(epsilon)
    if not JIT:
        for value, grad, m, v in arrays:
            adam_step_plain(value, grad, m, v, t, lr, beta1, beta2, epsilon)
        return
    # As NumPy does, each factor is computed in float64 and then rounded to the arrays' dtype.
    factors = (beta1, 1 - beta1, beta2, 1 - beta2, lr / (1 - beta1**t), 1 / (1 - beta2**t), epsilon)
    rounded = [tuple(value.dtype.type(x) for x in factors) for value, *_ in arrays]
    blocks = [(p, i) for p, (x, *_) in enumerate(arrays) for i in range(0, x.size, ELEMENTS_PER_BLOCK)]

    def work(start: int, stop: int) -> None:
        for p, i in blocks[start:stop]:
            value, grad, m, v = (a[i : i + ELEMENTS_PER_BLOCK] for a in arrays[p])
            _adam_step(value, grad, m, v, rounded[p])

    if len(blocks) * ELEMENTS_PER_BLOCK < ELEMENTS_WORTH_SHARING:
        work(0, len(blocks))
    else:
        in_blocks(work, len(blocks), MULTIPLY_ADDS_PER_ELEMENT * ELEMENTS_PER_BLOCK)


@jit(error_model="numpy", nogil=True)  # no test for a zero divisor inside the loop: it would not vectorise
def _adam_step(value: Array, grad: Array, m: Array, v: Array, factors: Any) -> None:
    b1, c1, b2, c2, rate, unbias, epsilon = factors
    for i in range(value.size):
        m[i] = b1 * m[i] + c1 * grad[i]
        v[i] = b2 * v[i] + c2 * (grad[i] * grad[i])
        value[i] -= rate * (m[i] / (np.sqrt(v[i] * unbias) + epsilon))
