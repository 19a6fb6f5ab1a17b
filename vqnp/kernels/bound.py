"""|computed s_nj − s_nj| ≤ B(‖z_n − c‖), for the scores s_nj = (z_n − c)·(e_j − c) − ½‖e_j − c‖².

½‖z − e_j‖² = ½‖z − c‖² − s_j for every centre c, so the nearest code has the largest score. With the
mean code as centre, an offset that data and codes share does not cancel: it is gone before anything is
multiplied. docs/math/nearest.md derives the bound.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vqnp._check import Array
from vqnp.kernels.jit import jit

LIMITS = {4: (1e-15, 1e15), 8: (1e-140, 1e140)}
"""Norms, by bytes of the dtype: within, no score overflows or loses bits to underflow, nor do the
float64 squares by which the answer is defined. Outside, no row is certified."""

MAX_D = 1 << 14
"""Up to here the norms themselves, summed in float32, are right to 0.1 %."""


class Bound(NamedTuple):
    """B(ζ) = g R (½R + ζ) + ½ h (R + ζ)², for a row with ‖z − c‖ = ζ ≤ limit; R = max_j ‖e_j − c‖."""

    R: float
    g: float
    h: float
    limit: float


class Codebook(NamedTuple):
    """A codebook made ready for the tile.

    panels: (P, D, 6), the codes less their centre, members side by side; bias: (P, 6), −½‖e − c‖²;
    centre: (D,)
    """

    panels: Array
    bias: Array
    centre: Array
    bound: Bound


def prepare(E: Array, codes: int) -> Codebook | None:
    """E: (K, D) -> the codebook in panels of so many codes, or None where no row could be certified."""
    D = E.shape[1]
    low, high = LIMITS[E.itemsize]
    panels, bias, centre, R = _pack(np.require(E, requirements=["C", "W"]), codes)
    if D > MAX_D or not low <= R <= high:  # NaN is not
        return None
    u, u64 = float(np.finfo(E.dtype).eps) / 2, float(np.finfo(np.float64).eps) / 2
    # D products and as many sums, of which D + 1 in a row; z − c, e − c: D + 3 roundings at most.
    # 1.01 for the rounding of R, ζ and B themselves, far below one per cent together.
    return Codebook(panels, bias, centre, Bound(R, 1.01 * gamma(D + 3, u), 1.01 * gamma(D + 2, u64), high))


def gamma(n: int, u: float) -> float:
    """γ_n = nu / (1 − nu): the largest relative error of n roundings (Higham 2002, lemma 3.1)."""
    return n * u / (1 - n * u)


@jit(error_model="numpy")
def _pack(E: Array, codes: int) -> tuple[Array, Array, Array, float]:  # pragma: no cover - compiled
    K, D = E.shape
    total = np.zeros(D, np.float64)
    for j in range(K):
        for d in range(D):
            total[d] += E[j, d]
    centre = (total / K).astype(E.dtype)
    P = (K + codes - 1) // codes
    panels = np.zeros((P, D, codes), E.dtype)
    bias = np.full((P, codes), np.finfo(E.dtype).min, E.dtype)  # of a code that is not there: never the best
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
