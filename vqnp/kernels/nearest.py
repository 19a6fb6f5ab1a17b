"""k_n = argmin_j Σ_d (z_nd − e_jd)², in float64, ties to the lowest j.

z: (N, D), E: (K, D) -> k: (N,)
"""

from __future__ import annotations

import numba
import numpy as np

from vqnp._check import Array, check_array, fail
from vqnp.kernels.jit import JIT, jit

PARALLEL_FROM = 1 << 24
"""N·K·D from which threads are worth waking: below, a call takes less than a few milliseconds."""


def nearest_code(z: Array, E: Array) -> Array:
    """k = argmin_j ‖z − e_j‖², the answer of the direct sum in float64, ties to the lowest index.

    z: (..., D), E: (K, D) -> k: (...,)

    Parameters
    ----------
    z : ndarray of float32 or float64, shape (..., D)
        The vectors to be quantized; any layout; no vectors at all (an empty axis) is fine.
    E : ndarray of z's dtype, shape (K, D)
        The codebook, row j is e_j; K ≥ 1, D ≥ 1.

    Returns
    -------
    k : ndarray of int64, shape (...,)
        The codes. Both inputs are widened to float64 (exactly), and the squared differences are
        summed there from d = 0 to D − 1, one rounding each. The expanded form
        ‖z‖² − 2z·e + ‖e‖² is not used: in float32 it cancels and gives wrong codes as soon as the
        data sit off the origin. For float32 inputs no square can overflow or vanish; differences in
        float64 inputs can, beyond 1e154 and below 1e-154, and then tie.

    Raises
    ------
    InputError
        Wrong dtype or shape; NonFiniteError for NaN or infinity.

    References
    ----------
    van den Oord et al. 2017, arXiv 1711.00937, equations 1 and 2.
    """
    where = "nearest_code"
    E = check_array(where, "E", E, ndim=2, finite=True)
    if E.size == 0:
        fail(where, "E must have at least one code of at least one dimension", f"shape {E.shape}")
    z = check_array(where, "z", z, last=E.shape[1], dtype=E.dtype, finite=True)
    rows = np.ascontiguousarray(z).reshape(-1, E.shape[1])
    find = nearest_code_plain
    if JIT:
        find = _nearest_parallel if rows.size * len(E) >= PARALLEL_FROM else _nearest_serial
    k: Array = find(rows, np.ascontiguousarray(E))
    return k.reshape(z.shape[:-1])


def nearest_code_plain(z: Array, E: Array, chunk: int = 1024) -> Array:
    """The plain twin: the same sums in the same order, a chunk of rows at a time."""
    k = np.empty(len(z), np.int64)
    for start in range(0, len(z), chunk):
        rows = z[start : start + chunk].astype(np.float64)
        distance = np.zeros((len(rows), len(E)))
        with np.errstate(over="ignore"):  # float64 inputs beyond 1e154: infinitely far, as it should be
            for d in range(E.shape[1]):
                distance += (rows[:, d, None] - E[:, d].astype(np.float64)) ** 2
        k[start : start + chunk] = distance.argmin(axis=1)  # the first of equal minima
    return k


def _nearest(z: Array, E: Array) -> Array:  # pragma: no cover - compiled
    # The innermost loop runs over codes, which are independent, so it becomes vector code without
    # changing the order of any sum: each distance still adds its terms from d = 0 to D - 1.
    # Rows are independent outputs: any number of threads gives the same bits.
    N, D = z.shape
    K = E.shape[0]
    ET = np.empty((D, K), np.float64)
    for j in range(K):
        for d in range(D):
            ET[d, j] = E[j, d]
    k = np.empty(N, np.int64)
    blocks = (N + 63) // 64
    for b in numba.prange(blocks):
        distance = np.empty(K, np.float64)
        for n in range(64 * b, min(64 * b + 64, N)):
            distance[:] = 0.0
            for d in range(D):
                z_nd = np.float64(z[n, d])
                for j in range(K):
                    difference = z_nd - ET[d, j]
                    distance[j] += difference * difference
            best = 0
            for j in range(1, K):
                if distance[j] < distance[best]:
                    best = j
            k[n] = best
    return k


_nearest_serial = jit()(_nearest)
_nearest_parallel = jit(parallel=True)(_nearest)
