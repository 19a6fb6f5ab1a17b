"""k_i = argmin ‖r_{i−1} − e‖²,  r_i = r_{i−1} − e_{k_i},  r_0 = z,  z_q = Σ_i e_{k_i}: residual quantization.

z: (..., D), E: (C, K, D), C codebooks for n depths -> z_q: (..., D), k: (..., n)
"""

from typing import Any

import numpy as np

from vqnp._check import Array, check_array, check_float, check_int, fail
from vqnp._shapes import checked, unchecked
from vqnp.kernels.nearest import nearest_code
from vqnp.kernels.statistics import code_statistics
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
    if used is not None:
        _check_used(where, used, n, z.shape[:-1])
    c = reduction_scale(where, reduction, z.shape) / n
    k, r, z_q = np.empty((*z.shape[:-1], n), np.int64), z, np.zeros_like(z)
    residuals, square = [], 0.0
    for i in range(n):
        e = E[i % len(E)]
        k[..., i] = unchecked(nearest_code)(r, e)
        chosen = e[k[..., i]]
        if used is not None:
            chosen = chosen * (used > i)[..., None]
        r, z_q = r - chosen, z_q + chosen
        left = r if used is None else r * (used > i)[..., None]
        residuals.append(left)
        square += np.square(left, dtype=np.float64).sum()
    if used is not None:
        k[np.arange(n) >= used[..., None]] = -1
    codebook = np.asarray(c * square if codebook_loss else 0.0, z.dtype)
    commitment = np.asarray(beta * c * square, z.dtype)
    return z_q, codebook, commitment, k, (residuals, k, E.shape, c, beta, codebook_loss)


def residual_quantize_backward(dz_q: Array, dL: Array | float, cache: Cache) -> tuple[Array, Array]:
    """dz = dz_q + dL · 2cβ/n Σ_i r_i,  dE^i_j = −dL · 2c/n Σ r_i over the vectors with k_i = j.

    dz_q: (..., D), dL: () -> dz: (..., D), dE: (C, K, D)

    Straight through the sum as a whole, once: ∂z_q/∂z is I, whatever n is. A straight-through step at each
    depth, whose outputs are summed, would give n I. (dz, dE) is the derivative of (z + sg(z_q − z), L) with
    everything inside sg held fixed, the residuals r_{i−1} among it.
    """
    residuals, k, shape, c, beta, codebook_loss = cache
    where = "residual_quantize_backward"
    check_array(where, "dz_q", dz_q, shape=residuals[0].shape, dtype=residuals[0].dtype)
    dL = scalar_cotangent(where, dL)
    dz, dE = dz_q, np.zeros(shape, dz_q.dtype)
    for i, r in enumerate(residuals):
        dz = dz + dL * 2 * c * beta * r
        if codebook_loss:
            j = np.maximum(k[..., i], 0)  # of a code that is not used r is 0
            dE[i % shape[0]] -= dL * 2 * c * unchecked(code_statistics)(r, j, shape[1]).sums
    return dz, dE


def _check_used(where: str, used: Array, n: int, shape: tuple[int, ...]) -> None:
    """Raise unless used: (...) holds integers in [1, n]."""
    if not isinstance(used, np.ndarray) or used.dtype.kind not in "iu":
        fail(where, "used", "must be an array of integers", getattr(used, "dtype", type(used).__name__))
    if used.shape != shape:
        fail(where, "used", f"must have shape {shape}", f"shape {used.shape}")
    if ((used < 1) | (used > n)).any():
        fail(where, "used", f"must be in [1, {n}]", f"{used.min()} to {used.max()}")
