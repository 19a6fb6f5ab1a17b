"""n_j = #{i : k_i = j},  s_j = Σ_{i : k_i = j} z_i.

z: (N, D), k: (N,) -> counts: (K,), sums: (K, D)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

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
                "other", f"must be of {self.sums.shape[0]} codes of {self.sums.shape[1]} dimensions",
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
        fail(where, "z", "must have the vector as its last axis", "a scalar")
    k = np.asarray(k)
    if not JIT or k.dtype.kind not in "iu" or k.shape != z.shape[:-1]:
        k = check_codes(where, k, K)  # else the kernel does, in passing
    if k.shape != z.shape[:-1]:
        fail(where, "k", f"must have shape {z.shape[:-1]}, one code for each vector", f"shape {k.shape}")
    rows = np.ascontiguousarray(z).reshape(-1, z.shape[-1]) if z.size else z.reshape(k.size, z.shape[-1])
    codes = np.ascontiguousarray(k.reshape(-1), np.int64)
    if not JIT:
        return CodeStatistics(*code_statistics_plain(rows, codes, K))
    counts, sums, right = _statistics_compiled(rows, codes, K)
    if not right:
        check_codes(where, k, K)  # raises, and says which
    return CodeStatistics(counts, sums)


def code_statistics_plain(z: Array, k: Array, K: int) -> tuple[Array, Array]:
    """The plain twin: numpy's unbuffered addition, which also goes in the order of the vectors."""
    sums = np.zeros((K, z.shape[1]))
    np.add.at(sums, k, z.astype(np.float64))
    return np.bincount(k, minlength=K).astype(np.int64), sums


@jit()
def _statistics_compiled(
    z: Array, k: Array, K: int
) -> tuple[Array, Array, bool]:  # pragma: no cover - compiled
    """n, s, and whether every code is in [0, K); the first that is not ends it."""
    # Serial on purpose: it waits for memory, not for arithmetic, and one order gives one answer.
    N, D = z.shape
    counts = np.zeros(K, np.int64)
    sums = np.zeros((K, D), np.float64)
    for n in range(N):
        j = k[n]
        if j < 0 or j >= K:
            return counts, sums, False
        _add_eights(sums, j, z, n)  # type: ignore[call-arg]
        for d in range(D // 8 * 8, D):
            sums[j, d] += np.float64(z[n, d])
        counts[j] += 1
    return counts, sums, True


@intrinsic
def _add_eights(typing: Any, sums: Any, j: Any, z: Any, n: Any) -> Any:  # pragma: no cover
    """sums[j, d] += z[n, d] for d below the last multiple of 8: eight at a time.

    sums: (K, D) float64, z: (N, D), both C-contiguous. Written in Python this loop gets vectors of
    half the width and, at each row, a test of whether the arrays overlap: 1.2 times as long in all.
    """

    def emit(context: Any, b: Any, signature: Any, args: Any) -> None:
        S, Z = (context.make_array(signature.args[i])(context, b, args[i]) for i in (0, 2))
        single = context.get_value_type(signature.args[2].dtype)
        eight, doubles = ir.VectorType(single, 8), ir.VectorType(ir.DoubleType(), 8)
        D = b.extract_value(Z.shape, 1)
        to, row = (b.gep(array.data, [b.mul(args[i], D)]) for array, i in ((S, 1), (Z, 3)))
        with cgutils.for_range(b, b.udiv(D, D.type(8))) as loop:
            d = b.mul(loop.index, D.type(8))
            x = b.load(
                b.bitcast(b.gep(row, [d]), eight.as_pointer()), align=signature.args[2].dtype.bitwidth // 8
            )
            if single != ir.DoubleType():
                x = b.fpext(x, doubles)
            place = b.bitcast(b.gep(to, [d]), doubles.as_pointer())
            b.store(b.fadd(b.load(place, align=8), x), place, align=8)

    return types.void(sums, j, z, n), emit
