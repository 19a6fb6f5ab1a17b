"""y = x + f(x): a layer that learns a correction, and the stack of them that VQ-VAEs use."""

from __future__ import annotations

from typing import Any

import numpy as np

from vqnp._check import Array, check_int, check_rng, fail
from vqnp.nn.conv import Conv
from vqnp.nn.description import register
from vqnp.nn.layers import Activation, Sequential
from vqnp.nn.module import Cache, Module


@register
class Residual(Module):
    """y = x + f(x), where f is any module that keeps x's shape.

    Parameters
    ----------
    inner : Module
        f.

    References
    ----------
    He et al. 2016, arXiv 1603.05027, equation 1 with both mappings the identity.
    """

    def __init__(self, inner: Module) -> None:
        if not isinstance(inner, Module):
            fail("Residual", "inner", "must be a vqnp.nn.Module", type(inner).__name__)
        self.inner = inner

    def config(self) -> dict[str, Any]:
        return {"inner": self.inner}

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """y = x + f(x)."""
        fx, cache = self.inner.forward(x)
        if fx.shape != x.shape:
            fail("Residual.forward", "inner", f"must keep the shape {x.shape}", f"shape {fx.shape}")
        return x + fx, cache

    def backward(self, dy: Array, cache: Cache, need_dx: bool = True) -> Any:
        """dx = dy + the gradient through f."""
        dx = self.inner.backward(dy, cache, need_dx)
        return dy + dx if need_dx else None


def residual_stack(
    channels: int, residual_channels: int, blocks: int, rng: np.random.Generator | int = 0,
    dtype: Any = np.float32, ndim: int = 2,
) -> Sequential:  # fmt: skip
    """h ← h + conv1x1(ReLU(conv3x3(ReLU(h)))) for each block, and a last ReLU.

    h: (B, *S, channels) -> the same shape;  between both convolutions there are residual_channels

    Every block has its own weights. As in the example of a VQ-VAE in Sonnet (sonnet/examples/vqvae_example).
    """
    rng = check_rng("residual_stack", rng)
    layers: list[Module] = []
    for _ in range(check_int("residual_stack", "blocks", blocks, 0)):
        inner = Sequential(
            Activation("relu"),
            Conv(channels, residual_channels, 3, padding=1, ndim=ndim, rng=rng, dtype=dtype),
            Activation("relu"),
            Conv(residual_channels, channels, 1, ndim=ndim, rng=rng, dtype=dtype),
        )
        layers.append(Residual(inner))
    return Sequential(*layers, Activation("relu"))
