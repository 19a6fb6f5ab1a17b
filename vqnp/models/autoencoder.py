"""z = encoder(x),  x̂ = decoder(z),  L = ⟨(x̂ − x)²⟩: the autoencoder, a VQ-VAE without its quantizer.

x: (B, P) an image of P pixels -> z: (B, D) D numbers -> x_hat: (B, P)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vqnp._check import Array, check_array, check_int, check_rng
from vqnp.models.base import ImageModel, check_latents, in_parts
from vqnp.nn.module import Cache
from vqnp.ops.loss import mse_backward, mse_forward


class AutoencoderLosses(NamedTuple):
    """L = reconstruction, a scalar array: there is nothing else."""

    total: Array
    reconstruction: Array


class Autoencoder(ImageModel):
    """z = encoder(x),  x̂ = decoder(z),  with MLPs: one image becomes D numbers, of which nothing is asked.

    x: (B, P) -> z: (B, D), x_hat: (B, P)

    Parameters
    ----------
    image_shape : tuple of int
        The shape of one image; P is its product.
    latent_dim : int
        D. The default, 256, is the 16 · 16 numbers of the default VQVAE's latents before they are
        quantized: encoder and decoder are then the same networks, weight for weight.
    hidden, activation, rng, dtype
        As in VQVAE.

    References
    ----------
    Rumelhart et al. 1986, Nature 323, 533-536. Hinton & Salakhutdinov 2006, Science 313, 504-507.
    """

    kind = "autoencoder"
    columns: tuple[str, ...] = ("loss", "mse")
    meaning: tuple[str, ...] = ("image_shape", "latent_dim", "hidden", "activation", "dtype")
    encoded_per_latent = 1
    """Numbers that the encoder says for each of the latent's."""

    def __init__(
        self,
        image_shape: tuple[int, ...] = (28, 28),
        latent_dim: int = 256,
        hidden: tuple[int, ...] = (512,),
        activation: str = "relu",
        rng: np.random.Generator | int = 0,
        dtype: str = "float32",
    ) -> None:
        hidden = self._check_shape(image_shape, hidden, activation, dtype)
        self.latent_dim = check_int(type(self).__name__, "latent_dim", latent_dim)
        H = self.encoded_per_latent * self.latent_dim
        self._make_networks(hidden, activation, check_rng(type(self).__name__, rng), H, self.latent_dim)
        self.config: dict[str, Any] = {
            "image_shape": list(self.image_shape),
            "latent_dim": self.latent_dim,
            "hidden": list(hidden),
            "activation": activation,
            "dtype": self.dtype.name,
        }

    # The model and its gradients.

    def forward(self, x: Array) -> tuple[Any, ...]:
        """x̂, z, cache for x: (B, P) in [0, 1]; changes nothing. x_hat is the decoder's own, not clipped."""
        check_array("Autoencoder.forward", "x", x, ndim=2, last=self.num_pixels, dtype=self.dtype)
        z, encoder_cache = self.encoder.forward(x)
        x_hat, decoder_cache = self.decoder.forward(z)
        return x_hat, z, (encoder_cache, decoder_cache)

    def backward(self, dx_hat: Array, cache: Cache) -> Array:
        """dx: decoder, then encoder; adds to every Param's grad.

        dx_hat: (B, P) -> dx: (B, P)
        """
        encoder_cache, decoder_cache = cache
        return self.encoder.backward(self.decoder.backward(dx_hat, decoder_cache), encoder_cache)

    def backward_params(self, dx_hat: Array, cache: Cache) -> None:
        """backward without dx."""
        encoder_cache, decoder_cache = cache
        self.encoder.backward_params(self.decoder.backward(dx_hat, decoder_cache), encoder_cache)

    def loss_forward(self, x: Array) -> tuple[Any, ...]:
        """L = ⟨(x̂ − x)²⟩, the mean over all pixels of all images; losses, z: (B, D), cache for x: (B, P)."""
        x_hat, z, cache = self.forward(x)
        L, mse_cache = mse_forward(x_hat, x)
        return AutoencoderLosses(L, L), z, (cache, mse_cache)

    def loss_backward(self, dL: Array | float, cache: Cache) -> Array:
        """dx = dL · ∂L/∂x as far as x goes through the encoder (as the target x is a constant)."""
        forward_cache, mse_cache = cache
        return self.backward(mse_backward(dL, mse_cache)[0], forward_cache)

    def loss_backward_params(self, dL: Array | float, cache: Cache) -> None:
        """loss_backward without dx."""
        forward_cache, mse_cache = cache
        self.backward_params(mse_backward(dL, mse_cache)[0], forward_cache)

    def train_forward(self, x: Array, rng: np.random.Generator, step: int) -> tuple[Any, Array, Array, Cache]:
        """loss_forward; draws nothing, and has no codes."""
        losses, z, cache = self.loss_forward(x)
        return losses, z, np.empty((len(x), 0), np.int64), cache

    # What a person does with it.

    def latents(self, images: Array, first: int = 0) -> Array:
        """z = encoder(x); images: (n, *image_shape) or (n, P), uint8 or float in [0, 1] -> z: (n, D)."""
        return self.encoded(images, first)

    def encode(self, images: Array, progress: bool = False) -> Array:
        """latents, a part of the images at a time: (n, *image_shape) -> z: (n, D) of the model's dtype."""
        z = np.empty((len(images) if np.ndim(images) else 0, self.latent_dim), self.dtype)
        return in_parts(self.latents, images, z, progress)

    def decode(self, codes: Array) -> Array:
        """x̂ = decoder(z), clipped to [0, 1]; codes: z (n, D), any numbers -> (n, *image_shape)."""
        z = check_latents(f"{type(self).__name__}.decode", "z", codes, (self.latent_dim,), self.dtype)
        return self.to_pixels(self.decoded(z)).reshape(len(z), *self.image_shape)

    def to_pixels(self, x_hat: Array) -> Array:
        """The decoder's output brought into [0, 1], a value outside to the nearer end."""
        return np.clip(x_hat, 0, 1)
