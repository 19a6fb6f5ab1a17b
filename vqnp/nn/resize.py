"""Layers without parameters that enlarge an image; the mathematics is in vqnp/ops/resize.py."""

from __future__ import annotations

from typing import Any

from vqnp._check import Array, check_int, check_lengths
from vqnp.nn.description import register
from vqnp.nn.module import Cache, Module
from vqnp.ops._windows import Axes
from vqnp.ops.resize import pixel_shuffle_backward, pixel_shuffle_forward, upsample_backward, upsample_forward


class _Resize(Module):
    """factor: one int for all axes or one per axis."""

    def __init__(self, factor: Axes) -> None:
        where, several = type(self).__name__, isinstance(factor, (list, tuple))
        check = check_lengths if several else check_int
        self.factor: Axes = check(where, "factor", factor)

    def config(self) -> dict[str, Any]:
        return {"factor": self.factor}


@register
class Upsample(_Resize):
    """y_i = x_⌊i/f⌋, the nearest neighbour: (B, *S, C) -> (B, *f S, C).

    Parameters
    ----------
    factor : int or one int per axis
        f.
    """

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """y_i = x_⌊i/f⌋."""
        return upsample_forward(x, self.factor)

    def backward(self, dy: Array, cache: Cache, need_dx: bool = True) -> Any:
        """dx: the sum over the copies of a pixel."""
        return upsample_backward(dy, cache) if need_dx else None


@register
class PixelShuffle(_Resize):
    """y[n, f i + a, f j + b, c] = x[n, i, j, (c f + a) f + b]: (B, *S, C Π f) -> (B, *f S, C).

    Parameters
    ----------
    factor : int or one int per axis
        f.
    """

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """y: channels become pixels."""
        return pixel_shuffle_forward(x, self.factor)

    def backward(self, dy: Array, cache: Cache, need_dx: bool = True) -> Any:
        """dx: pixels become channels again."""
        return pixel_shuffle_backward(dy, cache) if need_dx else None
