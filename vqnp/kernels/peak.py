"""24 · lanes fused multiply-adds a turn, none waiting for another: as fast as the processor multiplies.

For `vqnp bench`: what every other figure is a share of.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from vqnp.kernels.jit import jit
from vqnp.kernels.tile import I64, Emit, vector_bytes

CHAINS = 12
"""Independent sums: two units of a latency of 4 or 5 need 8 or 10, and 16 registers hold 12."""


def flops(turns: int) -> int:
    """Floating point operations, two to each fused multiply-add, that multiply_add(turns, …) does."""
    return 2 * turns * CHAINS * vector_bytes() // 4


@intrinsic
def _chains(typing: Any, x: Any, turns: Any) -> Any:  # pragma: no cover - runs in the compiler
    """a_i ← x a_i + x for 12 vectors, so many times over; returns something that depends on all of them."""

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        e = Emit(context, b, signature, args)
        factor = e.splat(b.load(e.arrays[0].data))
        sums = [e.register(e.constant(e.scalar, float(i))) for i in range(CHAINS)]
        with cgutils.for_range(b, e.arrays[1], intp=I64):
            for s in sums:
                b.store(e.fma(factor, b.load(s), factor), s)
        total = b.load(sums[0])
        for s in sums[1:]:
            total = b.fadd(total, b.load(s))
        return b.extract_element(total, ir.Constant(ir.IntType(32), 0))

    return types.float32(x, turns), emit


@jit(nogil=True)
def multiply_add(x: Any, turns: int) -> float:  # pragma: no cover - compiled
    """Run `turns` turns; x: (1,) float32, the factor: small, so that nothing overflows."""
    return _chains(x, turns)  # type: ignore[call-arg]
