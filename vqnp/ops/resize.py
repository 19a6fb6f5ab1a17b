"""Larger images without parameters: every pixel repeated, or channels rearranged as pixels.

x: (B, *S, C);  S has one axis or two, and is multiplied by f, one factor for all axes or one per axis
"""

import math
from typing import Any

from vqnp._check import Array, check_array, fail
from vqnp._shapes import checked
from vqnp.ops._windows import Axes, Lengths, per_axis

Cache = tuple[Any, ...]


@checked(x="(...)")
def upsample_forward(x: Array, factor: Axes) -> tuple[Array, Cache]:
    """y_i = x_⌊i/f⌋: the nearest neighbour.

    x: (B, *S, C) -> y: (B, *f S, C)
    """
    f = _factors("upsample_forward", x, factor)
    y = x
    for axis, n in enumerate(f, 1):
        y = y.repeat(n, axis)
    return y, (x.shape, x.dtype, f)


def upsample_backward(dy: Array, cache: Cache) -> Array:
    """dx_j = Σ dy_i over ⌊i/f⌋ = j: the sum over the copies of a pixel."""
    shape, dtype, f = cache
    y_shape = (shape[0], *_times(shape[1:-1], f), shape[-1])
    check_array("upsample_backward", "dy", dy, shape=y_shape, dtype=dtype)
    split = [n for pair in zip(shape[1:-1], f, strict=True) for n in pair]  # S_1, f_1, S_2, f_2
    dx: Array = dy.reshape(shape[0], *split, shape[-1]).sum(axis=tuple(range(2, 2 * len(f) + 1, 2)))
    return dx


@checked(x="(...)")
def pixel_shuffle_forward(x: Array, factor: Axes) -> tuple[Array, Cache]:
    """y[n, f i + a, f j + b, c] = x[n, i, j, (c f + a) f + b]: f² channels become f × f pixels.

    x: (B, *S, C Π f) -> y: (B, *f S, C);  with one axis, y[n, f i + a, c] = x[n, i, c f + a]

    The channels are in PyTorch's order: those that belong to one channel of y are neighbours, row by row.

    References
    ----------
    Shi et al. 2016, arXiv 1609.05158, equation 4 (with another order of the channels).
    """
    f = _factors("pixel_shuffle_forward", x, factor)
    if x.shape[-1] % math.prod(f):
        needed = f"must have a last axis that {math.prod(f)} divides"
        fail("pixel_shuffle_forward", "x", needed, f"shape {x.shape}")
    B, *S, channels = x.shape
    C, n = channels // math.prod(f), len(f)
    split = x.reshape(B, *S, C, *f)
    order = [axis for i in range(n) for axis in (1 + i, 2 + n + i)]  # S_1, f_1, S_2, f_2
    return split.transpose(0, *order, 1 + n).reshape(B, *_times(S, f), C), (x.shape, x.dtype, f)


def pixel_shuffle_backward(dy: Array, cache: Cache) -> Array:
    """dx[n, i, j, (c f + a) f + b] = dy[n, f i + a, f j + b, c]."""
    (B, *S, channels), dtype, f = cache
    C, n = channels // math.prod(f), len(f)
    check_array("pixel_shuffle_backward", "dy", dy, shape=(B, *_times(S, f), C), dtype=dtype)
    split = dy.reshape(B, *[m for pair in zip(S, f, strict=True) for m in pair], C)
    order = (*range(1, 2 * n, 2), 2 * n + 1, *range(2, 2 * n + 1, 2))  # S, C, f
    return split.transpose(0, *order).reshape(B, *S, channels)


def _factors(where: str, x: Array, factor: Axes) -> Lengths:
    if x.ndim not in (3, 4):
        fail(where, "x", "must have 3 or 4 axes", f"shape {x.shape}")
    return per_axis(where, "factor", factor, x.ndim - 2)


def _times(sizes: Any, f: Lengths) -> Lengths:
    return tuple(n * m for n, m in zip(sizes, f, strict=True))
