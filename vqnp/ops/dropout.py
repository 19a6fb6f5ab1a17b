"""y = m x / (1 − p),  m ~ Bernoulli(1 − p) for each number: dropout, whose expectation is the identity.

x, m: any shape -> y: the same
"""

from typing import Any

import numpy as np

from vqnp._check import Array, check_array, check_float, check_rng
from vqnp._shapes import checked

Cache = tuple[Any, ...]


@checked(x="(...)")
def dropout_forward(x: Array, p: float, rng: np.random.Generator | int | None) -> tuple[Array, Cache]:
    """y = m x / (1 − p),  m ~ Bernoulli(1 − p); x: any shape -> y: the same.

    The mask comes from rng and is kept in the cache. There is no mode to set: with p = 0 or rng=None, as in
    evaluation and sampling, y is x itself and nothing is drawn. Both dtypes get the same mask.

    Raises
    ------
    InputError
        x is not an array of float32 or float64, p is not in [0, 1), or rng is no generator.

    References
    ----------
    Srivastava et al. 2014, JMLR 15, section 4; scaled during training instead of at test time (section 10).
    """
    p = check_float("dropout_forward", "p", p, "[0, 1)")
    if rng is None or p == 0:
        return x, (None, x.shape, x.dtype)
    kept = check_rng("dropout_forward", rng).random(x.shape, np.float32) >= p
    mask = kept * x.dtype.type(1 / (1 - p))
    return x * mask, (mask, x.shape, x.dtype)


def dropout_backward(dy: Array, cache: Cache) -> Array:
    """dx = m dy / (1 − p); dy: any shape -> dx: the same."""
    mask, shape, dtype = cache
    check_array("dropout_backward", "dy", dy, shape=shape, dtype=dtype)
    return dy if mask is None else dy * mask
