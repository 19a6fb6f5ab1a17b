"""k_n = argmax_j s_nj where it leads the second best score by more than twice the bound of bound.py, else −1.

z: (N, D), E: (K, D) -> k: (N,)

Scores are computed in the arrays' own dtype. A code that leads by more than 2B is certainly the nearest: it
is *certified*. The few other vectors get the float64 sums of plain.py. docs/math/nearest.md shows the tile.
"""

import functools
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from vqnp._check import Array
from vqnp.kernels.jit import jit
from vqnp.kernels.llvm import I32, I64, VectorBuilder
from vqnp.kernels.nearest.bound import Codebook, prepare, scores_plain
from vqnp.kernels.transpose import transpose_square

CODES_PER_TILE, VECTORS_PER_TILE = 6, 2
"""6 codes against 2 vectors, whose lanes are rows of z: 12 sums keep two FMA units of latency 4 busy, and 12
maxima still fit into 32 registers. Of tiles from 2 × 3 to 12 × 2 the fastest, within 3 %, at the ten sizes of
examples/benchmarks/nearest.py, with vectors of 64, 32 and 16 bytes."""


def certify_plain(z: Array, E: Array) -> Array:
    """The equation above, from scores_plain; z: (N, D), E: (K, D) -> k: (N,)."""
    codebook = prepare(E, CODES_PER_TILE)
    if codebook is None:  # the bound does not hold for such a codebook
        return np.full(len(z), -1)
    s = scores_plain(z, E, codebook.centre)
    second, best = np.sort(s, axis=1)[:, -2:].T
    zeta = np.linalg.norm((z - codebook.centre).astype(np.float64), axis=1)
    certain = (zeta <= codebook.bound.limit) & (best - second > 2 * codebook.bound.at(zeta))
    return np.where(certain, s.argmax(axis=1), -1)


@jit(error_model="numpy", nogil=True)
def certify(z: Array, codebook: Codebook, lanes: int, k: Array) -> int:
    """certify_plain, by tiles of 2 · lanes rows of z: (N, D); sets k: (N,), returns how many are −1."""
    panels, bias, centre, bound = codebook
    N, D = z.shape
    rows = VECTORS_PER_TILE * lanes
    zT = np.zeros((D, rows), z.dtype)
    square, lead, code = np.empty(rows, z.dtype), np.empty(rows, z.dtype), np.empty(rows, np.int32)
    undecided = 0
    for start in range(0, N, rows):
        stop = min(start + rows, N)
        for first in range(start, stop, lanes):
            whole = D // lanes * lanes if first + lanes <= stop else 0
            for d in range(0, whole, lanes):
                to = d * rows + first - start
                transpose_square(z, first * D + d, D, zT, to, rows)  # type: ignore[call-arg]
            for n in range(first, min(first + lanes, stop)):
                for d in range(whole, D):
                    zT[d, n - start] = z[n, d]
        square[:] = 0
        for d in range(D):
            for i in range(rows):
                x = zT[d, i] - centre[d]
                zT[d, i] = x
                square[i] += x * x
        _tile(zT, panels, bias, code, lead)  # type: ignore[call-arg]
        for n in range(start, stop):
            zeta = np.sqrt(np.float64(square[n - start]))
            B = bound.g * bound.R * (0.5 * bound.R + zeta) + 0.5 * bound.h * (bound.R + zeta) ** 2
            if zeta <= bound.limit and np.float64(lead[n - start]) > 2 * B:
                k[n] = code[n - start]
            else:
                k[n] = -1
                undecided += 1
    return undecided


@intrinsic
def _tile(typing: Any, zT: Any, panels: Any, bias: Any, code: Any, lead: Any) -> Any:
    """For each column of zT, the code of the largest score, and how far that is above all others.

    zT: (D, rows), panels: (P, D, 6), bias: (P, 6) -> code: (rows,) int32, lead: (rows,)

    Each score enters two maxima: that of its panel, and that of its place over all panels. Any code but the
    best is in another panel or at another place, so the second best score is that of the second best panel
    or that of the second best place. To keep the best two scores instead would take three maxima.
    """

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        e = VectorBuilder(context, b, signature, args)
        zT, panels, bias, code, lead = (a.data for a in e.arguments)
        P, D = e.size(1, axis=0), e.size(1, axis=1)
        low, zero = e.constant(e.scalar, float("-inf")), e.constant(I32, 0)
        places, vectors = range(CODES_PER_TILE), range(VECTORS_PER_TILE)
        sums = [[e.register(low) for _ in vectors] for _ in places]
        of_place = [[e.register(low) for _ in vectors] for _ in places]
        best, second = ([e.register(low) for _ in vectors] for _ in range(2))
        panel = [e.register(zero) for _ in vectors]
        with e.loop(P) as p:
            bias_p = e.at(bias, p, CODES_PER_TILE)
            panel_p = e.at(panels, p, b.mul(D, I64(CODES_PER_TILE)))
            for c in places:
                start = e.splat(b.load(e.at(bias_p, c)))
                for v in vectors:
                    b.store(start, sums[c][v])
            with e.loop(D) as d:
                z_d, e_d = e.at(zT, d, VECTORS_PER_TILE * e.lanes), e.at(panel_p, d, CODES_PER_TILE)
                z = [e.load(e.at(z_d, v * e.lanes)) for v in vectors]
                for c in places:
                    e_cd = e.splat(b.load(e.at(e_d, c)))
                    for v in vectors:
                        b.store(e.multiply_add(e_cd, z[v], b.load(sums[c][v])), sums[c][v])
            for v in vectors:
                for c in places:
                    b.store(e.larger(b.load(sums[c][v]), b.load(of_place[c][v])), of_place[c][v])
                score = functools.reduce(e.larger, [b.load(sums[c][v]) for c in places])
                _keep_best_two(e, score, e.splat(b.trunc(p, I32)), best[v], second[v], panel[v])
        for v in vectors:
            top, runner_up, place = e.register(low), e.register(low), e.register(zero)
            for c in places:
                _keep_best_two(e, b.load(of_place[c][v]), e.constant(I32, c), top, runner_up, place)
            rival = e.larger(b.load(runner_up), b.load(second[v]))
            e.store(b.fsub(b.load(top), rival), e.at(lead, v * e.lanes))
            j = b.add(b.mul(b.load(panel[v]), e.constant(I32, CODES_PER_TILE)), b.load(place))
            e.store(j, e.at(code, v * e.lanes))
        return e.nothing()

    return types.void(zT, panels, bias, code, lead), emit


def _keep_best_two(e: VectorBuilder, score: Any, index: Any, best: Any, second: Any, best_index: Any) -> None:
    """If a score is among the best two so far, keep it; if it is the best, keep its index too."""
    b = e.builder
    before = b.load(best)
    wins = b.fcmp_ordered(">", score, before)
    loser = b.select(b.fcmp_ordered("<", score, before), score, before)
    b.store(b.select(wins, index, b.load(best_index)), best_index)
    b.store(e.larger(loser, b.load(second)), second)
    b.store(b.select(wins, score, before), best)
