"""The encoder and decoder of one level of codes along time: strided convolutions and dilated residual blocks.

encoder: (B, T, 1) -> (B, T/h, D),  decoder: (B, T/h, D) -> (B, T, 1);  h, the hop, is the product of strides
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from vqnp._check import check_int, fail
from vqnp.nn import Activation, Conv, ConvTranspose, Module, Residual, Sequential

WIDEST_STRIDE = 8
"""Of the first convolution, whose windows of 16 samples are then 2 ms at 8 kHz."""

DILATION = 3
"""Block i looks 3^i steps to each side, so that a few blocks see far."""


def sound_networks(
    hop: int, channels: int, blocks: int, latent: int, rng: np.random.Generator, dtype: Any
) -> tuple[Sequential, Sequential]:
    """encoder: (B, T, 1) -> (B, T/hop, latent);  decoder: (B, T/hop, latent) -> (B, T, 1).

    Encoder: for each stride s a Conv of 2s taps, to H channels, and the blocks; last a Conv 3 to the latents.
    Decoder: a Conv 3 to H channels; for each stride, the last first, the blocks, dilations reversed, and a
    ConvTranspose of 2s taps, the last of them to one channel.

    Block i: h ← h + conv1(ReLU(conv3(ReLU(h)))), the conv3 with dilation 3^i.

    References
    ----------
    Dhariwal et al. 2020, arXiv 2005.00341, appendix B.1, whose strides are all 2. The first stride here is
    up to 8, so that almost all convolutions run at an eighth of the samples or fewer.
    """
    shared: dict[str, Any] = {"ndim": 1, "rng": rng, "dtype": dtype}
    strides = strides_of(hop)
    down: list[Module] = []
    for i, s in enumerate(strides):
        down += [_halving(Conv, 1 if i == 0 else channels, channels, s, shared)]
        down += _blocks(channels, range(blocks), shared)
    encoder = Sequential(*down, Activation("relu"), Conv(channels, latent, 3, padding=1, **shared))
    up: list[Module] = [Conv(latent, channels, 3, padding=1, **shared)]
    for i, s in enumerate(reversed(strides), 1):
        up += [*_blocks(channels, reversed(range(blocks)), shared), Activation("relu")]
        up += [_halving(ConvTranspose, channels, 1 if i == len(strides) else channels, s, shared)]
    return encoder, Sequential(*up)


def strides_of(hop: int) -> list[int]:
    """The strides of the convolutions of a level: powers of 2 at most 8, the first the largest."""
    hop = check_int("SoundVQVAE", "hops", hop, 2)
    if hop & (hop - 1):
        fail("SoundVQVAE", "hops", "must be powers of 2", hop)
    strides: list[int] = []
    while hop > 1:
        strides.append(min(hop, WIDEST_STRIDE if not strides else 4))
        hop //= strides[-1]
    return strides


def _halving(kind: Any, I: int, O: int, s: int, shared: dict[str, Any]) -> Module:
    """A convolution with stride s, or its transpose: T is a multiple of s and becomes T/s, or s T."""
    made: Module = kind(I, O, 2 * s, stride=s, padding=s // 2, **shared)
    return made


def _blocks(channels: int, depth: Any, shared: dict[str, Any]) -> list[Module]:
    """Residual blocks with dilation 3^i for each i of depth."""
    made: list[Module] = []
    for i in depth:
        d = DILATION**i
        made.append(
            Residual(Sequential(
                Activation("relu"), Conv(channels, channels, 3, padding=d, dilation=d, **shared),
                Activation("relu"), Conv(channels, channels, 1, **shared),
            ))
        )  # fmt: skip
    return made


def reach(network: Module) -> int:
    """How far from its place, in its own steps, a network's input can change its output: for windows.

    For an encoder in samples, for a decoder in latents; rounded up, and the same to both sides.
    """
    total, step = Fraction(0), Fraction(1)  # input steps between two places of what is computed next
    for module in _convolutions(network):
        (k, *_), (s,), (d,) = module.W.value.shape, module.stride, module.dilation
        if isinstance(module, ConvTranspose):
            total += step * (-(-d * (k - 1) // s))
            step /= s
        else:
            total += step * d * (k - 1)
            step *= s
    return int(-(-total // 1))


def _convolutions(network: Module) -> list[Any]:
    return [module for _, module in network.named_modules() if isinstance(module, (Conv, ConvTranspose))]
