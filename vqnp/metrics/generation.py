"""E = 2⟨‖x − y‖⟩ − ⟨‖x − x'‖⟩ − ⟨‖y − y'‖⟩: how far images that a model makes up are from real ones.

x: (n, H, W) samples, y: (n', H, W) images
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vqnp._check import Array, fail
from vqnp._images import to_float
from vqnp.kernels.nearest import nearest_code

ROWS = 512
"""Rows whose distances are in memory at a time."""


class EnergyDistance(NamedTuple):
    """distance: E, in the units of ‖x − y‖; coefficient: E/(2⟨‖x − y‖⟩), 0 if alike, at most 1."""

    distance: float
    coefficient: float


def energy_distance(samples: Any, images: Any) -> EnergyDistance:
    """E = 2⟨‖x − y‖⟩ − ⟨‖x − x'‖⟩ − ⟨‖y − y'‖⟩: 0 where both are of one distribution, and only there.

    x: (n, ...), y: (n', ...) -> EnergyDistance

    Parameters
    ----------
    samples, images : ndarray, at least 2 of each, of one shape
        uint8, or float in [0, 1].

    Returns
    -------
    EnergyDistance
        Over pairs of *different* images, so that it is unbiased: for two halves of one set it is 0 on
        average, and may come out below 0, as may the coefficient. What two such halves show is the floor
        of any comparison.

    Raises
    ------
    InputError

    Notes
    -----
    For distributions that nearly agree E goes with the square of a shift: √E is the metric, so four times
    E is about twice as far. It is zero for no two different distributions, unlike a comparison of means,
    and asks for no setting, unlike a kernel. But ‖x − y‖ is of pixels: a shift of one pixel may count for
    more than a blur.

    References
    ----------
    Székely & Rizzo 2013, Energy statistics: a class of statistics based on distances, J. Stat. Plan.
    Inference 143(8), which has the coefficient too.
    """
    x, y = _flat("energy_distance", samples, images, np.float64, 2)
    x, y = x - y.mean(axis=0), y - y.mean(axis=0)  # smaller norms cancel less
    between = _sum_of_distances(x, y) / (len(x) * len(y))
    within = sum(_sum_of_distances(a, a) / (len(a) * (len(a) - 1)) for a in (x, y))
    distance = 2 * between - within
    return EnergyDistance(distance, distance / (2 * between) if between else 0.0)


def nearest_distance(samples: Any, images: Any) -> Array:
    """d = min_i √⟨(x − y_i)²⟩ over pixels: how far each sample is from the nearest of the images.

    x: (n, ...), y: (n', ...) -> d: (n,), in units of the pixel range

    Parameters
    ----------
    samples, images : ndarray, at least one of each, of one shape
        uint8, or float in [0, 1]; images are usually those of the training.

    Raises
    ------
    InputError

    Notes
    -----
    A copy of a training image has 0, and a blur of many has less than a new sharp image: so it finds what
    is strange, and not what is dull or learnt by heart. `energy_distance` sees that as well.
    """
    x, y = _flat("nearest_distance", samples, images, np.float32, 1)
    r = x.astype(np.float64) - y[nearest_code(x, y)]
    return np.sqrt((r * r).mean(axis=1))


def _sum_of_distances(x: Array, y: Array) -> float:
    """Σ_ij ‖x_i − y_j‖; where x is y, without i = j."""
    squares, total = (y * y).sum(axis=1), 0.0
    for start in range(0, len(x), ROWS):
        rows = x[start : start + ROWS]
        d2 = (rows * rows).sum(axis=1)[:, None] + squares - 2 * rows @ y.T
        if x is y:
            d2[np.arange(len(rows)), np.arange(start, start + len(rows))] = 0  # exactly
        total += float(np.sqrt(np.maximum(d2, 0)).sum())
    return total


def _flat(where: str, samples: Any, images: Any, dtype: Any, least: int) -> tuple[Array, Array]:
    """Both as (n, P) of the dtype."""
    x, y = to_float(samples, dtype, where=where, name="samples"), to_float(images, dtype, where=where)
    if x.ndim < 2 or x.shape[1:] != y.shape[1:] or min(len(x), len(y)) < least or x[0].size == 0:
        needed = f"must have shape (n, ...), n at least {least}, the rest alike"
        fail(where, "samples and images", needed, f"shapes {x.shape} and {y.shape}")
    return x.reshape(len(x), -1), y.reshape(len(y), -1)
