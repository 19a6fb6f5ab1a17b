"""k_n = argmin_j Σ_d (z_nd − e_jd)², in float64, ties to the lowest j.

plain.py has the definition. nearest_code gives the same answer faster: tile.py computes scores in the arrays'
own dtype, bound.py states how far rounding can move them, and where that leaves a doubt, plain.py decides.
"""

import functools
from collections.abc import Iterator
from typing import Literal, overload

import numpy as np

from vqnp._check import Array, check_finite, fail
from vqnp._shapes import checked
from vqnp.kernels.jit import JIT
from vqnp.kernels.llvm import compiles, vector_bytes
from vqnp.kernels.nearest.bound import Codebook, prepare
from vqnp.kernels.nearest.plain import decide, nearest_code_plain
from vqnp.kernels.nearest.tile import CODES_PER_TILE, VECTORS_PER_TILE, certify
from vqnp.kernels.threads import in_blocks

__all__ = ["Search", "nearest_code", "nearest_code_plain"]

MOST_ROWS_WITHOUT_TILE = 4  # for so few the direct sums are faster than a tile, which takes 32 rows at a time
MULTIPLY_ADDS_PER_ROW = 1 << 10  # about the time to transpose a row and to certify its code
ROWS_PER_COPY = 1 << 16  # of a non-contiguous array, at a time: 16 MB at D = 64 in float32
DISTANCES_PER_CHUNK = 1 << 20  # at a time, in float64: 8 MB, with NUMBA_DISABLE_JIT=1


@overload
def nearest_code(z: Array, E: Array, return_rescored: Literal[False] = False) -> Array: ...
@overload
def nearest_code(z: Array, E: Array, return_rescored: Literal[True]) -> tuple[Array, int]: ...


@checked(E="(K, D)", z="(..., D)")
def nearest_code(z: Array, E: Array, return_rescored: bool = False) -> Array | tuple[Array, int]:
    """k = argmin_j ‖z − e_j‖², as the direct sum in float64 gives it, ties to the lowest index.

    z: (..., D), E: (K, D) -> k: (...,)

    Apart from k, only the codebook needs memory: a non-contiguous z is copied in parts. NUMBA_NUM_THREADS
    threads share large batches, which changes no code.

    Parameters
    ----------
    z : ndarray of float32 or float64, shape (..., D)
        The vectors to quantize, in any memory layout. There may be none of them (an empty axis).
    E : ndarray of z's dtype, shape (K, D)
        The codebook, row j is e_j; K ≥ 1, D ≥ 1.
    return_rescored : bool
        Whether to return also the number of vectors that the direct sum decided.

    Returns
    -------
    k : ndarray of int64, shape (...,)
        The codes, as if both inputs were widened to float64 (exactly) and the squared differences summed
        there from d = 0 to D − 1, one rounding each. Differences in float64 inputs beyond 1e154 or below
        1e-154 overflow or vanish, and then tie.
    rescored : int
        Only with return_rescored. Scores in their own dtype, with a bound on rounding that leaves no doubt
        (docs/math/nearest.md), decide most vectors. Counted here are the others: nearly or exactly tied
        ones, and all vectors if there are at most four or if norms exceed 1e15 (float32).

    Raises
    ------
    InputError
        For a wrong dtype or shape; NonFiniteError for NaN or infinity.

    Warns
    -----
    RuntimeWarning
        Once, if the tile does not compile with the installed numba and llvmlite. The direct sums, about
        ten times as slow, then decide all vectors.

    References
    ----------
    van den Oord et al. 2017, arXiv 1711.00937, equations 1 and 2.
    """
    where = "nearest_code"
    if E.size == 0:
        fail(where, "E", "must have at least one code of at least one dimension", f"shape {E.shape}")
    k = np.empty(z.shape[:-1], np.int64)
    flat = k.reshape(-1)
    if not JIT:
        check_finite(where, "E", E)
        check_finite(where, "z", z)
        flat[:] = _in_chunks(z.reshape(-1, E.shape[1]), E)
        return (k, k.size) if return_rescored else k
    codebook = prepare(E, CODES_PER_TILE) if _tiled(k.size, E) else None
    if codebook is None:
        check_finite(where, "E", E)
    done, rescored = 0, 0
    for rows in _contiguous_parts(z):
        codes = flat[done : done + len(rows)]
        undecided = _certify(rows, codebook, codes)
        if undecided and not decide(rows, E, codes, undecided):
            check_finite(where, "z", z)
        rescored += undecided
        done += len(rows)
    return (k, rescored) if return_rescored else k


