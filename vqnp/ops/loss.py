"""Losses: one number computed from two arrays, and its gradient.

Every loss is c · Σ of a term over all entries; `reduction` names the constant c.
"""

from typing import Any

import numpy as np

from vqnp._check import Array, check_choice, check_codes, check_float, fail
from vqnp._shapes import checked
from vqnp.ops.activation import sigmoid

Cache = tuple[Any, ...]

REDUCTIONS = ("mean", "mean_of_sums", "sum")


def reduction_scale(where: str, reduction: str, shape: tuple[int, ...]) -> float:
    """The c in c · Σ for an array of shape (..., D): "mean" 1/(N·D), "mean_of_sums" 1/N, "sum" 1.

    "mean" averages over all entries (Sonnet, and most code); "mean_of_sums" sums over the last
    axis and averages over vectors (‖·‖² in van den Oord et al. 2017, equation 3); "sum" grows with
    the batch. For an array without entries, each of them is an empty sum: 0, not 0/0.
    """
    check_choice(where, "reduction", reduction, REDUCTIONS)
    entries = int(np.prod(shape))
    if reduction == "sum" or entries == 0:
        return 1.0
    return (shape[-1] if shape and reduction == "mean_of_sums" else 1) / entries


@checked(x_hat="(...)", x="(...)")
def mse_forward(x_hat: Array, x: Array, reduction: str = "mean") -> tuple[Array, Cache]:
    """L = c Σ (x̂ − x)².

    x_hat, x: (..., D) of one shape -> L: ()

    `reduction` determines c: see reduction_scale. L has the inputs' dtype but is summed in float64.
    """
    c = reduction_scale("mse_forward", reduction, x.shape)
    r = x_hat - x
    square = np.square(r, dtype=np.float64).sum()
    return np.asarray(square * c, x.dtype), (r, c)


def mse_backward(dL: Array | float, cache: Cache) -> tuple[Array, Array]:
    """dx̂ = dL · 2c (x̂ − x),  dx = −dx̂.

    dL: () -> dx_hat, dx: (..., D)
    """
    r, c = cache
    dx_hat = r * r.dtype.type(2 * c * scalar_cotangent("mse_backward", dL))
    return dx_hat, -dx_hat


@checked(a="(...)", x="(...)")
def bce_logits_forward(a: Array, x: Array, reduction: str = "mean") -> tuple[Array, Cache]:
    """L = −c Σ [x log σ(a) + (1 − x) log(1 − σ(a))] = c Σ [a⁺ (1 − x) + a⁻ x + log(1 + exp(−|a|))].

    a: (..., D) logits, x: (..., D) targets in [0, 1] -> L: ()

    a⁺ = max(a, 0), a⁻ = max(−a, 0). The second form never overflows, never takes the logarithm of
    zero, and loses no digits to cancellation where the answer is nearly certain and right.
    """
    c = reduction_scale("bce_logits_forward", reduction, x.shape)
    terms = np.where(a > 0, a * (1 - x), -a * x) + np.log1p(np.exp(-np.abs(a)))
    return np.asarray(terms.sum() * c, a.dtype), (a, x, c)


def bce_logits_backward(dL: Array | float, cache: Cache) -> tuple[Array, Array]:
    """da = dL · c (σ(a) − x),  dx = −dL · c a.

    dL: () -> da, dx: (..., D)
    """
    a, x, c = cache
    s = a.dtype.type(c * scalar_cotangent("bce_logits_backward", dL))
    small = sigmoid(-np.abs(a))  # σ(a) − x = (1 − x) − σ(−a): use the one that does not cancel
    return np.where(a > 0, (1 - x) - small, small - x) * s, -a * s


@checked(a="(...)")
def softmax_cross_entropy_forward(a: Array, k: Array, reduction: str = "mean") -> tuple[Array, Cache]:
    """L = −c Σ_n log softmax(a_n)[k_n],  log softmax(a) = a − max a − log Σ exp(a − max a).

    a: (..., K) logits, k: (...,) integers in [0, K) -> L: ()

    There is one term per row, so c is 1/N for "mean" and 1 for "sum".
    """
    where = "softmax_cross_entropy_forward"
    if a.ndim == 0 or a.shape[-1] == 0:
        fail(where, "a", "must have at least one class on its last axis", f"shape {a.shape}")
    check_choice(where, "reduction", reduction, ("mean", "sum"))
    k = check_codes(where, k, a.shape[-1], "k", a.shape[:-1])
    c = reduction_scale(where, reduction, (*k.shape, 1))
    shifted = a - a.max(axis=-1, keepdims=True, initial=-np.inf)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    L = -np.take_along_axis(log_p, k[..., None], axis=-1).sum() * c
    return np.asarray(L, a.dtype), (log_p, k, c)


def softmax_cross_entropy_backward(dL: Array | float, cache: Cache) -> Array:
    """da_n = dL · c (softmax(a_n) − onehot(k_n)).

    dL: () -> da: (..., K)
    """
    log_p, k, c = cache
    da: Array = np.exp(log_p)
    picked = np.take_along_axis(da, k[..., None], axis=-1) - 1
    np.put_along_axis(da, k[..., None], picked, axis=-1)
    return da * da.dtype.type(c * scalar_cotangent("softmax_cross_entropy_backward", dL))


def scalar_cotangent(where: str, dL: Array | float) -> float:
    """The cotangent of a loss: one number."""
    if np.ndim(dL) != 0:
        fail(where, "dL", "must be one number, the gradient of the loss", f"shape {np.shape(dL)}")
    return check_float(where, "dL", dL, "[-inf, inf]")
