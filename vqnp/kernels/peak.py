"""a_i ← x a_i + x for i = 0 … 11, many times: as many fused multiply-adds as the processor can do.

x: (1,) -> Σ a_i

The sums do not wait for each other. `vqnp bench` states every other figure as a share of this one.
"""

import functools
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from vqnp._check import Array
from vqnp.kernels.jit import jit
from vqnp.kernels.llvm import I32, VectorBuilder, compiles, vector_bytes

CHAINS = 12  # independent sums: two units of a latency of 4 or 5 need 8 or 10, and 16 registers hold 12


def multiply_add_plain(x: Array, turns: int) -> float:
    """a_i ← x a_i + x, `turns` times from a_i = i; returns Σ a_i. x: (1,) float32, small enough."""
    a = np.arange(CHAINS, dtype=np.float32)
    for _ in range(turns):
        a = x * a + x
    return float(a.sum())


def multiply_add(x: Array, turns: int) -> float:
    """multiply_add_plain, in every lane of the processor's vectors at once; returns one lane's result."""
    if _chains_compile():
        return float(_run_chains(x, turns))
    return float(_run_loop(x, turns, vector_bytes() // x.itemsize))


def flops(turns: int) -> int:
    """Floating point operations, two to each fused multiply-add, that multiply_add(x, turns) does."""
    return 2 * turns * CHAINS * vector_bytes() // np.dtype(np.float32).itemsize


@functools.cache
def _chains_compile() -> bool:
    return compiles("vqnp bench", lambda: _run_chains(np.zeros(1, np.float32), 1))


@jit(nogil=True)
def _run_chains(x: Array, turns: int) -> float:
    return _chains(x, turns)  # type: ignore[call-arg]


@jit(nogil=True)
def _run_loop(x: Array, turns: int, lanes: int) -> float:
    """As many multiply-adds without vector instructions of our own: sums in memory, products not fused."""
    a = np.repeat(np.arange(CHAINS), lanes).astype(np.float32)
    for _ in range(turns):
        for i in range(a.size):
            a[i] = x[0] * a[i] + x[0]
    return a[::lanes].sum()


@intrinsic
def _chains(typing: Any, x: Any, turns: Any) -> Any:
    """a_i ← x a_i + x for vectors of a_i = i; returns one lane of Σ a_i."""

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        e = VectorBuilder(context, b, signature, args)
        factor = e.splat(b.load(e.arguments[0].data))
        sums = [e.register(e.constant(e.scalar, float(i))) for i in range(CHAINS)]
        with e.loop(e.arguments[1]):
            for s in sums:
                b.store(e.multiply_add(factor, b.load(s), factor), s)
        return b.extract_element(functools.reduce(b.fadd, map(b.load, sums)), I32(0))

    return types.float32(x, turns), emit
