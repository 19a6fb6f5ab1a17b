"""k = argmin_j ‖z − e_j‖²,  z_q = e_k,  L = ⟨(sg z − e_k)²⟩ + β⟨(z − sg e_k)²⟩, straight through."""

from typing import Any

import numpy as np

from vqnp._check import Array, check_array, check_choice, check_codes, check_float
from vqnp._shapes import checked, unchecked
from vqnp.kernels.nearest import nearest_code
from vqnp.kernels.statistics import code_statistics
from vqnp.ops.loss import reduction_scale, scalar_cotangent
from vqnp.ops.rotation import ESTIMATORS, rotate_backward, rotate_forward

Cache = tuple[Any, ...]


@checked(E="(K, D)", z="(..., D)")
def quantize_forward(
    z: Array, E: Array, k: Array | None = None, *,
    beta: float = 0.25, codebook_loss: bool = True, reduction: str = "mean",
    estimator: str = "straight_through",
) -> tuple[Array, Array, Array, Array, Cache]:  # fmt: skip
    """z_q = e_k,  L = ⟨(sg z − e_k)²⟩ + β⟨(z − sg e_k)²⟩,  k = argmin_j ‖z − e_j‖².

    z: (..., D), E: (K, D) -> z_q: (..., D), codebook: (), commitment: (), k: (...,)

    Parameters
    ----------
    z : ndarray of float32 or float64, shape (..., D)
        The encoder's output. An empty batch has no codes, and its losses are 0 (empty sums).
    E : ndarray of z's dtype, shape (K, D)
        The codebook.
    k : ndarray of integers, shape (...,), optional
        Codes chosen by another rule. Default: nearest_code(z, E).
    beta : float, at least 0
        The commitment cost β.
    codebook_loss : bool
        False for a codebook that is updated by EMA: the codebook loss is then 0.
    reduction : {"mean", "mean_of_sums", "sum"}
        What ⟨·⟩ means: the mean over all entries, as in Sonnet (the default); the sum over D and the mean
        over vectors, as in the paper; or the sum over all entries. See loss.reduction_scale.
    estimator : {"straight_through", "rotation"}
        How dz_q reaches z in the backward pass: copied, or by the rotation trick of ops.rotation.

    Returns
    -------
    z_q, codebook, commitment, k, cache
        z_q is E[k] to the last bit, whereas frameworks that compute z + sg(z_q − z) round twice.

    Raises
    ------
    InputError
        A wrong shape or dtype, or a k out of range; NaN or infinity in z or E, unless k is given.

    References
    ----------
    van den Oord et al. 2017, arXiv 1711.00937, equations 1 to 3. Bengio et al. 2013, arXiv
    1308.3432, for the straight-through estimator.
    """
    beta = check_float("quantize_forward", "beta", beta, "[0, inf)")
    check_choice("quantize_forward", "estimator", estimator, ESTIMATORS)
    c = reduction_scale("quantize_forward", reduction, z.shape)
    if k is None:
        k = unchecked(nearest_code)(z, E)
    else:
        k = check_codes("quantize_forward", k, len(E), "k", z.shape[:-1])
    z_q = E[k]
    r = z - z_q
    square = np.square(r, dtype=np.float64).sum()
    # The two terms differ in what sg holds fixed: the codebook loss moves e, the commitment loss moves z.
    codebook = np.asarray(c * square if codebook_loss else 0.0, z.dtype)
    commitment = np.asarray(beta * c * square, z.dtype)
    rotation = unchecked(rotate_forward)(z, z_q)[1] if estimator == "rotation" else None
    return z_q, codebook, commitment, k, (r, k, len(E), c, beta, codebook_loss, rotation)


def quantize_backward(dz_q: Array, dL: Array | float, cache: Cache) -> tuple[Array, Array]:
    """dz = dz_q + dL · 2cβ (z − e_k),  dE_j = dL · 2c Σ_{n : k_n = j} (e_j − z_n).

    dz_q: (..., D), dL: () -> dz: (..., D), dE: (K, D)

    dL is the gradient with respect to codebook + commitment, and c the factor of ⟨·⟩ = c Σ.

    The first term of dz is the straight-through estimator: the decoder's gradient is copied to the encoder
    as if z_q were z. None of dz_q reaches E. So (dz, dE) is not the derivative of quantize_forward but that
    of (z + sg(z_q − z), L) with everything inside sg held fixed; gradcheck.surrogate_check checks this.
    With estimator="rotation" the first term is rotate_backward's λRᵀ dz_q, the derivative of sg(λR) z.
    """
    r, k, K, c, beta, codebook_loss, rotation = cache  # r = z − e_k
    check_array("quantize_backward", "dz_q", dz_q, shape=r.shape, dtype=r.dtype)
    dL = scalar_cotangent("quantize_backward", dL)
    if rotation is not None:
        dz_q = rotate_backward(dz_q, rotation)
    dz = dz_q + dL * 2 * c * beta * r
    dE = np.zeros((K, r.shape[-1]), r.dtype)
    if codebook_loss:
        dE -= dL * 2 * c * unchecked(code_statistics)(r, k, K).sums
    return dz, dE
