"""|ŝ_nj − s_nj| ≤ B(‖z_n − c‖), for the scores s_nj = (z_n − c)·(e_j − c) − ½‖e_j − c‖² as computed, ŝ_nj.

z: (N, D), E: (K, D), c: (D,) -> s: (N, K)

½‖z − e_j‖² = ½‖z − c‖² − s_j, so the nearest code has the largest score. With the mean code as the centre c,
an offset that data and codes share is subtracted before any product. docs/math/nearest.md derives the bound.
"""

from typing import NamedTuple

import numpy as np

from vqnp._check import Array
from vqnp.kernels.jit import jit

# Smallest and largest norm of a row that can be certified, by bytes of the dtype: between them no score and
# no float64 square overflows or loses bits to underflow.
NORM_LIMITS = {4: (1e-15, 1e15), 8: (1e-140, 1e140)}
MOST_DIMENSIONS = 1 << 14  # up to so many, the norms themselves, summed in float32, are right to 0.1 %


def scores_plain(z: Array, E: Array, centre: Array) -> Array:
    """s_nj = (z_n − c)·(e_j − c) − ½‖e_j − c‖²; z: (N, D), E: (K, D), centre: (D,) -> s: (N, K)."""
    z, E = z - centre, E - centre
    return z @ E.T - 0.5 * np.square(E).sum(axis=1)


def gamma(n: int, u: float) -> float:
    """γ_n = nu / (1 − nu): the largest relative error of n roundings (Higham 2002, lemma 3.1)."""
    return n * u / (1 - n * u)


class Bound(NamedTuple):
    """B(ζ) = g R (½R + ζ) + ½ h (R + ζ)², for a row with ‖z − c‖ = ζ ≤ limit; R = max_j ‖e_j − c‖.

    The first term is the rounding of the scores, the second that of the float64 answer itself.
    """

    R: float
    g: float
    h: float
    limit: float

    def at(self, zeta: Array | float) -> Array | float:
        """B(ζ); zeta: any shape -> the same."""
        return self.g * self.R * (0.5 * self.R + zeta) + 0.5 * self.h * (self.R + zeta) ** 2


class Codebook(NamedTuple):
    """panels[p, d, i]: coordinate d of code p · codes + i, less the centre; bias[p, i]: −½ its norm²."""

    panels: Array
    bias: Array
    centre: Array
    bound: Bound


def prepare(E: Array, codes: int) -> Codebook | None:
    """The codebook E: (K, D) in panels of `codes` codes, or None if no row could be certified."""
    D = E.shape[1]
    low, high = NORM_LIMITS[E.itemsize]
    panels, bias, centre, R = _pack(np.require(E, requirements=["C", "W"]), codes)
    if D > MOST_DIMENSIONS or not low <= R <= high:  # NaN is not
        return None
    u, u64 = float(np.finfo(E.dtype).eps) / 2, float(np.finfo(np.float64).eps) / 2
    # D products and as many sums, of which D + 1 in a row; z − c, e − c: D + 3 roundings at most.
    # 1.01 for the rounding of R, ζ and B themselves, far below one per cent together.
    return Codebook(panels, bias, centre, Bound(R, 1.01 * gamma(D + 3, u), 1.01 * gamma(D + 2, u64), high))


def pack_plain(E: Array, codes: int) -> tuple[Array, Array, Array, float]:
    """A Codebook's arrays and R = max_j ‖e_j − c‖; codes that are never the best fill up the last panel.

    E: (K, D) -> panels: (P, D, codes), bias: (P, codes), centre: (D,), R
    """
    K, D = E.shape
    centre = E.mean(axis=0, dtype=np.float64).astype(E.dtype)
    square = np.square(E.astype(np.float64) - centre).sum(axis=1)
    P = -(-K // codes)
    panels, bias = np.zeros((P * codes, D), E.dtype), np.full(P * codes, np.finfo(E.dtype).min, E.dtype)
    panels[:K], bias[:K] = E - centre, -0.5 * square
    panels = np.ascontiguousarray(panels.reshape(P, codes, D).transpose(0, 2, 1))
    return panels, bias.reshape(P, codes), centre, float(np.sqrt(square.max()))


@jit(error_model="numpy")
def _pack(E: Array, codes: int) -> tuple[Array, Array, Array, float]:
    """pack_plain, with its sums in the order of the indices."""
    K, D = E.shape
    total = np.zeros(D, np.float64)
    for j in range(K):
        for d in range(D):
            total[d] += E[j, d]
    centre = (total / K).astype(E.dtype)
    P = (K + codes - 1) // codes
    panels = np.zeros((P, D, codes), E.dtype)
    bias = np.full((P, codes), np.finfo(E.dtype).min, E.dtype)
    largest = 0.0
    square = np.empty(codes, np.float64)
    for p in range(P):
        members = E[p * codes : (p + 1) * codes]
        square[:] = 0.0
        for d in range(D):
            for c in range(len(members)):
                panels[p, d, c] = members[c, d] - centre[d]
                difference = np.float64(members[c, d]) - np.float64(centre[d])
                square[c] += difference * difference
        for c in range(len(members)):
            bias[p, c] = -0.5 * square[c]
            if not square[c] <= largest:  # so that NaN stays
                largest = square[c]
    return panels, bias, centre, np.sqrt(largest)
