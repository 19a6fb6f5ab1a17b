"""x̂ = decoder(encoder(x)) with MLPs: what every model of images shares, whatever stands in between.

x: (B, P) an image of P pixels -> h: (B, H) -> x_hat: (B, P)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from tqdm import tqdm

from vqnp._check import FLOATS, Array, check_array, check_choice, check_int, fail
from vqnp._images import to_float
from vqnp.nn.layers import ACTIVATIONS, mlp
from vqnp.nn.module import Cache, Module, Sequential

CHUNK = 128
"""Rows in each pass of encode and decode. A matrix product may round differently at another size, and
(OpenBLAS in float32) a row at another place: so passes have one size, the last one padded, and batches
that begin at multiples of it give the same bits as all images at once."""

PART = 16 * CHUNK
"""Images that encode has in memory as numbers at a time."""


class ImageModel(Module):
    """Pixels in, an MLP encoder, a latent, an MLP decoder, pixels out; and what a trainer asks of a model.

    A subclass has `kind` (its name on the command line), `columns` (the names, in a history, of what
    `train_forward` gives as losses), `num_embeddings` (K, or 0 where the latent is no code), and:
    latents, encode, decode, train_forward, loss_backward_params, config.
    """

    kind: str
    columns: tuple[str, ...]
    meaning: tuple[str, ...] = ("image_shape", "hidden", "activation", "dtype")
    """Entries of config on which depends what a latent means; the fingerprint is of them too."""
    num_embeddings = 0
    config: dict[str, Any]
    encoder: Sequential
    decoder: Sequential

    def _check_shape(self, image_shape: Any, hidden: Any, activation: str, dtype: str) -> tuple[int, ...]:
        """Take the arguments that all models have; hidden as integers."""
        where = type(self).__name__
        self.image_shape = _lengths(where, "image_shape", image_shape)
        hidden = _lengths(where, "hidden", hidden)
        check_choice(where, "activation", activation, tuple(ACTIVATIONS))
        try:
            self.dtype = np.dtype(dtype)
        except TypeError:
            self.dtype = np.dtype(object)
        if self.dtype not in FLOATS:
            fail(where, "dtype", "must be 'float32' or 'float64'", repr(dtype))
        return hidden

    def _make_networks(
        self, hidden: tuple[int, ...], activation: str, rng: np.random.Generator, encoded: int, latent: int
    ) -> None:
        """encoder: P -> hidden -> encoded;  decoder: latent -> hidden reversed -> P."""
        P = self.num_pixels
        self.encoder = mlp((P, *hidden, encoded), activation, rng, self.dtype)
        self.decoder = mlp((latent, *hidden[::-1], P), activation, rng, self.dtype)

    @property
    def num_pixels(self) -> int:
        """P."""
        return int(np.prod(self.image_shape))

    def parts(self) -> Mapping[str, Module]:
        return {"encoder": self.encoder, "decoder": self.decoder}

    # What a trainer asks.

    def train_start(self, images: Array, rng: np.random.Generator) -> None:
        """What the model does with some of the training images before the first step: nothing."""

    def train_forward(self, x: Array, rng: np.random.Generator, step: int) -> tuple[Any, Array, Array, Cache]:
        """losses (the first is the one that is minimised), z, k: (B, M) codes or (B, 0), cache.

        rng is what noise is drawn from; step counts from 0.
        """
        raise NotImplementedError(f"{type(self).__name__} has no train_forward")

    def loss_backward_params(self, dL: Array | float, cache: Cache) -> None:
        """Add the gradients of dL · L to every Param's grad."""
        raise NotImplementedError(f"{type(self).__name__} has no loss_backward_params")

    def train_update(self, z: Array, k: Array, rng: np.random.Generator, restart_below: float) -> Array:
        """What the model itself moves after a step; which codes were restarted: none, without any."""
        return np.empty(0, np.int64)

    def train_row(self, step: int) -> dict[str, float]:
        """What else an epoch's row of the history says, after its last step: nothing."""
        return {}

    # What a person does with it.

    def pixels(self, images: Array, where: str = "", first: int = 0) -> Array:
        """x as the encoder takes it: (n, *image_shape) or (n, P), uint8 or float in [0, 1] -> (n, P).

        first is the number of images[0] in a larger set, for errors.
        """
        where = where or f"{type(self).__name__}.pixels"
        x = to_float(images, self.dtype, first=first, where=where)
        P = self.num_pixels
        if x.ndim == 0 or x.shape[1:] not in (self.image_shape, (P,)):
            shape = ", ".join(map(str, self.image_shape))
            fail(where, "images", f"must have shape (n, {shape}) or (n, {P})", f"shape {x.shape}")
        return x.reshape(len(x), P)

    def latents(self, images: Array, first: int = 0) -> Array:
        """What the decoder is given, or is given the nearest code of: (n, *image_shape) -> (n, ...)."""
        raise NotImplementedError(f"{type(self).__name__} has no latents")

    def encode(self, images: Array, progress: bool = False) -> Array:
        """What the image becomes: (n, *image_shape) -> (n, ...)."""
        raise NotImplementedError(f"{type(self).__name__} has no encode")

    def decode(self, codes: Array) -> Array:
        """x̂ in [0, 1] of what encode gave: (n, ...) -> (n, *image_shape)."""
        raise NotImplementedError(f"{type(self).__name__} has no decode")

    def reconstruct(self, images: Array) -> Array:
        """decode(encode(x)); images: (n, *image_shape) -> (n, *image_shape) in [0, 1]."""
        return self.decode(self.encode(images))

    def encoded(self, images: Array, first: int = 0) -> Array:
        """The encoder's own output, in chunks: (n, *image_shape) -> (n, H)."""
        x = self.pixels(images, f"{type(self).__name__}.encode", first)
        return in_chunks(lambda rows: self.encoder.forward(rows)[0], x)

    def decoded(self, rows: Array) -> Array:
        """The decoder's own output, in chunks, not clipped: (n, H) -> (n, P)."""
        return in_chunks(lambda rows: self.decoder.forward(rows)[0], rows)

    def fingerprint(self) -> str:
        """SHA-256 of what gives latents their meaning: 64 hexadecimal digits."""
        digest = hashlib.sha256(repr([self.config[name] for name in self.meaning]).encode())
        for array in self.meaning_arrays():
            digest.update(np.ascontiguousarray(array).tobytes())
        for name, param in self.decoder.named_params():
            digest.update(name.encode() + param.value.tobytes())
        return digest.hexdigest()

    def meaning_arrays(self) -> list[Array]:
        """Arrays beside the decoder's on which depends what a latent means."""
        return []