class Search:
    """nearest_code for parts of one set of vectors: its codebook is prepared once, no call shares its work.

    E: (K, D), contiguous; rows: how many vectors there are in all

    Examples
    --------
    >>> search = Search(np.array([[0.0, 0.0], [1.0, 1.0]]), rows=4)
    >>> k = np.empty(4, np.int64)
    >>> for part in (slice(0, 2), slice(2, 4)):
    ...     finite = search(np.array([[0.2, 0.1], [0.9, 0.8]]), k[part])
    >>> k.tolist()
    [0, 1, 0, 1]
    """

    def __init__(self, E: Array, rows: int) -> None:
        self.E = E
        self.codebook = prepare(E, CODES_PER_TILE) if _tiled(rows, E) else None
        self.lanes = vector_bytes() // E.itemsize

    def __call__(self, z: Array, k: Array) -> bool:
        """Set k: (N,) to the codes of z: (N, D), both contiguous; return whether z is known to be finite."""
        if self.codebook is None:
            k[:] = -1
            undecided = k.size
        else:
            undecided = certify(z, self.codebook, self.lanes, k)
        return not undecided or decide(z, self.E, k, undecided)


def _tiled(rows: int, E: Array) -> bool:
    """Whether the tile computes the scores."""
    return rows > MOST_ROWS_WITHOUT_TILE and _tile_compiles(E.dtype)


def _in_chunks(z: Array, E: Array) -> Array:
    """nearest_code_plain, on as many rows at a time as DISTANCES_PER_CHUNK allows."""
    step = max(1, DISTANCES_PER_CHUNK // len(E))
    with np.errstate(over="ignore"):  # float64 differences beyond 1e154: infinitely far, as defined
        codes = [nearest_code_plain(z[i : i + step], E) for i in range(0, len(z), step)]
    return np.concatenate([np.empty(0, np.int64), *codes])


def _contiguous_parts(z: Array) -> Iterator[Array]:
    """z: (..., D) -> all its vectors in order, as contiguous arrays (n, D) of limited size."""
    D = z.shape[-1]
    if z.flags.c_contiguous or z.size <= ROWS_PER_COPY * D:
        yield np.ascontiguousarray(z).reshape(-1, D)
    else:
        step = ROWS_PER_COPY // (z[0].size // D)
        for part in (z[i : i + step] for i in range(0, len(z), step)) if step else z:
            yield from _contiguous_parts(part)


def _certify(z: Array, codebook: Codebook | None, k: Array) -> int:
    """Set k where the tile is certain, and to −1 elsewhere; return how many are −1."""
    if codebook is None:
        k[:] = -1
        return k.size
    lanes = vector_bytes() // z.itemsize
    cost = codebook.panels.size + MULTIPLY_ADDS_PER_ROW
    undecided: list[int] = []

    def work(start: int, stop: int) -> None:
        undecided.append(certify(z[start:stop], codebook, lanes, k[start:stop]))

    in_blocks(work, len(z), cost, VECTORS_PER_TILE * lanes)
    return sum(undecided)


@functools.cache
def _tile_compiles(dtype: np.dtype[np.floating]) -> bool:
    """Whether the tile compiles for this dtype, tried on one vector and two codes."""
    z, k = np.zeros((1, 1), dtype), np.empty(1, np.int64)
    codebook = prepare(np.array([[-1.0], [1.0]], dtype), CODES_PER_TILE)
    return compiles("nearest_code", lambda: certify(z, codebook, vector_bytes() // z.itemsize, k))
