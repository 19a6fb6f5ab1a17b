"""z = μ + exp(ℓ/2) ε,  KL(N(μ, diag exp ℓ) ‖ N(0, I)) = ½ Σ (exp ℓ + μ² − 1 − ℓ),  −log N(x; x̂, s² I).

ℓ = log σ², `logvar` in the code, may be any real number. All arrays: (..., D).
"""

import math
from typing import Any

import numpy as np

from vqnp._check import Array, check_array, check_float
from vqnp._shapes import checked
from vqnp.ops.loss import mse_backward, mse_forward, reduction_scale, scalar_cotangent

Cache = tuple[Any, ...]


@checked(mu="(...)", logvar="(...)", eps="(...)")
def reparameterise_forward(mu: Array, logvar: Array, eps: Array) -> tuple[Array, Cache]:
    """z = μ + exp(ℓ/2) ε: a draw from N(μ, diag exp ℓ) if ε is a draw from N(0, I).

    mu, logvar, eps: (..., D) of one shape -> z: (..., D)

    The noise is an argument, so z is a differentiable function of μ and ℓ.

    References
    ----------
    Kingma & Welling 2013, arXiv 1312.6114, section 2.4.
    """
    sigma = np.exp(logvar / 2)
    return mu + sigma * eps, (sigma, eps)


def reparameterise_backward(dz: Array, cache: Cache) -> tuple[Array, Array, Array]:
    """dμ = dz,  dℓ = dz · ½ exp(ℓ/2) ε,  dε = dz · exp(ℓ/2).

    dz: (..., D) -> dmu, dlogvar, deps: (..., D)
    """
    sigma, eps = cache
    check_array("reparameterise_backward", "dz", dz, shape=eps.shape, dtype=eps.dtype)
    deps = dz * sigma
    return dz.copy(), deps * eps / 2, deps


@checked(mu="(...)", logvar="(...)")
def gaussian_kl_terms(mu: Array, logvar: Array) -> Array:
    """½ (exp ℓ + μ² − 1 − ℓ) for each entry, in nats: how far N(μ, exp ℓ) is from N(0, 1); never negative.

    mu, logvar: (..., D) -> terms: (..., D)

    exp ℓ − 1 is computed in one call (expm1): near the prior the terms are small and would cancel.

    Examples
    --------
    >>> gaussian_kl_terms(np.array([0.0, 2.0]), np.array([0.0, 0.0])).tolist()  # the prior; a shift of 2 σ
    [0.0, 2.0]
    """
    return (mu * mu + np.maximum(np.expm1(logvar) - logvar, 0)) / 2  # rounding alone could go below 0


def gaussian_kl_forward(mu: Array, logvar: Array, reduction: str = "mean_of_sums") -> tuple[Array, Cache]:
    """KL = c Σ ½ (exp ℓ + μ² − 1 − ℓ): the divergence of N(μ, diag exp ℓ) from N(0, I), in nats.

    mu, logvar: (..., D) -> KL: ()

    `reduction` determines c: see loss.reduction_scale. The default, "mean_of_sums", is the mean of the
    vectors' divergences.

    References
    ----------
    Kingma & Welling 2013, arXiv 1312.6114, appendix B (with the opposite sign).
    """
    terms = gaussian_kl_terms(mu, logvar)
    c = reduction_scale("gaussian_kl_forward", reduction, terms.shape)
    return np.asarray(terms.sum(dtype=np.float64) * c, terms.dtype), (mu, logvar, c)


def gaussian_kl_backward(dL: Array | float, cache: Cache) -> tuple[Array, Array]:
    """dμ = dL · c μ,  dℓ = dL · c ½ (exp ℓ − 1).

    dL: () -> dmu, dlogvar: (..., D)
    """
    mu, logvar, c = cache
    s = c * scalar_cotangent("gaussian_kl_backward", dL)
    return mu * mu.dtype.type(s), np.expm1(logvar) * mu.dtype.type(s / 2)


def gaussian_nll_forward(
    x_hat: Array, x: Array, noise_std: float = 1.0, reduction: str = "mean_of_sums"
) -> tuple[Array, Cache]:
    """L = −c log N(x; x̂, s² I) = c Σ [(x̂ − x)²/2s² + ½ log 2πs²]: the squared error plus a constant.

    x_hat, x: (..., D), s: noise_std, one fixed number -> L: ()

    This is mse_forward / 2s² plus a constant, and is computed as such.
    """
    s = check_float("gaussian_nll_forward", "noise_std", noise_std, "(0, inf)")
    square, cache = mse_forward(x_hat, x, reduction)
    c = reduction_scale("gaussian_nll_forward", reduction, x.shape)
    constant = c * x.size * (math.log(2 * math.pi) / 2 + math.log(s))
    return np.asarray(float(square) / 2 / s / s + constant, x.dtype), (cache, s)  # s² may be out of range


def gaussian_nll_backward(dL: Array | float, cache: Cache) -> tuple[Array, Array]:
    """dx̂ = dL · c (x̂ − x)/s²,  dx = −dx̂.

    dL: () -> dx_hat, dx: (..., D)
    """
    mse_cache, s = cache
    return mse_backward(scalar_cotangent("gaussian_nll_backward", dL) / 2 / s / s, mse_cache)
