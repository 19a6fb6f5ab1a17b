"""z = encoder(x),  k = argmin ‖z − e‖²,  x̂ = decoder(e_k),  L = ⟨(x̂ − x)²⟩ + L_vq: the VQ-VAE.

x: (B, P) an image of P pixels -> z: (B, M, D), k: (B, M) M codes -> x_hat: (B, P)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from vqnp._check import Array, check_array, check_choice, check_codes, check_float, check_int, check_rng, fail
from vqnp.metrics.codebook import bits_per_image
from vqnp.models.base import ImageModel, in_parts
from vqnp.nn.ema_quantizer import EMAVectorQuantizer
from vqnp.nn.module import Cache, Module
from vqnp.nn.quantizer import VectorQuantizer
from vqnp.ops.loss import mse_backward, mse_forward


class Losses(NamedTuple):
    """L = reconstruction + quantization, each a scalar array."""

    total: Array
    reconstruction: Array
    quantization: Array


class VQVAE(ImageModel):
    """z = encoder(x),  z_q = e_k,  x̂ = decoder(z_q),  with MLPs: one image becomes M codes of log₂ K bits.

    x: (B, P) -> z, z_q: (B, M, D), k: (B, M), x_hat: (B, P)

    Parameters
    ----------
    image_shape : tuple of int
        The shape of one image; P is its product.
    num_latents, embedding_dim, num_embeddings : int
        M latents of D dimensions each, and K codes which they share.
    hidden : sequence of int
        The widths of the encoder's hidden layers; the decoder has them in reverse order.
    activation : {"relu", "gelu", "tanh", "sigmoid"}
        Between layers.
    codebook : {"ema", "gradient"}
        EMAVectorQuantizer or VectorQuantizer.
    commitment_cost, decay, epsilon, codebook_init
        The quantizer's; epsilon is EMA's. The default starts the codes at random latents of the
        training set (see VectorQuantizer.start_from).
    quantizer_options : mapping, optional
        Any further keyword of the quantizer's: the named variants.
    rng : numpy.random.Generator or int
        What the parameters are drawn from.
    dtype : "float32" or "float64"

    References
    ----------
    van den Oord et al. 2017, arXiv 1711.00937.
    """

    kind = "vqvae"
    columns = ("loss", "mse", "quantization_loss")
    meaning = ("image_shape", "num_latents", "hidden", "activation", "dtype")

    def __init__(
        self,
        image_shape: tuple[int, ...] = (28, 28),
        num_latents: int = 16,
        embedding_dim: int = 16,
        num_embeddings: int = 128,
        hidden: tuple[int, ...] = (512,),
        activation: str = "relu",
        codebook: str = "ema",
        commitment_cost: float = 0.25,
        decay: float = 0.99,
        epsilon: float = 1e-5,
        codebook_init: str = "data",
        quantizer_options: Mapping[str, Any] | None = None,
        rng: np.random.Generator | int = 0,
        dtype: str = "float32",
    ) -> None:
        where = "VQVAE"
        hidden = self._check_shape(image_shape, hidden, activation, dtype)
        self.num_latents = check_int(where, "num_latents", num_latents)
        self.embedding_dim = check_int(where, "embedding_dim", embedding_dim)
        self.num_embeddings = check_int(where, "num_embeddings", num_embeddings)
        check_choice(where, "codebook", codebook, ("ema", "gradient"))
        if quantizer_options is not None and not isinstance(quantizer_options, Mapping):
            fail(where, "quantizer_options", "must be a mapping", type(quantizer_options).__name__)
        further: dict[str, Any] = {
            name: value.item() if isinstance(value, np.generic) else value  # plain, for a checkpoint's JSON
            for name, value in (quantizer_options or {}).items()
        }
        rng = check_rng("VQVAE", rng)
        H = self.num_latents * self.embedding_dim
        self._make_networks(hidden, activation, rng, H, H)
        options: dict[str, Any] = {"decay": decay, "codebook_init": codebook_init}
        options |= {"rng": rng, "dtype": self.dtype} | ({"epsilon": epsilon} if codebook == "ema" else {})
        repeated = sorted(options.keys() & further.keys())
        if repeated:
            fail(where, "quantizer_options", "must not repeat VQVAE's own arguments", ", ".join(repeated))
        options |= further
        kind = EMAVectorQuantizer if codebook == "ema" else VectorQuantizer
        try:
            self.quantizer = kind(self.num_embeddings, self.embedding_dim, commitment_cost, **options)
        except TypeError as error:
            fail(where, "quantizer_options", f"must be keywords of {kind.__name__}", error)
        self.config: dict[str, Any] = {
            "image_shape": list(self.image_shape),
            "num_latents": self.num_latents,
            "embedding_dim": self.embedding_dim,
            "num_embeddings": self.num_embeddings,
            "hidden": list(hidden),
            "activation": activation,
            "codebook": codebook,
            "commitment_cost": self.quantizer.commitment_cost,
            "decay": self.quantizer.decay,
            "epsilon": check_float(where, "epsilon", epsilon, "[0, inf)"),
            "codebook_init": codebook_init,
            "quantizer_options": further,
            "dtype": self.dtype.name,
        }

    def parts(self) -> Mapping[str, Module]:
        return {"encoder": self.encoder, "quantizer": self.quantizer, "decoder": self.decoder}

    @property
    def bits_per_image(self) -> float:
        """M log₂ K."""
        return bits_per_image(self.num_latents, self.num_embeddings)

    # The model and its gradients.

    def forward(self, x: Array, lookahead: bool = False) -> tuple[Array, Array, Array, Array, Cache]:
        """x̂, z, k, L_vq, cache for x: (B, P) in [0, 1]; changes nothing.

        x_hat: (B, P) is the decoder's own output, not clipped; lookahead: see EMAVectorQuantizer.forward.
        """
        check_array("VQVAE.forward", "x", x, ndim=2, last=self.num_pixels, dtype=self.dtype)
        h, encoder_cache = self.encoder.forward(x)
        z = h.reshape(len(x), self.num_latents, self.embedding_dim)
        z_q, L_vq, k, quantizer_cache = self.quantizer.forward(z, lookahead)
        x_hat, decoder_cache = self.decoder.forward(z_q.reshape(h.shape))
        return x_hat, z, k, L_vq, (encoder_cache, quantizer_cache, decoder_cache, z.shape)

    def backward(self, dx_hat: Array, cache: Cache, dL_vq: Array | float = 1.0) -> Array:
        """dx: decoder, then straight through the quantizer, then encoder; adds to every Param's grad.

        dx_hat: (B, P), dL_vq: () -> dx: (B, P)
        """
        return self.encoder.backward(self._backward_to_z(dx_hat, cache, dL_vq), cache[0])

    def _backward_to_z(self, dx_hat: Array, cache: Cache, dL_vq: Array | float) -> Array:
        _, quantizer_cache, decoder_cache, z_shape = cache
        dh = self.decoder.backward(dx_hat, decoder_cache)
        dz = self.quantizer.backward(dh.reshape(z_shape), quantizer_cache, dL_vq)
        return dz.reshape(dh.shape)

    def loss_forward(self, x: Array, lookahead: bool = False) -> tuple[Losses, Array, Array, Cache]:
        """L = ⟨(x̂ − x)²⟩ + L_vq; losses, z: (B, M, D), k: (B, M), cache for x: (B, P).

        ⟨·⟩ is the mean over all pixels of all images, as L_vq's is over all entries of all latents.
        """
        x_hat, z, k, L_vq, cache = self.forward(x, lookahead)
        L_rec, mse_cache = mse_forward(x_hat, x)
        return Losses(np.asarray(L_rec + L_vq), L_rec, L_vq), z, k, (cache, mse_cache)

    def loss_backward(self, dL: Array | float, cache: Cache) -> Array:
        """dx = dL · ∂L/∂x as far as x goes through the encoder (as the target x is a constant)."""
        forward_cache, mse_cache = cache
        dx_hat, _ = mse_backward(dL, mse_cache)
        return self.backward(dx_hat, forward_cache, dL)

    def loss_backward_params(self, dL: Array | float, cache: Cache) -> None:
        """loss_backward without dx, which training has no use for: a matrix product less."""
        forward_cache, mse_cache = cache
        dx_hat, _ = mse_backward(dL, mse_cache)
        self.encoder.backward_params(self._backward_to_z(dx_hat, forward_cache, dL), forward_cache[0])

    # What a trainer asks.

    def train_start(self, images: Array, rng: np.random.Generator) -> None:
        """start_codebook."""
        self.start_codebook(images, rng)

    def train_forward(
        self, x: Array, rng: np.random.Generator, step: int
    ) -> tuple[Losses, Array, Array, Cache]:
        """loss_forward, ahead of the codes' update where the quantizer wants that; draws nothing."""
        return self.loss_forward(x, getattr(self.quantizer, "codes", "before") == "after")

    def train_update(self, z: Array, k: Array, rng: np.random.Generator, restart_below: float) -> Array:
        """The codebook's own rule."""
        return self.quantizer.update(z, k, rng, restart_below)

    # What a person does with it.

    def latents(self, images: Array, first: int = 0) -> Array:
        """z = encoder(x); images: (n, *image_shape) or (n, P), uint8 or float in [0, 1] -> z: (n, M, D)."""
        z = self.encoded(images, first)
        return z.reshape(len(z), self.num_latents, self.embedding_dim)

    def encode(self, images: Array, progress: bool = False) -> Array:
        """k = argmin_j ‖encoder(x) − e_j‖²; images: (n, *image_shape) -> k: (n, M) int64.

        Works through a part of the images at a time, so that beside the codes it needs the same memory
        for ten million, memory-mapped, as for a thousand; progress draws a bar on standard error.
        """
        k = np.empty((len(images) if np.ndim(images) else 0, self.num_latents), np.int64)
        return in_parts(lambda x, start: self.quantizer.encode(self.latents(x, start)), images, k, progress)

    def decode(self, codes: Array) -> Array:
        """x̂ = decoder(e_k), clipped to [0, 1]; codes: (n, M) integers in [0, K) -> (n, *image_shape).

        An image's pixels are known to lie in [0, 1], so a value outside is brought to the nearer end.
        """
        k = check_codes("VQVAE.decode", codes, self.num_embeddings)
        if k.ndim != 2 or k.shape[1] != self.num_latents:
            fail("VQVAE.decode", "codes", f"must have shape (n, {self.num_latents})", f"shape {k.shape}")
        return self.decode_latents(self.quantizer.decode(k))

    def decode_latents(self, z_q: Array) -> Array:
        """x̂ = decoder(z_q), clipped to [0, 1]; z_q: (n, M, D), any vectors -> (n, *image_shape)."""
        shape = (len(z_q), self.num_latents, self.embedding_dim)
        check_array("VQVAE.decode_latents", "z_q", z_q, shape=shape, dtype=self.dtype)
        rows = z_q.reshape(len(z_q), shape[1] * shape[2])
        return np.clip(self.decoded(rows), 0, 1).reshape(len(z_q), *self.image_shape)

    def start_codebook(self, images: Array, rng: np.random.Generator | int) -> None:
        """Start the codes from the latents of images, if codebook_init is "data" or "kmeans"."""
        self.quantizer.start_from(self.latents(images), rng)

    def meaning_arrays(self) -> list[Array]:
        """The codebook."""
        return [self.quantizer.embeddings]
