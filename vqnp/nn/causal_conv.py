"""A convolution that sees only the pixels before; the mathematics is in vqnp/ops/causal_conv.py."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from vqnp._check import Array, check_int, check_rng
from vqnp.nn.description import register
from vqnp.nn.module import Cache, Module, Param, TorchName, check_room
from vqnp.ops._windows import Axes, per_axis
from vqnp.ops.causal_conv import causal_conv_backward, causal_conv_forward, causal_taps


@register
class CausalConv(Module):
    """y_i = b + Σ_t x_{i + o_t} W_t over the taps before the centre in raster order, and with it if `centre`.

    x: (B, *S, C), W: (T, C, O), b: (O,) -> y: (B, *S, O);  initially Var W = 1/(C T) and b = 0

    Parameters
    ----------
    in_channels, out_channels : int
        C and O.
    kernel_size : odd int or one per axis
        Of the whole kernel, of which the T taps of causal_taps exist.
    centre : bool
        False is mask A, for the first layer of a prior, True is mask B, for the layers after it.
    ndim : 1 or 2
        The number of axes of S.
    rng : numpy.random.Generator or int
        The source of W's initial values, uniform on ±√(3/(C T)).
    dtype : float32 or float64

    References
    ----------
    van den Oord et al. 2016, arXiv 1601.06759, figure 2.

    Examples
    --------
    >>> first = CausalConv(1, 4, 3, centre=False, rng=0)
    >>> x = np.zeros((1, 5, 5, 1), np.float32)
    >>> x[0, 2, 2] = 1  # seen by the next in its row, and by three below it, not by itself
    >>> np.argwhere(first.forward(x)[0][0, ..., 0]).tolist()
    [[2, 3], [3, 1], [3, 2], [3, 3]]
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Axes, centre: bool, ndim: int = 2,
        rng: np.random.Generator | int = 0, dtype: Any = np.float32,
    ) -> None:  # fmt: skip
        where = "CausalConv"
        C, O = check_int(where, "in_channels", in_channels), check_int(where, "out_channels", out_channels)
        self.kernel = per_axis(where, "kernel_size", kernel_size, check_int(where, "ndim", ndim, 1, 2))
        self.centre = bool(centre)
        check_room(where, math.prod(self.kernel) // 2 + self.centre, C, O)
        T = int(causal_taps(self.kernel, self.centre).sum())
        bound = math.sqrt(3 / max(1, C * T))  # a kernel of 1 without its centre has no tap
        self.W = Param(check_rng(where, rng).uniform(-bound, bound, (T, C, O)).astype(dtype))
        self.b = Param(np.zeros(O, dtype))

    def config(self) -> dict[str, Any]:
        _, C, O = self.W.value.shape
        return {
            "in_channels": C, "out_channels": O, "kernel_size": self.kernel, "centre": self.centre,
            "ndim": len(self.kernel), "dtype": self.W.value.dtype.name,
        }  # fmt: skip

    def torch_names(self) -> dict[str, TorchName]:
        """PyTorch has no such layer: the taps in our order, as (T, C, O)."""
        return {"W": TorchName("taps"), "b": TorchName("bias")}

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """y_i = b + Σ_t x_{i + o_t} W_t."""
        return causal_conv_forward(x, self.W.value, self.b.value, self.kernel, self.centre)

    def backward(self, dy: Array, cache: Cache, need_dx: bool = True) -> Any:
        """dx_j = Σ_t dy_{j − o_t} W_tᵀ;  dW_t += Σ_i x_{i + o_t}ᵀ dy_i;  db += Σ dy."""
        dx, dW, db = causal_conv_backward(dy, cache, need_dx)
        self.W.add_grad(dW)
        self.b.add_grad(db)
        return dx
