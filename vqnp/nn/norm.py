"""Normalisation with its parameters; the mathematics is in vqnp/ops/norm.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from vqnp._check import Array, check_float, check_int, fail
from vqnp.nn.description import register
from vqnp.nn.module import Cache, Module, Param, TorchName, check_room
from vqnp.ops.norm import group_norm_backward, group_norm_forward, layer_norm_backward, layer_norm_forward


class _Norm(Module):
    """γ, β and ε, which both have; initially γ = 1 and β = 0."""

    def __init__(self, channels: int, epsilon: float, dtype: Any) -> None:
        where = type(self).__name__
        C = check_int(where, "channels", channels)
        check_room(where, 2, C)
        self.epsilon = check_float(where, "epsilon", epsilon, "(0, inf)")
        self.gamma, self.beta = Param(np.ones(C, dtype)), Param(np.zeros(C, dtype))

    def config(self) -> dict[str, Any]:
        gamma = self.gamma.value
        return {"channels": len(gamma), "epsilon": self.epsilon, "dtype": gamma.dtype.name}

    def torch_names(self) -> dict[str, TorchName]:
        """PyTorch calls γ the weight and β the bias."""
        return {"gamma": TorchName("weight"), "beta": TorchName("bias")}


@register
class LayerNorm(_Norm):
    """y = γ (x − μ) / √(σ² + ε) + β, with μ and σ² over the last axis;  initially γ = 1, β = 0.

    x: (..., C), gamma, beta: (C,) -> y: (..., C)

    Parameters
    ----------
    channels : int
        C.
    epsilon : float, default 1e-5
    dtype : float32 or float64
    """

    def __init__(self, channels: int, epsilon: float = 1e-5, dtype: Any = np.float32) -> None:
        super().__init__(channels, epsilon, dtype)

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """y = γ x̂ + β."""
        return layer_norm_forward(x, self.gamma.value, self.beta.value, self.epsilon)

    def backward(self, dy: Array, cache: Cache, need_dx: bool = True) -> Any:
        """dx, and dγ += Σ dy x̂;  dβ += Σ dy."""
        dx, dgamma, dbeta = layer_norm_backward(dy, cache, need_dx)
        self.gamma.add_grad(dgamma)
        self.beta.add_grad(dbeta)
        return dx


@register
class GroupNorm(_Norm):
    """y = γ (x − μ) / √(σ² + ε) + β, with μ and σ² over S and a group of channels;  initially γ = 1, β = 0.

    x: (B, *S, C), gamma, beta: (C,) -> y: (B, *S, C)

    Parameters
    ----------
    groups : int
        How many there are; it divides C.
    channels : int
        C.
    epsilon : float, default 1e-5
    dtype : float32 or float64

    Examples
    --------
    >>> x = np.random.default_rng(0).uniform(5, 9, (2, 3, 3, 4)).astype(np.float32)
    >>> y = GroupNorm(2, 4).forward(x)[0].reshape(2, 9, 2, 2)  # two groups of two channels
    >>> np.allclose(y.mean(axis=(1, 3)), 0, atol=1e-5), np.allclose(y.var(axis=(1, 3)), 1, atol=1e-3)
    (True, True)
    """

    def __init__(self, groups: int, channels: int, epsilon: float = 1e-5, dtype: Any = np.float32) -> None:
        super().__init__(channels, epsilon, dtype)
        self.groups = check_int("GroupNorm", "groups", groups, 1, channels)
        if channels % groups:
            fail("GroupNorm", "groups", f"must divide the number of channels, {channels}", groups)

    def config(self) -> dict[str, Any]:
        return {"groups": self.groups, **super().config()}

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """y = γ x̂ + β."""
        return group_norm_forward(x, self.gamma.value, self.beta.value, self.groups, self.epsilon)

    def backward(self, dy: Array, cache: Cache, need_dx: bool = True) -> Any:
        """dx, and dγ += Σ dy x̂;  dβ += Σ dy."""
        dx, dgamma, dbeta = group_norm_backward(dy, cache, need_dx)
        self.gamma.add_grad(dgamma)
        self.beta.add_grad(dbeta)
        return dx
