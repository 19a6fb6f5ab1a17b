"""Convolutions with their parameters; the mathematics is in vqnp/ops/conv.py."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from vqnp._check import Array, check_int, check_rng
from vqnp.nn.description import register
from vqnp.nn.layers import WithReLU
from vqnp.nn.module import Cache, Param, TorchName, check_room
from vqnp.ops._windows import Axes, Padding, output_padding_of, pad_per_axis, per_axis
from vqnp.ops.conv import conv_backward, conv_forward, conv_transpose_backward, conv_transpose_forward


class _Convolution(WithReLU):
    """What both have in common: the geometry, PyTorch's names, and how W is drawn."""

    W: Param
    b: Param

    def _set_geometry(self, stride: Axes, padding: Padding, dilation: Axes, ndim: int) -> None:
        where = type(self).__name__
        self.stride = per_axis(where, "stride", stride, ndim)
        self.padding = pad_per_axis(where, padding, ndim)
        self.dilation = per_axis(where, "dilation", dilation, ndim)

    def _draw(
        self, shape: tuple[int, ...], out: int, fan_in: float, rng: np.random.Generator | int, dtype: Any
    ) -> None:
        check_room(type(self).__name__, *shape)
        bound = math.sqrt(3 / fan_in)
        self.W = Param(check_rng(type(self).__name__, rng).uniform(-bound, bound, shape).astype(dtype))
        self.b = Param(np.zeros(out, dtype))

    def config(self) -> dict[str, Any]:
        W = self.W.value
        return {
            "kernel_size": W.shape[:-2], "stride": self.stride, "padding": self.padding,
            "dilation": self.dilation, "ndim": W.ndim - 2, "dtype": W.dtype.name,
        }  # fmt: skip

    def torch_names(self) -> dict[str, TorchName]:
        """PyTorch stores (O, C, *k), and of a transposed one (C, O, *k): the axes of the kernel last."""
        n = self.W.value.ndim - 2
        return {"W": TorchName("weight", axes=(n + 1, n, *range(n))), "b": TorchName("bias")}


@register
class Conv(_Convolution):
    """y_i = b + Σ_k x_{s i + d k − p} W_k;  initially Var W = 1/fan_in, fan_in = C Π k, and b = 0.

    x: (B, *S, C), W: (*k, C, O), b: (O,) -> y: (B, *S', O), S' = ⌊(S + p + p' − d (k − 1) − 1) / s⌋ + 1

    Parameters
    ----------
    in_channels, out_channels : int
        C and O.
    kernel_size, stride, dilation : int or one int per axis
        k, s and d.
    padding : int, or one int or pair (before, after) per axis
        p and p', the zeros before and after the image.
    ndim : 1 or 2
        The number of axes of S: 2 for images, 1 for sequences.
    rng : numpy.random.Generator or int
        The source of W's initial values, uniform on ±√(3/fan_in).
    dtype : float32 or float64

    References
    ----------
    LeCun et al. 1998, "Efficient BackProp", section 4.6, as for Linear.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Axes, stride: Axes = 1, padding: Padding = 0,
        dilation: Axes = 1, ndim: int = 2, rng: np.random.Generator | int = 0, dtype: Any = np.float32,
    ) -> None:  # fmt: skip
        C, O = check_int("Conv", "in_channels", in_channels), check_int("Conv", "out_channels", out_channels)
        k = per_axis("Conv", "kernel_size", kernel_size, check_int("Conv", "ndim", ndim, 1, 2))
        self._set_geometry(stride, padding, dilation, ndim)
        self._draw((*k, C, O), O, C * math.prod(k), rng, dtype)

    def config(self) -> dict[str, Any]:
        C, O = self.W.value.shape[-2:]
        return {"in_channels": C, "out_channels": O, **super().config()}

    def forward(self, x: Array, relu: bool = False) -> tuple[Array, Cache]:
        """y_i = b + Σ_k x_{s i + d k − p} W_k, or max(y, 0)."""
        geometry = self.stride, self.padding, self.dilation
        return conv_forward(x, self.W.value, self.b.value, *geometry, relu=relu)

    def backward(self, dy: Array, cache: Cache, need_dx: bool = True) -> Any:
        """dx: the transposed convolution of dy;  dW_k += Σ_i x_{s i + d k − p}ᵀ dy_i;  db += Σ dy."""
        dx, dW, db = conv_backward(dy, cache, need_dx)
        self.W.add_grad(dW)
        self.b.add_grad(db)
        return dx


@register
class ConvTranspose(_Convolution):
    """y_j = b + Σ x_i W_kᵀ over s i + d k − p = j;  initially Var W = 1/fan_in and b = 0.

    x: (B, *S, C), W: (*k, O, C), b: (O,) -> y: (B, *S', O)
    S' = s (S − 1) + d (k − 1) + 1 − p − p' + output_padding

    The adjoint of Conv(out_channels, in_channels, …) with the same W. Along an axis, k/s taps reach a pixel
    of y on average, so fan_in = C Π k/s; a factor less than 1 counts as 1.

    Parameters
    ----------
    in_channels, out_channels : int
        C and O.
    kernel_size, stride, padding, dilation, ndim, rng, dtype
        As of Conv.
    output_padding : int or one int per axis, less than the stride
        How far S' is above the smallest size that the convolution maps to S.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Axes, stride: Axes = 1, padding: Padding = 0,
        output_padding: Axes = 0, dilation: Axes = 1, ndim: int = 2, rng: np.random.Generator | int = 0,
        dtype: Any = np.float32,
    ) -> None:  # fmt: skip
        where = "ConvTranspose"
        C, O = check_int(where, "in_channels", in_channels), check_int(where, "out_channels", out_channels)
        k = per_axis(where, "kernel_size", kernel_size, check_int(where, "ndim", ndim, 1, 2))
        self._set_geometry(stride, padding, dilation, ndim)
        self.output_padding = output_padding_of(where, output_padding, self.stride)
        reached = math.prod(max(n / s, 1.0) for n, s in zip(k, self.stride, strict=True))
        self._draw((*k, O, C), O, C * reached, rng, dtype)

    def config(self) -> dict[str, Any]:
        O, C = self.W.value.shape[-2:]
        own = {"in_channels": C, "out_channels": O, "output_padding": self.output_padding}
        return own | super().config()

    def forward(self, x: Array, relu: bool = False) -> tuple[Array, Cache]:
        """y_j = b + Σ x_i W_kᵀ over s i + d k − p = j, or max(y, 0)."""
        geometry = self.stride, self.padding, self.output_padding, self.dilation
        return conv_transpose_forward(x, self.W.value, self.b.value, *geometry, relu=relu)

    def backward(self, dy: Array, cache: Cache, need_dx: bool = True) -> Any:
        """dx: the convolution of dy;  dW_k += Σ_i dy_{s i + d k − p}ᵀ x_i;  db += Σ dy."""
        dx, dW, db = conv_transpose_backward(dy, cache, need_dx)
        self.W.add_grad(dW)
        self.b.add_grad(db)
        return dx
