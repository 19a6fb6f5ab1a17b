"""dst = srcᵀ in squares of lanes × lanes numbers; both arrays are flat or contiguous."""

from typing import Any

from numba import types
from numba.extending import intrinsic

from vqnp._check import Array
from vqnp.kernels.jit import jit
from vqnp.kernels.llvm import VectorBuilder


@jit(nogil=True)
def transpose(
    src: Array, s: int, src_width: int, R: int, C: int, dst: Array, d: int, dst_width: int, lanes: int
) -> None:
    """dst[d + c dst_width + r] = src[s + r src_width + c] for r < R, c < C; src and dst: flat."""
    R0, C0 = R // lanes * lanes, C // lanes * lanes
    for r in range(0, R0, lanes):
        for c in range(0, C0, lanes):
            start, to = s + r * src_width + c, d + c * dst_width + r
            transpose_square(src, start, src_width, dst, to, dst_width)  # type: ignore[call-arg]
    for r in range(R):
        for c in range(C0 if r < R0 else 0, C):
            dst[d + c * dst_width + r] = src[s + r * src_width + c]


@intrinsic
def transpose_square(typing: Any, src: Any, s: Any, src_width: Any, dst: Any, d: Any, dst_width: Any) -> Any:
    """dst[d + j dst_width + i] = src[s + i src_width + j] for i, j < lanes, offsets counted from the arrays'
    start.

    Rows exchange halves, then quarters, …
    """

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        e = VectorBuilder(context, b, signature, args)
        src, s, src_width, dst, d, dst_width = e.arguments
        L = e.lanes
        rows = [e.load(e.at(e.at(src.data, s), i, src_width)) for i in range(L)]
        step = L // 2
        while step:
            # Between rows i and i + step, where the lane's bit `step` is not that of the row.
            upper = [j + (L - step if j & step else 0) for j in range(L)]
            lower = [j + (L if j & step else step) for j in range(L)]
            for i in range(L):
                if not i & step:
                    a, c = rows[i], rows[i + step]
                    rows[i], rows[i + step] = e.shuffle(a, c, upper), e.shuffle(a, c, lower)
            step //= 2
        for j, row in enumerate(rows):
            e.store(row, e.at(e.at(dst.data, d), j, dst_width))
        return e.nothing()

    i = types.int64
    return types.void(src, i, i, dst, i, i), emit
