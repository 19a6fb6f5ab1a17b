"""z = μ(x) + exp(ℓ(x)/2) ε,  L = −log p(x|z) + w KL(q(z|x) ‖ N(0, I)): the VAE."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from vqnp._check import Array, check_choice, check_float, check_int, check_rng, fail, moved
from vqnp.data.spec import DataSpec, check_shape
from vqnp.evaluation.latents import LatentEvaluation, evaluate_vae
from vqnp.kernels import memory
from vqnp.models.autoencoder import Autoencoder
from vqnp.models.base import NETWORK_ARGUMENTS, mlp_networks, needs_parts
from vqnp.models.conv import conv_networks
from vqnp.nn import Module, register
from vqnp.nn.module import Cache
from vqnp.nn.trainable import Batch, Losses
from vqnp.ops.activation import sigmoid
from vqnp.ops.gaussian import (
    gaussian_kl_backward, gaussian_kl_forward, gaussian_nll_backward, gaussian_nll_forward,
    reparameterise_backward, reparameterise_forward,
)
from vqnp.ops.loss import bce_logits_backward, bce_logits_forward

LIKELIHOODS = ("bernoulli", "gaussian")


@register
class VAE(Autoencoder):
    """q(z|x) = N(μ, diag exp ℓ),  L = −⟨log p(x|z)⟩ + w KL(q(z|x) ‖ N(0, I)), in nats per example.

    x: (B, *data.shape) -> mu, logvar, z: (B, *latent_shape, D) -> a: (B, *data.shape)

    Parameters
    ----------
    encoder : Module
        (B, *data.shape) -> (B, *latent_shape, 2 D): μ in the first half of the last axis, ℓ in the second.
    decoder, data
        As in Autoencoder; the decoder's output is a.
    likelihood : {"bernoulli", "gaussian"}
        p(x|z): for each pixel, Bernoulli with mean σ(a), or N(a, s²). For grey pixels the first is not a
        density over [0, 1], but it is the usual choice for MNIST: its terms are cross-entropies.
    noise_std : float
        s, for "gaussian". The default, 0.1, is about the root of the default VQ-VAE's MSE. The weight of
        the error relative to the KL is proportional to 1/s²: at s = 1, few latent units are used on digits.
    kl_weight : float
        w; 1 gives the evidence lower bound, a larger w is the β of a β-VAE, and 0 removes the KL.
    kl_warmup : int
        Steps over which w grows linearly from 0 to kl_weight; 0 for none.

    Raises
    ------
    InputError
        The parts do not fit together, an argument is out of range, or a Bernoulli likelihood is used for
        data not in [0, 1].

    References
    ----------
    Kingma & Welling 2013, arXiv 1312.6114, equation 10. The warm-up: Bowman et al. 2015,
    arXiv 1511.06349; Sønderby et al. 2016, arXiv 1602.02282. β: Higgins et al. 2017, ICLR.
    """

    kind = "vae"

    @moved(
        "VAE", needs_parts("VAE"),
        **dict.fromkeys(NETWORK_ARGUMENTS, "must be given to VAE.mlp or VAE.conv"),
    )  # fmt: skip
    def __init__(
        self, encoder: Module, decoder: Module, data: DataSpec | Mapping[str, Any] = DataSpec(),
        likelihood: str = "bernoulli", noise_std: float = 0.1, kl_weight: float = 1.0, kl_warmup: int = 0,
    ) -> None:  # fmt: skip
        self.likelihood = check_choice("VAE", "likelihood", likelihood, LIKELIHOODS)
        self.noise_std = check_float("VAE", "noise_std", noise_std, "(0, inf)")
        self.kl_weight = check_float("VAE", "kl_weight", kl_weight, "[0, inf)")
        self.kl_warmup = check_int("VAE", "kl_warmup", kl_warmup, 0)
        super().__init__(encoder, decoder, data)
        ends = self.data.low, self.data.high
        if likelihood == "bernoulli" and ends != (0, 1):
            fail("VAE", "data", "must be in [0, 1] for a Bernoulli likelihood", f"[{ends[0]:g}, {ends[1]:g}]")

    @classmethod
    def mlp(  # type: ignore[override]
        cls, image_shape: tuple[int, ...] = (28, 28), latent_dim: int = 256,
        hidden: tuple[int, ...] = (512,), activation: str = "relu",
        likelihood: str = "bernoulli", noise_std: float = 0.1, kl_weight: float = 1.0, kl_warmup: int = 0,
        rng: np.random.Generator | int = 0, dtype: str = "float32",
    ) -> Self:  # fmt: skip
        """A VAE of two multilayer perceptrons; arguments as in VAE and Autoencoder.mlp.

        The decoder starts with the weights of the default VQVAE's decoder; the encoder's last layer is
        twice as wide. With a Gaussian likelihood the posterior starts about as narrow as a pixel's noise,
        σ ≈ min(s, 1). With σ ≈ 1, the noise of 256 latents would initially cost so much that Adam drives
        most of the decoder's ReLUs to 0 (after four epochs on digits, only four of 256 were above 0 for more
        than one draw in fifty).
        """
        shape = check_shape("VAE", "image_shape", image_shape)
        D = check_int("VAE", "latent_dim", latent_dim)
        rng = check_rng("VAE", rng)
        encoder, decoder = mlp_networks("VAE", shape, (2 * D,), (D,), hidden, activation, rng, dtype)
        model = cls(encoder, decoder, DataSpec(shape), likelihood, noise_std, kl_weight, kl_warmup)
        model._narrow(encoder.layers[-2])
        return model

    @classmethod
    def conv(  # type: ignore[override]
        cls, image_shape: tuple[int, ...] = (28, 28),
        channels: int = 64, residual_channels: int = 32, residual_blocks: int = 2, downsampling: int = 2,
        latent_dim: int = 8, ndim: int | None = None,
        likelihood: str = "bernoulli", noise_std: float = 0.1, kl_weight: float = 1.0, kl_warmup: int = 0,
        rng: np.random.Generator | int = 0, dtype: str = "float32",
    ) -> Self:  # fmt: skip
        """A VAE with the networks of VQVAE.conv; arguments as in VAE and Autoencoder.conv.

        The encoder's last layer is twice as wide. With a Gaussian likelihood the posterior starts as narrow
        as in VAE.mlp.
        """
        D, rng = check_int("VAE", "latent_dim", latent_dim), check_rng("VAE", rng)
        sizes = channels, residual_channels, residual_blocks, downsampling
        encoder, decoder = conv_networks("VAE", image_shape, 2 * D, D, *sizes, ndim, rng, dtype)
        model = cls(encoder, decoder, DataSpec(image_shape), likelihood, noise_std, kl_weight, kl_warmup)
        model._narrow(encoder.layers[-1])
        return model

    def _narrow(self, last: Module) -> None:
        """Let a Gaussian posterior start with σ ≈ min(s, 1), by the biases of the encoder's last layer."""
        if self.likelihood == "gaussian":
            last.b.value[self.latent_dim :] = 2 * np.log(min(self.noise_std, 1))  # type: ignore[attr-defined]

    def config(self) -> dict[str, Any]:
        own = ("likelihood", "noise_std", "kl_weight", "kl_warmup")
        return super().config() | {name: getattr(self, name) for name in own}

    def weight(self, step: int) -> float:
        """w at a step, counted from 0: kl_weight · min(1, step / kl_warmup)."""
        return self.kl_weight * (min(1.0, step / self.kl_warmup) if self.kl_warmup else 1.0)

    def loss(self, batch: Batch, rng: Any = None, step: int = 0) -> tuple[Losses, Cache]:
        """L = −log p(x|z) + w KL for a batch (x,): summed over each example, averaged over examples, in nats.

        rng is the generator that draws ε, or ε itself: (B, *latent_shape, D); without it, ε = 0.
        """
        (x,) = batch
        h, encoder_cache = self.encoder.forward(x)
        mu, logvar = self._split(h)
        eps = np.zeros_like(mu) if rng is None else rng
        if isinstance(rng, np.random.Generator):
            eps = rng.standard_normal(mu.shape, mu.dtype)
        z, draw_cache = reparameterise_forward(mu, logvar, eps)
        a, decoder_cache = self.decoder.forward(z)
        nll, nll_cache = self.nll_forward(a, x)
        KL, kl_cache = gaussian_kl_forward(_rows(mu), _rows(logvar))
        w = self.weight(step)
        losses = {"loss": nll + w * KL, "reconstruction_loss": nll, "kl": KL}
        return losses, (encoder_cache, draw_cache, decoder_cache, nll_cache, kl_cache, w)

    def backward(  # type: ignore[override]
        self, cache: Cache, dL: Array | float = 1.0, need_dx: bool = False
    ) -> Any:
        """Add dL · ∂L/∂θ to every grad: decoder, then the draw, plus the KL's own gradient, then encoder.

        dx, if needed, is the gradient through the encoder alone: as the target, x is treated as constant.
        """
        encoder_cache, draw_cache, decoder_cache, nll_cache, kl_cache, w = cache
        da = self.nll_backward(dL, nll_cache)
        dz = self.decoder.backward(da, decoder_cache)
        dmu, dlogvar, _ = reparameterise_backward(dz, draw_cache)
        dmu_kl, dlogvar_kl = gaussian_kl_backward(float(dL) * w, kl_cache)
        dmu, dlogvar = dmu + dmu_kl.reshape(dmu.shape), dlogvar + dlogvar_kl.reshape(dmu.shape)
        return self.encoder.backward(np.concatenate([dmu, dlogvar], axis=-1), encoder_cache, need_dx)

    def nll_forward(self, a: Array, x: Array) -> tuple[Array, Cache]:
        """−log p(x|z), a = decoder(z), in nats per example: cross-entropy, or error/2s² + a constant."""
        if self.likelihood == "bernoulli":
            return bce_logits_forward(_rows(a), _rows(x), "mean_of_sums")
        return gaussian_nll_forward(_rows(a), _rows(x), self.noise_std)

    def nll_backward(self, dL: Array | float, cache: Cache) -> Array:
        """da = dL · ∂(−log p(x|z))/∂a: (B, *data.shape)."""
        backward = bce_logits_backward if self.likelihood == "bernoulli" else gaussian_nll_backward
        da = backward(dL, cache)[0]
        return da.reshape(len(da), *self.data.shape)

    def row(self, statistics: Mapping[str, Array], step: int) -> dict[str, float]:
        """w at the epoch's last step."""
        return {"kl_weight": self.weight(step)}

    def evaluate(self, data: Any, history: Any = None, progress: bool = False) -> LatentEvaluation:
        """MSE, likelihood and KL over a data set; see evaluation.evaluate_vae."""
        return evaluate_vae(self, data, progress)

    def _split(self, h: Array) -> tuple[Array, Array]:
        """Split the encoder's output (..., 2 D) into μ, ℓ: (..., D)."""
        D = h.shape[-1] // 2
        return h[..., :D], h[..., D:]

    def _latents_of(self, h: Array) -> Array:
        """μ of the encoder's output."""
        if h.shape[-1] % 2:
            fail("VAE", "encoder", "must give arrays (B, ..., 2 D), μ and log σ²", f"last axis {h.shape[-1]}")
        return self._split(h)[0]

    def latents(self, images: Any, first: int = 0) -> Array:
        """μ, the mean of q(z|x): (n, *data.shape) -> (n, *latent_shape, D)."""
        return self.posterior(images, first)[0]

    def posterior(self, images: Any, first: int = 0) -> tuple[Array, Array]:
        """μ, ℓ of q(z|x): (n, *data.shape) -> mu, logvar: (n, *latent_shape, D)."""
        return self._split(self.encode_raw(images, first))

    def to_data(self, x_hat: Array) -> Array:
        """The mean of p(x|z): σ(a), or a clipped to the data's range."""
        return sigmoid(x_hat) if self.likelihood == "bernoulli" else super().to_data(x_hat)

    def defining_values(self) -> list[Any]:
        return [*super().defining_values(), self.likelihood]

    def sample(self, n: int, rng: np.random.Generator | int) -> Array:
        """decode(z), z ~ N(0, I): n new examples -> (n, *data.shape)."""
        n = check_int("VAE.sample", "n", n, 0)
        rng = check_rng("VAE.sample", rng)
        memory.check_memory("VAE.sample", "n", n, self.latent_bytes + self.decoded_bytes)
        return self.decode(rng.standard_normal((n, *self.encoding.shape), self.dtype))


def _rows(x: Array) -> Array:
    """(B, ...) -> (B, P): each example as one row, over which its loss is summed."""
    return x.reshape(len(x), int(np.prod(x.shape[1:])))
