"""z = encoder(x),  k = argmin ‖z − e‖²,  x̂ = decoder(e_k),  L = ⟨(x̂ − x)²⟩ + L_vq: the VQ-VAE."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from vqnp._check import Array, check_choice, check_codes, check_float, check_int, check_rng, fail, many, moved
from vqnp.data.spec import DataSpec, check_shape
from vqnp.evaluation.codes import Evaluation, evaluate_codes
from vqnp.metrics.codebook import bits_per_image, mean_perplexity, perplexity
from vqnp.models.base import Encoding, Model, mlp_networks, needs_parts
from vqnp.models.conv import conv_networks
from vqnp.nn import EMAVectorQuantizer, Module, Quantizer, VectorQuantizer, register
from vqnp.nn.module import Cache
from vqnp.nn.trainable import Batch, Losses
from vqnp.ops.logit_laplace import (
    logit_laplace_median, logit_laplace_nll_backward, logit_laplace_nll_forward, squeeze,
)
from vqnp.ops.loss import mse_backward, mse_forward

LIKELIHOODS = ("squared_error", "logit_laplace")

_NETWORKS = "must be given to VQVAE.mlp or VQVAE.conv, which make the networks"
_QUANTIZER = "must be arguments of a quantizer, such as quantizer=EMAVectorQuantizer(K, D, ...)"
_MOVED = dict.fromkeys(
    ("image_shape", "num_latents", "hidden", "activation", "channels", "residual_channels", "residual_blocks",
     "downsampling", "ndim", "embedding_dim", "num_embeddings", "codebook", "commitment_cost", "decay",
     "epsilon", "codebook_init", "restart_dead_codes", "estimator", "rng", "dtype"),
    _NETWORKS,
)  # fmt: skip


@register
class VQVAE(Model):
    """z = encoder(x),  z_q = e_k,  x̂ = decoder(z_q): one example becomes M codes of log₂ K bits.

    x: (B, *data.shape) -> z, z_q: (B, *latent_shape, D), k: (B, *code_shape) -> x_hat: (B, *data.shape)

    code_shape is latent_shape, or (*latent_shape, n) for a quantizer with n codebooks: n M codes. A prior
    over codes takes them as a grid of grid_shape, in which the n codes of a latent are neighbours along the
    last axis: of latents (H, W) it is (H, n W), codes.reshape(len(codes), *model.grid_shape).

    Parameters
    ----------
    encoder : Module
        (B, *data.shape) -> z: (B, *latent_shape, D); M is the product of latent_shape.
    quantizer : Quantizer
        Of vqnp.nn, such as EMAVectorQuantizer or FiniteScalarQuantizer, for vectors of D dimensions.
    decoder, data
        As in Autoencoder.
    likelihood : {"squared_error", "logit_laplace"}
        The reconstruction loss: ⟨(x̂ − x)²⟩, or, as in DALL·E's discrete VAE, −log p(x) of
        ops.logit_laplace for the squeezed pixels, in nats for each pixel value. The decoder then returns
        (B, *data.shape, 2): μ and log b.

    Raises
    ------
    InputError
        The parts do not fit together; the error says which part returned what.

    References
    ----------
    van den Oord et al. 2017, arXiv 1711.00937, equations 1 to 3.

    Examples
    --------
    >>> from vqnp import VQVAE
    >>> from vqnp.nn import EMAVectorQuantizer, Flatten, Linear, Reshape, Sequential
    >>> encoder = Sequential(Flatten(), Linear(784, 16 * 8), Reshape(16, 8))
    >>> decoder = Sequential(Flatten(), Linear(16 * 8, 784), Reshape(28, 28))
    >>> model = VQVAE(encoder, EMAVectorQuantizer(128, 8), decoder)
    >>> model.latent_shape, model.bits_per_image
    ((16,), 112.0)
    """

    kind = "vqvae"
    quantizer: Quantizer

    @moved("VQVAE", needs_parts("VQVAE"), **_MOVED, quantizer_options=_QUANTIZER)
    def __init__(
        self, encoder: Module, quantizer: Quantizer, decoder: Module,
        data: DataSpec | Mapping[str, Any] = DataSpec(), likelihood: str = "squared_error",
    ) -> None:  # fmt: skip
        self.likelihood = check_choice("VQVAE", "likelihood", likelihood, LIKELIHOODS)
        z = self._connect(encoder, decoder, data)
        ends = self.data.low, self.data.high
        if likelihood == "logit_laplace" and ends != (0, 1):
            needed = "must be in [0, 1] for a logit-Laplace likelihood"
            fail("VQVAE", "data", needed, f"[{ends[0]:g}, {ends[1]:g}]")
        if not isinstance(quantizer, Quantizer):
            fail("VQVAE", "quantizer", "must be a quantizer of vqnp.nn", type(quantizer).__name__)
        if z.shape[-1] != quantizer.embedding_dim:
            needed = f"must give arrays (B, ..., {quantizer.embedding_dim}), like the quantizer's codes"
            fail("VQVAE", "encoder", needed, f"shape {z.shape[1:]} an example")
        if quantizer.dtype != self.dtype:
            fail("VQVAE", "quantizer", f"must be {self.dtype}, as the encoder", quantizer.dtype)
        self.quantizer = quantizer
        self.latent_shape = z.shape[1:-1]
        self._check_decoder(z)
        self.num_embeddings = quantizer.num_embeddings
        self.latent_dim = self.embedding_dim = quantizer.embedding_dim

    @classmethod
    @moved("VQVAE", quantizer_options=_QUANTIZER)
    def mlp(
        cls, image_shape: tuple[int, ...] = (28, 28),
        num_latents: int = 16, embedding_dim: int = 16, num_embeddings: int = 128,
        hidden: tuple[int, ...] = (512,), activation: str = "relu",
        codebook: str = "ema", commitment_cost: float = 0.25, decay: float = 0.99, epsilon: float = 1e-5,
        codebook_init: str = "data", restart_dead_codes: float = 0.05, estimator: str = "straight_through",
        quantizer: Quantizer | None = None,
        rng: np.random.Generator | int = 0, dtype: str = "float32",
    ) -> Self:  # fmt: skip
        """A VQ-VAE whose encoder and decoder are multilayer perceptrons.

        Parameters
        ----------
        image_shape : tuple of int
            The shape of one image; P is the product of its entries.
        num_latents, embedding_dim, num_embeddings : int
            M latents of D dimensions each, and K codes that they share.
        hidden : sequence of int
            The widths of the encoder's hidden layers; the decoder uses them in reverse order.
        activation : {"relu", "gelu", "tanh", "sigmoid", "silu", "leaky_relu"}
            The function between layers.
        codebook : {"ema", "gradient"}
            EMAVectorQuantizer or VectorQuantizer.
        commitment_cost, decay, epsilon, codebook_init, restart_dead_codes, estimator
            Passed to the quantizer; epsilon applies to EMA only. By default the codes start at random latents
            of the training set, and codes used less than 5 % as often as under uniform use are restarted.
        quantizer : Quantizer, optional
            Used instead of one built from the arguments above; it sets embedding_dim and num_embeddings.
        rng : numpy.random.Generator or int
            The source of the parameters' initial values.
        dtype : "float32" or "float64"
        """
        where = "VQVAE"
        image_shape = check_shape(where, "image_shape", image_shape)
        M = check_int(where, "num_latents", num_latents)
        D = check_int(where, "embedding_dim", given_dim(where, quantizer, embedding_dim))
        rng = check_rng(where, rng)
        encoder, decoder = mlp_networks(where, image_shape, (M, D), (M, D), hidden, activation, rng, dtype)
        if quantizer is None:
            quantizer = quantizer_of(
                codebook, num_embeddings, D, commitment_cost, epsilon, decay=decay,
                codebook_init=codebook_init, restart_dead_codes=restart_dead_codes, estimator=estimator,
                rng=rng, dtype=dtype,
            )  # fmt: skip
        return cls(encoder, quantizer, decoder, DataSpec(image_shape))

    @classmethod
    @moved("VQVAE", quantizer_options=_QUANTIZER)
    def conv(
        cls, image_shape: tuple[int, ...] = (28, 28),
        channels: int = 64, residual_channels: int = 32, residual_blocks: int = 2, downsampling: int = 2,
        embedding_dim: int = 8, num_embeddings: int = 128, ndim: int | None = None,
        codebook: str = "ema", commitment_cost: float = 0.25, decay: float = 0.99, epsilon: float = 1e-5,
        codebook_init: str = "data", restart_dead_codes: float = 0.2, estimator: str = "straight_through",
        quantizer: Quantizer | None = None, receptive_field: str = "wide",
        rng: np.random.Generator | int = 0, dtype: str = "float32",
    ) -> Self:  # fmt: skip
        """A VQ-VAE whose encoder and decoder are convolutional, in the published form: a code for each patch.

        Parameters
        ----------
        image_shape : tuple of int
            (H, W) for grey images, (H, W, C) for images with C channels, (T,) or, with ndim=1, (T, C) for
            signals. H, W and T are multiples of 2ⁿ.
        channels, residual_channels : int
            H, the width of the networks (H/2 next to the image), and R, the width within a residual block.
        residual_blocks : int
            Blocks in the encoder and in the decoder, at least 0.
        downsampling : int
            n, how often each axis is halved: latent_shape is (H/2ⁿ, W/2ⁿ), by default (7, 7).
        embedding_dim, num_embeddings : int
            D dimensions of each latent, and K codes that they share.
        ndim : 1 or 2, optional
            The number of axes that are convolved; by default 1 for (T,), otherwise 2.
        codebook, commitment_cost, decay, epsilon, codebook_init, restart_dead_codes, estimator, \
