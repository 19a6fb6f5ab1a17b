"""ẑ = z/‖z‖,  ê = e/‖e‖,  k = argmax_j ẑ·ê_j,  z_q = ê_k: codes on the unit sphere, chosen by their cosine.

z: (..., D), E: (K, D) -> z_q: (..., D), k: (...,)
"""

import math
from typing import Any

import numpy as np

from vqnp._check import Array, check_array, check_float
from vqnp._shapes import checked, unchecked
from vqnp.kernels.nearest import nearest_code
from vqnp.kernels.sphere import normalize, normalize_gradient
from vqnp.kernels.statistics import code_statistics
from vqnp.ops.ema import EMAState, flush_faded
from vqnp.ops.quantize import quantize_backward, quantize_forward

Cache = tuple[Any, ...]


@checked(x="(..., D)")
def normalize_forward(x: Array) -> tuple[Array, Cache]:
    """y = x/‖x‖; a vector of length 0 has no direction and stays 0.

    x: (..., D) -> y: (..., D)

    The length is computed in float64, so that no square overflows or vanishes in float32.
    """
    y, scale = normalize(x.reshape(math.prod(x.shape[:-1]), x.shape[-1]))
    y = y.reshape(x.shape)
    return y, (y, scale.reshape(*x.shape[:-1], 1))


def normalize_backward(dy: Array, cache: Cache) -> Array:
    """dx = (dy − y (y·dy)) / ‖x‖: what is perpendicular to x; 0 for a vector of length 0.

    dy: (..., D) -> dx: (..., D)
    """
    y, scale = cache
    check_array("normalize_backward", "dy", dy, shape=y.shape, dtype=y.dtype)
    rows = dy.reshape(-1, y.shape[-1]), y.reshape(-1, y.shape[-1]), scale.reshape(-1, 1)
    return normalize_gradient(*rows).reshape(y.shape)


@checked(z_hat="(..., D)", E_hat="(K, D)")
def largest_cosine(z_hat: Array, E_hat: Array) -> Array:
    """k = argmax_j ẑ·ê_j of unit vectors; z_hat: (..., D), E_hat: (K, D) -> k: (...,) int64.

    It is the nearest code, since ‖ẑ − ê‖² = 2 − 2 ẑ·ê. A code of length 0 has cosine 0: so that it is as far
    as a code at a right angle, at a squared distance of 2, it gets a 1 on an axis of its own.
    """
    empty = ~E_hat.any(axis=1)
    if empty.any():
        E_hat = np.column_stack([E_hat, empty]).astype(E_hat.dtype)
        z_hat = np.concatenate([z_hat, np.zeros_like(z_hat[..., :1])], axis=-1)
    return unchecked(nearest_code)(z_hat, E_hat)


@checked(E="(K, D)", z="(..., D)")
def cosine_quantize_forward(
    z: Array, E: Array, k: Array | None = None, **options: Any
) -> tuple[Array, Array, Array, Array, Cache]:
    """z_q = ê_k,  L = ⟨(sg ẑ − ê_k)²⟩ + β⟨(ẑ − sg ê_k)²⟩,  k = argmax_j ẑ·ê_j.

    z: (..., D), E: (K, D) -> z_q: (..., D), codebook: (), commitment: (), k: (...,)

    On the sphere ‖ẑ − ê‖² = 2 − 2 ẑ·ê, so the largest cosine is the smallest distance: this is
    quantize_forward of ẑ and Ê. Both losses are measured between the unit vectors that are compared.

    Parameters
    ----------
    z, E : ndarray of float32 or float64, shapes (..., D) and (K, D)
        Of any lengths. z = 0 is equally far from every code, so its code is 0 and its gradient 0.
    k, **options
        As in quantize_forward: beta, codebook_loss, reduction, estimator.

    Returns
    -------
    z_q, codebook, commitment, k, cache

    References
    ----------
    Yu et al. 2022 (ViT-VQGAN), arXiv 2110.04627, section 3.2.
    """
    z_hat, z_cache = unchecked(normalize_forward)(z)
    E_hat, E_cache = unchecked(normalize_forward)(E)
    k = unchecked(largest_cosine)(z_hat, E_hat) if k is None else k
    *outputs, cache = unchecked(quantize_forward)(z_hat, E_hat, k, **options)
    return *outputs, (z_cache, E_cache, cache)  # type: ignore[return-value]


def cosine_quantize_backward(dz_q: Array, dL: Array | float, cache: Cache) -> tuple[Array, Array]:
    """dz = (dẑ − ẑ (ẑ·dẑ)) / ‖z‖,  dE = (dÊ − ê (ê·dÊ)) / ‖e‖, with dẑ, dÊ of quantize_backward.

    dz_q: (..., D), dL: () -> dz: (..., D), dE: (K, D)

    The estimator's step is that from z_q to ẑ; the normalisation is differentiated as it is.
    """
    z_cache, E_cache, cache = cache
    dz_hat, dE_hat = quantize_backward(dz_q, dL, cache)
    return normalize_backward(dz_hat, z_cache), normalize_backward(dE_hat, E_cache)


def spherical_ema_update(state: EMAState, z: Array, k: Array, decay: float = 0.99) -> EMAState:
    """N' = γN + (1−γ)n,  m' = γm + (1−γ)ŝ,  e' = m'/‖m'‖; where m' is 0, e is unchanged.

    z: (..., D) of any lengths, k: (...,) -> EMAState; ŝ_j is the sum of the unit vectors with code j

    The mean direction needs no counts, hence no smoothing: any factor of m cancels. A code that no vector
    chooses keeps its direction, whereas smoothed Euclidean codes shrink towards 0.

    Raises
    ------
    InputError
        A wrong shape or dtype, NaN or infinity in z, or a k or decay out of range.

    References
    ----------
    Dhillon & Modha 2001, Machine Learning 42, for k-means on the sphere; the averages are those of
    van den Oord et al. 2017, arXiv 1711.00937, appendix A.
    """
    where, dtype = "spherical_ema_update", state.E.dtype
    decay = check_float(where, "decay", decay, "[0, 1)")
    check_array(where, "z", z, last=state.E.shape[-1], dtype=dtype, finite=True)
    n, s = code_statistics(normalize_forward(z)[0], k, len(state.E))
    N = decay * state.N + (1 - decay) * n.astype(dtype)
    m = decay * state.m + (1 - decay) * s.astype(dtype)
    N, m = flush_faded(N, m)
    direction, _ = normalize_forward(m)
    E = np.where(direction.any(axis=-1, keepdims=True), direction, state.E)
    return EMAState(E, N, m, state.t + 1)
