"""L = Σ_l [⟨(x̂_l − x)²⟩/⟨x²⟩ + w · spectral(x̂_l, x) + L_vq,l]: VQ-VAEs of one sound at several rates.

x: (B, T, 1) -> k_l: (B, T/h_l), l = 1 (the top, with the longest hop h_1), …, L -> x̂_l: (B, T, 1)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from vqnp._check import Array, check_dtype, check_float, check_int, check_rng, fail, moved
from vqnp.data.datasets import images_of
from vqnp.data.spec import DataSpec
from vqnp.evaluation.sounds import SoundEvaluation, evaluate_sounds
from vqnp.models.base import NETWORK_ARGUMENTS, needs_parts
from vqnp.models.several_levels import SeveralLevels
from vqnp.models.sound_checks import (  # fmt: skip
    HIGH, LOW, WHERE, check_length, checked_codes, checked_levels, checked_shape, each_level,
)
from vqnp.models.sound_networks import sound_networks
from vqnp.models.vqvae import VQVAE, quantizer_of
from vqnp.nn import Module, register
from vqnp.nn.module import Cache
from vqnp.nn.trainable import Batch, Losses
from vqnp.ops.loss import mse_backward, mse_forward
from vqnp.ops.spectral_loss import spectral_loss_backward, spectral_loss_forward

START_SEGMENTS = 256
"""From the latents of so many segments the codebooks start: at a hop of 4 these are 131,072 vectors."""


@register
class SoundVQVAE(SeveralLevels):
    """L = Σ_l [⟨(x̂_l − x)²⟩/⟨x²⟩ + w · spectral(x̂_l, x) + codebook_l + commitment_l].

    x: (B, T, 1) in [-1, 1] -> codes (k_1, …, k_L), k_l: (B, T/h_l) -> x̂_l: (B, T, 1), one for each level

    The levels are VQ-VAEs of their own, which share nothing but the sound and the training: no level can
    leave its work to another. The first term is 10^(−SNR/10), the spectral loss 10^(C/20), C the spectral
    convergence in dB, both of the batch, so that neither depends on the loudness.

    Parameters
    ----------
    levels : sequence of VQVAE
        The top first: its hop is the longest. Each takes (T, 1) in [-1, 1] and has one codebook.
    rate : int
        Samples a second.
    spectral_weight : float, at least 0
        w.
    segment : int
        The samples of a training example: recordings are cut into such segments, and silent ones are left
        out. A multiple of the longest hop; T if that is less.

    Raises
    ------
    InputError
        There is no level, or a level does not take such sounds.

    References
    ----------
    Dhariwal et al. 2020 (Jukebox), arXiv 2005.00341, section 3. Its losses are divided by constants of the
    data set, here by the batch's own.

    Examples
    --------
    >>> model = SoundVQVAE.conv((256, 1), hops=(64, 16), channels=4, num_embeddings=8, residual_blocks=1)
    >>> top, bottom = model.encode(np.zeros((3, 256, 1), np.float32))
    >>> top.shape, bottom.shape, model.decode((top,)).shape
    ((3, 4), (3, 16), (3, 256, 1))
    >>> model.bits_per_second
    (375.0, 1500.0)
    """

    kind = "sound"
    fewest_levels = 1
    """Codes of the first levels alone can be decoded."""

    @moved(
        WHERE, needs_parts(WHERE).replace(f"{WHERE}.mlp() and {WHERE}.conv() make", f"{WHERE}.conv() makes"),
        **dict.fromkeys(NETWORK_ARGUMENTS, f"must be given to {WHERE}.conv"),
    )  # fmt: skip
    def __init__(
        self, levels: Sequence[VQVAE], rate: int = 8000, spectral_weight: float = 1.0, segment: int = 2048
    ) -> None:  # fmt: skip
        self.levels = checked_levels(levels)
        self.data, self.dtype = self.levels[0].data, self.levels[0].dtype
        self.rate = check_int(WHERE, "rate", rate)
        self.spectral_weight = check_float(WHERE, "spectral_weight", spectral_weight, "[0, inf)")
        self.latent_shape = tuple(level.latent_shape for level in self.levels)
        self.hops = tuple(self.data.shape[0] // shape[0] for shape in self.latent_shape)
        self.segment = check_int(WHERE, "segment", segment)
        if self.segment % max(self.hops):
            fail(WHERE, "segment", f"must be a multiple of the longest hop, {max(self.hops)}", segment)
        self.num_embeddings = tuple(level.num_embeddings for level in self.levels)
        self.latent_dim = sum(level.embedding_dim for level in self.levels)

    @classmethod
    def conv(
        cls, image_shape: tuple[int, ...] = (4096, 1), rate: int = 8000, hops: Sequence[int] = (64, 16, 4),
        channels: int = 32, residual_blocks: int = 2, embedding_dim: int | Sequence[int] = 8,
        num_embeddings: int | Sequence[int] = 512, spectral_weight: float = 1.0, segment: int = 2048,
        codebook: str = "ema", commitment_cost: float = 0.25, decay: float = 0.99, epsilon: float = 1e-5,
        codebook_init: str = "data", restart_dead_codes: float = 0.2, estimator: str = "straight_through",
        rng: np.random.Generator | int = 0, dtype: str = "float32",
    ) -> Self:  # fmt: skip
        """Levels of strided convolutions and dilated residual blocks: see sound_networks.

        Parameters
        ----------
        image_shape : (T, 1)
            The samples of a recording, a multiple of the longest hop.
        rate, spectral_weight, segment
            As above.
        hops : sequence of int
            h_l, the samples that a code of level l stands for, decreasing: powers of 2, at least 2.
        channels : int
            H, of all convolutions.
        residual_blocks : int
            Blocks after each strided convolution; the dilation of block i is 3^i.
        embedding_dim, num_embeddings : int or a sequence of int
            D_l and K_l: the same at all levels, or one for each, the top first.
        codebook, commitment_cost, decay, epsilon, codebook_init, restart_dead_codes, estimator, rng, dtype
            As in VQVAE.conv.
        """
        shape = checked_shape(image_shape)
        if not isinstance(hops, (list, tuple)) or not hops:
            fail(WHERE, "hops", "must be a sequence of integers, the longest first", repr(hops))
        for i, (one, next_) in enumerate(zip(hops, hops[1:], strict=False), 1):
            if next_ >= one:
                fail(WHERE, f"hops[{i}]", f"must be less than the hop before it, {one}", next_)
        check_length(shape[0], check_int(WHERE, "hops[0]", hops[0]))
        H, N = check_int(WHERE, "channels", channels), check_int(WHERE, "residual_blocks", residual_blocks, 0)
        D = each_level(WHERE, "embedding_dim", embedding_dim, len(hops))
        K = each_level(WHERE, "num_embeddings", num_embeddings, len(hops))
        rng, dtype, levels = check_rng(WHERE, rng), check_dtype(WHERE, dtype).name, []
        for hop, dim, count in zip(hops, D, K, strict=True):
            encoder, decoder = sound_networks(hop, H, N, dim, rng, dtype)
            quantizer = quantizer_of(
                codebook, count, dim, commitment_cost, epsilon, decay=decay, codebook_init=codebook_init,
                restart_dead_codes=restart_dead_codes, estimator=estimator, rng=rng, dtype=dtype,
            )  # fmt: skip
            levels.append(VQVAE(encoder, quantizer, decoder, DataSpec(shape, LOW, HIGH)))
        return cls(levels, rate, spectral_weight, segment)

    def config(self) -> dict[str, Any]:
        names = ("levels", "rate", "spectral_weight", "segment")
        return {name: getattr(self, name) for name in names}

    def named_children(self) -> Any:
        """("level_1", the top level), …, ("level_L", the level of the shortest hop)."""
        return ((f"level_{l}", level) for l, level in enumerate(self.levels, 1))

    # The loss and its gradient.

    def prepare(self, data: Any) -> Batch:
        """Segments of the recordings that are not silent: (n, T, 1) -> (m, segment, 1)."""
        (x,) = super().prepare(data)
        T, size = x.shape[1], min(self.segment, x.shape[1])
        if T % size:
            x = np.concatenate([x, np.zeros((len(x), -T % size, 1), x.dtype)], axis=1)
        segments = x.reshape(-1, size, 1)
        heard = segments.any(axis=(1, 2))
        return (segments[heard] if heard.any() else segments,)

    def loss(self, batch: Batch, rng: Any = None, step: int = 0) -> tuple[Losses, Cache]:
        """L for a batch (x,), and its parts: sums over levels, then each level's; rng: for quantizers."""
        (x,) = batch
        total, sums, parts, caches = np.zeros((), x.dtype), Losses(), Losses(), []
        power = float(np.square(x, dtype=np.float64).sum()) / max(x.size, 1) or 1.0
        for l, level in enumerate(self.levels, 1):
            z, encoder_cache = level.encoder.forward(x)
            z_q, *terms, k, quantizer_cache = level.quantizer.forward(z, rng, step)
            x_hat, decoder_cache = level.decoder.forward(z_q)
            squared, mse_cache = mse_forward(x_hat, x)
            own = {f"noise_{l}": np.asarray(squared / power, x.dtype)}
            spectral_cache = None
            if self.spectral_weight:
                spectral, spectral_cache = spectral_loss_forward(x_hat[..., 0], x[..., 0])
                own[f"spectral_{l}"] = spectral
                total = total + self.spectral_weight * spectral
            total = sum(terms, total + own[f"noise_{l}"])
            for name, value in zip(level.quantizer.loss_names, terms, strict=True):
                sums[name] = sums[name] + value if name in sums else value
            parts |= own
            caches.append(
                (encoder_cache, quantizer_cache, decoder_cache, (mse_cache, power), spectral_cache, z, k)
            )
        return {"loss": np.asarray(total, x.dtype), **sums, **parts}, caches

    def backward(  # type: ignore[override]
        self, cache: Cache, dL: Array | float = 1.0, need_dx: bool = False
    ) -> Any:
        """Add dL · ∂L/∂θ to every grad, level by level: decoder, quantizer, encoder.

        dx, if needed, is the gradient through the encoders alone: as the target, x is treated as constant.
        """
        dx: Any = 0
        for level, own in zip(self.levels, cache, strict=True):
            encoder_cache, quantizer_cache, decoder_cache, (mse_cache, power), spectral_cache, _, _ = own
            dx_hat = mse_backward(dL / power, mse_cache)[0]
            if spectral_cache is not None:
                g = spectral_loss_backward(self.spectral_weight * dL, spectral_cache, need_dx=False)[0]
                dx_hat = dx_hat + g[..., None]
            dz_q = level.decoder.backward(dx_hat, decoder_cache)
            dz = level.quantizer.backward(dz_q, quantizer_cache, dL)
            d = level.encoder.backward(dz, encoder_cache, need_dx)
            dx = dx + d if need_dx else None
        return dx

    # What else the trainer calls.

    def initialize(self, batch: tuple[Array, ...], rng: np.random.Generator) -> None:
        """Initialize the codebooks from latents of some of the batch."""
        for level in self.levels:
            if not level.quantizer.initialized:
                level.quantizer.initialize(level.encoder.forward(batch[0][:START_SEGMENTS])[0], rng)

    def after_step(self, cache: Cache, rng: np.random.Generator) -> dict[str, Array]:
        """Run each quantizer's own update with this batch's z and k; return the codes that were restarted."""
        restarted: dict[str, Array] = {}
        for l, (level, (*_, z, k)) in enumerate(zip(self.levels, cache, strict=True), 1):
            own = level.quantizer.after_step(z, k, rng)
            restarted |= {f"level_{l}.quantizer.{name}": rows for name, rows in own.items()}
        return restarted

    def chosen(self, cache: Cache) -> list[Array]:
        return [k for *_, k in cache]

    def batch_arrays(self, cache: Cache) -> tuple[Array, ...]:
        """z and k of each level."""
        return tuple(array for level in cache for array in level[-2:])

    def cache_of(self, arrays: tuple[Array, ...]) -> Cache:
        return list(zip(arrays[::2], arrays[1::2], strict=True))

    def evaluate(self, data: Any, history: Any = None, progress: bool = False) -> SoundEvaluation:
        """MSE, SNR, spectral convergence, perplexity and bits of each level; see evaluate_sounds."""
        return evaluate_sounds(self, data, history, progress)

    # Public interface.

    @property
    def encoder(self) -> Module:  # type: ignore[override]
        """The encoder of the shortest hop."""
        return self.levels[-1].encoder

    @property
    def decoder(self) -> Module:  # type: ignore[override]
        """The decoder of the shortest hop."""
        return self.levels[-1].decoder

    @property
    def latent_bytes(self) -> int:
        """Bytes of the latents of a recording, before the quantizers."""
        return sum(level.latent_bytes for level in self.levels)

    @property
    def bits_per_second(self) -> tuple[float, ...]:
        """(rate / h_l) log₂ K_l of each level."""
        return tuple(self.rate / self.data.shape[0] * bits for bits in self.bits_per_level)

    def latents(self, images: Any, first: int = 0) -> Any:
        """(z_1, …, z_L), before the quantizers."""
        x = self.data.to_array(images_of(images), self.dtype, f"{WHERE}.latents", first)
        return tuple(level.encode_raw(x) for level in self.levels)

    def _encode_part(self, images: Any, first: int) -> tuple[Array, ...]:
        codes: tuple[Array, ...] = self.quantize(self.latents(images, first))
        return codes

    def decode(self, codes: Any) -> Array:
        """x̂_l of the last level that is given: (k_1, …, k_l), l at most L -> (n, T, 1) in [-1, 1].

        The levels do not need each other: decode_level decodes any of them alone.
        """
        if not isinstance(codes, (tuple, list)) or not 1 <= len(codes) <= len(self.levels):
            got = f"{len(codes)}" if isinstance(codes, (tuple, list)) else type(codes).__name__
            needed = f"must be a tuple of 1 to {len(self.levels)} arrays, one for each level, the top first"
            fail(f"{WHERE}.decode", "codes", needed, got)
        for l, k in enumerate(codes, 1):
            checked_codes(self, "decode", k, l, len(codes[0]) if np.ndim(codes[0]) else 0)
        return self.decode_level(codes[-1], len(codes))

    def decode_level(self, codes: Any, level: int) -> Array:
        """x̂_l from the codes of level l alone: (n, T/h_l) -> (n, T, 1); level: l, 1 for the top."""
        l = check_int(f"{WHERE}.decode_level", "level", level, 1, len(self.levels))
        n = len(codes) if np.ndim(codes) else 0
        return self.levels[l - 1].decode(checked_codes(self, "decode_level", codes, l, n))

    def reconstruct(self, images: Any) -> Array:
        """x̂_L, by the level of the shortest hop."""
        return self.levels[-1].reconstruct(images_of(images))

    def decode_latents(self, z: Any) -> Array:
        """x̂_l of unquantized latents (z_1, …, z_l), by the last level that is given."""
        return self.levels[len(z) - 1].decode_latents(z[-1])

    def defining_arrays(self) -> list[Array]:
        others = [param.value for level in self.levels[:-1] for param in level.decoder.parameters()]
        return [*(array for level in self.levels for array in level.defining_arrays()), *others]

    def defining_values(self) -> list[Any]:
        return [*super().defining_values(), self.rate, *(level.defining_values() for level in self.levels)]
