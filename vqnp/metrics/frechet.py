"""d² = ‖μ − ν‖² + tr(A + B − 2 (A^½ B A^½)^½): the Fréchet distance of the Gaussians fitted to two sets.

x: (n, d) with mean μ and covariance A, y: (n', d) with ν and B
"""

from typing import Any

import numpy as np

from vqnp._check import Array
from vqnp.metrics.neighbours import check_features


def frechet_distance(samples: Any, images: Any) -> float:
    """d² = ‖μ − ν‖² + tr(A + B − 2 (A^½ B A^½)^½) between features of samples and of images.

    x: (n, d), y: (n', d) -> d², at least 0

    Parameters
    ----------
    samples, images : array_like of floats, shapes (n, d) and (n', d), both n at least 2
        Features, such as DigitClassifier.features.

    Returns
    -------
    float
        0 for equal means and covariances, and the same if both sets are shifted or turned together.

    Raises
    ------
    InputError
        If the arrays are no features of one d, or there are too few of them.

    Notes
    -----
    tr (A^½ B A^½)^½ is the sum of the singular values of A^½ B^½, which needs no root of a matrix that
    rounding may have made indefinite; the roots are taken of eigenvalues, those below 0 counting as 0.

    The value depends on n: two halves of one set have a distance above 0, which falls as 1/n. It can be
    compared only with others of the same n, n' and features. It is not FID, which is this distance on the
    features of an Inception network: the two numbers cannot be compared.

    References
    ----------
    Dowson & Landau 1982, J. Multivariate Analysis 12(3). FID: Heusel et al. 2017, arXiv 1706.08500. Its
    dependence on n: Bińkowski et al. 2018, arXiv 1801.01401.

    Examples
    --------
    >>> x = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> round(frechet_distance(x, x + [3, 4]), 12)
    25.0
    """
    x, y = check_features("frechet_distance", samples, images, 2)
    step = x.mean(axis=0) - y.mean(axis=0)
    A, B = _covariance(x), _covariance(y)
    cross = np.linalg.svd(_root(A) @ _root(B), compute_uv=False).sum()
    return max(float(step @ step + np.trace(A) + np.trace(B) - 2 * cross), 0.0)


def _covariance(x: Array) -> Array:
    """(n, d) -> (d, d), unbiased."""
    r = x - x.mean(axis=0)
    return np.asarray(r.T @ r / (len(x) - 1))


def _root(A: Array) -> Array:
    """A^½ of a covariance."""
    values, vectors = np.linalg.eigh(A)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T)
