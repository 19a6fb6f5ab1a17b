"""R = M log₂ K bits per image, D = ⟨(x̂ − x)²⟩: rate and distortion, and the gain of an entropy coder.

k: (n, M) the codes of n images
"""

import math
from typing import Any, NamedTuple

from vqnp._check import check_float
from vqnp.metrics.codebook import bits_per_image
from vqnp.metrics.information import code_information


class RateDistortion(NamedTuple):
    """Bits per image, and error.

    bits: M log₂ K, without an entropy coder; entropy_bits: Σ_m H(k_m), with an ideal coder that knows the
    frequencies of the codes at each position; mse: ⟨(x̂ − x)²⟩; psnr: in decibels

    Examples
    --------
    >>> found = rate_distortion([[0, 1], [0, 1], [0, 2], [0, 3]], 4, mse=0.01)
    >>> found.bits, round(found.entropy_bits, 6), found.psnr  # the first code needs no bits
    (4.0, 1.5, 20.0)
    """

    bits: float
    entropy_bits: float
    mse: float
    psnr: float


def rate_distortion(codes: Any, num_embeddings: int, mse: float) -> RateDistortion:
    """R = M log₂ K and Σ_m H(k_m) ≤ R in bits per image, beside D = MSE and PSNR.

    k: (n, M) -> RateDistortion

    Parameters
    ----------
    codes : array_like of integers, shape (n, M) or (n, *latent_shape)
        Of images that are like those to be coded.
    num_embeddings : int
        K.
    mse : float, at least 0
        Of the reconstructions from these codes; pixels are in [0, 1].

    Raises
    ------
    InputError
        If codes are not integers in [0, K) of this shape, or mse is negative.

    Notes
    -----
    Σ_m H(k_m) treats positions as independent; a coder that knows their dependence, such as a learned
    prior, needs fewer bits. The frequencies are those of the measured codes themselves, so it is slightly
    too small; `vqnp.priors.code_length` takes the frequencies from other images.

    References
    ----------
    Shannon 1948, A Mathematical Theory of Communication, theorem 9.
    """
    information = code_information(codes, num_embeddings)
    M = len(information.per_position)
    return RateDistortion(bits_per_image(M, num_embeddings), information.upper, float(mse), psnr(mse))


def psnr(mse: float, peak: float = 1.0) -> float:
    """PSNR = 10 log₁₀(peak²/MSE) decibels, infinite at MSE = 0.

    mse: a number, of images whose largest possible value is peak -> decibels
    """
    error = check_float("psnr", "mse", mse, "[0, inf)")
    top = check_float("psnr", "peak", peak, "(0, inf)")
    return 20 * math.log10(top) - 10 * math.log10(error) if error else math.inf
