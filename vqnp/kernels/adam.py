"""m ← β₁m + (1−β₁)g,  v ← β₂v + (1−β₂)g²,  θ ← θ − (α/(1−β₁ᵗ)) · m / (√(v/(1−β₂ᵗ)) + ε), in place.

θ, g, m, v: all of one shape
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vqnp._check import Array
from vqnp.kernels.jit import JIT, jit
from vqnp.kernels.relu import PASSING
from vqnp.kernels.threads import in_blocks


def adam_step(
    value: Array,
    grad: Array,
    m: Array,
    v: Array,
    t: int,
    lr: float,
    beta1: float,
    beta2: float,
    epsilon: float,
) -> None:
    """One step of Adam on value, m and v, in place: Kingma & Ba 2015 (arXiv 1412.6980), algorithm 1.

    value, grad, m, v: (n,), contiguous; t: the step's number, from 1

    One pass over memory in place of NumPy's ten. The scalars are rounded to the arrays' dtype
    first, so that float32 stays float32 and the kernel and its twin give the same bits.
    """
    f = value.dtype.type
    numbers = (beta1, 1 - beta1, beta2, 1 - beta2, lr / (1 - beta1**t), 1 / (1 - beta2**t), epsilon)
    scalars = tuple(f(s) for s in numbers)
    if not JIT:
        adam_step_plain(value, grad, m, v, scalars)
        return
    in_blocks(
        lambda a, b: _adam_compiled(value[a:b], grad[a:b], m[a:b], v[a:b], scalars), value.size, 4 * PASSING
    )


def adam_step_plain(value: Array, grad: Array, m: Array, v: Array, scalars: tuple[Any, ...]) -> None:
    """The plain twin: the same operations in the same order."""
    b1, c1, b2, c2, rate, unbias, epsilon = scalars
    m[:] = b1 * m + c1 * grad
    v[:] = b2 * v + c2 * (grad * grad)
    value -= rate * (m / (np.sqrt(v * unbias) + epsilon))


@jit(error_model="numpy", nogil=True)  # no test for a zero divisor inside the loop: it would not vectorise
def _adam_compiled(
    value: Array, grad: Array, m: Array, v: Array, scalars: tuple[Any, ...]
) -> None:  # pragma: no cover - compiled
    b1, c1, b2, c2, rate, unbias, epsilon = scalars
    for i in range(value.size):
        m[i] = b1 * m[i] + c1 * grad[i]
        v[i] = b2 * v[i] + c2 * (grad[i] * grad[i])
        value[i] -= rate * (m[i] / (np.sqrt(v[i] * unbias) + epsilon))
