"""r = a − b and Σr².

a, b: any shape -> r: the same, Σr²: float64
"""

from __future__ import annotations

import numpy as np

from vqnp._check import Array


def difference_and_square(a: Array, b: Array) -> tuple[Array, np.float64]:
    """r = a − b in the arrays' dtype, and Σr² in float64.

    a, b: any shape -> r: the same, Σr²: float64
    """
    r = a - b
    return r, np.square(r, dtype=np.float64).sum()
