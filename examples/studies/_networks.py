"""x̂ = decoder(quantizer(encoder(x))): the networks in which several studies compare quantizers.

A digit has 343 bits in 7 × 7 codes of 7 bits each, or 112 in 4 × 4 codes.
"""

import numpy as np

import vqnp
from vqnp.nn import Activation, Conv, ConvTranspose, Quantizer, Sequential

SIDE = {343: 7, 112: 4}
"""The codes along an axis of the image, for each number of bits."""
LR = {"conv": 3e-3, "MLP": 1e-3}
RESTART = {"conv": 0.2, "MLP": 0.05}
"""Codes used less than this fraction of uniform use restart: the defaults of VQVAE.conv and VQVAE.mlp."""


def network(scale, name: str, bits: int, quantizer: Quantizer, seed: int) -> vqnp.VQVAE:
    """A VQ-VAE with this quantizer: "conv", the published layers, or "MLP"."""
    side = SIDE[bits]
    if name == "MLP":
        return vqnp.VQVAE.mlp(num_latents=side**2, hidden=(scale.hidden,), quantizer=quantizer, rng=seed)
    H, rng = scale.channels, np.random.default_rng(seed)
    if side == 7:
        return vqnp.VQVAE.conv(channels=H, residual_channels=H // 2, quantizer=quantizer, rng=rng)
    base = vqnp.VQVAE.conv(channels=H, residual_channels=H // 2, embedding_dim=H, rng=rng)
    down, up = to_4(H, quantizer.embedding_dim, rng), from_4(quantizer.embedding_dim, H, rng)
    encoder = Sequential(*base.encoder.layers, Activation("relu"), *down)
    return vqnp.VQVAE(encoder, quantizer, Sequential(*up, Activation("relu"), *base.decoder.layers))


def to_4(H: int, D: int, rng: np.random.Generator) -> list:
    """(B, 7, 7, H) -> (B, 4, 4, D): a convolution of kernel 4 without padding."""
    return [Conv(H, D, 4, rng=rng)]


def from_4(D: int, H: int, rng: np.random.Generator) -> list:
    """(B, 4, 4, D) -> (B, 7, 7, H): the transposed one."""
    return [ConvTranspose(D, H, 4, rng=rng)]
