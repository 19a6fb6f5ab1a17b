"""k = argmin_j ‖z − e_j‖²,  z_q = e_k,  L = ⟨(sg z − e_k)²⟩ + β⟨(z − sg e_k)²⟩, straight through.

z: (..., D), E: (K, D) -> z_q: (..., D), L: (), k: (...,)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vqnp._check import Array, check_array, check_choice, check_codes, check_float, fail
from vqnp.kernels.difference import difference_and_square
from vqnp.kernels.nearest import nearest_code
from vqnp.kernels.statistics import code_statistics
from vqnp.ops.loss import reduction_scale, scalar_cotangent

Cache = tuple[Any, ...]

BETA_PLACEMENTS = ("commitment", "codebook", "complement", "both")


def loss_weights(beta: float, beta_on: str) -> tuple[float, float]:
    """(weight of the commitment term, weight of the codebook term) for each place of β in public code.

    "commitment": (β, 1), the paper's equation 3. "codebook": (1, β), the same with the terms
    swapped, a recurring bug. "complement": (1 − β, β). "both": (β, β).
    """
    return {
        "commitment": (beta, 1.0),
        "codebook": (1.0, beta),
        "complement": (1 - beta, beta),
        "both": (beta, beta),
    }[check_choice("loss_weights", "beta_on", beta_on, BETA_PLACEMENTS)]


def quantize_forward(
    z: Array,
    E: Array,
    k: Array | None = None,
    *,
    beta: float = 0.25,
    codebook_loss: bool = True,
    beta_on: str = "commitment",
    reduction: str = "mean",
) -> tuple[Array, Array, Array, Cache]:
    """z_q = e_k,  L = ⟨(sg z − e_k)²⟩ + β⟨(z − sg e_k)²⟩,  k = argmin_j ‖z − e_j‖².

    z: (..., D), E: (K, D) -> z_q: (..., D), L: (), k: (...,)

    Parameters
    ----------
    z : ndarray of float32 or float64, shape (..., D)
        The encoder's output. An empty batch has no codes, and a loss of 0: an empty sum.
    E : ndarray of z's dtype, shape (K, D)
        The codebook.
    k : ndarray of integers, shape (...,), optional
        Codes already chosen, where they do not come from this E: the variant that looks its codes
        up after the EMA update. Default: nearest_code(z, E).
    beta : float, at least 0
        The commitment cost β.
    codebook_loss : bool
        Whether the first term is there; False for a codebook that follows by EMA.
    beta_on : {"commitment", "codebook", "complement", "both"}
        Where β stands; see loss_weights.
    reduction : {"mean", "mean_of_sums", "sum"}
        What ⟨·⟩ is: the mean over all entries, as Sonnet (default); or a sum over D and the mean
        over vectors, as the paper writes it; or a sum over everything. See loss.reduction_scale.

    Returns
    -------
    z_q, L, k, cache
        z_q is E[k] to the last bit, where frameworks that compute z + sg(z_q − z) round twice.

    References
    ----------
    van den Oord et al. 2017, arXiv 1711.00937, equations 1 to 3. Bengio et al. 2013, arXiv
    1308.3432, for the straight-through estimator.
    """
    where = "quantize_forward"
    E = check_array(where, "E", E, ndim=2)
    z = check_array(where, "z", z, last=E.shape[1], dtype=E.dtype)
    commitment, codebook = loss_weights(check_float(where, "beta", beta, "[0, inf)"), beta_on)
    if not codebook_loss:
        codebook = 0.0
    c = reduction_scale(where, reduction, z.shape)
    if k is None:
        k = nearest_code(z, E)
    else:
        k = check_codes(where, k, len(E))
        if k.shape != z.shape[:-1]:
            fail(where, "k", f"must have shape {z.shape[:-1]}", f"shape {k.shape}")
    z_q = E[k]
    r, square = difference_and_square(z_q, z)
    # Both terms have this one value; sg only says which of z and E each one may move.
    L = np.asarray(square * c * (commitment + codebook), z.dtype)
    return z_q, L, k, (r, k, len(E), 2 * c * commitment, 2 * c * codebook)


def quantize_backward(dz_q: Array, dL: Array | float, cache: Cache) -> tuple[Array, Array]:
    """dz = dz_q + dL · 2cβ (z − e_k),  dE_j = dL · 2c Σ_{n : k_n = j} (e_j − z_n).

    dz_q: (..., D), dL: () -> dz: (..., D), dE: (K, D)

    The first term of dz is the straight-through estimator: the decoder's gradient is copied to the
    encoder as if z_q were z. None of dz_q reaches E. So (dz, dE) is not the derivative of
    quantize_forward but of z ↦ (z + sg(z_q − z), L) with every sg frozen:
    gradcheck.surrogate_check holds it to that.
    """
    r, k, K, commitment, codebook = cache
    dz_q = check_array("quantize_backward", "dz_q", dz_q, shape=r.shape, dtype=r.dtype)
    dL = scalar_cotangent("quantize_backward", dL)
    dz = dz_q - r.dtype.type(dL * commitment) * r
    dE = code_statistics(r, k, K).sums * (dL * codebook)
    return dz, dE.astype(r.dtype)
