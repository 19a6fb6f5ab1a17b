"""z = encoder(x),  x̂ = decoder(z),  L = ⟨(x̂ − x)²⟩: the autoencoder, a VQ-VAE without its quantizer."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from vqnp._check import Array, check_int, check_rng, moved
from vqnp.data.spec import DataSpec, check_shape
from vqnp.evaluation.latents import LatentEvaluation, evaluate_latents
from vqnp.models.base import NETWORK_ARGUMENTS, Model, mlp_networks, needs_parts
from vqnp.models.conv import conv_networks
from vqnp.nn import Module, register
from vqnp.nn.module import Cache
from vqnp.nn.trainable import Batch, Losses
from vqnp.ops.loss import mse_backward, mse_forward


@register
class Autoencoder(Model):
    """z = encoder(x),  x̂ = decoder(z): one example becomes real numbers, constrained by no prior.

    x: (B, *data.shape) -> z: (B, *latent_shape, D) -> x_hat: (B, *data.shape)

    Parameters
    ----------
    encoder : Module
        (B, *data.shape) -> z: (B, *latent_shape, D).
    decoder : Module
        (B, *latent_shape, D) -> (B, *data.shape).
    data : DataSpec
        The shape and range of one example; by default grey images of 28 × 28 pixels in [0, 1].

    Raises
    ------
    InputError
        The parts do not fit together; the error says which part returned what.

    References
    ----------
    Rumelhart et al. 1986, Nature 323, 533-536. Hinton & Salakhutdinov 2006, Science 313, 504-507.
    """

    kind = "autoencoder"

    @moved(
        "Autoencoder", needs_parts("Autoencoder"),
        **dict.fromkeys(NETWORK_ARGUMENTS, "must be given to Autoencoder.mlp or .conv"),
    )  # fmt: skip
    def __init__(
        self, encoder: Module, decoder: Module, data: DataSpec | Mapping[str, Any] = DataSpec()
    ) -> None:
        h = self._connect(encoder, decoder, data)
        z = self._latents_of(h)
        self.latent_shape, self.latent_dim = z.shape[1:-1], z.shape[-1]
        self._check_decoder(z)

    @classmethod
    def mlp(
        cls, image_shape: tuple[int, ...] = (28, 28), latent_dim: int = 256,
        hidden: tuple[int, ...] = (512,), activation: str = "relu",
        rng: np.random.Generator | int = 0, dtype: str = "float32",
    ) -> Self:  # fmt: skip
        """An autoencoder whose encoder and decoder are multilayer perceptrons.

        Parameters
        ----------
        image_shape : tuple of int
            The shape of one image.
        latent_dim : int
            D. The default, 256, is the number of entries, 16 · 16, in the default VQVAE's latents before
            quantization: encoder and decoder then start with the same weights as the VQVAE's.
        hidden, activation, rng, dtype
            As in VQVAE.mlp.
        """
        shape = check_shape("Autoencoder", "image_shape", image_shape)
        D = check_int("Autoencoder", "latent_dim", latent_dim)
        rng = check_rng("Autoencoder", rng)
        networks = mlp_networks("Autoencoder", shape, (D,), (D,), hidden, activation, rng, dtype)
        return cls(*networks, data=DataSpec(shape))

    @classmethod
    def conv(
        cls, image_shape: tuple[int, ...] = (28, 28),
        channels: int = 64, residual_channels: int = 32, residual_blocks: int = 2, downsampling: int = 2,
        latent_dim: int = 8, ndim: int | None = None,
        rng: np.random.Generator | int = 0, dtype: str = "float32",
    ) -> Self:  # fmt: skip
        """An autoencoder whose encoder and decoder are those of VQVAE.conv, weight for weight.

        Parameters
        ----------
        latent_dim : int
            D, at each position of the plane: 7 · 7 · 8 = 392 numbers for an image of 28 × 28.
        image_shape, channels, residual_channels, residual_blocks, downsampling, ndim, rng, dtype
            As in VQVAE.conv.
        """
        D, rng = check_int("Autoencoder", "latent_dim", latent_dim), check_rng("Autoencoder", rng)
        sizes = channels, residual_channels, residual_blocks, downsampling
        networks = conv_networks("Autoencoder", image_shape, D, D, *sizes, ndim, rng, dtype)
        return cls(*networks, data=DataSpec(image_shape))

    # The loss and its gradient.

    def loss(self, batch: Batch, rng: Any = None, step: int = 0) -> tuple[Losses, Cache]:
        """L = ⟨(x̂ − x)²⟩ for a batch (x,), the mean over all entries of all examples; uses no randomness."""
        (x,) = batch
        z, encoder_cache = self.encoder.forward(x)
        x_hat, decoder_cache = self.decoder.forward(z)
        L, mse_cache = mse_forward(x_hat, x)
        return {"loss": L, "reconstruction_loss": L}, (encoder_cache, decoder_cache, mse_cache)

    def backward(  # type: ignore[override]
        self, cache: Cache, dL: Array | float = 1.0, need_dx: bool = False
    ) -> Any:
        """Add dL · ∂L/∂θ to every grad: decoder, then encoder. In dx, the target x counts as constant."""
        encoder_cache, decoder_cache, mse_cache = cache
        dx_hat, _ = mse_backward(dL, mse_cache)
        dz = self.decoder.backward(dx_hat, decoder_cache)
        return self.encoder.backward(dz, encoder_cache, need_dx)

    def evaluate(self, data: Any, history: Any = None, progress: bool = False) -> LatentEvaluation:
        """MSE and the variance of each latent unit over a data set; see evaluation.evaluate_latents."""
        return evaluate_latents(self, data, progress)

    def _latents_of(self, h: Array) -> Array:
        """The z in the encoder's output."""
        return h