quantizer, rng, dtype
            As in VQVAE.mlp, but codes are restarted below 20 % of uniform use: many patches of an image
            are alike, and with 5 % the codes are used less evenly.
        receptive_field : {"wide", "patch"}
            What a latent depends on. "wide": its surroundings, as published. "patch": only its own patch of
            2ⁿ × 2ⁿ pixels, so that equal patches, such as those of a background, have equal codes; the
            encoder is then a convolution of stride 2ⁿ and two of 1 × 1, with 2H channels.

        References
        ----------
        van den Oord et al. 2017, section 4.1; the layers are those of sonnet/examples/vqvae_example.ipynb.

        Examples
        --------
        >>> model = VQVAE.conv(channels=8, residual_channels=4)
        >>> model.latent_shape, model.bits_per_image
        ((7, 7), 343.0)
        """
        where = "VQVAE"
        D = check_int(where, "embedding_dim", given_dim(where, quantizer, embedding_dim))
        rng = check_rng(where, rng)
        sizes = channels, residual_channels, residual_blocks, downsampling
        encoder, decoder = conv_networks(
            where, image_shape, D, D, *sizes, ndim, rng, dtype, receptive_field
        )  # fmt: skip
        if quantizer is None:
            quantizer = quantizer_of(
                codebook, num_embeddings, D, commitment_cost, epsilon, decay=decay,
                codebook_init=codebook_init, restart_dead_codes=restart_dead_codes, estimator=estimator,
                rng=rng, dtype=dtype,
            )  # fmt: skip
        return cls(encoder, quantizer, decoder, DataSpec(image_shape))

    def config(self) -> dict[str, Any]:
        return super().config() | {"quantizer": self.quantizer, "likelihood": self.likelihood}

    # The loss and its gradient.

    def loss(self, batch: Batch, rng: Any = None, step: int = 0) -> tuple[Losses, Cache]:
        """L = ⟨(x̂ − x)²⟩, or −⟨log p(x)⟩, + the quantizer's losses for a batch (x,).

        Of a VectorQuantizer these are ⟨(sg z − e_k)²⟩ + β⟨(z − sg e_k)²⟩. rng and step are for the quantizers
        that draw or have a schedule.
        """
        (x,) = batch
        z, encoder_cache = self.encoder.forward(x)
        z_q, *terms, k, quantizer_cache = self.quantizer.forward(z, rng, step)
        x_hat, decoder_cache = self.decoder.forward(z_q)
        reconstruction, error_cache = self._error(x_hat, x)
        losses = {
            "loss": sum(terms, reconstruction), "reconstruction_loss": reconstruction,
            **dict(zip(self.quantizer.loss_names, terms, strict=True)),
        }  # fmt: skip
        return losses, (encoder_cache, quantizer_cache, decoder_cache, error_cache, z, k)

    def backward(  # type: ignore[override]
        self, cache: Cache, dL: Array | float = 1.0, need_dx: bool = False
    ) -> Any:
        """Add dL · ∂L/∂θ to every grad: decoder, then straight through the quantizer, then encoder.

        dx, if needed, is the gradient through the encoder alone: as the target, x is treated as constant.
        """
        encoder_cache, quantizer_cache, decoder_cache, error_cache, _, _ = cache
        dx_hat = self._error_backward(dL, error_cache)
        dz_q = self.decoder.backward(dx_hat, decoder_cache)
        dz = self.quantizer.backward(dz_q, quantizer_cache, dL)
        return self.encoder.backward(dz, encoder_cache, need_dx)

    def _error(self, x_hat: Array, x: Array) -> tuple[Array, Cache]:
        """The reconstruction loss of the decoder's output, a mean over all pixel values."""
        if self.likelihood == "squared_error":
            return mse_forward(x_hat, x)
        return logit_laplace_nll_forward(x_hat[..., 0], x_hat[..., 1], squeeze(x), "mean")

    def _error_backward(self, dL: Array | float, cache: Cache) -> Array:
        """The gradient of the decoder's output."""
        if self.likelihood == "squared_error":
            return mse_backward(dL, cache)[0]
        dmu, dlogb, _ = logit_laplace_nll_backward(dL, cache)
        return np.stack([dmu, dlogb], axis=-1)

    # What else the trainer calls.

    def initialize(self, batch: tuple[Array, ...], rng: np.random.Generator) -> None:
        """Initialize the codebook from latents of the batch, if it still waits for them."""
        if not self.quantizer.initialized:
            self.quantizer.initialize(self.encode_raw(batch[0]), rng)

    def after_step(self, cache: Cache, rng: np.random.Generator) -> dict[str, Array]:
        """Run the quantizer's own update with this batch's z and k; return the codes that it restarted."""
        *_, z, k = cache
        restarted = self.quantizer.after_step(z, k, rng)
        return {f"quantizer.{name}": rows for name, rows in restarted.items()}

    def batch_arrays(self, cache: Cache) -> tuple[Array, ...]:
        """z and k."""
        return cache[-2:]

    def cache_of(self, arrays: tuple[Array, ...]) -> Cache:
        return arrays

    def statistics(self, cache: Cache) -> dict[str, Array]:
        """n_j, the number of times the batch used each code: (K,), or (n, K) of n codebooks."""
        return {"quantizer": self.quantizer.counts(cache[-1])}

    def row(self, statistics: Mapping[str, Array], step: int) -> dict[str, float]:
        """The perplexity over the epoch, and the number of codes used; of n codebooks also that of each.

        The perplexity of several codebooks is their geometric mean, exp of the mean entropy.
        """
        counts = statistics["quantizer"]
        row = {"perplexity": mean_perplexity(counts), "codes_used": int(np.count_nonzero(counts))}
        each = enumerate(counts, 1) if counts.ndim > 1 else ()
        row |= {f"perplexity_{i}": perplexity(n) for i, n in each}
        return row | dict(self.quantizer.row(step))

    def evaluate(self, data: Any, history: Any = None, progress: bool = False) -> Evaluation:
        """MSE, perplexity, utilization and diagnosis over a data set; see evaluation.evaluate_codes."""
        return evaluate_codes(self, data, history, progress)

    # Public interface.

    @property
    def bits_per_image(self) -> float:
        """M log₂ K, of each codebook."""
        return bits_per_image(self.num_codes, self.num_embeddings)

    @property
    def code_shape(self) -> tuple[int, ...]:
        """The shape of an example's codes: latent_shape, or (*latent_shape, n) of n codebooks."""
        return self.latent_shape + self.quantizer.code_shape

    @property
    def num_codes(self) -> int:
        """The number of an example's codes: M, or n M of n codebooks."""
        return self.num_latents * self.quantizer.num_codebooks

    @property
    def grid_shape(self) -> tuple[int, ...]:
        """The grid of an example's codes as a prior takes them: the codes of a latent beside each other."""
        if self.quantizer.num_codebooks == 1:
            return self.latent_shape
        *rest, last = self.latent_shape or (1,)
        return (*rest, last * self.quantizer.num_codebooks)

    @property
    def encoding(self) -> Encoding:
        """Codes: integers of shape code_shape."""
        K = self.num_embeddings
        return Encoding("codes", self.code_shape, np.dtype(np.int64), f"{self.bits_per_image:g} bits", K)

    def quantize(self, z: Array) -> Array:
        """The quantizer's codes; z: (n, *latent_shape, D) -> (n, *code_shape)."""
        return self.quantizer.encode(z)

    def decode(self, codes: Any) -> Array:
        """x̂ = decoder(e_k), clipped to the data's range; codes: (n, *code_shape) -> (n, *data.shape)."""
        self._check_room("decode", "codes", codes, self.latent_bytes + self.decoded_bytes)
        k = check_codes("VQVAE.decode", codes, self.num_embeddings)
        if k.ndim == 0 or k.shape[1:] != self.code_shape:
            fail("VQVAE.decode", "codes", f"must have shape {many(self.code_shape)}", f"shape {k.shape}")
        return self.decode_latents(self.quantizer.decode(k))

    @property
    def decoded_shape(self) -> tuple[int, ...]:
        """The shape of the decoder's output for one example."""
        return self.data.shape if self.likelihood == "squared_error" else (*self.data.shape, 2)

    def to_data(self, x_hat: Array) -> Array:
        """The decoder's output clipped to the data's range, or the median of p(x)."""
        if self.likelihood == "squared_error":
            return super().to_data(x_hat)
        return logit_laplace_median(x_hat[..., 0])

    def defining_arrays(self) -> list[Array]:
        return self.quantizer.defining_arrays()

    def defining_values(self) -> list[Any]:
        own = [] if self.likelihood == "squared_error" else [self.likelihood]
        return super().defining_values() + self.quantizer.defining_values() + own


def given_dim(where: str, quantizer: Any, embedding_dim: Any) -> Any:
    """The dimensions of a quantizer's codes if there is one, else embedding_dim."""
    if quantizer is None:
        return embedding_dim
    if not isinstance(quantizer, Quantizer):
        fail(where, "quantizer", "must be a quantizer of vqnp.nn", type(quantizer).__name__)
    return quantizer.embedding_dim


def quantizer_of(
    codebook: str, num_embeddings: int, D: int, beta: float, epsilon: float, **options: Any
) -> VectorQuantizer:
    """The quantizer that trains its codebook in this way, "ema" or "gradient", which has no ε."""
    K = check_int("VQVAE", "num_embeddings", num_embeddings)
    check_choice("VQVAE", "codebook", codebook, ("ema", "gradient"))
    check_float("VQVAE", "epsilon", epsilon, "[0, inf)")  # checked with a gradient codebook too
    if codebook == "ema":
        return EMAVectorQuantizer(K, D, beta, epsilon=epsilon, **options)
    return VectorQuantizer(K, D, beta, **options)
