"""⟨H(p_n)⟩ and H(⟨p_n⟩) of codes whose bits are independent: p_n(k) = Π_d p_nd^(k_d) (1 − p_nd)^(1 − k_d).

a: (..., D), p = σ(a) -> two numbers, in nats
"""

from typing import Any

import numpy as np

from vqnp._check import Array, check_choice, check_int, fail
from vqnp._shapes import checked
from vqnp.kernels.bit_entropy import bit_entropy_gradient, bit_entropy_sums
from vqnp.ops.loss import scalar_cotangent

Cache = tuple[Any, ...]

BATCH_ENTROPIES = ("exact", "bound")

MOST_EXACT_BITS = 12
"""D, since all 2^D probabilities of each vector are computed."""


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
    N = max(len(x), 1)
    sample, sums = bit_entropy_sums(x, batch == "exact")
    means = sums / N
    whole = -(means * _log(means)).sum()
    return np.asarray(sample / N, a.dtype), np.asarray(whole, a.dtype), (a, means, N)


def bit_entropy_backward(dsample: Array | float, dwhole: Array | float, cache: Cache) -> Array:
    """da for both entropies; with the slope p q of σ:

    da_nd = −dsample · a_nd p q / N + dwhole · ∂H/∂a_nd,  where ∂H/∂a_nd is

    "bound": −log(p̄_d / q̄_d) p q / N;   "exact": −Σ_k p_n(k) log p̄(k) (k_d − p_nd) / N

    dsample, dwhole: () -> da: (..., D)
    """
    a, means, N = cache
    where = "bit_entropy_backward"
    dsample, dwhole = scalar_cotangent(where, dsample), scalar_cotangent(where, dwhole)
    x, f = a.reshape(-1, a.shape[-1]), _log(means).astype(a.dtype)
    return bit_entropy_gradient(x, f, -dsample / N, -dwhole / N).reshape(a.shape)


def _log(p: Array) -> Array:
    """log p, and 0 for p = 0, where what it is multiplied by is 0 too."""
    return np.log(p, out=np.zeros_like(p), where=p > 0)
