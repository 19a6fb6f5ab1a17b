"""z = encoder(x),  k = argmin ‖z − e‖²,  x̂ = decoder(e_k),  L = ⟨(x̂ − x)²⟩ + L_vq: the VQ-VAE.

x: (B, P) an image of P pixels -> z: (B, M, D), k: (B, M) M codes -> x_hat: (B, P)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from vqnp._check import FLOATS, Array, check_array, check_choice, check_codes, check_float, check_int, fail
from vqnp._images import to_float
from vqnp.metrics import bits_per_image
from vqnp.nn.ema_quantizer import EMAVectorQuantizer
from vqnp.nn.layers import ACTIVATIONS, mlp
from vqnp.nn.module import Cache, Module
from vqnp.nn.quantizer import VectorQuantizer
from vqnp.ops.loss import mse_backward, mse_forward

CHUNK = 128
"""Rows in each pass of encode and decode. A matrix product may round differently at another size, and
(OpenBLAS in float32) a row at another place: so passes have one size, the last one padded, and batches
that begin at multiples of it give the same bits as all images at once."""

PART = 16 * CHUNK
"""Images that encode has in memory as numbers at a time."""


class Losses(NamedTuple):
    """L = reconstruction + quantization, each a scalar array."""

    total: Array
    reconstruction: Array
    quantization: Array


class VQVAE(Module):
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
        self.image_shape = _lengths(where, "image_shape's lengths", image_shape)
        self.num_latents = check_int(where, "num_latents", num_latents)
        self.embedding_dim = check_int(where, "embedding_dim", embedding_dim)
        self.num_embeddings = check_int(where, "num_embeddings", num_embeddings)
        hidden = _lengths(where, "hidden's widths", hidden)
        check_choice(where, "activation", activation, tuple(ACTIVATIONS))
        check_choice(where, "codebook", codebook, ("ema", "gradient"))
        try:
            self.dtype = np.dtype(dtype)
        except TypeError:
            self.dtype = np.dtype(object)
        if self.dtype not in FLOATS:
            fail(where, "dtype must be 'float32' or 'float64'", repr(dtype))
        if quantizer_options is not None and not isinstance(quantizer_options, Mapping):
            fail(where, "quantizer_options must be a mapping", type(quantizer_options).__name__)
        further: dict[str, Any] = {
            name: value.item() if isinstance(value, np.generic) else value  # plain, for a checkpoint's JSON
            for name, value in (quantizer_options or {}).items()
        }
        rng = np.random.default_rng(rng)
        P = int(np.prod(self.image_shape))
        sizes = (P, *hidden, self.num_latents * self.embedding_dim)
        self.encoder = mlp(sizes, activation, rng, self.dtype)
        self.decoder = mlp(sizes[::-1], activation, rng, self.dtype)
        options: dict[str, Any] = {"decay": decay, "codebook_init": codebook_init}
        options |= {"rng": rng, "dtype": self.dtype} | ({"epsilon": epsilon} if codebook == "ema" else {})
        repeated = sorted(options.keys() & further.keys())
        if repeated:
            fail(where, "quantizer_options must not repeat VQVAE's own arguments", ", ".join(repeated))
        options |= further
        kind = EMAVectorQuantizer if codebook == "ema" else VectorQuantizer
        try:
            self.quantizer = kind(self.num_embeddings, self.embedding_dim, commitment_cost, **options)
        except TypeError as error:
            fail(where, f"quantizer_options must be keywords of {kind.__name__}", error)
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
        check_array("VQVAE.forward", "x", x, ndim=2, last=int(np.prod(self.image_shape)), dtype=self.dtype)
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

    # What a person does with it.

    def pixels(self, images: Array, where: str = "VQVAE.pixels", first: int = 0) -> Array:
        """x as the encoder takes it: (n, *image_shape) or (n, P), uint8 or float in [0, 1] -> (n, P).

        first is the number of images[0] in a larger set, for errors.
        """
        x = to_float(images, self.dtype, first=first, where=where)
        P = int(np.prod(self.image_shape))
        if x.ndim == 0 or x.shape[1:] not in (self.image_shape, (P,)):
            shape = ", ".join(map(str, self.image_shape))
            fail(where, f"images must have shape (n, {shape}) or (n, {P})", f"shape {x.shape}")
        return x.reshape(len(x), P)

    def latents(self, images: Array, first: int = 0) -> Array:
        """z = encoder(x); images: (n, *image_shape) or (n, P), uint8 or float in [0, 1] -> z: (n, M, D)."""
        x = self.pixels(images, "VQVAE.encode", first)
        z = _in_chunks(lambda rows: self.encoder.forward(rows)[0], x)
        return z.reshape(len(x), self.num_latents, self.embedding_dim)

    def encode(self, images: Array, progress: bool = False) -> Array:
        """k = argmin_j ‖encoder(x) − e_j‖²; images: (n, *image_shape) -> k: (n, M) int64.

        Works through a part of the images at a time, so that beside the codes it needs the same memory
        for ten million, memory-mapped, as for a thousand; progress draws a bar on standard error.
        """
        n = len(images) if np.ndim(images) else 0
        parts = range(0, max(n, 1), PART)  # one at least: an empty array is checked too
        k = np.empty((n, self.num_latents), np.int64)
        with tqdm(total=n, unit="image", unit_scale=True, disable=not progress) as bar:
            for start in parts:
                part = images[start : start + PART] if n else images
                k[start : start + PART] = self.quantizer.encode(self.latents(part, start))
                bar.update(len(part))
        return k

    def decode(self, codes: Array) -> Array:
        """x̂ = decoder(e_k), clipped to [0, 1]; codes: (n, M) integers in [0, K) -> (n, *image_shape).

        An image's pixels are known to lie in [0, 1], so a value outside is brought to the nearer end.
        """
        k = check_codes("VQVAE.decode", codes, self.num_embeddings)
        if k.ndim != 2 or k.shape[1] != self.num_latents:
            fail("VQVAE.decode", f"codes must have shape (n, {self.num_latents})", f"shape {k.shape}")
        return self.decode_latents(self.quantizer.decode(k))

    def decode_latents(self, z_q: Array) -> Array:
        """x̂ = decoder(z_q), clipped to [0, 1]; z_q: (n, M, D), any vectors -> (n, *image_shape)."""
        shape = (len(z_q), self.num_latents, self.embedding_dim)
        check_array("VQVAE.decode_latents", "z_q", z_q, shape=shape, dtype=self.dtype)
        rows = z_q.reshape(len(z_q), shape[1] * shape[2])
        x_hat = _in_chunks(lambda rows: self.decoder.forward(rows)[0], rows)
        return np.clip(x_hat, 0, 1).reshape(len(z_q), *self.image_shape)

    def reconstruct(self, images: Array) -> Array:
        """decode(encode(x)); images: (n, *image_shape) -> (n, *image_shape) in [0, 1]."""
        return self.decode(self.encode(images))

    def start_codebook(self, images: Array, rng: np.random.Generator | int) -> None:
        """Start the codes from the latents of images, if codebook_init is "data" or "kmeans"."""
        self.quantizer.start_from(self.latents(images), rng)

    def fingerprint(self) -> str:
        """SHA-256 of what gives codes their meaning: the codebook and the decoder; 64 hexadecimal digits."""
        names = ("image_shape", "num_latents", "hidden", "activation", "dtype")
        digest = hashlib.sha256(repr([self.config[name] for name in names]).encode())
        digest.update(np.ascontiguousarray(self.quantizer.embeddings).tobytes())
        for name, param in self.decoder.named_params():
            digest.update(name.encode() + param.value.tobytes())
        return digest.hexdigest()


def _lengths(where: str, name: str, lengths: Any) -> tuple[int, ...]:
    """lengths as a tuple of integers of at least 1, else raise InputError."""
    if isinstance(lengths, str) or not isinstance(lengths, Iterable):
        fail(where, f"{name} must be a sequence of integers", repr(lengths))
    return tuple(check_int(where, name, n) for n in lengths)


def _in_chunks(f: Callable[[Array], Array], rows: Array) -> Array:
    """f over CHUNK rows at a time, the last chunk padded with zeros: (n, I) -> (n, O)."""
    outputs = []
    for start in range(0, max(len(rows), 1), CHUNK):
        chunk = rows[start : start + CHUNK]
        padded = np.zeros((CHUNK, rows.shape[1]), rows.dtype)
        padded[: len(chunk)] = chunk
        outputs.append(f(padded)[: len(chunk)])
    return np.concatenate(outputs)
