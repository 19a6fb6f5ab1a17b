"""⟨H(p_n)⟩ and H(⟨p_n⟩) of codes whose bits are independent: p_n(k) = Π_d p_nd^(k_d) (1 − p_nd)^(1 − k_d).

a: (..., D), p = σ(a) -> two numbers, in nats
"""

from typing import Any

import numpy as np

from vqnp._check import Array, check_choice, check_int, fail
from vqnp._shapes import checked
from vqnp.ops.activation import sigmoid
from vqnp.ops.loss import scalar_cotangent

Cache = tuple[Any, ...]

BATCH_ENTROPIES = ("exact", "bound")

MOST_EXACT_BITS = 12
"""D, so that 2^D probabilities of each vector fit into memory."""


@checked(a="(..., D)")
def bit_entropy_forward(a: Array, batch: str = "exact") -> tuple[Array, Array, Cache]:
    """mean of H(p_n), and H(p̄) or its bound, for p_nd = σ(a_nd), the probability that bit d is 1.

    a: (..., D) -> sample: (), whole: ()

    H(p_n) = Σ_d h(p_nd), h(p) = −p log p − (1 − p) log(1 − p): exact, since a vector's bits are independent.
    p̄ = ⟨p_n⟩ is a mixture, whose bits are not, so that its entropy needs all 2^D codes.

    Parameters
    ----------
    a : ndarray of float32 or float64, shape (..., D)
        Logits of the bits.
    batch : {"exact", "bound"}
        "exact": H(p̄) = −Σ_k p̄(k) log p̄(k), for D at most 12. "bound": Σ_d h(p̄_d) of the means of single
        bits, which is at least H(p̄), and equal if the bits of different codes are independent.

    Returns
    -------
    sample, whole, cache
        In nats; 0 for an empty batch.

    References
    ----------
    Yu et al. 2023 (MAGVIT-v2), arXiv 2310.05737, section 3.1, for both; Zhao, Xiong & Krähenbühl 2024 (BSQ),
    arXiv 2406.07548, section 3.2, for the bound.
    """
    where = "bit_entropy_forward"
    check_choice(where, "batch", batch, BATCH_ENTROPIES)
    check_int(where, "a's last axis", a.shape[-1])
    if batch == "exact" and a.shape[-1] > MOST_EXACT_BITS:
        fail(where, "batch", f"must be 'bound' for more than {MOST_EXACT_BITS} bits", f"{a.shape[-1]} bits")
    x = a.reshape(-1, a.shape[-1])
    N, p, q = max(len(x), 1), sigmoid(x), sigmoid(-x)
    sample = _binary_entropy(x).sum() / N
    each = (p, q) if batch == "bound" else (_joint(p, q),)
    means = [x.sum(axis=0, dtype=np.float64) / N for x in each]
    whole = -sum((m * _log(m)).sum() for m in means)
    return np.asarray(sample, a.dtype), np.asarray(whole, a.dtype), (a, p, q, means, N)


def bit_entropy_backward(dsample: Array | float, dwhole: Array | float, cache: Cache) -> Array:
    """da for both entropies; with the slope p q of σ:

    da_nd = −dsample · a_nd p q / N + dwhole · ∂H/∂a_nd,  where ∂H/∂a_nd is

    "bound": −log(p̄_d / q̄_d) p q / N;   "exact": −Σ_k p_n(k) log p̄(k) (k_d − p_nd) / N

    dsample, dwhole: () -> da: (..., D)
    """
    a, p, q, means, N = cache
    where = "bit_entropy_backward"
    dsample, dwhole = scalar_cotangent(where, dsample), scalar_cotangent(where, dwhole)
    x, slope = a.reshape(p.shape), p * q
    if len(means) == 2:  # p̄ and q̄
        dH = -(_log(means[0]) - _log(means[1])) * slope
    else:
        W = _joint(p, q) * _log(means[0])
        D = p.shape[-1]
        bits = np.arange(1 << D)[:, None] >> np.arange(D) & 1
        dH = -(W @ bits - p * W.sum(axis=1, keepdims=True))
    return ((dwhole * dH - dsample * x * slope) / N).astype(a.dtype).reshape(a.shape)


def _binary_entropy(a: Array) -> Array:
    """h(σ(a)) = log(1 + exp(−|a|)) + |a| σ(−|a|), without overflow, in float64."""
    size = np.abs(a, dtype=np.float64)
    return np.asarray(np.log1p(np.exp(-size)) + size * sigmoid(-size))


def _joint(p: Array, q: Array) -> Array:
    """p_n(k) of every code, its lowest bit first: (N, D) -> (N, 2^D)."""
    P = np.ones((len(p), 1), p.dtype)
    for d in range(p.shape[1]):
        P = np.concatenate([P * q[:, d : d + 1], P * p[:, d : d + 1]], axis=1)
    return P


def _log(p: Array) -> Array:
    """log p, and 0 for p = 0, where what it is multiplied by is 0 too."""
    return np.log(p, out=np.zeros_like(p), where=p > 0)
