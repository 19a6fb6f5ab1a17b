"""m ← β₁m + (1−β₁)g,  v ← β₂v + (1−β₂)g²,  θ ← θ − (α/(1−β₁ᵗ)) · m / (√(v/(1−β₂ᵗ)) + ε), in place.

θ, g, m, v: all of one shape; m and v become 0 where they would be subnormal
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vqnp._check import Array
from vqnp.kernels.jit import JIT, jit
from vqnp.kernels.subnormal import flush
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
    Kingma & Ba 2015, arXiv 1412.6980, algorithm 1; flush is ours.

    Notes
    -----
    What flush changes. Each flush removes less than τ from an average, and what it removed would have decayed
    by β in each later step. So after t steps less than τ Σ_{i<t} βⁱ = τ (1 − βᵗ)/(1 − β) is missing, and of
    m̂ and v̂, which are divided by 1 − βᵗ, less than τ/(1−β₁) and τ/(1−β₂), for every t. A root changes by at
    most the root of the change of its argument. So u = m̂/(√v̂ + ε), the step in units of α, changes by up to

        (τ/(1−β₁) + |u| √(τ/(1−β₂))) / ε

    With the defaults this is 1.2e-29 + 3.4e-10 |u| in float32 and 2.2e-299 + 1.5e-145 |u| in float64: less
    than rounding, as long as ε is above 6e-11 in float32. (With a smaller ε and |g| < 1e-19, float32 would
    be of no use without flush either: g² itself underflows.)

    No subnormal number is stored. While |g| is between 2.6e-23 and 3.5e-18 in float32, g² or (1 − β₂) g² is
    one for a moment, in a register; where g is 0, as for a dead unit, only an average that is being flushed.
    """
    m[:] = flush(beta1 * m + (1 - beta1) * grad)
    v[:] = flush(beta2 * v + (1 - beta2) * (grad * grad))
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
    rounded = [adam_factors(value.dtype, t, lr, beta1, beta2, epsilon) for value, *_ in arrays]
    blocks = [(p, i) for p, (x, *_) in enumerate(arrays) for i in range(0, x.size, ELEMENTS_PER_BLOCK)]

    def work(start: int, stop: int) -> None:
        for p, i in blocks[start:stop]:
            value, grad, m, v = (a[i : i + ELEMENTS_PER_BLOCK] for a in arrays[p])
            _adam_step(value, grad, m, v, rounded[p])

    if len(blocks) * ELEMENTS_PER_BLOCK < ELEMENTS_WORTH_SHARING:
        work(0, len(blocks))
    else:
        in_blocks(work, len(blocks), MULTIPLY_ADDS_PER_ELEMENT * ELEMENTS_PER_BLOCK)


def adam_factors(
    dtype: Any, t: int, lr: float, beta1: float, beta2: float, epsilon: float
) -> tuple[Any, ...]:
    """What a kernel multiplies by, the smallest normal number, and 0, in the arrays' dtype.

    As NumPy does, each is computed in float64 and then rounded.
    """
    factors = (beta1, 1 - beta1, beta2, 1 - beta2, lr / (1 - beta1**t), 1 / (1 - beta2**t), epsilon)
    return tuple(dtype.type(x) for x in (*factors, np.finfo(dtype).tiny, 0))


@jit(error_model="numpy", nogil=True)  # no test for a zero divisor inside the loop: it would not vectorise
def _adam_step(value: Array, grad: Array, m: Array, v: Array, factors: Any) -> None:
    b1, c1, b2, c2, rate, unbias, epsilon, tiny, zero = factors
    for i in range(value.size):
        mean = b1 * m[i] + c1 * grad[i]
        square = b2 * v[i] + c2 * (grad[i] * grad[i])
        m[i] = zero if abs(mean) < tiny else mean  # a select, not a branch; with ≥, NaN would become 0
        v[i] = zero if abs(square) < tiny else square
        value[i] -= rate * (m[i] / (np.sqrt(v[i] * unbias) + epsilon))
