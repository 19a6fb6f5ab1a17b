"""x̂ = decoder(quantizer(encoder(x))): the networks in which two studies compare quantizers.

Each code has 7 bits: 343 bits are 7 × 7 codes, 112 bits 4 × 4. The convolutional network has 7 × 7.
"""

import numpy as np

import vqnp
from vqnp.nn import Quantizer

CODES = {343: 49, 112: 16}
LR = {"conv": 3e-3, "MLP": 1e-3}
RESTART = {"conv": 0.2, "MLP": 0.05}
"""Codes used less than this fraction of uniform use restart: the defaults of VQVAE.conv and VQVAE.mlp."""


def network(scale, name: str, bits: int, quantizer: Quantizer, seed: int) -> vqnp.VQVAE:
    """A VQ-VAE with this quantizer: "conv", the published layers, or "MLP"."""
    if name == "MLP":
        return vqnp.VQVAE.mlp(num_latents=CODES[bits], hidden=(scale.hidden,), quantizer=quantizer, rng=seed)
    rng = np.random.default_rng(seed)
    sizes = {"channels": scale.channels, "residual_channels": scale.channels // 2}
    return vqnp.VQVAE.conv(**sizes, quantizer=quantizer, rng=rng)
