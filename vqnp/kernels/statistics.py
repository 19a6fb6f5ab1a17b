"""n_j = #{i : k_i = j},  s_j = Σ_{i : k_i = j} z_i."""

from typing import NamedTuple, Self

import numpy as np

from vqnp._check import Array, check_codes, check_int, fail
from vqnp._shapes import checked
from vqnp.kernels.jit import JIT, jit


def code_statistics_plain(z: Array, k: Array, K: int) -> tuple[Array, Array]:
    """n and s, added in float64 in the order of the vectors.

    z: (N, D), k: (N,) -> n: (K,) int64, s: (K, D) float64
    """
    sums = np.zeros((K, z.shape[1]))
    np.add.at(sums, k, z.astype(np.float64))
    return np.bincount(k, minlength=K), sums


class CodeStatistics(NamedTuple):
    """n_j and s_j of a set of vectors: counts (K,) int64 and sums (K, D) float64.

    Examples
    --------
    >>> z = np.array([[1.0, 0.0], [3.0, 2.0], [5.0, 5.0]])
    >>> counts, sums = code_statistics(z, np.array([0, 0, 2]), 3)
    >>> counts.tolist(), sums.tolist()  # sums / counts: a step of k-means
    ([2, 0, 1], [[4.0, 2.0], [0.0, 0.0], [5.0, 5.0]])
    """

    counts: Array
    sums: Array

    def merge(self, other: Self) -> Self:
        """(n + n', s + s'): the statistics of two disjoint sets together.

        Each merge rounds the sums in float64, so another order of merging may change their last bit.
        """
        if self.sums.shape != other.sums.shape:
            needed = f"must be of {self.sums.shape[0]} codes of {self.sums.shape[1]} dimensions"
            fail("CodeStatistics.merge", "other", needed, f"sums of shape {other.sums.shape}")
        return self._replace(counts=self.counts + other.counts, sums=self.sums + other.sums)


@checked(z="(..., D)")
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
    k = np.asarray(k)
    if not JIT or k.dtype.kind not in "iu" or k.shape != z.shape[:-1]:
        k = check_codes(where, k, K)  # otherwise the kernel checks them
    if k.shape != z.shape[:-1]:
        fail(where, "k", f"must have shape {z.shape[:-1]}, one code for each vector", f"shape {k.shape}")
    rows = np.ascontiguousarray(z).reshape(k.size, z.shape[-1])
    codes = np.ascontiguousarray(k.reshape(-1), np.int64)
    if not JIT:
        return CodeStatistics(*code_statistics_plain(rows, codes, K))
    counts, sums, right = _code_statistics(rows, codes, K)
    if not right:
        check_codes(where, k, K)  # raises, with the place
    return CodeStatistics(counts, sums)


@jit()
def _code_statistics(z: Array, k: Array, K: int) -> tuple[Array, Array, bool]:
    """n, s, and whether every code is in [0, K); it stops at the first that is not."""
    # On one thread on purpose: memory limits it, not arithmetic, and one order of additions gives one answer.
    N, D = z.shape
    counts = np.zeros(K, np.int64)
    sums = np.zeros((K, D), np.float64)
    for n in range(N):
        j = k[n]
        if j < 0 or j >= K:
            return counts, sums, False
        for d in range(D):
            sums[j, d] += np.float64(z[n, d])
        counts[j] += 1
    return counts, sums, True
