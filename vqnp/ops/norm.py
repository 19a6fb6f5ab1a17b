"""y = γ (x − μ) / √(σ² + ε) + β: layer norm, with μ, σ² of each row; group norm, of groups of channels.

x: (..., C), γ, β: (C,) -> y: (..., C)
"""

from typing import Any

import numpy as np

from vqnp._check import Array, check_array, check_float, check_int, fail
from vqnp._shapes import checked
from vqnp.kernels.layer_norm import layer_norm, layer_norm_gradient

Cache = tuple[Any, ...]


@checked(x="(..., C)", gamma="(C,)", beta="(C,)")
def layer_norm_forward(x: Array, gamma: Array, beta: Array, epsilon: float = 1e-5) -> tuple[Array, Cache]:
    """y = γ x̂ + β,  x̂ = (x − μ) / √(σ² + ε), with the mean and the variance over the last axis.

    x: (..., C), gamma, beta: (C,) -> y: (..., C)

    Raises
    ------
    InputError
        Wrong shape or dtype, no channels, or an epsilon that is not positive.

    References
    ----------
    Ba, Kiros & Hinton 2016, arXiv 1607.06450, equation 4.
    """
    check_float("layer_norm_forward", "epsilon", epsilon, "(0, inf)")
    if not x.shape[-1]:
        fail("layer_norm_forward", "x", "must have at least one channel", f"shape {x.shape}")
    y, x_hat, scale = layer_norm(_rows(x), gamma, beta, epsilon)
    return y.reshape(x.shape), (x_hat.reshape(x.shape), scale.reshape(*x.shape[:-1], 1), gamma)


def layer_norm_backward(
    dy: Array, cache: Cache, need_dx: bool = True
) -> tuple[Array | None, Array, Array]:
    """dx = (dx̂ − mean dx̂ − x̂ mean(dx̂ x̂)) / √(σ² + ε),  dx̂ = γ dy;  dγ = Σ dy x̂,  dβ = Σ dy.

    dy: (..., C) -> dx: (..., C), dgamma, dbeta: (C,);  with need_dx=False, dx is None
    """
    x_hat, scale, gamma = cache
    check_array("layer_norm_backward", "dy", dy, shape=x_hat.shape, dtype=gamma.dtype)
    dx, dgamma, dbeta = layer_norm_gradient(_rows(dy), _rows(x_hat), _rows(scale), gamma)
    return dx.reshape(dy.shape) if need_dx else None, dgamma, dbeta


@checked(x="(..., C)", gamma="(C,)", beta="(C,)")
def group_norm_forward(
    x: Array, gamma: Array, beta: Array, groups: int, epsilon: float = 1e-5
) -> tuple[Array, Cache]:
    """y = γ x̂ + β,  x̂ = (x − μ) / √(σ² + ε), with the mean and the variance over S and a group of channels.

    x: (B, *S, C), gamma, beta: (C,) -> y: (B, *S, C);  a group is C/groups neighbouring channels

    groups=1 is a layer norm over whole examples, groups=C an instance norm.

    Raises
    ------
    InputError
        Wrong shape or dtype, an example without numbers, a number of groups that does not divide C, or an
        epsilon that is not positive.

    References
    ----------
    Wu & He 2018, arXiv 1803.08494, equations 1, 2 and 7.
    """
    check_float("group_norm_forward", "epsilon", epsilon, "(0, inf)")
    if x.ndim < 2 or not all(x.shape[1:]):
        fail("group_norm_forward", "x", "must have shape (B, *S, C), no example empty", f"shape {x.shape}")
    C = x.shape[-1]
    if C % check_int("group_norm_forward", "groups", groups, 1, C):
        fail("group_norm_forward", "groups", f"must divide the number of channels, {C}", groups)
    size = int(np.prod(x.shape[1:-1]))
    grouped, scale = _normalize(x.reshape(len(x), size, groups, C // groups), (1, 3), epsilon)
    x_hat = grouped.reshape(x.shape)
    return gamma * x_hat + beta, (x_hat, scale, gamma)


def group_norm_backward(
    dy: Array, cache: Cache, need_dx: bool = True
) -> tuple[Array | None, Array, Array]:
    """dx = (dx̂ − mean dx̂ − x̂ mean(dx̂ x̂)) / √(σ² + ε),  dx̂ = γ dy;  dγ = Σ dy x̂,  dβ = Σ dy.

    dy: (B, *S, C) -> dx: (B, *S, C), dgamma, dbeta: (C,);  with need_dx=False, dx is None
    """
    x_hat, scale, gamma = cache
    check_array("group_norm_backward", "dy", dy, shape=x_hat.shape, dtype=gamma.dtype)
    dx = None
    if need_dx:
        grouped = len(dy), int(np.prod(dy.shape[1:-1])), scale.shape[2], dy.shape[-1] // scale.shape[2]
        dx_hat = (gamma * dy).reshape(grouped)
        dx = _normalize_backward(dx_hat, x_hat.reshape(grouped), scale, (1, 3)).reshape(dy.shape)
    return dx, _rows(dy * x_hat).sum(axis=0), _rows(dy).sum(axis=0)


def _normalize(x: Array, axes: tuple[int, ...], epsilon: float) -> tuple[Array, Array]:
    """x̂ = (x − μ) / √(σ² + ε) and 1 / √(σ² + ε); σ² from the differences: mean(x²) − μ² would cancel."""
    centred = x - x.mean(axis=axes, keepdims=True)
    scale = 1 / np.sqrt((centred * centred).mean(axis=axes, keepdims=True) + epsilon)
    return centred * scale, scale


def _normalize_backward(dx_hat: Array, x_hat: Array, scale: Array, axes: tuple[int, ...]) -> Array:
    """dx̂ without its components along 1 (through μ) and x̂ (through σ), scaled."""
    along_1 = dx_hat.mean(axis=axes, keepdims=True)
    along_x = (dx_hat * x_hat).mean(axis=axes, keepdims=True)
    return scale * (dx_hat - along_1 - x_hat * along_x)


def _rows(x: Array) -> Array:
    return x.reshape(-1, x.shape[-1])
