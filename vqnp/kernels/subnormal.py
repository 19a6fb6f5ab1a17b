"""x → 0 where |x| < τ, the smallest normal number of x's dtype: running averages hold no subnormal numbers.

τ is 1.2e-38 in float32 and 2.2e-308 in float64. Between τ and 0 lie the subnormal numbers: they have fewer
digits, and an operation on one takes many times as long on some processors. An average whose input stays 0
decays into them, and remains there, since β times the smallest of them rounds to itself. The threshold is τ,
and not a rounder number above it, because it is the least that works: docs/math/subnormal.md.
"""

import numpy as np

from vqnp._check import Array


def flush(x: Array) -> Array:
    """x, and +0 where |x| < τ; NaN stays. x: (...,) -> (...,)"""
    return np.where(np.abs(x) < np.finfo(x.dtype).tiny, x.dtype.type(0), x)
