"""h_L = enc_L(x), h_l = enc_l(h_{l+1});  a_l, z_l, k_l = level_l(h_l, a_{l−1});  x̂ = decoder(a_L): VQ-VAE-2.

x: (B, *data.shape) -> k_l: (B, *S_l), l = 1 (the top, with the fewest codes), …, L (the bottom) -> x_hat
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Self

import numpy as np

from vqnp._check import Array, check_choice, check_float, check_rng, fail, moved
from vqnp.data.spec import DataSpec
from vqnp.models.base import NETWORK_ARGUMENTS, in_chunks, needs_parts
from vqnp.models.hierarchical_checks import checked_levels, checked_shapes, one_dtype
from vqnp.models.hierarchical_networks import hierarchical_networks
from vqnp.models.level import Level, LevelOutput
from vqnp.models.level_codes import LevelCodes
from vqnp.nn import Module, register
from vqnp.nn.module import Cache
from vqnp.nn.trainable import Batch, Losses
from vqnp.ops.loss import mse_backward, mse_forward

WHERE = "HierarchicalVQVAE"
GRADIENTS = ("straight_through", "stopped")


@register
class HierarchicalVQVAE(LevelCodes):
    """L = ⟨(x̂ − x)²⟩ + Σ_l (codebook_l + commitment_l) + w Σ_{l<L} ⟨(x̂_l − x)²⟩.

    x: (B, *data.shape) -> codes (k_1, …, k_L), k_l: (B, *latent_shape[l − 1]) -> x_hat: (B, *data.shape)

    The encoders run from the image upwards, the quantizers from the top downwards: a level is encoded given
    the codes above it. The codes of all levels together are decoded.

    Parameters
    ----------
    levels : sequence of Level
        The top level first; at least one.
    decoder : Module
        All codes, (B, *S_L, D_1 + … + D_L) -> (B, *data.shape).
    data : DataSpec
        As in Autoencoder.
    level_gradient : {"straight_through", "stopped"}
        Whether the gradient of a level's own latents passes on, straight through the quantizers, into the
        levels above, as published, or ends at their codes. See docs/hierarchy.md.
    level_loss : float, at least 0
        w, the weight of the reconstruction from each level and those above it. If it is above 0, every level
        but the bottom has a decoder; if it is 0, none has.

    Raises
    ------
    InputError
        There is no level, or the parts do not fit together; the error says which part returned what.

    References
    ----------
    Razavi et al. 2019, arXiv 1906.00446.

    Examples
    --------
    >>> model = HierarchicalVQVAE.conv(num_embeddings=(16, 8), channels=8, residual_channels=4)
    >>> model.latent_shape, model.bits_per_level
    (((7, 7), (14, 14)), (196.0, 588.0))
    >>> top, bottom = model.encode(np.zeros((3, 28, 28), np.float32))
    >>> bottom.shape, model.decode((top, bottom)).shape
    ((3, 14, 14), (3, 28, 28))
    """

    kind = "hierarchical"

    @moved(
        WHERE, needs_parts(WHERE).replace(f"{WHERE}.mlp() and {WHERE}.conv() make", f"{WHERE}.conv() makes"),
        **dict.fromkeys(NETWORK_ARGUMENTS, f"must be given to {WHERE}.conv"),
    )  # fmt: skip
    def __init__(
        self, levels: Sequence[Level], decoder: Module, data: DataSpec | Mapping[str, Any] = DataSpec(),
        level_gradient: str = "straight_through", level_loss: float = 0.0,
    ) -> None:  # fmt: skip
        self.level_gradient = check_choice(WHERE, "level_gradient", level_gradient, GRADIENTS)
        self.level_loss = check_float(WHERE, "level_loss", level_loss, "[0, inf)")
        self.levels = checked_levels(WHERE, levels, self.level_loss)
        if not isinstance(decoder, Module):
            fail(WHERE, "decoder", "must be a vqnp.nn.Module", type(decoder).__name__)
        self.decoder, self.data = decoder, DataSpec.of(data)
        self.dtype = one_dtype(WHERE, self.levels, decoder)
        self.latent_shape = checked_shapes(self)
        quantizers = [level.quantizer for level in self.levels]
        self.num_embeddings = tuple(quantizer.num_embeddings for quantizer in quantizers)
        self.latent_dim = sum(quantizer.embedding_dim for quantizer in quantizers)

    @classmethod
    def conv(
        cls, image_shape: tuple[int, ...] = (28, 28), channels: int = 32, residual_channels: int = 16,
        residual_blocks: int = 2, downsampling: Sequence[int] = (2, 1),
        embedding_dim: int | Sequence[int] = 8, num_embeddings: int | Sequence[int] = (128, 32),
        level_gradient: str = "straight_through", level_loss: float = 0.0, ndim: int | None = None,
        codebook: str = "ema", commitment_cost: float = 0.25, decay: float = 0.99, epsilon: float = 1e-5,
        codebook_init: str = "data", restart_dead_codes: float = 0.2, estimator: str = "straight_through",
        rng: np.random.Generator | int = 0, dtype: str = "float32",
    ) -> Self:  # fmt: skip
        """A hierarchy of convolutional networks, in the published form.

        Parameters
        ----------
        downsampling : sequence of int
            How often each axis of the image is halved at each level, the top first, so decreasing: (2, 1)
            gives 7 × 7 codes above 14 × 14 for images of 28 × 28.
        embedding_dim, num_embeddings : int or a sequence of int
            D_l and K_l: the same at all levels, or one for each, the top first.
        channels, residual_channels, residual_blocks
            As in VQVAE.conv, of each encoder and decoder.
        level_gradient, level_loss
            As above.
        image_shape, ndim, codebook, commitment_cost, decay, epsilon, codebook_init, restart_dead_codes,
        estimator, rng, dtype
            As in VQVAE.conv.

        Raises
        ------
        InputError
            An empty list of levels, levels in another order, or a length that cannot be halved so often.

        References
        ----------
        Razavi et al. 2019, section 3.1, in the form of rosinality/vq-vae-2-pytorch: a strided encoder and
        the residual stack; conditions of Conv 3, stack, ConvTranspose 4; linear doublings to the decoder.
        """
        levels, decoder = hierarchical_networks(
            WHERE, image_shape, channels, residual_channels, residual_blocks, downsampling, embedding_dim,
            num_embeddings, check_float(WHERE, "level_loss", level_loss, "[0, inf)") > 0, ndim, codebook,
            commitment_cost, decay, epsilon, codebook_init, restart_dead_codes, estimator,
            check_rng(WHERE, rng), dtype,
        )  # fmt: skip
        return cls(levels, decoder, DataSpec(image_shape), level_gradient, level_loss)

    def config(self) -> dict[str, Any]:
        own = {"level_gradient": self.level_gradient, "level_loss": self.level_loss}
        return {"levels": self.levels, "decoder": self.decoder, "data": self.data.as_dict(), **own}

    def named_children(self) -> Any:
        """("level_1", the top level), …, ("level_L", the bottom level), ("decoder", …)."""
        yield from ((f"level_{l}", level) for l, level in enumerate(self.levels, 1))
        yield "decoder", self.decoder

    # The loss and its gradient.

    def features(self, x: Array) -> tuple[list[Array], list[Cache]]:
        """h_1, …, h_L, and the encoders' caches: h_L = enc_L(x), h_l = enc_l(h_{l+1})."""
        h, caches = [x], list[Cache]()
        for level in reversed(self.levels):
            y, cache = level.encoder.forward(h[0])
            h.insert(0, y)
            caches.insert(0, cache)
        return h[:-1], caches

    def loss(self, batch: Batch, rng: Any = None, step: int = 0) -> tuple[Losses, Cache]:
        """L for a batch (x,), and its parts: sums over levels, then each level's.

        rng and step are for the quantizers that draw or have a schedule.
        """
        (x,) = batch
        features, encoder_caches = self.features(x)
        a, outputs, mse_caches = None, list[LevelOutput](), list[Cache]()
        for level, h in zip(self.levels, features, strict=True):
            outputs.append(level.forward(h, a, rng, step))
            a = outputs[-1].a
        x_hat, decoder_cache = self.decoder.forward(outputs[-1].a)
        reconstruction, mse_cache = mse_forward(x_hat, x)
        sums: Losses = {}
        for each in outputs:
            for name, value in each.losses.items():
                sums[name] = sums[name] + value if name in sums else value
        total, parts = sum(sums.values(), reconstruction), Losses()
        for l, each in enumerate(outputs, 1):
            if each.x_hat is not None:
                own, cache = mse_forward(each.x_hat, x)
                total = np.asarray(total + self.level_loss * own, total.dtype)
                parts[f"reconstruction_loss_{l}"] = own
                mse_caches.append(cache)
            if "commitment_loss" in each.losses:
                parts[f"commitment_loss_{l}"] = each.losses["commitment_loss"]
        losses = {"loss": total, "reconstruction_loss": reconstruction, **sums, **parts}
        return losses, (encoder_caches, outputs, decoder_cache, mse_cache, mse_caches)

    def backward(  # type: ignore[override]
        self, cache: Cache, dL: Array | float = 1.0, need_dx: bool = False
    ) -> Any:
        """Add dL · ∂L/∂θ to every grad: decoder, levels from the bottom up, encoders from the top down.

        A level's da is the sum of what comes from the decoder through `up`, from the level below through its
        `condition` (unless stopped), and from its own decoder. dx is the gradient through the encoders alone.
        """
        encoder_caches, outputs, decoder_cache, mse_cache, mse_caches = cache
        da = self.decoder.backward(mse_backward(dL, mse_cache)[0], decoder_cache)
        mse_caches, dh = list(mse_caches), list[Any]()
        for level, output in zip(reversed(self.levels), reversed(outputs), strict=True):
            dx_hat = None
            if output.x_hat is not None:
                dx_hat, _ = mse_backward(self.level_loss * dL, mse_caches.pop())
            above = level.backward(da, dx_hat, output.cache, dL, self.level_gradient == "stopped")
            dh.insert(0, above[0])
            da = above[1]
        d = 0
        for level, own, encoder_cache in zip(self.levels, dh, encoder_caches, strict=True):
            bottom = level is self.levels[-1]
            d = level.encoder.backward(own + d, encoder_cache, need_dx or not bottom)
        return d

    # What else the trainer calls.

    def initialize(self, batch: tuple[Array, ...], rng: np.random.Generator) -> None:
        """Initialize the codebooks from latents of the batch, from the top, each given the codes above."""
        for l, level in enumerate(self.levels):
            if not level.quantizer.initialized:
                level.quantizer.initialize(in_chunks(partial(self._latents, l), batch[0]), rng)

    def after_step(self, cache: Cache, rng: np.random.Generator) -> dict[str, Array]:
        """Run each quantizer's own update with this batch's z and k; return the codes that were restarted."""
        restarted: dict[str, Array] = {}
        for l, (level, output) in enumerate(zip(self.levels, cache[1], strict=True), 1):
            own = level.quantizer.after_step(output.z, output.k, rng)
            restarted |= {f"level_{l}.quantizer.{name}": rows for name, rows in own.items()}
        return restarted
