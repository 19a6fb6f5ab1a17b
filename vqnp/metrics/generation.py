"""E = 2⟨‖x − y‖⟩ − ⟨‖x − x'‖⟩ − ⟨‖y − y'‖⟩: how far a model's samples are from real images.

x: (n, H, W) samples, y: (n', H, W) images
"""

from typing import Any, NamedTuple

import numpy as np

from vqnp._check import Array, fail
from vqnp._images import to_float
from vqnp.kernels.nearest import nearest_code

ROWS = 512  # whose distances are in memory at a time


class EnergyDistance(NamedTuple):
    """distance: E, in the units of ‖x − y‖; coefficient: E/(2⟨‖x − y‖⟩), from 0 (one distribution) to 1.

    Examples
    --------
    >>> black, white = np.zeros((3, 2, 2)), np.ones((3, 2, 2))
    >>> found = energy_distance(black, white)  # pixels differ by 1, images by √4
    >>> float(found.distance), float(found.coefficient)
    (4.0, 1.0)
    """

    distance: float
    coefficient: float


def energy_distance(samples: Any, images: Any) -> EnergyDistance:
    """E = 2⟨‖x − y‖⟩ − ⟨‖x − x'‖⟩ − ⟨‖y − y'‖⟩: 0 if and only if the distributions are equal.

    x: (n, ...), y: (n', ...) -> EnergyDistance

    Parameters
    ----------
    samples, images : ndarray, shapes (n, ...) and (n', ...), both at least 2
        uint8, or float in [0, 1].

    Returns
    -------
    EnergyDistance
        Over pairs of *different* images, so that it is unbiased: for two halves of one set it is 0 on
        average, and both numbers may be below 0. Two such halves show how precise a comparison is.

    Raises
    ------
    InputError
        If there are too few images, their shapes differ, or pixels are out of range.

    Notes
    -----
    For distributions that nearly agree, E grows with the square of a shift: √E is the metric, so four
    times E is about twice as far. Unlike a comparison of means, it is zero only for equal distributions,
    and unlike a kernel it has no setting. But ‖x − y‖ compares pixels: a shift by one pixel may count for
    more than a blur.

    References
    ----------
    Székely & Rizzo 2013, Energy statistics: a class of statistics based on distances, J. Stat. Plan.
    Inference 143(8), which also defines the coefficient.
    """
    x, y = _flat("energy_distance", samples, images, np.float64, 2)
    x, y = x - y.mean(axis=0), y - y.mean(axis=0)  # smaller norms cancel less
    between = _sum_of_distances(x, y) / (len(x) * len(y))
    within = sum(_sum_of_distances(a, a) / (len(a) * (len(a) - 1)) for a in (x, y))
    distance = 2 * between - within
    return EnergyDistance(distance, distance / (2 * between) if between else 0.0)


def nearest_distance(samples: Any, images: Any) -> Array:
    """d = min_i √⟨(x − y_i)²⟩ over pixels: the distance of each sample from the nearest image.

    x: (n, ...), y: (n', ...) -> d: (n,) float64, in units of the pixel range

    Parameters
    ----------
    samples, images : ndarray, shapes (n, ...) and (n', ...), both at least 1
        uint8, or float in [0, 1]; images are usually those of the training.

    Raises
    ------
    InputError
        If there are no images, their shapes differ, or pixels are out of range.

    Notes
    -----
    A copy of a training image has distance 0, and a blur of many images less than a new sharp image: it
    detects implausible samples, but not blurry or memorised ones. `energy_distance` detects those too.
    """
    x, y = _flat("nearest_distance", samples, images, np.float32, 1)
    r = x.astype(np.float64) - y[nearest_code(x, y)]
    return np.sqrt((r * r).mean(axis=1))


def _sum_of_distances(x: Array, y: Array) -> float:
    """Σ_ij ‖x_i − y_j‖; without i = j if x is y."""
    squares, total = (y * y).sum(axis=1), 0.0
    for start in range(0, len(x), ROWS):
        rows = x[start : start + ROWS]
        d2 = (rows * rows).sum(axis=1)[:, None] + squares - 2 * rows @ y.T
        if x is y:
            d2[np.arange(len(rows)), np.arange(start, start + len(rows))] = 0  # exactly
        total += float(np.sqrt(np.maximum(d2, 0)).sum())
    return total


def _flat(where: str, samples: Any, images: Any, dtype: Any, least: int) -> tuple[Array, Array]:
    """Both as (n, P) of the dtype, else InputError."""
    x, y = to_float(samples, dtype, where=where, name="samples"), to_float(images, dtype, where=where)
    if x.ndim < 2 or x.shape[1:] != y.shape[1:] or min(len(x), len(y)) < least or x[0].size == 0:
        needed = f"must have shape (n, ...), n at least {least}, the rest equal"
        fail(where, "samples and images", needed, f"shapes {x.shape} and {y.shape}")
    return x.reshape(len(x), -1), y.reshape(len(y), -1)
