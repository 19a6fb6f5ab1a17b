"""k_n = argmin_j Σ_d (z_nd − e_jd)², summed from d = 0 to D − 1 in float64; ties go to the lowest j.

z: (N, D), E: (K, D) -> k: (N,)

The definition of the nearest code, in NumPy and compiled. The compiled sums decide what the tile does not.
"""

import numpy as np

from vqnp._check import Array
from vqnp.kernels.jit import jit
from vqnp.kernels.threads import in_blocks

MULTIPLY_ADDS_PER_DIRECT_TERM = 8
"""A float64 term, with its subtraction, load and store, takes as long as 8 multiply-adds of the tile."""


def nearest_code_plain(z: Array, E: Array) -> Array:
    """k_n = argmin_j Σ_d (z_nd − e_jd)²; needs 3 · N · K float64 numbers of memory.

    z: (N, D), E: (K, D) -> k: (N,)
    """
    z, E = z.astype(np.float64), E.astype(np.float64)
    distance = np.zeros((len(z), len(E)))
    for d in range(E.shape[1]):  # one d after the other: the order of the additions is part of the definition
        distance += (z[:, d, None] - E[:, d]) ** 2
    return distance.argmin(axis=1)  # the first of equal minima


def decide(z: Array, E: Array, k: Array, undecided: int) -> bool:
    """Set k: (N,) where it is −1, in `undecided` places; return whether these vectors in z are finite."""
    ET = np.ascontiguousarray(E.T, np.float64)
    cost = MULTIPLY_ADDS_PER_DIRECT_TERM * E.size * undecided // len(z)
    finite: list[bool] = []
    in_blocks(lambda i, j: finite.append(_direct_sums(z[i:j], ET, k[i:j])), len(z), cost)
    return all(finite)


@jit(nogil=True)
def _direct_sums(z: Array, ET: Array, k: Array) -> bool:
    # The innermost loop runs over codes, which are independent, so it becomes vector code without
    # changing the order of any sum: each distance still adds its terms from d = 0 to D - 1.
    N, D = z.shape
    K = ET.shape[1]
    distance = np.empty(K, np.float64)
    finite = True
    for n in range(N):
        if k[n] >= 0:
            continue
        distance[:] = 0.0
        for d in range(D):
            z_nd = np.float64(z[n, d])
            finite &= np.isfinite(z_nd)
            for j in range(K):
                difference = z_nd - ET[d, j]
                distance[j] += difference * difference
        best = 0
        for j in range(1, K):
            if distance[j] < distance[best]:
                best = j
        k[n] = best
    return finite
