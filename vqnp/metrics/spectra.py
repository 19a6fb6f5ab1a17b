"""S(r) = ⟨|X̂(u)|²⟩/⟨|X(u)|²⟩ over |u| ≈ r,  G = ⟨‖∇x‖²⟩: how much fine detail images retain.

x: (n, H, W) images, X = F x their discrete Fourier transforms
"""

from typing import Any

import numpy as np

from vqnp._check import Array, fail
from vqnp._images import to_float


def radial_spectrum(images: Any) -> tuple[Array, Array]:
    """P(r) = ⟨|X(u, v)|²/(HW)⟩ over images and over all u, v with round √(u² + v²) = r.

    x: (n, H, W) -> r: (R,), P: (R,)

    Parameters
    ----------
    images : ndarray, shape (n, H, W)
        uint8, or float in [0, 1]; H and W at least 2. The mean of each image is at r = 0.

    Returns
    -------
    r : ndarray of int, shape (R,)
        Spatial frequency, in cycles per min(H, W) pixels: 0, 1, …, ⌊min(H, W)/2⌋. The corners of the
        frequency plane beyond are left out.
    P : ndarray of float64, shape (R,)

    Raises
    ------
    InputError
        If images have another shape or pixels are out of range.

    Notes
    -----
    By Parseval's theorem Σ |X|²/(HW) over all u, v is Σ x²: power is energy. A difference between opposite
    borders counts as an edge; digits have a black border.

    References
    ----------
    Field 1987, Relations between the statistics of natural images and the response properties of
    cortical cells, J. Opt. Soc. Am. A 4(12), which averages power over orientations in the same way.

    Examples
    --------
    >>> waves = np.tile([1.0, 0.5, 0.0, 0.5], (1, 8, 2))  # a period of 4 pixels: two in 8
    >>> r, P = radial_spectrum(waves)
    >>> r.tolist(), (P > 1e-9).tolist()  # the mean, and the wave
    ([0, 1, 2, 3, 4], [True, False, True, False, False])
    """
    x = _pixels("radial_spectrum", images)
    H, W = x.shape[1:]
    power = (np.abs(np.fft.fft2(x)) ** 2).mean(axis=0) / (H * W)
    side = min(H, W)
    u, v = np.fft.fftfreq(H) * side, np.fft.fftfreq(W) * side
    radius = np.rint(np.hypot(u[:, None], v[None])).astype(np.int64)
    r = np.arange(side // 2 + 1)
    inside = radius <= r[-1]
    sums = np.bincount(radius[inside], power[inside], minlength=len(r))
    return r, sums / np.bincount(radius[inside], minlength=len(r))


def relative_spectrum(reconstructions: Any, images: Any) -> tuple[Array, Array]:
    """S(r) = P_x̂(r)/P_x(r): 1 if all detail of this size is retained, below 1 if it is blurred.

    x_hat, x: (n, H, W) as in `radial_spectrum` -> r: (R,), S: (R,)

    Above 1 is detail that the originals do not have. S compares power, not its place: noise of the right
    power has S = 1, so consider the error too. 0/0 is NaN.
    """
    x_hat, x = _pair("relative_spectrum", reconstructions, images)
    r, ours = radial_spectrum(x_hat)
    _, theirs = radial_spectrum(x)
    with np.errstate(divide="ignore", invalid="ignore"):
        return r, ours / theirs


def gradient_energy(images: Any) -> float:
    """G = ⟨(x_{i+1,j} − x_ij)²⟩ + ⟨(x_{i,j+1} − x_ij)²⟩: the mean squared difference of neighbours.

    x: (n, H, W) as in `radial_spectrum` -> a number, in units of the pixel range squared
    """
    x = _pixels("gradient_energy", images)
    return float((np.diff(x, axis=1) ** 2).mean() + (np.diff(x, axis=2) ** 2).mean())


def sharpness(reconstructions: Any, images: Any) -> float:
    """G(x̂)/G(x): 1 if as sharp as the originals, below 1 if blurred, above 1 with additional edges.

    x_hat, x: (n, H, W) as in `radial_spectrum` -> a number

    Raises
    ------
    InputError
        If shapes differ, or the originals are flat, so that the ratio is not defined.
    """
    x_hat, x = _pair("sharpness", reconstructions, images)
    whole = gradient_energy(x)
    if whole == 0:
        fail("sharpness", "images", "must have an edge somewhere", "images that are flat")
    return gradient_energy(x_hat) / whole


def _pair(where: str, reconstructions: Any, images: Any) -> tuple[Array, Array]:
    """Both as float64 of one shape, else InputError."""
    x_hat, x = _pixels(where, reconstructions), _pixels(where, images)
    if x_hat.shape != x.shape:
        fail(where, "reconstructions", f"must have shape {x.shape}, as the images", f"shape {x_hat.shape}")
    return x_hat, x


def _pixels(where: str, images: Any) -> Array:
    """Images as float64, for sums over many pixels, else InputError."""
    x = to_float(images, np.float64, where=where)
    if x.ndim != 3 or len(x) < 1 or min(x.shape[1:]) < 2:
        fail(where, "images", "must have shape (n, H, W), n at least 1, the others 2", f"shape {x.shape}")
    return x
