"""z = (z_1, …, z_G),  z_q = (e¹_{k_1}, …, e^G_{k_G}): product codes, a codebook for each part of the vector.

z: (..., D), E: (G, K, D/G) -> z_q: (..., D), k: (..., G)
"""

from typing import Any

import numpy as np

from vqnp._check import Array, check_array, check_codes, fail
from vqnp._shapes import checked, unchecked
from vqnp.ops.quantize import quantize_backward, quantize_forward

Cache = tuple[Any, ...]


@checked(z="(..., D)", E="(G, K, d)")
def product_quantize_forward(
    z: Array, E: Array, k: Array | None = None, *, reduction: str = "mean", **options: Any
) -> tuple[Array, Array, Array, Array, Cache]:
    """z_q = (e¹_{k_1}, …, e^G_{k_G}),  k_g = argmin_j ‖z_g − e^g_j‖²;  L as in quantize_forward, over D.

    z: (..., D), E: (G, K, D/G) -> z_q: (..., D), codebook: (), commitment: (), k: (..., G)

    z_g is the g-th of G equal parts of z. Because ‖z − z_q‖² = Σ_g ‖z_g − e^g_{k_g}‖², the nearest code in
    each part gives the nearest of all K^G combinations, and the losses are those of one quantizer with
    these K^G codes.

    Parameters
    ----------
    z, E : ndarray of float32 or float64
        D is G times the last axis of E.
    k : ndarray of integers, shape (..., G), optional
        Codes chosen by another rule.
    reduction, **options
        As in quantize_forward: beta, codebook_loss, estimator. The estimator works on each part.

    Returns
    -------
    z_q, codebook, commitment, k, cache

    Raises
    ------
    InputError
        A wrong shape or dtype, or a k out of range.

    References
    ----------
    Jégou, Douze & Schmid 2011, IEEE TPAMI 33, section 2.2.
    """
    where, (G, K, d) = "product_quantize_forward", E.shape
    if z.shape[-1] != G * d:
        fail(where, "z", f"must have last axis {G * d}, {G} parts of {d}", f"shape {z.shape}")
    if k is not None:
        k = check_codes(where, k, K, "k", (*z.shape[:-1], G))
    parts = [
        unchecked(quantize_forward)(
            part_of(z, g, d), E[g], None if k is None else k[..., g], reduction=reduction, **options
        )
        for g in range(G)
    ]
    share = part_weight(reduction, G)
    codebook = np.asarray(share * sum(part[1] for part in parts), z.dtype)
    commitment = np.asarray(share * sum(part[2] for part in parts), z.dtype)
    z_q = np.concatenate([part[0] for part in parts], axis=-1)
    codes = np.stack([part[3] for part in parts], axis=-1)
    return z_q, codebook, commitment, codes, (share, d, [part[4] for part in parts])


def product_quantize_backward(dz_q: Array, dL: Array | float, cache: Cache) -> tuple[Array, Array]:
    """dz = (dz_1, …, dz_G),  dE = (dE¹, …, dE^G): quantize_backward of each part, dL times the part's share.

    dz_q: (..., D), dL: () -> dz: (..., D), dE: (G, K, D/G)
    """
    share, d, caches = cache
    check_array("product_quantize_backward", "dz_q", dz_q, last=len(caches) * d)
    gradients = [
        quantize_backward(part_of(dz_q, g, d), share * np.asarray(dL), cache)
        for g, cache in enumerate(caches)
    ]
    dz = np.concatenate([dz for dz, _ in gradients], axis=-1)
    return dz, np.stack([dE for _, dE in gradients])


def part_of(z: Array, g: int, d: int) -> Array:
    """z_g, the g-th part of d dimensions; z: (..., D) -> (..., d), a view."""
    return z[..., g * d : (g + 1) * d]


def part_weight(reduction: str, G: int) -> float:
    """What a part's loss is multiplied with: 1/G where a mean runs over D, 1 where a sum does."""
    return 1 / G if reduction == "mean" else 1.0


def joint_codes(k: Array, K: int) -> Array:
    """k_1 K^(G−1) + … + k_G, one number for each combination; k: (..., G) -> (...,) int64, if K^G < 2⁶³."""
    joint = np.zeros(k.shape[:-1], np.int64)
    for g in range(k.shape[-1]):
        joint = joint * K + k[..., g]
    return joint
