"""m ← β₁m + (1−β₁)g,  v ← β₂v + (1−β₂)g²,  θ ← θ − (α/(1−β₁ᵗ)) · m / (√(v/(1−β₂ᵗ)) + ε), in place.

θ, g, m, v: all of one shape
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vqnp._check import Array
from vqnp.kernels.jit import JIT, jit
from vqnp.kernels.relu import PASSING
from vqnp.kernels.threads import in_blocks

BLOCK = 1 << 15
"""Numbers to a block."""

SHARED_FROM = 1 << 22
"""Numbers from which threads share the work. With fewer, in training, a second thread was measured to gain
nothing: memory is the limit, and its core is where OpenBLAS's threads still wait for the next product."""


def adam_step(
    arrays: Sequence[tuple[Array, Array, Array, Array]],
    t: int,
    lr: float,
    beta1: float,
    beta2: float,
    epsilon: float,
) -> None:
    """One step of Adam on every θ, m and v, in place: Kingma & Ba 2015 (arXiv 1412.6980), algorithm 1.

    arrays: (θ, g, m, v) of each parameter, each (n,) and contiguous; t: the step's number, from 1

    One pass over memory in place of NumPy's ten.
    The scalars are rounded to the arrays' dtype first, so that float32 stays float32 and the kernel and
    its twin give the same bits.
    """
    numbers = (beta1, 1 - beta1, beta2, 1 - beta2, lr / (1 - beta1**t), 1 / (1 - beta2**t), epsilon)
    scalars = [tuple(value.dtype.type(x) for x in numbers) for value, *_ in arrays]
    if not JIT:
        for four, own in zip(arrays, scalars, strict=True):
            adam_step_plain(*four, own)
        return
    blocks = [(p, a) for p, (value, *_) in enumerate(arrays) for a in range(0, value.size, BLOCK)]

    def work(start: int, stop: int) -> None:
        for p, a in blocks[start:stop]:
            value, grad, m, v = (x[a : a + BLOCK] for x in arrays[p])
            _adam_compiled(value, grad, m, v, scalars[p])

    if len(blocks) * BLOCK < SHARED_FROM:
        work(0, len(blocks))
    else:
        in_blocks(work, len(blocks), PASSING * BLOCK)


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
