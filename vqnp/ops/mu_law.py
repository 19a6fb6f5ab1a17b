"""y = sign(x) log(1 + µ|x|) / log(1 + µ): µ-law, by which a sound of 16 bits a sample is stored in 8.

x: (...) in [-1, 1] -> y: (...) in [-1, 1]
"""

import math
from typing import Any

import numpy as np

from vqnp._check import Array, check_array, check_float, fail
from vqnp._shapes import checked

Cache = tuple[Any, ...]

MU = 255.0
"""µ of telephony in North America and Japan, and of 8 bits."""


@checked(x="(...)")
def mu_law_forward(x: Array, mu: float = MU) -> tuple[Array, Cache]:
    """y = sign(x) log(1 + µ|x|) / log(1 + µ).

    x: (...) -> y: (...), both in [-1, 1]

    Steps of equal width in y are narrow in x near 0 and wide near ±1: the error of a rounded y is about
    proportional to the sample, as the ear's tolerance is.

    References
    ----------
    ITU-T G.711; Smith 1957, Bell System Technical Journal 36(3). WaveNet: arXiv 1609.03499, section 2.2.
    """
    mu = check_float("mu_law_forward", "mu", mu, "(0, inf)")
    y = np.sign(x) * np.log1p(mu * np.abs(x)) / math.log1p(mu)
    return np.asarray(y, x.dtype), (x, mu)


def mu_law_backward(dy: Array, cache: Cache) -> Array:
    """dx = dy µ / ((1 + µ|x|) log(1 + µ)).

    dy: (...) -> dx: (...);  at 0 both slopes are µ / log(1 + µ)
    """
    x, mu = cache
    check_array("mu_law_backward", "dy", dy, shape=x.shape, dtype=x.dtype)
    return np.asarray(dy * (mu / math.log1p(mu) / (1 + mu * np.abs(x))), x.dtype)


@checked(y="(...)")
def mu_law_inverse_forward(y: Array, mu: float = MU) -> tuple[Array, Cache]:
    """x = sign(y) ((1 + µ)^|y| − 1) / µ: mu_law_forward undone.

    y: (...) -> x: (...)
    """
    mu = check_float("mu_law_inverse_forward", "mu", mu, "(0, inf)")
    x = np.sign(y) * np.expm1(math.log1p(mu) * np.abs(y)) / mu
    return np.asarray(x, y.dtype), (y, mu)


def mu_law_inverse_backward(dx: Array, cache: Cache) -> Array:
    """dy = dx log(1 + µ) (1 + µ)^|y| / µ."""
    y, mu = cache
    check_array("mu_law_inverse_backward", "dx", dx, shape=y.shape, dtype=y.dtype)
    slope = math.log1p(mu) / mu * np.exp(math.log1p(mu) * np.abs(y))
    return np.asarray(dx * slope, y.dtype)


def mu_law_encode(x: Array) -> Array:
    """The byte of each sample, 128 + round(127 y): (...) in [-1, 1] -> uint8 in [1, 255], 128 for 0."""
    y = mu_law_forward(np.asarray(x, np.float64))[0]
    if not (np.abs(y) <= 1).all():
        fail("mu_law_encode", "x", "must be in [-1, 1]", float(np.abs(x).max()))
    return np.rint(128 + 127 * y).astype(np.uint8)


def mu_law_decode(k: Array, dtype: Any = np.float32) -> Array:
    """The sample of each byte: (...) uint8 -> (...) in [-1, 1]; 0, which no sample has, counts as 1."""
    return _table(dtype)[k]


def _table(dtype: Any) -> Array:
    y = np.maximum(np.arange(256) - 128.0, -127) / 127
    return mu_law_inverse_forward(y)[0].astype(dtype)
