"""Does a model repeat its training images? min_i ‖x − y_i‖ of its samples beside that of new real images.

x: (n, ...) samples, t: (n', ...) real images that were not trained on, y: (n'', ...) training images
"""

from typing import Any, NamedTuple

import numpy as np

from vqnp.metrics.generation import nearest_distance

NEAR_PERCENT = 5.0
"""A sample is near if it is nearer to a training image than this part of the new real images are."""


class Memorization(NamedTuple):
    """How near samples and new images come to the training images; see `memorization`.

    samples, images: the median distance from the nearest training image, in units of the pixel range; near:
    the share of samples that are nearer than 95 % of the new images

    Examples
    --------
    >>> y, new = np.arange(6.0).reshape(6, 1) / 8, np.arange(5.0).reshape(5, 1) / 8 + 1 / 16
    >>> memorization(y[:3], new, y).near, memorization(new[:3], new, y).near  # copies; as far as new images
    (1.0, 0.0)
    """

    samples: float
    images: float
    near: float

    @property
    def ratio(self) -> float:
        """samples / images: 1 for new real images, 0 for copies; also below 1 for blurred samples."""
        return self.samples / self.images if self.images else float("nan")


def memorization(samples: Any, images: Any, training_images: Any) -> Memorization:
    """d(x) = min_i √⟨(x − y_i)²⟩: medians over samples and images, and the share of samples with a small d.

    x: (n, ...), t: (n', ...), y: (n'', ...) -> Memorization

    Parameters
    ----------
    samples : ndarray, shape (n, ...)
        uint8, or float in [0, 1].
    images : ndarray, shape (n', ...)
        Real images that the model was not trained on.
    training_images : ndarray, shape (n'', ...)
        The images that it was trained on, or that its codes' prior was trained on.

    Raises
    ------
    InputError
        As nearest_distance.

    Notes
    -----
    A small distance alone proves nothing: a blur of many images is near to each of them. Therefore compare
    with reconstructions of new images by the same decoder, which are as blurred as its samples: samples that
    are nearer than these repeat their training images.

    References
    ----------
    Meehan et al. 2020, A non-parametric test to detect data-copying, arXiv 2004.05675, compares the same
    distances by a rank test.

    Examples
    --------
    >>> y = np.arange(6.0).reshape(6, 1) / 10
    >>> memorization(y[:3], y[:3] + 0.05, y).samples
    0.0
    """
    own, real = nearest_distance(samples, training_images), nearest_distance(images, training_images)
    limit = np.quantile(real, NEAR_PERCENT / 100)
    return Memorization(float(np.median(own)), float(np.median(real)), float((own < limit).mean()))
