"""Precision, recall, density, coverage: which samples are among the images, which images among the samples.

x: (n, d) features of samples, y: (n', d) of images; r_i: the distance of a point from its k-th neighbour
in its own set; the ball of point i has radius r_i
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from vqnp._check import Array, as_array, check_finite, check_int, fail

BLOCK_NUMBERS = 1 << 22
"""Entries of the differences that are in memory at a time: 32 MB."""


class PrecisionRecall(NamedTuple):
    """precision: the share of samples in a ball of an image; recall: of images in a ball of a sample.

    Examples
    --------
    >>> images = np.arange(10.0)[:, None]
    >>> samples = images[:5] + 0.1  # plausible, but half of the variety
    >>> precision_recall(samples, images)
    PrecisionRecall(precision=1.0, recall=0.8)
    """

    precision: float
    recall: float


class DensityCoverage(NamedTuple):
    """density: ⟨balls of images that a sample is in⟩/k; coverage: the share of images whose ball has one.

    Examples
    --------
    >>> images = np.arange(10.0)[:, None]
    >>> found = density_coverage(images[:6] + 0.1, images)
    >>> round(found.density, 2), found.coverage
    (1.3, 1.0)
    """

    density: float
    coverage: float


def precision_recall(samples: Any, images: Any, k: int = 3) -> PrecisionRecall:
    """precision = ⟨[∃ i: ‖x − y_i‖ ≤ r_i]⟩ over samples; recall: the same with the two sets exchanged.

    x: (n, d), y: (n', d) -> PrecisionRecall, each in [0, 1]

    Parameters
    ----------
    samples, images : array_like of floats, shapes (n, d) and (n', d), n and n' above k
        Features, such as DigitClassifier.features.
    k : int
        Which neighbour gives the radius of a ball.

    Raises
    ------
    InputError
        If the arrays are no features of one d, or there are too few of them.

    Notes
    -----
    Precision falls if samples are not like images, recall if images have no like among the samples. One image
    far from all others has a large ball, which raises precision; one odd sample raises recall:
    `density_coverage` suffers less. Two sets of one distribution do not reach 1: compare with two halves.

    References
    ----------
    Kynkäänniemi et al. 2019, arXiv 1904.06991, with k = 3 as there.
    """
    x, y = _checked("precision_recall", samples, images, k)
    r_x, r_y = _radii(x, k), _radii(y, k)
    inside, around = np.zeros(len(x), bool), np.zeros(len(y), bool)
    for rows, d2 in _squares(x, y):
        inside[rows] = (d2 <= r_y).any(axis=1)
        around |= (d2 <= r_x[rows, None]).any(axis=0)
    return PrecisionRecall(float(inside.mean()), float(around.mean()))


def density_coverage(samples: Any, images: Any, k: int = 5) -> DensityCoverage:
    """density = ⟨Σ_i [‖x − y_i‖ ≤ r_i]⟩/k over samples; coverage = ⟨[∃ x: ‖x − y_i‖ ≤ r_i]⟩ over images.

    x: (n, d), y: (n', d) -> DensityCoverage; density is at least 0 and about 1 for one distribution

    Parameters, errors: as for precision_recall.

    Notes
    -----
    Only balls of images are used, so no odd sample counts for many images, and a ball that is too large
    counts once among many. For two sets of one size and one distribution the coverage is about 1 − 2^−k on
    average. Here a point on the edge of a ball is in it.

    References
    ----------
    Naeem et al. 2020, arXiv 2002.09797, with k = 5 as there.
    """
    x, y = _checked("density_coverage", samples, images, k)
    r_y = _radii(y, k)
    balls, covered = 0, np.zeros(len(y), bool)
    for _, d2 in _squares(x, y):
        near = d2 <= r_y
        balls += int(near.sum())
        covered |= near.any(axis=0)
    return DensityCoverage(balls / (k * len(x)), float(covered.mean()))


def check_features(where: str, samples: Any, images: Any, least: int) -> tuple[Array, Array]:
    """Both as (n, d) float64, n at least `least`, else InputError."""
    x, y = (as_array(where, *each) for each in (("samples", samples), ("images", images)))
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < least:
        needed = f"must have shape (n, d), n at least {least}, d equal"
        fail(where, "samples and images", needed, f"shapes {x.shape} and {y.shape}")
    for name, features in (("samples", x), ("images", y)):
        if features.dtype.kind not in "fiu":
            fail(where, name, "must be numbers", features.dtype)
        check_finite(where, name, features)
    return x.astype(np.float64), y.astype(np.float64)


def _checked(where: str, samples: Any, images: Any, k: int) -> tuple[Array, Array]:
    return check_features(where, samples, images, check_int(where, "k", k) + 1)


def _squares(x: Array, y: Array) -> Iterator[tuple[slice, Array]]:
    """Rows, and ‖x_i − y_j‖² of these rows i and all j. From differences: it is 0 for equal points only."""
    size = max(1, BLOCK_NUMBERS // max(1, y.size))
    for start in range(0, len(x), size):
        rows = slice(start, start + size)
        r = x[rows, None] - y
        yield rows, np.einsum("ijd,ijd->ij", r, r)


def _radii(x: Array, k: int) -> Array:
    """The squared distance of each point from its k-th neighbour; (n, d) -> (n,)."""
    return np.concatenate([np.partition(d2, k, axis=1)[:, k] for _, d2 in _squares(x, x)])  # 0: itself
