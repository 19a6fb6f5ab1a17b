"""k_n = argmin_j Σ_d (z_nd − e_jd)², in float64, ties to the lowest j.

z: (N, D), E: (K, D) -> k: (N,)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, overload

import numpy as np

from vqnp._check import Array, check_array, check_finite, fail
from vqnp.kernels import tile
from vqnp.kernels.bound import Codebook, prepare
from vqnp.kernels.jit import JIT, jit
from vqnp.kernels.threads import in_blocks

DIRECT = 8
"""How many times as long as a score in float32 a direct sum takes."""

FEW = 4
"""Vectors up to which the direct sums are quicker than a tile, which takes 32 at a time."""

TAKING = 1 << 10
"""To transpose and certify a vector takes about as long as so many multiplications."""

PART = 1 << 16
"""Vectors of a non-contiguous array that are copied at a time."""


@overload
def nearest_code(z: Array, E: Array, return_rescored: Literal[False] = False) -> Array: ...


@overload
def nearest_code(z: Array, E: Array, return_rescored: Literal[True]) -> tuple[Array, int]: ...


def nearest_code(z: Array, E: Array, return_rescored: bool = False) -> Array | tuple[Array, int]:
    """k = argmin_j ‖z − e_j‖², the answer of the direct sum in float64, ties to the lowest index.

    z: (..., D), E: (K, D) -> k: (...,)

    Parameters
    ----------
    z : ndarray of float32 or float64, shape (..., D)
        The vectors to be quantized; any layout; no vectors at all (an empty axis) is fine.
    E : ndarray of z's dtype, shape (K, D)
        The codebook, row j is e_j; K ≥ 1, D ≥ 1.
    return_rescored : bool
        Also say how many vectors the direct sum decided.

    Returns
    -------
    k : ndarray of int64, shape (...,)
        The codes, as if both inputs were widened to float64 (exactly) and the squared differences
        summed there from d = 0 to D − 1, one rounding each. For float32 inputs no square can
        overflow or vanish; differences in float64 inputs can, beyond 1e154 and below 1e-154, and
        then tie.
    rescored : int
        Only with return_rescored. Most vectors are decided by scores in their own dtype, with a bound
        on rounding that leaves no doubt (docs/math/nearest.md); so many were not: nearly or exactly
        tied ones, and all when there are no more than a few or norms beyond 1e15 (float32).

    Raises
    ------
    InputError
        Wrong dtype or shape; NonFiniteError for NaN or infinity.

    Notes
    -----
    Beside k, memory for the codebook only, whatever N: a non-contiguous z is copied a part at a time.
    NUMBA_NUM_THREADS threads share large batches; the answer does not depend on them.

    References
    ----------
    van den Oord et al. 2017, arXiv 1711.00937, equations 1 and 2.
    """
    where = "nearest_code"
    E = check_array(where, "E", E, ndim=2)
    if E.size == 0:
        fail(where, "E", "must have at least one code of at least one dimension", f"shape {E.shape}")
    z = check_array(where, "z", z, last=E.shape[1], dtype=E.dtype)
    k, rescored, book = np.empty(z.shape[:-1], np.int64), 0, None
    if JIT and k.size > FEW:
        book = prepare(E, tile.CODES)
    if book is None:
        check_finite(where, "E", E)
    done, flat = 0, k.reshape(-1)
    for rows in _contiguous_parts(z):
        codes = flat[done : done + len(rows)]
        if not JIT:
            check_finite(where, "z", z)
            codes[:] = nearest_code_plain(rows, E)
            rescored += len(rows)
        elif left := _certify(rows, book, codes):
            rescored += left
            if not _decide(rows, E, codes, left):
                check_finite(where, "z", z)
        done += len(rows)
    return (k, rescored) if return_rescored else k


def nearest_code_plain(z: Array, E: Array, chunk: int = 1024) -> Array:
    """The plain twin: the direct sums, a chunk of rows at a time."""
    k = np.empty(len(z), np.int64)
    for start in range(0, len(z), chunk):
        rows = z[start : start + chunk].astype(np.float64)
        distance = np.zeros((len(rows), len(E)))
        with np.errstate(over="ignore"):  # float64 inputs beyond 1e154: infinitely far, as it should be
            for d in range(E.shape[1]):
                distance += (rows[:, d, None] - E[:, d].astype(np.float64)) ** 2
        k[start : start + chunk] = distance.argmin(axis=1)  # the first of equal minima
    return k


def _contiguous_parts(z: Array) -> Iterator[Array]:
    """z: (..., D) -> all its vectors in order, in contiguous pieces (n, D); few copied at a time."""
    D = z.shape[-1]
    if z.flags.c_contiguous or z.size <= PART * D:
        yield np.ascontiguousarray(z).reshape(-1, D)
    elif (each := z[0].size // D) > PART:
        for part in z:
            yield from _contiguous_parts(part)
    else:
        step = PART // each
        for start in range(0, len(z), step):
            yield np.ascontiguousarray(z[start : start + step]).reshape(-1, D)


def _certify(z: Array, book: Codebook | None, k: Array) -> int:
    """Set k where the tile is certain, and to −1 elsewhere; return how many of those there are."""
    if book is None:
        k[:] = -1
        return k.size
    lanes = tile.vector_bytes() // z.itemsize
    left: list[int] = []
    in_blocks(
        lambda start, stop: left.append(tile.certify(z[start:stop], book, lanes, k[start:stop])),
        len(z),
        book.panels.size + TAKING,
        tile.VECTORS * lanes,
    )
    return sum(left)


def _decide(z: Array, E: Array, k: Array, left: int) -> bool:
    """Set k where it is −1, in `left` places, by the direct sums; return whether those vectors are finite."""
    ET = np.ascontiguousarray(E.T, np.float64)
    finite: list[bool] = []
    in_blocks(
        lambda start, stop: finite.append(_direct(z[start:stop], ET, k[start:stop])),
        len(z),
        DIRECT * E.size * left // len(z),
    )
    return all(finite)


@jit(nogil=True)
def _direct(z: Array, ET: Array, k: Array) -> bool:  # pragma: no cover - compiled
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