def in_parts(encode: Callable[[Array, int], Array], images: Array, out: Array, progress: bool) -> Array:
    """out[n] = encode(images)[n], PART images in memory as numbers at a time; encode also gets their place.

    So that beside the result it needs the same memory for ten million, memory-mapped, as for a
    thousand; progress draws a bar on standard error.
    """
    n = len(out)
    with tqdm(total=n, unit="image", unit_scale=True, disable=not progress) as bar:
        for start in range(0, max(n, 1), PART):  # one part at least: an empty array is checked too
            part = images[start : start + PART] if n else images
            out[start : start + PART] = encode(part, start)
            bar.update(len(part))
    return out


def in_chunks(f: Callable[[Array], Array], rows: Array) -> Array:
    """f over CHUNK rows at a time, the last chunk padded with zeros: (n, I) -> (n, O)."""
    outputs = []
    for start in range(0, max(len(rows), 1), CHUNK):
        chunk = rows[start : start + CHUNK]
        padded = np.zeros((CHUNK, rows.shape[1]), rows.dtype)
        padded[: len(chunk)] = chunk
        outputs.append(f(padded)[: len(chunk)])
    return np.concatenate(outputs)


def check_latents(where: str, name: str, z: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """z if it is (n, *shape) of the model's dtype and finite, else raise."""
    n = np.shape(z)[0] if np.ndim(z) else 0
    return check_array(where, name, z, shape=(n, *shape), dtype=dtype, finite=True)


def _lengths(where: str, name: str, lengths: Any) -> tuple[int, ...]:
    """lengths as a tuple of integers of at least 1, else raise InputError."""
    if isinstance(lengths, str) or not isinstance(lengths, Iterable):
        fail(where, name, "must be a sequence of integers", repr(lengths))
    return tuple(check_int(where, f"{name}[{i}]", n) for i, n in enumerate(lengths))
