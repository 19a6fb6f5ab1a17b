"""z_q = s·sign(z),  k = Σ_d 2^(d−1) [z_d > 0],  L = β⟨(z − sg z_q)²⟩: one bit for each coordinate.

z: (..., D) -> z_q: (..., D), k: (...,) in [0, 2^D)
"""

from typing import Any

import numpy as np

from vqnp._check import Array, check_array, check_codes, check_finite, check_float, check_int
from vqnp._shapes import checked
from vqnp.kernels.signs import signed, signs, signs_gradient
from vqnp.ops.loss import reduction_scale, scalar_cotangent

Cache = tuple[Any, ...]

MOST_BITS = 24
"""D, so that reports can count each of the 2^D codes."""


@checked(z="(..., D)")
def lookup_free_forward(
    z: Array, *, scale: float = 1.0, beta: float = 0.25, reduction: str = "mean"
) -> tuple[Array, Array, Array, Cache]:
    """z_q = s·sign(z),  L = β⟨(z − sg z_q)²⟩,  k = Σ_d 2^(d−1) [z_d > 0].

    z: (..., D) -> z_q: (..., D), commitment: (), k: (...,)

    Parameters
    ----------
    z : ndarray of float32 or float64, shape (..., D), D at most 24
        The sign of 0 is −1.
    scale : float, above 0
        s: 1, or 1/√D for codes on the unit sphere.
    beta : float, at least 0
        The commitment cost β.
    reduction : {"mean", "mean_of_sums", "sum"}
        What ⟨·⟩ means; see loss.reduction_scale.

    Returns
    -------
    z_q, commitment, k, cache
        z_q is the nearest of the 2^D vectors with entries ±s; k: int64, its first bit that of z_1.

    References
    ----------
    Yu et al. 2023 (MAGVIT-v2), arXiv 2310.05737, section 3.1.
    """
    where = "lookup_free_forward"
    s, beta = check_float(where, "scale", scale, "(0, inf)"), check_float(where, "beta", beta, "[0, inf)")
    D = check_int(where, "z's last axis", z.shape[-1], 1, MOST_BITS)
    c = reduction_scale(where, reduction, z.shape)
    z_q, k, square, finite = signs(z.reshape(-1, D), s)
    if not finite:
        check_finite(where, "z", z)
    commitment = np.asarray(beta * c * square, z.dtype)
    return z_q.reshape(z.shape), commitment, k.reshape(z.shape[:-1]), (z, s, c, beta)


def lookup_free_backward(dz_q: Array, dL: Array | float, cache: Cache) -> Array:
    """dz = dz_q + dL · 2cβ (z − z_q): straight through the sign.

    dz_q: (..., D), dL: () -> dz: (..., D)

    dz is the derivative of (z + sg(z_q − z), β⟨(z − sg z_q)²⟩).
    """
    z, s, c, beta = cache
    check_array("lookup_free_backward", "dz_q", dz_q, shape=z.shape, dtype=z.dtype)
    return signs_gradient(dz_q, z, s, scalar_cotangent("lookup_free_backward", dL) * 2 * c * beta)


def lookup_free_decode(k: Any, bits: int, scale: float = 1.0, dtype: Any = np.float32) -> Array:
    """z_q = s (2 b − 1), b the bits of k, the lowest first.

    k: (...,), integers in [0, 2^D) -> z_q: (..., D), bit for bit that of lookup_free_forward

    Examples
    --------
    >>> lookup_free_decode([0, 1, 2, 3], bits=2).tolist()
    [[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]]
    """
    D = check_int("lookup_free_decode", "bits", bits, 1, MOST_BITS)
    k = check_codes("lookup_free_decode", k, 1 << D, "k").astype(np.int64)
    return signed((k[..., None] >> np.arange(D) & 1).astype(bool), scale, np.dtype(dtype))
