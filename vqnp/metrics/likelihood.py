"""−log p(x | x̂), p(v | x̂) = σ((v + ½ − x̂)/s) − σ((v − ½ − x̂)/s): a distribution over 256 grey levels.

x: (n, ...) levels v in {0, …, 255}, x̂: (n, ...) reconstructions in units of levels, s: the scale
"""

import math
from typing import Any

import numpy as np

from vqnp._check import Array, as_array, check_codes, check_finite, check_float, fail

LEVELS = 256
SCALES = (0.02, 300.0)
"""The range of s in which it is searched, in grey levels: a logistic of s = 300 is flat over all of them."""

SEARCH_STEPS = 60
"""Of the golden section search, each of which leaves 0.618 of log s: 1e-11 of the range."""


def grey_level_nats(x_hat: Any, images: Any, scale: float) -> Array:
    """−Σ log p(v | x̂) over pixels, of a logistic of scale s around x̂, cut into 256 levels -> (n,) nats.

    x_hat: (n, ...) in [0, 1], images: (n, ...) uint8

    The probability beyond an end belongs to the level at that end, so that the 256 probabilities of a pixel
    add up to 1: the sum of −log p is the length of a code, in nats, as that of any normalised distribution.

    Parameters
    ----------
    x_hat : array_like of floats, shape (n, ...)
        Reconstructions.
    images : array_like of uint8, shape (n, ...)
        What they are reconstructions of.
    scale : float, above 0
        s, in grey levels, such as `fit_scale` gives for training images.

    Raises
    ------
    InputError
        If shapes differ, images are not of 256 levels, or the scale is not above 0.

    References
    ----------
    Salimans et al. 2017, PixelCNN++, arXiv 1701.05517, equation 2 with one component.

    Examples
    --------
    >>> image = np.array([[0, 255]], np.uint8)
    >>> (grey_level_nats(image / 255, image, scale=0.1) < 0.1).all()
    np.True_
    """
    x, v = _checked("grey_level_nats", x_hat, images)
    return _nats(x, v, check_float("grey_level_nats", "scale", scale, "(0, inf)"))


def fit_scale(x_hat: Any, images: Any) -> float:
    """The s that makes ⟨−log p(x | x̂)⟩ smallest, by golden section search over log s.

    x_hat: (n, ...) in [0, 1], images: (n, ...) uint8 -> s, in grey levels

    Parameters and errors: as for grey_level_nats. The images should be those of the training: a scale
    fitted to the images that are measured would be a parameter that nobody transmits.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> images = rng.integers(80, 170, (10, 8, 8)).astype(np.uint8)
    >>> near, far = (np.clip(images / 255 + s * rng.normal(size=images.shape), 0, 1) for s in (0.02, 0.1))
    >>> 2 < fit_scale(near, images) < 4 < 10 < fit_scale(far, images) < 20
    True
    """
    x, v = _checked("fit_scale", x_hat, images)
    low, high = map(math.log, SCALES)
    g = (math.sqrt(5) - 1) / 2

    def cost(log_s: float) -> float:
        return float(_nats(x, v, math.exp(log_s)).sum())

    a, b = high - g * (high - low), low + g * (high - low)
    at_a, at_b = cost(a), cost(b)
    for _ in range(SEARCH_STEPS):
        if at_a < at_b:
            high, b, at_b = b, a, at_a
            a = high - g * (high - low)
            at_a = cost(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + g * (high - low)
            at_b = cost(b)
    return math.exp((low + high) / 2)


def _nats(x: Array, v: Array, s: float) -> Array:
    """(n, P), (n, P) -> (n,).

    log(σ(a) − σ(b)) = log σ(a) + log σ(−b) + log(1 − e^(b − a)) and a − b = 1/s: nothing cancels.
    """
    d = (v - x) / s
    a, b = d + 0.5 / s, d - 0.5 / s
    log_p = _log_sigmoid(a) * (v < LEVELS - 1) + _log_sigmoid(-b) * (v > 0)
    log_p += ((v > 0) & (v < LEVELS - 1)) * math.log(-math.expm1(-1 / s))
    return np.asarray(-log_p.sum(axis=1))


def _log_sigmoid(a: Array) -> Array:
    return np.asarray(np.minimum(a, 0) - np.log1p(np.exp(-np.abs(a))))


def _checked(where: str, x_hat: Any, images: Any) -> tuple[Array, Array]:
    """x̂ in grey levels and v, as (n, P) float64."""
    x, v = as_array(where, "x_hat", x_hat), check_codes(where, images, LEVELS, "images")
    if x.ndim < 2 or x.shape != v.shape or x.size == 0:
        fail(where, "x_hat and images", "must have one shape (n, ...)", f"shapes {x.shape} and {v.shape}")
    check_finite(where, "x_hat", x)
    x, v = x.reshape(len(x), -1).astype(np.float64), v.reshape(len(v), -1).astype(np.float64)
    return (LEVELS - 1) * x, v
