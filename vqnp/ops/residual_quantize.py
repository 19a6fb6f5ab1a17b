"""k_i = argmin ‖r_{i−1} − e‖²,  r_i = r_{i−1} − e_{k_i},  r_0 = z,  z_q = Σ_i e_{k_i}: residual quantization.

z: (..., D), E: (C, K, D), C codebooks for n depths -> z_q: (..., D), k: (..., n)
"""

from typing import Any

import numpy as np

from vqnp._check import Array, check_array, check_finite, check_float, check_int, fail
from vqnp._shapes import checked
from vqnp.kernels.residual import residual_codes, residual_gradient, residual_statistics
from vqnp.ops.loss import reduction_scale, scalar_cotangent

Cache = tuple[Any, ...]


@checked(z="(..., D)", E="(C, K, D)")
def residual_quantize_forward(
    z: Array, E: Array, depth: int, used: Array | None = None, *,
    beta: float = 0.25, codebook_loss: bool = True, reduction: str = "mean",
) -> tuple[Array, Array, Array, Array, Cache]:  # fmt: skip
    """z_q = Σ_i e_{k_i},  L = ⟨(sg r_{i−1} − e_{k_i})²⟩ + β⟨(z − sg Σ_{j≤i} e_{k_j})²⟩, the mean over i.

    z: (..., D), E: (C, K, D) -> z_q: (..., D), codebook: (), commitment: (), k: (..., n)

    Parameters
    ----------
    z : ndarray of float32 or float64, shape (..., D)
    E : ndarray of z's dtype, shape (C, K, D)
        C = n codebooks, or C = 1 that all depths share.
    depth : int
        n, the number of codes of a vector.
    used : ndarray of integers in [1, n], shape (...), optional
        How many codes each vector has in this pass (quantizer dropout): the others are −1 in k, and neither
        z_q nor the losses have their terms. Default: all.
    beta, codebook_loss, reduction
        As in quantize_forward.

    Returns
    -------
    z_q, codebook, commitment, k, cache
        The two losses are the same numbers but for β, since r_i = z − Σ_{j≤i} e_{k_j}; what they move is not.

    References
    ----------
    Lee et al. 2022 (RQ-VAE), arXiv 2203.01941, section 3.1; Zeghidour et al. 2021 (SoundStream), arXiv
    2107.03312, section III-C, for quantizer dropout.
    """
    where = "residual_quantize_forward"
    n, beta = check_int(where, "depth", depth), check_float(where, "beta", beta, "[0, inf)")
    if len(E) not in (1, n):
        fail(where, "E", f"must hold 1 codebook or {n}, one for each depth", len(E))
    if E.size == 0:
        fail(where, "E", "must have at least one code of at least one dimension", f"shape {E.shape}")
    if used is not None:
        _check_used(where, used, n, z.shape[:-1])
    c = reduction_scale(where, reduction, z.shape) / n
    check_finite(where, "E", E)
    rows = z.reshape(-1, z.shape[-1])
    z_q, k, square, finite = residual_codes(rows, E, n, None if used is None else used.reshape(-1))
    if not finite:
        check_finite(where, "z", z)
        fail(where, "z", "must be small enough to subtract codes from", "residuals that are not finite")
    codebook = np.asarray(c * square if codebook_loss else 0.0, z.dtype)
    commitment = np.asarray(beta * c * square, z.dtype)
    cache = z, E, k, c, beta, codebook_loss
    return z_q.reshape(z.shape), codebook, commitment, k.reshape(*z.shape[:-1], n), cache


def residual_quantize_backward(dz_q: Array, dL: Array | float, cache: Cache) -> tuple[Array, Array]:
    """dz = dz_q + dL · 2cβ/n Σ_i r_i,  dE^i_j = −dL · 2c/n Σ r_i over the vectors with k_i = j.

    dz_q: (..., D), dL: () -> dz: (..., D), dE: (C, K, D)

    Straight through the sum as a whole, once: ∂z_q/∂z is I, whatever n is. A straight-through step at each
    depth, whose outputs are summed, would give n I. (dz, dE) is the derivative of (z + sg(z_q − z), L) with
    everything inside sg held fixed, the residuals r_{i−1} among it.
    """
    z, E, k, c, beta, codebook_loss = cache
    where = "residual_quantize_backward"
    check_array(where, "dz_q", dz_q, shape=z.shape, dtype=z.dtype)
    dL = scalar_cotangent(where, dL)
    rows = z.reshape(-1, z.shape[-1])
    dz = residual_gradient(dz_q.reshape(rows.shape), rows, E, k, dL * 2 * c * beta).reshape(z.shape)
    dE = np.zeros_like(E)
    if codebook_loss:
        for i, statistics in enumerate(residual_statistics(rows, E, k, after=True)):
            dE[i % len(E)] -= dL * 2 * c * statistics.sums
    return dz, dE


def _check_used(where: str, used: Array, n: int, shape: tuple[int, ...]) -> None:
    """Raise unless used: (...) holds integers in [1, n]."""
    if not isinstance(used, np.ndarray) or used.dtype.kind not in "iu":
        fail(where, "used", "must be an array of integers", getattr(used, "dtype", type(used).__name__))
    if used.shape != shape:
        fail(where, "used", f"must have shape {shape}", f"shape {used.shape}")
    if ((used < 1) | (used > n)).any():
        fail(where, "used", f"must be in [1, {n}]", f"{used.min()} to {used.max()}")
