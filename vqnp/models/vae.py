"""q(z|x) = N(μ, diag exp ℓ),  z = μ + exp(ℓ/2) ε,  L = −log p(x|z) + w KL(q(z|x) ‖ N(0, I)): the VAE.

x: (B, P) an image of P pixels -> mu, logvar, eps, z: (B, D) -> x_hat: (B, P)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vqnp._check import Array, check_array, check_choice, check_float, check_int, check_rng
from vqnp.models.autoencoder import Autoencoder
from vqnp.nn.module import Cache
from vqnp.ops.activation import sigmoid
from vqnp.ops.gaussian import (
    gaussian_kl_backward,
    gaussian_kl_forward,
    gaussian_nll_backward,
    gaussian_nll_forward,
    reparameterise_backward,
    reparameterise_forward,
)
from vqnp.ops.loss import bce_logits_backward, bce_logits_forward

LIKELIHOODS = ("bernoulli", "gaussian")


class VAELosses(NamedTuple):
    """L = reconstruction + w · kl, each a scalar array, in nats per image."""

    total: Array
    reconstruction: Array
    kl: Array


class VAE(Autoencoder):
    """q(z|x) = N(μ, diag exp ℓ), (μ, ℓ) = encoder(x);  p(x|z) by decoder(z);  prior N(0, I).

    x: (B, P) -> mu, logvar, z: (B, D), decoder's output a: (B, P)

    Parameters
    ----------
    image_shape : tuple of int
        The shape of one image; P is its product.
    latent_dim : int
        D; see Autoencoder. The decoder is the default VQVAE's, weight for weight; the encoder's last
        layer is twice as wide, as it says μ and ℓ.
    hidden, activation, rng, dtype
        As in VQVAE.
    likelihood : {"bernoulli", "gaussian"}
        p(x|z): of each pixel Bernoulli with mean σ(a), or N(a, s²). For grey pixels the first is no
        density over [0, 1], but the usual choice for MNIST: its terms are a cross-entropy.
    noise_std : float
        s, for "gaussian". The default, 0.1, is about the root of the default VQ-VAE's MSE. The error's
        weight against the KL goes with 1/s²: at s = 1 digits are hardly worth a unit. The posterior
        starts about as narrow, σ ≈ min(s, 1): from σ ≈ 1, the noise of 256 latents costs so much at first
        that Adam silences the decoder's ReLUs (after four epochs on digits only four of 256 still gave
        more than 0 for more than one draw in fifty).
    kl_weight : float
        w; 1 is the evidence lower bound, more is the β of a β-VAE, 0 no KL at all.
    kl_warmup : int
        Steps over which w grows in a line from 0 to kl_weight; 0 for none.

    References
    ----------
    Kingma & Welling 2013, arXiv 1312.6114, equation 10. The warm-up: Bowman et al. 2015,
    arXiv 1511.06349; Sønderby et al. 2016, arXiv 1602.02282. β: Higgins et al. 2017, ICLR.
    """

    kind = "vae"
    columns = ("loss", "reconstruction_loss", "kl")
    meaning = (*Autoencoder.meaning, "likelihood")
    encoded_per_latent = 2

    def __init__(
        self,
        image_shape: tuple[int, ...] = (28, 28),
        latent_dim: int = 256,
        hidden: tuple[int, ...] = (512,),
        activation: str = "relu",
        likelihood: str = "bernoulli",
        noise_std: float = 0.1,
        kl_weight: float = 1.0,
        kl_warmup: int = 0,
        rng: np.random.Generator | int = 0,
        dtype: str = "float32",
    ) -> None:
        super().__init__(image_shape, latent_dim, hidden, activation, rng, dtype)
        self.likelihood = check_choice("VAE", "likelihood", likelihood, LIKELIHOODS)
        self.noise_std = check_float("VAE", "noise_std", noise_std, "(0, inf)")
        self.kl_weight = check_float("VAE", "kl_weight", kl_weight, "[0, inf)")
        self.kl_warmup = check_int("VAE", "kl_warmup", kl_warmup, 0)
        for name in ("likelihood", "noise_std", "kl_weight", "kl_warmup"):
            self.config[name] = getattr(self, name)
        if likelihood == "gaussian":
            bias = self.encoder.layers[-1].params()["b"].value
            bias[self.latent_dim :] = 2 * np.log(min(self.noise_std, 1))

    def weight(self, step: int) -> float:
        """w at a step, counted from 0: kl_weight · min(1, step / kl_warmup)."""
        return self.kl_weight * (min(1.0, step / self.kl_warmup) if self.kl_warmup else 1.0)

    # The model and its gradients.

    def forward(self, x: Array, eps: Array | None = None) -> tuple[Array, Array, Array, Array, Cache]:
        """a, μ, ℓ, KL, cache for x: (B, P) in [0, 1] and noise eps: (B, D); changes nothing.

        a: (B, P) is the decoder's own output: logits for "bernoulli". Without eps, z = μ.
        KL: () is the mean over images, in nats.
        """
        check_array("VAE.forward", "x", x, ndim=2, last=self.num_pixels, dtype=self.dtype)
        h, encoder_cache = self.encoder.forward(x)
        mu, logvar = self._split(h)
        if eps is None:
            eps = np.zeros_like(mu)
        z, draw_cache = reparameterise_forward(mu, logvar, eps)
        KL, kl_cache = gaussian_kl_forward(mu, logvar)
        a, decoder_cache = self.decoder.forward(z)
        return a, mu, logvar, KL, (encoder_cache, draw_cache, kl_cache, decoder_cache)

    def backward(self, da: Array, cache: Cache, dKL: Array | float = 1.0) -> Array:
        """dx: decoder, then through the draw, beside it the KL's own gradient, then encoder.

        da: (B, P), dKL: () -> dx: (B, P)
        """
        return self.encoder.backward(self._backward_to_h(da, cache, dKL), cache[0])

    def backward_params(self, da: Array, cache: Cache, dKL: Array | float = 1.0) -> None:
        """backward without dx."""
        self.encoder.backward_params(self._backward_to_h(da, cache, dKL), cache[0])

    def _backward_to_h(self, da: Array, cache: Cache, dKL: Array | float) -> Array:
        _, draw_cache, kl_cache, decoder_cache = cache
        dmu, dlogvar, _ = reparameterise_backward(self.decoder.backward(da, decoder_cache), draw_cache)
        dmu_kl, dlogvar_kl = gaussian_kl_backward(dKL, kl_cache)
        return np.concatenate([dmu + dmu_kl, dlogvar + dlogvar_kl], axis=1)

    def _split(self, h: Array) -> tuple[Array, Array]:
        """The encoder's output (n, 2 D) as μ, ℓ: (n, D)."""
        return h[:, : self.latent_dim], h[:, self.latent_dim :]

    def loss_forward(
        self, x: Array, eps: Array | None = None, kl_weight: float | None = None
    ) -> tuple[VAELosses, Array, Array, Cache]:
        """L = −log p(x|z) + w KL, in nats per image; losses, mu, logvar: (B, D), cache for x: (B, P).

        The mean over images of the sum over an image's pixels; w is kl_weight, the model's own by default.
        """
        w = self.kl_weight if kl_weight is None else kl_weight
        a, mu, logvar, KL, cache = self.forward(x, eps)
        L_rec, nll_cache = self.nll_forward(a, x)
        return VAELosses(L_rec + KL.dtype.type(w) * KL, L_rec, KL), mu, logvar, (cache, nll_cache, w)

    def loss_backward(self, dL: Array | float, cache: Cache) -> Array:
        """dx = dL · ∂L/∂x as far as x goes through the encoder (as the target x is a constant)."""
        forward_cache, nll_cache, w = cache
        return self.backward(self._nll_backward(dL, nll_cache), forward_cache, float(dL) * w)

    def loss_backward_params(self, dL: Array | float, cache: Cache) -> None:
        """loss_backward without dx."""
        forward_cache, nll_cache, w = cache
        self.backward_params(self._nll_backward(dL, nll_cache), forward_cache, float(dL) * w)

    def nll_forward(self, a: Array, x: Array) -> tuple[Array, Cache]:
        """−log p(x|z), a = decoder(z), in nats per image: cross-entropy, or error/2s² + a constant."""
        if self.likelihood == "bernoulli":
            return bce_logits_forward(a, x, "mean_of_sums")
        return gaussian_nll_forward(a, x, self.noise_std)

    def _nll_backward(self, dL: Array | float, cache: Cache) -> Array:
        back = bce_logits_backward if self.likelihood == "bernoulli" else gaussian_nll_backward
        return back(dL, cache)[0]

    def train_forward(self, x: Array, rng: np.random.Generator, step: int) -> tuple[Any, Array, Array, Cache]:
        """loss_forward with noise from rng, one draw for each image, and the weight of this step."""
        eps = rng.standard_normal((len(x), self.latent_dim), self.dtype)
        losses, mu, _, cache = self.loss_forward(x, eps, self.weight(step))
        return losses, mu, np.empty((len(x), 0), np.int64), cache

    def train_row(self, step: int) -> dict[str, float]:
        """w at the epoch's last step."""
        return {"kl_weight": self.weight(step)}

    # What a person does with it.

    def posterior(self, images: Array, first: int = 0) -> tuple[Array, Array]:
        """μ, ℓ of q(z|x); images: (n, *image_shape) or (n, P) -> mu, logvar: (n, D)."""
        return self._split(self.encoded(images, first))

    def latents(self, images: Array, first: int = 0) -> Array:
        """μ, the mean of q(z|x): what encode gives; images: (n, *image_shape) or (n, P) -> mu: (n, D)."""
        return self.posterior(images, first)[0]

    def to_pixels(self, x_hat: Array) -> Array:
        """The mean of p(x|z): σ(a), or a clipped to [0, 1]."""
        return sigmoid(x_hat) if self.likelihood == "bernoulli" else np.clip(x_hat, 0, 1)

    def sample(self, n: int, rng: np.random.Generator | int) -> Array:
        """decode(z), z ~ N(0, I): n images that the model makes up -> (n, *image_shape)."""
        n = check_int("VAE.sample", "n", n, 0)
        return self.decode(check_rng("VAE.sample", rng).standard_normal((n, self.latent_dim), self.dtype))
