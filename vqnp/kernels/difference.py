"""r = a − b and Σr².

a, b: any shape -> r: the same, Σr²: float64
"""

from __future__ import annotations

import numpy as np

from vqnp._check import Array


def difference_and_square(a: Array, b: Array) -> tuple[Array, np.float64]:
    """r = a − b and Σr², the squares in the arrays' dtype and their sum in float64."""
    r = a - b
    return r, (r * r).sum(dtype=np.float64)
