"""n_j = #{i : k_i = j},  s_j = Σ_{i : k_i = j} z_i.

z: (N, D), k: (N,) -> counts: (K,), sums: (K, D)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vqnp._check import Array, check_array, check_codes, check_int, fail
from vqnp.kernels.jit import JIT, jit


class CodeStatistics(NamedTuple):
    """n and s of a set of vectors; those of a whole are the sum of those of its parts.

    counts: (K,) int64, sums: (K, D) float64
    """

    counts: Array
    sums: Array

    def merge(self, other: CodeStatistics) -> CodeStatistics:
        """(n + n', s + s'): the statistics of both sets together.

        Counts are exact; sums are rounded in float64 once for each merge, so that merging in
        another order may differ in the last bit.
        """
        if self.sums.shape != other.sums.shape:
            fail(
                "CodeStatistics.merge",
                f"other must be of {self.sums.shape[0]} codes of {self.sums.shape[1]} dimensions",
                f"sums of shape {other.sums.shape}",
            )
        return CodeStatistics(self.counts + other.counts, self.sums + other.sums)


def code_statistics(z: Array, k: Array, num_embeddings: int) -> CodeStatistics:
    """n_j = #{i : k_i = j},  s_j = Σ_{i : k_i = j} z_i.

    z: (..., D), k: (...,) -> counts: (K,) int64, sums: (K, D) float64

    Parameters
    ----------
    z : ndarray of float32 or float64, shape (..., D)
    k : ndarray of integers in [0, K), shape (...,)
    num_embeddings : int
        K.

    Returns
    -------
    CodeStatistics
        Summed in float64 in the order of the vectors, whatever z's dtype and the number of threads.

    Raises
    ------
    InputError
        Wrong dtype or shape, codes out of range.

    References
    ----------
    van den Oord et al. 2017, arXiv 1711.00937, appendix A: the n and Σz of its equations 6 and 7.
    """
    where = "code_statistics"
    K = check_int(where, "num_embeddings", num_embeddings)
    z = check_array(where, "z", z)
    if z.ndim == 0:
        fail(where, "z must have the vector as its last axis", "a scalar")
    k = check_codes(where, k, K)
    if k.shape != z.shape[:-1]:
        fail(where, f"k must have shape {z.shape[:-1]}, one code for each vector", f"shape {k.shape}")
    rows = np.ascontiguousarray(z).reshape(-1, z.shape[-1]) if z.size else z.reshape(k.size, z.shape[-1])
    add = _statistics_compiled if JIT else code_statistics_plain
    return CodeStatistics(*add(rows, k.reshape(-1).astype(np.int64, copy=False), K))


def code_statistics_plain(z: Array, k: Array, K: int) -> tuple[Array, Array]:
    """The plain twin: numpy's unbuffered addition, which also goes in the order of the vectors."""
    sums = np.zeros((K, z.shape[1]))
    np.add.at(sums, k, z.astype(np.float64))
    return np.bincount(k, minlength=K).astype(np.int64), sums


@jit()
def _statistics_compiled(z: Array, k: Array, K: int) -> tuple[Array, Array]:  # pragma: no cover - compiled
    # Serial on purpose: it waits for memory, not for arithmetic, and one order gives one answer.
    N, D = z.shape
    counts = np.zeros(K, np.int64)
    sums = np.zeros((K, D), np.float64)
    for n in range(N):
        row, sum_ = z[n], sums[k[n]]
        for d in range(D):
            sum_[d] += np.float64(row[d])
        counts[k[n]] += 1
    return counts, sums
