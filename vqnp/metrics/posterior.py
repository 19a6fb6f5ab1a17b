"""KL, active units and mutual information of a VAE's latent, in nats.

mu, logvar: (n, D) of q(z|x_i) = N(mu_i, diag exp logvar_i), for n images; the prior is N(0, I)
"""

import math
from typing import NamedTuple

import numpy as np

from vqnp._check import Array, check_array, check_float, fail
from vqnp.ops.gaussian import gaussian_kl_terms

ACTIVE = 0.01
"""Variance of a unit's mean above which it is active; Burda et al. found that the value matters little."""

ROWS = 256  # draws that mutual_information has in memory at a time, beside all n posteriors
ROUNDING = 1e-6  # nats of error up to which mutual_information computes log densities by matrix products


def kl_per_unit(mu: Array, logvar: Array) -> Array:
    """KL_d = ⟨½ (exp ℓ_d + μ_d² − 1 − ℓ_d)⟩, the mean over images, in nats.

    mu, logvar: (n, D) -> (D,) float64

    A unit with 0 has collapsed: it is at the prior for every image. The sum is the VAE's KL.

    References
    ----------
    Kingma & Welling 2013, arXiv 1312.6114, appendix B.
    """
    mu, logvar = _posteriors("kl_per_unit", mu, logvar)
    return gaussian_kl_terms(mu, logvar).mean(axis=0)


def active_units(mu: Array, threshold: float = ACTIVE) -> Array:
    """A_d = [Cov_x(E_q(z|x) z_d) > 0.01], with E_q z = μ: does the unit's mean depend on the image?

    mu: (n, D) -> (D,) bool; the covariance is Σ (μ − ⟨μ⟩)² / n

    References
    ----------
    Burda et al. 2015, arXiv 1509.00519, section 5.3 (their u is our unit of z).
    """
    mu, _ = _posteriors("active_units", mu, mu)
    return mu.var(axis=0) > check_float("active_units", "threshold", threshold, "[0, inf)")


class Information(NamedTuple):
    """⟨KL(q(z|x) ‖ p)⟩ = I + KL(q(z) ‖ p), in nats; q(z) is the mean of the n posteriors.

    kl: the left side, exact, and never below I; information: the estimate of I; marginal_kl: their
    difference; limit: log n, which no estimate of I exceeds; error: the estimate's standard error.
    """

    kl: float
    information: float
    marginal_kl: float
    limit: float
    error: float


def mutual_information(mu: Array, logvar: Array, eps: Array) -> Information:
    """I(x; z) ≈ ⟨log q(z_i|x_i) − log (1/n) Σ_j q(z_i|x_j)⟩,  z_i = μ_i + exp(ℓ_i/2) ε_i.

    mu, logvar, eps: (n, D) -> Information

    If the n images are all there are, this is an unbiased estimate of the information of a draw on *which*
    image it is of. If they are a sample, it is on average a lower bound of the mutual information with any
    image. Each of its terms is at most log n, so an estimate near log n means only that n is too small.
    The upper bound is kl.

    Parameters
    ----------
    mu, logvar : ndarray of float32 or float64, shape (n, D)
        Of the posteriors; finite.
    eps : ndarray, shape (n, D)
        Noise from N(0, I), of the same dtype.

    Returns
    -------
    Information
        In nats.

    Raises
    ------
    InputError
        If shapes or dtypes differ, there are no images, or a number is not finite.

    Notes
    -----
    All n² densities are computed in float64, ROWS draws at a time, by matrix products. If variances are so
    small beside the means (from exp ℓ of about 1e-10 μ²) that the distance of two images with nearly the
    same mean would be lost to rounding, differences are computed one by one, ten times as slowly.

    References
    ----------
    Hoffman & Johnson 2016, "ELBO surgery", NIPS workshop on advances in approximate Bayesian
    inference, section 2. The lower bound: Poole et al. 2019, arXiv 1905.06922, section 2.4.
    """
    where = "mutual_information"
    given, (mu, logvar) = mu, _posteriors(where, mu, logvar)
    eps = check_array(where, "eps", eps, shape=given.shape, dtype=given.dtype, finite=True)
    kl = float(kl_per_unit(mu, logvar).sum())
    noise = np.exp(logvar / 2) * eps
    z = mu + noise
    own = -(np.square(eps, dtype=np.float64) + logvar).sum(axis=1) / 2
    with np.errstate(over="ignore", invalid="ignore"):  # if infinite or NaN, products are not used
        precision = np.exp(-logvar)
        others = (mu * mu * precision + logvar).sum(axis=1)
        shift = precision * mu
        reach = np.abs(z).max(axis=0) + np.abs(mu).max(axis=0)
        terms = (reach * reach * precision.max(axis=0)).sum()  # the largest sum that may cancel below
    products = terms * np.finfo(np.float64).eps < ROUNDING
    gained = np.empty(len(mu))
    for start in range(0, len(mu), ROWS):
        some = slice(start, start + ROWS)
        # log q(z_i|x_j) without ½ D log 2π: ½ Σ (z − μ)²/σ² multiplied out is two matrix products
        if products:
            log_q = z[some] @ shift.T - ((z[some] * z[some]) @ precision.T + others) / 2
        else:
            log_q = _log_densities(mu[some], noise[some], mu, logvar)
        np.fill_diagonal(log_q[:, start:], own[some])
        top = log_q.max(axis=1)
        marginal = top + np.log(np.exp(log_q - top[:, None]).mean(axis=1))
        gained[some] = own[some] - marginal
    limit = math.log(len(mu))
    information = min(float(gained.mean()), limit)  # rounding may exceed it
    error = float(gained.std() / math.sqrt(len(mu)))
    return Information(kl, information, kl - information, limit, error)


def _log_densities(means: Array, noise: Array, mu: Array, logvar: Array) -> Array:
    """−½ Σ (((μ_i − μ_j) + σ_i ε_i)/σ_j)² + ℓ_j, without cancellation.

    means, noise: (m, D) of the draws, mu, logvar: (n, D) -> (m, n)
    """
    inverse, total = np.exp(-logvar / 2), logvar.sum(axis=1)
    log_q = np.empty((len(means), len(mu)))
    with np.errstate(over="ignore"):  # infinitely many standard deviations away: density 0
        for row, mean, own in zip(log_q, means, noise, strict=True):
            away = (mean - mu + own) * inverse
            row[:] = -(np.einsum("jd,jd->j", away, away) + total) / 2
    return log_q


def _posteriors(where: str, mu: Array, logvar: Array) -> tuple[Array, Array]:
    """Both as float64, of at least one image, else InputError."""
    mu = check_array(where, "mu", mu, ndim=2, finite=True)
    logvar = check_array(where, "logvar", logvar, shape=mu.shape, dtype=mu.dtype, finite=True)
    if len(mu) == 0:
        fail(where, "mu", "must have at least one row, an image's", f"shape {mu.shape}")
    return mu.astype(np.float64), logvar.astype(np.float64)
