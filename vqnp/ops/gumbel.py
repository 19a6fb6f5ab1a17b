"""y = softmax((a + g)/τ),  z_q = y E: a code drawn with a gradient, the Gumbel-softmax relaxation.

a, g: (..., K) logits and Gumbel noise, E: (K, D) -> y: (..., K), z_q: (..., D)
"""

import math
from typing import Any

import numpy as np

from vqnp._check import Array, check_array, check_dtype, check_float, fail
from vqnp._shapes import checked
from vqnp.ops.loss import reduction_scale, scalar_cotangent

Cache = tuple[Any, ...]


def gumbel_noise(shape: tuple[int, ...], rng: np.random.Generator, dtype: Any = np.float64) -> Array:
    """g = −log(−log u), u uniform in (0, 1): argmax(a + g) is then a draw from softmax(a).

    −log u is drawn directly, as a standard exponential variable.
    """
    dtype = check_dtype("gumbel_noise", dtype)
    exponential = rng.standard_exponential(shape, dtype)
    return -np.log(np.maximum(exponential, np.finfo(dtype).tiny))  # float32 can draw an exact 0


@checked(a="(..., K)", g="(..., K)")
def gumbel_softmax_forward(
    a: Array, g: Array, tau: float = 1.0, hard: bool = False
) -> tuple[Array, Cache]:
    """y = softmax((a + g)/τ); with hard, y = onehot(argmax(a + g)) and the soft y's gradient.

    a, g: (..., K) -> y: (..., K)

    Parameters
    ----------
    a, g : ndarray of float32 or float64, shape (..., K)
        Logits, and noise as gumbel_noise draws it. The noise is an argument, so y is a function of a.
    tau : float above 0
        The temperature τ: y tends to the one-hot draw as τ → 0, and to 1/K as τ → ∞.
    hard : bool
        The straight-through Gumbel-softmax: the forward value is y_hard = onehot(argmax(a + g)), the
        gradient that of y_soft + sg(y_hard − y_soft). A tie goes to the lowest index.

    References
    ----------
    Jang, Gu & Poole 2016, arXiv 1611.01144, equation 2 and section 2.2; Maddison, Mnih & Teh 2016,
    arXiv 1611.00712.
    """
    tau = check_float("gumbel_softmax_forward", "tau", tau, "(0, inf)")
    if a.shape[-1:] == (0,):
        fail("gumbel_softmax_forward", "a", "must have at least one code", f"shape {a.shape}")
    s = a + g
    y = _softmax((s - s.max(axis=-1, keepdims=True)) / a.dtype.type(tau))
    return (onehot(s.argmax(axis=-1), a.shape[-1], a.dtype) if hard else y), (y, tau)


def gumbel_softmax_backward(dy: Array, cache: Cache) -> tuple[Array, Array]:
    """da = dg = y (dy − y·dy) / τ, with the soft y.

    dy: (..., K) -> da, dg: (..., K)
    """
    y, tau = cache
    check_array("gumbel_softmax_backward", "dy", dy, shape=y.shape, dtype=y.dtype)
    da = y * (dy - (y * dy).sum(axis=-1, keepdims=True)) / y.dtype.type(tau)
    return da, da.copy()


@checked(a="(..., K)")
def categorical_kl_forward(a: Array, reduction: str = "mean_of_sums") -> tuple[Array, Cache]:
    """KL = c Σ_n Σ_j q_nj (log q_nj + log K),  q_n = softmax(a_n): from the uniform distribution, in nats.

    a: (..., K) -> KL: (), between 0 and log K for each row

    `reduction` determines c: see loss.reduction_scale. The default is the mean over the rows.

    References
    ----------
    Ramesh et al. 2021, arXiv 2102.12092, section 2.1, where the prior over codes is uniform at first.
    """
    where = "categorical_kl_forward"
    if a.shape[-1:] == (0,):
        fail(where, "a", "must have at least one code", f"shape {a.shape}")
    c = reduction_scale(where, reduction, a.shape)
    shifted = a - a.max(axis=-1, keepdims=True, initial=-np.inf)
    log_q = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    q = np.exp(log_q)
    rows = (q * log_q).sum(axis=-1, keepdims=True)  # −H(q)
    L = c * (rows.sum(dtype=np.float64) + rows.size * math.log(a.shape[-1]))
    return np.asarray(L, a.dtype), (q, log_q, rows, c)


def categorical_kl_backward(dL: Array | float, cache: Cache) -> Array:
    """da = dL · c q (log q + H(q)),  H(q) = −Σ q log q.

    dL: () -> da: (..., K)
    """
    q, log_q, rows, c = cache
    return q * (log_q - rows) * q.dtype.type(c * scalar_cotangent("categorical_kl_backward", dL))


def onehot(k: Array, K: int, dtype: Any) -> Array:
    """y_j = 1 where j = k, else 0; k: (...,) -> (..., K)."""
    y = np.zeros((*k.shape, K), dtype)
    np.put_along_axis(y, k[..., None], 1, axis=-1)
    return y


def _softmax(shifted: Array) -> Array:
    """exp(s) / Σ exp(s) of numbers whose largest is 0."""
    y: Array = np.exp(shifted)
    return y / y.sum(axis=-1, keepdims=True)
