"""E = C W with C fixed: SimVQ, a codebook all of whose codes move when one is trained.

C: (K, D), W: (D, D), z: (..., D) -> E: (K, D), z_q: (..., D), k: (...,)
"""

from typing import Any

import numpy as np

from vqnp._check import Array
from vqnp._shapes import checked, unchecked
from vqnp.kernels.product import linear, linear_dW
from vqnp.ops.quantize import quantize_backward, quantize_forward

Cache = tuple[Any, ...]


def simvq_codes(C: Array, W: Array) -> Array:
    """E = C W; C: (K, C), W: (C, D) -> E: (K, D)."""
    return linear(C, W)


@checked(C="(K, C)", W="(C, D)", z="(..., D)")
def simvq_forward(
    z: Array, C: Array, W: Array, **options: Any
) -> tuple[Array, Array, Array, Array, Cache]:  # fmt: skip
    """z_q = e_k,  L = ⟨(sg z − e_k)²⟩ + β⟨(z − sg e_k)²⟩,  k = argmin_j ‖z − e_j‖²,  E = C W.

    z: (..., D), C: (K, C), W: (C, D) -> z_q: (..., D), codebook: (), commitment: (), k: (...,)

    Parameters
    ----------
    z, C, W : ndarray of float32 or float64
        C is never trained. In the paper it is drawn once, and square W is the only parameter.
    **options
        As in quantize_forward: beta, reduction, estimator.

    Returns
    -------
    z_q, codebook, commitment, k, cache

    References
    ----------
    Zhu et al. 2024, arXiv 2411.02038, equation 7.
    """
    *outputs, cache = unchecked(quantize_forward)(z, simvq_codes(C, W), **options)
    return *outputs, (C, cache)  # type: ignore[return-value]


def simvq_backward(dz_q: Array, dL: Array | float, cache: Cache) -> tuple[Array, Array]:
    """dz as in quantize_backward,  dW = Cᵀ dE = Σ_j c_jᵀ de_j; C has no gradient.

    dz_q: (..., D), dL: () -> dz: (..., D), dW: (C, D)

    de_j is 0 for an unused code j, but dW is not, and moves e_j = c_j W.
    """
    C, cache = cache
    dz, dE = quantize_backward(dz_q, dL, cache)
    return dz, linear_dW(C, np.ascontiguousarray(dE))
