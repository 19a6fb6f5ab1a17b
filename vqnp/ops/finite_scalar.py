"""z_q = round(h tanh(z + s) − o) / ⌊L/2⌋, coordinate by coordinate: finite scalar quantization."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vqnp._check import Array, check_array, check_codes, check_finite, check_int, check_lengths, fail
from vqnp._shapes import checked
from vqnp.kernels.finite_scalar import Grid, finite_scalar, finite_scalar_gradient

Cache = tuple[Any, ...]

EPSILON = 1e-3
"""ε of the paper's code: the outermost values of tanh are short of the last level's edge by (L − 1) ε/2."""

MOST_LEVELS = 1000
"""L from which (L − 1) ε/2 reaches 1/2, so that the two outermost levels are never chosen."""

MOST_CODES = 2**24
"""K, of which reports count each: more codes are those of several codebooks."""


@checked(z="(..., D)")
def finite_scalar_forward(z: Array, levels: Sequence[int]) -> tuple[Array, Array, Cache]:
    """z_q = round(y) / ⌊L/2⌋,  y = h tanh(z + s) − o,  k = Σ_d (round(y_d) + ⌊L_d/2⌋) L_1 ⋯ L_{d−1}.

    z: (..., D), levels: D integers -> z_q: (..., D), k: (...,)

    h = (L − 1)(1 − ε)/2; o = 1/2 for an even L and 0 for an odd one; s = tan(o/h); ε = 0.001.

    Parameters
    ----------
    z : ndarray of float32 or float64, shape (..., D)
    levels : sequence of int in [2, 1000]
        L_d, the number of values that coordinate d can take; K = L_1 ⋯ L_D.

    Returns
    -------
    z_q, k, cache
        z_q: multiples of 1/⌊L/2⌋ from −1 to 1 (an odd L) or to 1 − 2/L (an even one);
        k: int64, with the first coordinate as the least significant digit.

    Raises
    ------
    InputError
        A wrong shape or dtype, or levels out of range; NaN or infinity in z.

    References
    ----------
    Mentzer et al. 2023, arXiv 2309.15505, section 3.1 and appendix A.1.
    """
    L = check_levels("finite_scalar_forward", levels, z.shape[-1])
    grid = Grid(*(a.astype(z.dtype) for a in (*constants(L), place_values(L))))
    z_q, k, finite = finite_scalar(z.reshape(-1, len(L)), grid)
    if not finite:
        check_finite("finite_scalar_forward", "z", z)
    return z_q.reshape(z.shape), k.reshape(z.shape[:-1]), (z, grid)


def finite_scalar_backward(dz_q: Array, cache: Cache) -> Array:
    """dz = dz_q · h (1 − tanh²(z + s)) / ⌊L/2⌋.

    dz_q: (..., D) -> dz: (..., D)

    Straight through the rounding alone: dz is the derivative of (y + sg(round(y) − y)) / ⌊L/2⌋.
    """
    z, grid = cache
    check_array("finite_scalar_backward", "dz_q", dz_q, shape=z.shape, dtype=z.dtype)
    D = z.shape[-1]
    return finite_scalar_gradient(dz_q.reshape(-1, D), z.reshape(-1, D), grid).reshape(z.shape)


def finite_scalar_decode(k: Any, levels: Sequence[int], dtype: Any = np.float32) -> Array:
    """z_q of the codes: the digits of k, minus ⌊L/2⌋, divided by ⌊L/2⌋.

    k: (...,), integers in [0, K) -> z_q: (..., D), bit for bit that of finite_scalar_forward
    """
    L = check_levels("finite_scalar_decode", levels)
    k = check_codes("finite_scalar_decode", k, int(np.prod(L)), "k").astype(np.int64)
    half = L // 2
    digits = k[..., None] // place_values(L) % L - half
    return digits.astype(dtype) / half.astype(dtype)


def check_levels(where: str, levels: Any, D: int | None = None) -> Array:
    """The levels as an array of int64, else InputError."""
    L = check_lengths(where, "levels", levels)
    if not L:
        fail(where, "levels", "must hold at least one integer", repr(levels))
    for d, n in enumerate(L):
        check_int(where, f"levels[{d}]", n, 2, MOST_LEVELS)
    K = 1
    for n in L:
        K *= n
    if K > MOST_CODES:
        fail(where, "levels", f"must have a product of at most {MOST_CODES}", K)
    if D is not None and len(L) != D:
        fail(where, "levels", f"must be {D} integers, one for each coordinate of z", len(L))
    return np.array(L, np.int64)


def place_values(L: Array) -> Array:
    """1, L_1, L_1 L_2, …: what the digits of a code are worth; (D,) -> (D,)."""
    return np.concatenate([[1], np.cumprod(L[:-1])]).astype(np.int64)


def constants(L: Array) -> tuple[Array, Array, Array, Array]:
    """h, o, s and a = ⌊L/2⌋ of each coordinate, in float64; (D,) -> four of (D,)."""
    h = (L - 1) * (1 - EPSILON) / 2
    o = np.where(L % 2 == 0, 0.5, 0.0)
    return h, o, np.tan(o / h), (L // 2).astype(np.float64)
