"""h_L = enc_L(x), h_l = enc_l(h_{l+1});  a_l, z_l, k_l = level_l(h_l, a_{l−1});  x̂ = decoder(a_L): VQ-VAE-2.

x: (B, *data.shape) -> k_l: (B, *S_l), l = 1 (the top, with the fewest codes), …, L (the bottom) -> x_hat
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Self

import numpy as np

from vqnp._check import Array, check_choice, check_codes, check_float, check_int, check_rng, fail, many, moved
from vqnp.data.datasets import images_of
from vqnp.data.spec import DataSpec
from vqnp.evaluation.levels import HierarchyEvaluation, evaluate_levels
from vqnp.metrics.codebook import bits_per_image, perplexity
from vqnp.models.base import CHUNK_EXAMPLES, NETWORK_ARGUMENTS, Encoding, Model, in_chunks, needs_parts
from vqnp.models.hierarchical_networks import hierarchical_networks
from vqnp.models.level import Level, LevelOutput
from vqnp.nn import Module, describe, register
from vqnp.nn.module import Cache
from vqnp.nn.trainable import Batch, Losses
from vqnp.ops.loss import mse_backward, mse_forward

WHERE = "HierarchicalVQVAE"
GRADIENTS = ("straight_through", "stopped")


@register
class HierarchicalVQVAE(Model):
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
    latent_shape: Any
    num_embeddings: Any

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
        self.levels = _checked_levels(levels, self.level_loss)
        if not isinstance(decoder, Module):
            fail(WHERE, "decoder", "must be a vqnp.nn.Module", type(decoder).__name__)
        self.decoder, self.data = decoder, DataSpec.of(data)
        self.dtype = self._one_dtype()
        self._check_parts()
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

    def statistics(self, cache: Cache) -> dict[str, Array]:
        """n_j of each level, the number of times the batch used each code: (K_l,)."""
        return {
            f"level_{l}": level.quantizer.counts(output.k)
            for l, (level, output) in enumerate(zip(self.levels, cache[1], strict=True), 1)
        }

    def row(self, statistics: Mapping[str, Array], step: int) -> dict[str, float]:
        """The perplexity of each level over the epoch, and the number of its codes that were used."""
        row: dict[str, float] = {}
        for l in range(1, len(self.levels) + 1):
            counts = statistics[f"level_{l}"]
            row |= {f"perplexity_{l}": perplexity(counts), f"codes_used_{l}": int(np.count_nonzero(counts))}
        return row

    def evaluate(self, data: Any, history: Any = None, progress: bool = False) -> HierarchyEvaluation:
        """MSE, and of each level perplexity, bits, and what it carries; see evaluation.evaluate_levels."""
        return evaluate_levels(self, data, history, progress)

    # Public interface.

    @property
    def encoder(self) -> Module:  # type: ignore[override]
        """The encoder next to the image, that of the bottom level."""
        return self.levels[-1].encoder

    @property
    def num_latents(self) -> int:
        """M, the number of codes of all levels."""
        return int(sum(np.prod(shape) for shape in self.latent_shape))

    @property
    def num_codes(self) -> int:
        """M, as of a VQVAE."""
        return self.num_latents

    @property
    def latent_bytes(self) -> int:
        """Bytes of the latents of an example, before the quantizers."""
        sizes = zip(self.latent_shape, self.levels, strict=True)
        entries = sum(np.prod(shape) * level.quantizer.embedding_dim for shape, level in sizes)
        return int(entries) * self.dtype.itemsize

    @property
    def bits_per_level(self) -> tuple[float, ...]:
        """M_l log₂ K_l of each level."""
        sizes = zip(self.latent_shape, self.num_embeddings, strict=True)
        return tuple(bits_per_image(int(np.prod(shape)), K) for shape, K in sizes)

    @property
    def bits_per_image(self) -> float:
        """Σ_l M_l log₂ K_l."""
        return sum(self.bits_per_level)

    @property
    def encoding(self) -> Encoding:
        """Codes of several levels: the shape of each level's grid."""
        return Encoding("levels", self.latent_shape, np.dtype(np.int64), f"{self.bits_per_image:g} bits")

    @property
    def encodings(self) -> tuple[Encoding, ...]:
        """codes_1, …, codes_L: integers of shape latent_shape[l − 1]."""
        levels = zip(self.latent_shape, self.num_embeddings, self.bits_per_level, strict=True)
        return tuple(
            Encoding(f"codes_{l}", shape, np.dtype(np.int64), f"{bits:g} bits", K)
            for l, (shape, K, bits) in enumerate(levels, 1)
        )

    def encode(self, images: Any, progress: bool = False) -> Any:
        """(k_1, …, k_L), the codes of each level: (n, *data.shape) -> (n, *latent_shape[l − 1]) each."""
        return tuple(self._encode(images, progress))

    def latents(self, images: Any, first: int = 0) -> Any:
        """(z_1, …, z_L), before the quantizers, each given the codes above it."""
        x = self.data.to_array(images_of(images), self.dtype, f"{WHERE}.latents", first)
        return tuple(in_chunks(partial(self._latents, l), x) for l in range(len(self.levels)))

    def quantize(self, z: Any) -> Any:
        """(k_1, …, k_L) of latents (z_1, …, z_L)."""
        return tuple(level.quantizer.encode(each) for level, each in zip(self.levels, z, strict=True))

    def _encode_part(self, images: Any, first: int) -> tuple[Array, ...]:
        x = self.data.to_array(images, self.dtype, f"{WHERE}.encode", first)
        parts = [self._codes(x[i : i + CHUNK_EXAMPLES]) for i in range(0, max(len(x), 1), CHUNK_EXAMPLES)]
        return tuple(np.concatenate(level) for level in zip(*parts, strict=True))

    def decode(self, codes: Any) -> Array:
        """x̂ = decoder(a_L), clipped to the data's range; codes: (k_1, …, k_L), k_l: (n, *S_l)."""
        return self.to_data(self._decoded(self._checked_codes("decode", codes), None))

    def decode_level(self, codes: Any, level: int) -> Array:
        """x̂_l from the codes of the levels 1 … l, by the decoder of level l; level: l, 1 for the top.

        Raises
        ------
        InputError
            The model has no decoders for its levels: it was made with level_loss 0.
        """
        l = check_int(f"{WHERE}.decode_level", "level", level, 1, len(self.levels))
        k = self._checked_codes("decode_level", codes)
        if l == len(self.levels):
            return self.to_data(self._decoded(k, None))
        if self.levels[l - 1].decoder is None:
            needed = "must be that of a model made with level_loss above 0, which decodes each level"
            fail(f"{WHERE}.decode_level", "level", needed, f"{level} of a model with level_loss 0")
        return self.to_data(self._decoded(k, l))

    def decode_latents(self, z: Any) -> Array:
        """x̂ = decoder(a_L) of (z_1, …, z_L) as they are, unquantized."""
        return self.to_data(self._joined(tuple(z), None))

    def defining_values(self) -> list[Any]:
        ups = (describe(level.up) for level in self.levels if level.up is not None)
        own = (value for level in self.levels for value in level.quantizer.defining_values())
        return [*super().defining_values(), *ups, *own]

    def defining_arrays(self) -> list[Array]:
        ups = [param.value for level in self.levels if level.up for param in level.up.parameters()]
        return [*(array for level in self.levels for array in level.quantizer.defining_arrays()), *ups]

    # In one pass, for a few examples.

    def _latents(self, l: int, x: Array) -> Array:
        """z of levels[l] for x: (n, *data.shape), given the codes above."""
        a = None
        for level, h in zip(self.levels[: l + 1], self.features(x)[0], strict=False):
            z = level.latents(h, a)[0]
            if level is not self.levels[l]:
                a = level.join(a, level.quantizer.decode(level.quantizer.encode(z)))[0]
        return z

    def _codes(self, x: Array) -> list[Array]:
        """k_1, …, k_L for x: (n, *data.shape)."""
        a, k = None, list[Array]()
        for level, h in zip(self.levels, self.features(x)[0], strict=True):
            k.append(level.quantizer.encode(level.latents(h, a)[0]))
            if level is not self.levels[-1]:
                a = level.join(a, level.quantizer.decode(k[-1]))[0]
        return k

    def _decoded(self, k: Sequence[Array], level: int | None) -> Array:
        """The raw output for codes, in chunks."""
        parts = range(0, max(len(k[0]), 1), CHUNK_EXAMPLES)

        def vectors(rows: slice) -> list[Array]:
            return [one.quantizer.decode(each[rows]) for one, each in zip(self.levels, k, strict=True)]

        return np.concatenate([self._joined(vectors(slice(i, i + CHUNK_EXAMPLES)), level) for i in parts])

    def _joined(self, q: Sequence[Array], level: int | None) -> Array:
        """The raw output of the decoder, or of a level's, for vectors q_1, …, q_L."""
        a: Array | None = None
        for one, each in zip(self.levels[:level], q, strict=False):
            a = one.join(a, each)[0]
        decoder = self.decoder if level is None else self.levels[level - 1].decoder
        return decoder.forward(a)[0]  # type: ignore[union-attr, arg-type]

    # Arguments.

    def _checked_codes(self, method: str, codes: Any) -> list[Array]:
        """Codes (k_1, …, k_L), each of its level's shape and codebook, of equally many images."""
        where, L = f"{WHERE}.{method}", len(self.levels)
        if isinstance(codes, (tuple, list)) and codes:
            self._check_room(method, "codes", codes[0], self.decoded_bytes)
        if not isinstance(codes, (tuple, list)) or len(codes) != L:
            got = f"{len(codes)}" if isinstance(codes, (tuple, list)) else type(codes).__name__
            fail(where, "codes", f"must be a tuple of {L} arrays, one for each level, the top first", got)
        checked = []
        for l, (k, shape) in enumerate(zip(codes, self.latent_shape, strict=True), 1):
            name = f"codes of level {l}"
            found = np.shape(k)
            if found[1:] != shape or not found:
                others = [m for m, other in enumerate(self.latent_shape, 1) if other == found[1:] and found]
                whose = f", as the codes of level {others[0]}" if others else ""
                fail(where, name, f"must have shape {many(shape)}", f"shape {found}{whose}")
            if found[0] != len(codes[0]):
                fail(where, name, f"must be those of {len(codes[0])} images, as at level 1", found[0])
            checked.append(check_codes(where, k, self.num_embeddings[l - 1], name))
        return checked

    def _one_dtype(self) -> Any:
        arrays = [param.value for part in (*self.levels, self.decoder) for param in part.parameters()]
        dtypes = {array.dtype for array in arrays} | {level.quantizer.dtype for level in self.levels}
        if len(dtypes) > 1:
            fail(WHERE, "levels and decoder", "must have one dtype", ", ".join(sorted(map(str, dtypes))))
        return dtypes.pop()

    def _check_parts(self) -> None:
        """Run every part on one example of zeros; set latent_shape."""
        x = np.zeros((1, *self.data.shape), self.dtype)
        features = [x]
        for l in range(len(self.levels), 0, -1):
            features.insert(0, self._tried(f"level {l}'s encoder", self.levels[l - 1].encoder, features[0]))
        a, shapes = None, []
        for l, (level, h) in enumerate(zip(self.levels, features[:-1], strict=True), 1):
            inputs, D = h, level.quantizer.embedding_dim
            if level.condition is not None and level.up is not None and a is not None:
                c = self._tried(f"level {l}'s condition", level.condition, a)
                u = self._tried(f"level {l}'s up", level.up, a)
                for name, y, form in (("condition", c, (*h.shape[1:-1], "any")),
                                      ("up", u, (*h.shape[1:-1], a.shape[-1]))):  # fmt: skip
                    if y.shape[1:-1] != h.shape[1:-1] or (name == "up" and y.shape[1:] != form):
                        needed = f"must give arrays (B, {', '.join(map(str, form))}), as the level's grid"
                        fail(WHERE, f"level {l}'s {name}", needed, f"shape {y.shape[1:]} an example")
                inputs = np.concatenate([c, h], axis=-1)
            z = self._tried(f"level {l}'s project", level.project, inputs)
            if z.shape[1:] != (*h.shape[1:-1], D):
                needed = f"must give arrays (B, {', '.join(map(str, (*h.shape[1:-1], D)))}), like its codes"
                fail(WHERE, f"level {l}'s project", needed, f"shape {z.shape[1:]} an example")
            a = level.join(a, z)[0]
            shapes.append(z.shape[1:-1])
            if level.decoder is not None:
                self._check_image(f"level {l}'s decoder", level.decoder, a)
        self.latent_shape = tuple(shapes)
        self._check_image("decoder", self.decoder, a)  # type: ignore[arg-type]

    def _check_image(self, name: str, decoder: Module, a: Array) -> None:
        if (shape := self._tried(name, decoder, np.zeros_like(a)).shape[1:]) != self.data.shape:
            fail(WHERE, name, f"must give arrays of the data's shape, {self.data.shape}", f"shape {shape}")


def _checked_levels(levels: Any, level_loss: float) -> tuple[Level, ...]:
    """levels as a tuple: at least one, each a Level, only the first without a condition."""
    if not isinstance(levels, (list, tuple)) or not levels:
        got = "none" if isinstance(levels, (list, tuple)) else type(levels).__name__
        fail(WHERE, "levels", "must be a sequence of at least one Level, the top first", got)
    for l, level in enumerate(levels, 1):
        if not isinstance(level, Level):
            fail(WHERE, f"levels[{l - 1}]", "must be a vqnp.models.Level", type(level).__name__)
        if (level.condition is None) != (l == 1):
            needed = "must have no condition and no up" if l == 1 else "must have a condition and an up"
            fail(WHERE, f"levels[{l - 1}]", needed, "some" if l == 1 else "none")
        if (level.decoder is None) != (level_loss == 0 or l == len(levels)):
            needed = "must have a decoder at each level but the bottom if level_loss is above 0, else at none"
            fail(WHERE, "levels", needed, f"{'no' if level.decoder is None else 'a'} decoder at level {l}")
    return tuple(levels)
