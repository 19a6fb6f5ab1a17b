"""s_nj = (z_n − c)·(e_j − c) − ½‖e_j − c‖²: the code of the largest s, where rounding cannot have hidden it.

z: (N, D), E: (K, D) -> k: (N,), −1 where the lead is too small to be sure

Scores are computed in the arrays' own dtype, quickly; a best that leads the second by more than twice
the bound of bound.py is right, and is *certified*. The few others go to the float64 sums of nearest.py.
docs/math/nearest.md draws the tile.

Python cannot say that 12 vectors of sums live in registers, so `_tile` and `_transpose` write LLVM's
vector instructions themselves. All that decides anything about them is in this file, because numba's
cache looks at no other.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from vqnp._check import Array
from vqnp.kernels.bound import Codebook
from vqnp.kernels.jit import jit

CODES, VECTORS = 6, 2
"""A tile: 6 codes against 2 vectors, whose lanes are rows of z. 12 vectors of sums keep two FMA units
of latency 4 busy (8 would), and 12 maxima beside them still fit into 32 registers. Of the tiles from
2 × 3 to 12 × 2, measured at the ten sizes of examples/benchmarks/nearest.py with vectors of 64, 32
and 16 bytes, the fastest or within 3 % of it at each."""


@functools.cache
def vector_bytes() -> int:
    """The widest vectors of the processor that numba compiles for: 64 (AVX-512), 32 (AVX2) or 16.

    LLVM's feature list decides, the one that is also part of the key of numba's cache;
    NUMBA_CPU_NAME and NUMBA_CPU_FEATURES limit it. 16 bytes are SSE2 and NEON; where there is
    neither, LLVM makes plain instructions of them.
    """
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    has = set(features.split(","))
    return 64 if "+avx512f" in has else 32 if "+avx2" in has else 16


@jit(error_model="numpy", nogil=True)
def certify(z: Array, book: Codebook, lanes: int, k: Array) -> int:  # pragma: no cover - compiled
    """Set k_n to the nearest code of z_n where that is certain, else to −1; return how many are −1.

    z: (N, D), k: (N,); lanes: vector_bytes() / size of a number
    """
    panels, bias, centre, bound = book
    N, D = z.shape
    rows = VECTORS * lanes
    zT = np.zeros((D, rows), z.dtype)
    square, lead, code = np.empty(rows, z.dtype), np.empty(rows, z.dtype), np.empty(rows, np.int32)
    undecided = 0
    for start in range(0, N, rows):
        stop = min(start + rows, N)
        for first in range(start, stop, lanes):
            whole = D // lanes * lanes if first + lanes <= stop else 0
            for d in range(0, whole, lanes):
                _transpose(z, first, d, zT, first - start)  # type: ignore[call-arg]
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
def _tile(typing: Any, zT: Any, panels: Any, bias: Any, code: Any, lead: Any) -> Any:  # pragma: no cover
    """For each column of zT, the code of the largest score, and how far that is above all others.

    zT: (D, rows), panels: (P, D, 6), bias: (P, 6) -> code: (rows,) int32, lead: (rows,)

    A code is known by its panel and its place in it. Each score counts twice: for the maximum of its
    panel, and for the maximum of its place over all panels. Any code but the best is in another panel
    or at another place; so the second best score is that of the second best panel or that of the
    second best place. That takes two maxima for each score; to keep the best two would take three.
    """

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        e = Emit(context, b, signature, args)
        zT, panels, bias, code, lead = (a.data for a in e.arrays)
        P, D = (b.extract_value(e.arrays[1].shape, axis) for axis in (0, 1))
        low, zero = e.constant(e.scalar, float("-inf")), e.constant(I32, 0)
        places, lines = range(CODES), range(VECTORS)
        sums = [[e.register(low) for _ in lines] for _ in places]
        of_place = [[e.register(low) for _ in lines] for _ in places]
        best, second = ([e.register(low) for _ in lines] for _ in range(2))
        panel = [e.register(zero) for _ in lines]
        with cgutils.for_range(b, P, intp=I64) as panel_loop:
            p = panel_loop.index
            bias_p, panel_p = e.at(bias, p, CODES), e.at(panels, p, b.mul(D, i64(CODES)))
            for c in places:
                start = e.splat(b.load(e.at(bias_p, c)))
                for v in lines:
                    b.store(start, sums[c][v])
            with cgutils.for_range(b, D, intp=I64) as d_loop:
                z_d, e_d = e.at(zT, d_loop.index, VECTORS * e.lanes), e.at(panel_p, d_loop.index, CODES)
                z = [e.load(e.at(z_d, v * e.lanes)) for v in lines]
                for c in places:
                    e_cd = e.splat(b.load(e.at(e_d, c)))
                    for v in lines:
                        b.store(e.fma(e_cd, z[v], b.load(sums[c][v])), sums[c][v])
            for v in lines:
                for c in places:
                    b.store(e.larger(b.load(sums[c][v]), b.load(of_place[c][v])), of_place[c][v])
                score = functools.reduce(e.larger, [b.load(sums[c][v]) for c in places])
                e.rank(score, e.splat(b.trunc(p, I32)), best[v], second[v], panel[v])
        for v in lines:
            top, runner_up, place = e.register(low), e.register(low), e.register(zero)
            for c in places:
                e.rank(b.load(of_place[c][v]), e.constant(I32, c), top, runner_up, place)
            rival = e.larger(b.load(runner_up), b.load(second[v]))
            e.store(b.fsub(b.load(top), rival), e.at(lead, v * e.lanes))
            j = b.add(b.mul(b.load(panel[v]), e.constant(I32, CODES)), b.load(place))
            e.store(j, e.at(code, v * e.lanes))
        return context.get_dummy_value()

    return types.void(zT, panels, bias, code, lead), emit


@intrinsic
def _transpose(typing: Any, z: Any, n: Any, d: Any, zT: Any, r: Any) -> Any:  # pragma: no cover
    """zT[d + j, r + i] = z[n + i, d + j] for i, j < lanes: lines exchange halves, then quarters, …"""

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        e = Emit(context, b, signature, args)
        z, n, d, zT, r = e.arrays
        D, L = b.extract_value(z.shape, 1), e.lanes
        lines = [e.load(e.at(e.at(z.data, b.add(n, i64(i)), D), d)) for i in range(L)]
        step = L // 2
        while step:
            # Between lines i and i + step, where the lane's bit `step` is not that of the line.
            upper = ir.Constant(ir.VectorType(I32, L), [j + (L - step if j & step else 0) for j in range(L)])
            lower = ir.Constant(ir.VectorType(I32, L), [j + (L if j & step else step) for j in range(L)])
            for i in range(L):
                if not i & step:
                    a, c = lines[i], lines[i + step]
                    lines[i], lines[i + step] = b.shuffle_vector(a, c, upper), b.shuffle_vector(a, c, lower)
            step //= 2
        for j, line in enumerate(lines):
            e.store(line, e.at(e.at(zT.data, b.add(d, i64(j)), VECTORS * L), r))
        return context.get_dummy_value()

    return types.void(z, n, d, zT, r), emit


I32, I64 = ir.IntType(32), ir.IntType(64)


def i64(n: int) -> Any:
    """A constant."""
    return ir.Constant(I64, n)


class Emit:
    """LLVM's vector instructions on the numbers of the first argument, `lanes` of them at a time."""

    def __init__(self, context: Any, builder: Any, signature: Any, args: Any) -> None:
        self.builder = builder
        number = signature.args[0].dtype
        self.bytes = number.bitwidth // 8
        self.scalar = ir.FloatType() if self.bytes == 4 else ir.DoubleType()
        self.lanes = vector_bytes() // self.bytes
        self.vector = ir.VectorType(self.scalar, self.lanes)
        self.arrays = [
            context.make_array(t)(context, builder, a) if isinstance(t, types.Array) else a
            for t, a in zip(signature.args, args, strict=True)
        ]

    def at(self, pointer: Any, i: Any, stride: Any = 1) -> Any:
        """&pointer[i · stride]"""
        i, stride = (i64(x) if isinstance(x, int) else x for x in (i, stride))
        return self.builder.gep(pointer, [self.builder.mul(i, stride)])

    def load(self, pointer: Any) -> Any:
        """A vector from memory, at any place where a number can begin."""
        vector = self.builder.load(self.builder.bitcast(pointer, self.vector.as_pointer()))
        vector.align = self.bytes
        return vector

    def store(self, vector: Any, pointer: Any) -> None:
        """A vector to memory, at any place where a number can begin."""
        place = self.builder.bitcast(pointer, vector.type.as_pointer())
        self.builder.store(vector, place).align = 4

    def splat(self, number: Any) -> Any:
        """One number in every lane."""
        kind = ir.VectorType(number.type, self.lanes)
        one = self.builder.insert_element(ir.Constant(kind, ir.Undefined), number, ir.Constant(I32, 0))
        all_0 = ir.Constant(ir.VectorType(I32, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), all_0)

    def constant(self, scalar: Any, value: float) -> Any:
        """One known number in every lane."""
        return ir.Constant(ir.VectorType(scalar, self.lanes), [value] * self.lanes)

    def register(self, value: Any) -> Any:
        """A variable; LLVM keeps it in a register."""
        slot = cgutils.alloca_once(self.builder, value.type)  # type: ignore[no-untyped-call]
        self.builder.store(value, slot)
        return slot

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """ab + c, fused where the processor can; the bound allows for both."""
        name = f"llvm.fmuladd.v{self.lanes}f{8 * self.bytes}"
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        module = self.builder.module
        function = cgutils.get_or_insert_function(module, kind, name)  # type: ignore[no-untyped-call]
        return self.builder.call(function, [a, b, c])

    def larger(self, a: Any, b: Any) -> Any:
        """a > b ? a : b in each lane; b where either is NaN."""
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def rank(self, score: Any, name: Any, best: Any, second: Any, best_name: Any) -> None:
        """Put a score among the best two so far, and its name beside the best."""
        b = self.builder
        before = b.load(best)
        wins = b.fcmp_ordered(">", score, before)
        loser = b.select(b.fcmp_ordered("<", score, before), score, before)
        b.store(b.select(wins, name, b.load(best_name)), best_name)
        b.store(self.larger(loser, b.load(second)), second)
        b.store(b.select(wins, score, before), best)
