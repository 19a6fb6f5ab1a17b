"""p(x) = exp(−|logit x − μ|/b) / (2b x (1 − x)), 0 < x < 1: the logit-Laplace likelihood of a grey value.

mu, logb, x: (..., D) -> L: ()
"""

from typing import Any

import numpy as np

from vqnp._check import Array, fail
from vqnp._shapes import checked
from vqnp.ops.activation import sigmoid
from vqnp.ops.loss import reduction_scale, scalar_cotangent

Cache = tuple[Any, ...]

MARGIN = 0.1
"""ε of squeeze: pixels in [0, 1] become numbers in [0.1, 0.9], as in the published code."""


def squeeze(x: Array, epsilon: float = MARGIN) -> Array:
    """(1 − 2ε) x + ε: pixels in [0, 1] into [ε, 1 − ε], where the density is bounded."""
    return (1 - 2 * epsilon) * x + x.dtype.type(epsilon)


def unsqueeze(s: Array, epsilon: float = MARGIN) -> Array:
    """(s − ε) / (1 − 2ε), clipped to [0, 1]: squeeze undone."""
    return np.clip((s - s.dtype.type(epsilon)) / (1 - 2 * epsilon), 0, 1)


@checked(mu="(...)", logb="(...)", x="(...)")
def logit_laplace_nll_forward(
    mu: Array, logb: Array, x: Array, reduction: str = "mean_of_sums"
) -> tuple[Array, Cache]:
    """L = −c Σ log p(x) = c Σ [|logit x − μ|/b + log b + log 2 + log x + log(1 − x)], in nats.

    mu, logb, x: (..., D) of one shape -> L: ()

    logit x = log x − log(1 − x) has a Laplace distribution with centre μ and scale b. The density lives on
    (0, 1), as pixels do, which that of a Laplace or normal variable does not.

    Parameters
    ----------
    mu, logb, x : ndarray of float32 or float64
        The centre of logit x, the logarithm of its scale, and numbers in (0, 1), such as squeeze gives.
    reduction : {"mean_of_sums", "mean", "sum"}
        See loss.reduction_scale.

    Raises
    ------
    InputError
        Wrong shape or dtype, or an x outside (0, 1).

    References
    ----------
    Ramesh et al. 2021, arXiv 2102.12092, appendix A.3.
    """
    c = reduction_scale("logit_laplace_nll_forward", reduction, x.shape)
    bad = ~((x > 0) & (x < 1))
    if bad.any():
        fail("logit_laplace_nll_forward", "x", "must be in (0, 1)", x[bad][0])
    log_x, log_not_x = np.log(x), np.log1p(-x)
    r = (log_x - log_not_x - mu) * np.exp(-logb)  # (logit x − μ)/b
    terms = np.abs(r) + logb + x.dtype.type(np.log(2)) + log_x + log_not_x
    return np.asarray(c * terms.sum(dtype=np.float64), x.dtype), (r, logb, x, c)


def logit_laplace_nll_backward(dL: Array | float, cache: Cache) -> tuple[Array, Array, Array]:
    """dμ = −dL · c sign(r)/b,  dlog b = dL · c (1 − |r|),  dx = −dμ/(x(1−x)) + dL · c (1/x − 1/(1−x)).

    dL: () -> dmu, dlogb, dx: (..., D);  r = (logit x − μ)/b
    """
    r, logb, x, c = cache
    s = x.dtype.type(c * scalar_cotangent("logit_laplace_nll_backward", dL))
    dmu = -s * np.sign(r) * np.exp(-logb)
    return dmu, s * (1 - np.abs(r)), (s * (1 - 2 * x) - dmu) / (x * (1 - x))


def logit_laplace_median(mu: Array, epsilon: float = MARGIN) -> Array:
    """σ(μ), unsqueezed: the median of p, which is also what the published decoder returns as the pixel."""
    return unsqueeze(sigmoid(mu), epsilon)
