"""x̂ = decoder(encoder(x)): what every model made of an encoder and a decoder shares.

x: (B, *data.shape) -> z: (B, *latent_shape, D) -> x_hat: (B, *data.shape)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from vqnp._check import FLOATS, Array, InputError, check_array, check_choice, check_lengths, fail
from vqnp.data.spec import DataSpec
from vqnp.nn import ACTIVATIONS, Flatten, Module, Reshape, Sequential, describe, mlp
from vqnp.nn.module import Cache

CHUNK_EXAMPLES = 128
"""Examples in each pass of encode and decode. A matrix product may round differently at another size, and
(OpenBLAS in float32) a row at another place: so passes have one size, the last one padded, and batches
that begin at multiples of it give the same bits as all examples at once."""

PART_EXAMPLES = 16 * CHUNK_EXAMPLES
"""Examples that encode has in memory as numbers at a time."""


class Encoding(NamedTuple):
    """What encode gives: "codes" or "latents", (n, *shape) of dtype; size says how much that is."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    size: str


class Model(Module):
    """An encoder, a decoder, the form of the data, and what a trainer asks of them.

    A subclass has `kind` (its name on the command line) and: loss, backward, latents, encoding, decode,
    evaluate, config.
    """

    kind: str
    encoder: Module
    decoder: Module
    data: DataSpec
    dtype: np.dtype[Any]
    latent_shape: tuple[int, ...]
    num_embeddings = 0

    def _connect(self, encoder: Module, decoder: Module, data: DataSpec | Mapping[str, Any]) -> Array:
        """Take the parts; the encoder's output for one example, (1, ...), as the parts are tried on zeros."""
        where = type(self).__name__
        for name, part in (("encoder", encoder), ("decoder", decoder)):
            if not isinstance(part, Module):
                fail(where, name, "must be a vqnp.nn.Module", type(part).__name__)
        self.encoder, self.decoder, self.data = encoder, decoder, DataSpec.of(data)
        dtypes = {param.value.dtype for part in (encoder, decoder) for param in part.parameters()}
        if len(dtypes) > 1:
            fail(where, "encoder and decoder", "must have one dtype", ", ".join(sorted(map(str, dtypes))))
        self.dtype = dtypes.pop() if dtypes else np.dtype(np.float32)
        return self._tried("encoder", encoder, np.zeros((1, *self.data.shape), self.dtype))

    def _tried(self, name: str, part: Module, x: Array) -> Array:
        """part's output for x: (1, ...), or an InputError that says which part does not take it."""
        try:
            y = part.forward(x)[0]
        except (InputError, ValueError) as error:
            needed = f"must take arrays of shape (B, {', '.join(map(str, x.shape[1:]))})"
            raise InputError(type(self).__name__, name, needed, error) from None
        if y.ndim < 2 or len(y) != 1:
            fail(type(self).__name__, name, "must give an array of shape (B, ..., D)", f"shape {y.shape}")
        return y

    def _check_decoder(self, z: Array) -> None:
        """Raise unless the decoder makes an example of latents z: (1, *latent_shape, D)."""
        shape = self._tried("decoder", self.decoder, np.zeros_like(z)).shape[1:]
        if shape != self.data.shape:
            needed = f"must give arrays of the data's shape, {self.data.shape}"
            fail(type(self).__name__, "decoder", needed, f"shape {shape}")

    # What a trainer asks.

    def prepare(self, data: Any) -> tuple[Array, ...]:
        """x as minibatches are taken from it: (n, *data.shape) of the model's dtype, in a tuple of one."""
        x = self.data.to_array(data, self.dtype, "fit")
        if len(x) == 0:
            fail("fit", "images", "must hold at least one image", f"shape {x.shape}")
        return (x,)

    def initialize(self, batch: tuple[Array, ...], rng: np.random.Generator) -> None:
        """What the model does with some of the training data before the first step: nothing."""

    def loss(
        self, batch: tuple[Array, ...], rng: Any = None, step: int = 0
    ) -> tuple[dict[str, Array], Cache]:
        """{"loss": what is minimised, and its terms by name}, cache; rng is for noise, step counts from 0."""
        raise NotImplementedError(f"{type(self).__name__} has no loss")

    def backward(  # type: ignore[override]
        self, cache: Cache, dL: Array | float = 1.0, need_dx: bool = False
    ) -> Any:
        """Adds dL · ∂L/∂θ to every grad; dx, if needed."""
        raise NotImplementedError(f"{type(self).__name__} has no backward")

    def after_step(self, cache: Cache, rng: np.random.Generator) -> dict[str, Array]:
        """What the model itself moves after a step; {parameter name: rows that were restarted}: none."""
        return {}

    def statistics(self, cache: Cache) -> dict[str, Array]:
        """Integer arrays, by name, which a trainer adds up over an epoch: none."""
        return {}

    def row(self, statistics: Mapping[str, Array], step: int) -> dict[str, float]:
        """What else an epoch's row of the history says, from its statistics and its last step: nothing."""
        return {}

    def evaluate(self, data: Any, history: Any = None, progress: bool = False) -> Any:
        """A report on a data set, with .row(), .as_dict() and str()."""
        raise NotImplementedError(f"{type(self).__name__} has no evaluate")

    # Public interface.

    @property
    def num_latents(self) -> int:
        """M, the product of latent_shape."""
        return int(np.prod(self.latent_shape))

    @property
    def encoding(self) -> Encoding:
        """Name, shape and dtype of what encode gives for one example."""
        raise NotImplementedError(f"{type(self).__name__} has no encoding")

    def latents(self, images: Any, first: int = 0) -> Array:
        """z, before any quantizer: (n, *data.shape) -> (n, *latent_shape, D)."""
        raise NotImplementedError(f"{type(self).__name__} has no latents")

    def quantize(self, z: Array) -> Array | None:
        """The codes of latents z, or None where latents are not quantized."""
        return None

    def _encode_part(self, images: Any, first: int) -> Array:
        """encode, of so few examples that they fit into memory as numbers."""
        raise NotImplementedError(f"{type(self).__name__} has no encode")

    def decode(self, codes: Any) -> Array:
        """x̂ in the data's range of what encode gave: (n, ...) -> (n, *data.shape)."""
        raise NotImplementedError(f"{type(self).__name__} has no decode")

    def encode(self, images: Any, progress: bool = False) -> Array:
        """What an example becomes: (n, *data.shape) -> (n, *encoding.shape).

        Memory-mapped arrays are read a part at a time, so that ten million examples need the same memory as
        a thousand, beside the result; progress draws a bar on standard error.
        """
        n = len(images) if np.ndim(images) else 0
        out = np.empty((n, *self.encoding.shape), self.encoding.dtype)
        with tqdm(total=n, unit="image", unit_scale=True, disable=not progress) as bar:
            for start in range(0, max(n, 1), PART_EXAMPLES):  # an empty array is checked too
                part = images[start : start + PART_EXAMPLES] if n else images
                out[start : start + PART_EXAMPLES] = self._encode_part(part, start)
                bar.update(len(part))
        return out

    def reconstruct(self, images: Any) -> Array:
        """decode(encode(x)): (n, *data.shape) -> (n, *data.shape) in the data's range."""
        return self.decode(self.encode(images))

    def decode_latents(self, z: Array) -> Array:
        """x̂ = decoder(z) in the data's range, not quantized: (n, *latent_shape, D) -> (n, *data.shape)."""
        return self.to_data(self.decode_raw(z))

    def to_data(self, x_hat: Array) -> Array:
        """The decoder's output brought into the data's range, a value outside to the nearer end."""
        return self.data.clip(x_hat)

    def encode_raw(self, images: Any, first: int = 0) -> Array:
        """The encoder's own output, in chunks: (n, *data.shape) -> (n, ...)."""
        x = self.data.to_array(images, self.dtype, f"{type(self).__name__}.encode", first)
        return in_chunks(lambda rows: self.encoder.forward(rows)[0], x)

    def decode_raw(self, z: Array) -> Array:
        """The decoder's own output, in chunks, not clipped: (n, *latent_shape, D) -> (n, *data.shape)."""
        return in_chunks(lambda rows: self.decoder.forward(rows)[0], z)

    def fingerprint(self) -> str:
        """SHA-256 of all that gives a code or a latent its meaning: 64 hexadecimal digits."""
        digest = hashlib.sha256()
        for array in self.meaning_arrays():
            digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(json.dumps(self.meaning_values(), sort_keys=True).encode())
        for name, param in self.decoder.named_parameters():
            digest.update(name.encode() + param.value.tobytes())
        return digest.hexdigest()

    def meaning_values(self) -> list[Any]:
        """Plain values on which it depends what a code or a latent stands for."""
        return [describe(self.decoder), self.data.as_dict()]

    def meaning_arrays(self) -> list[Array]:
        """Arrays beside the decoder's on which it depends what a code stands for."""
        return []


def in_chunks(f: Callable[[Array], Array], x: Array) -> Array:
    """f over CHUNK_EXAMPLES at a time, the last chunk padded with zeros: (n, ...) -> (n, ...)."""
    outputs = []
    for start in range(0, max(len(x), 1), CHUNK_EXAMPLES):
        chunk = x[start : start + CHUNK_EXAMPLES]
        padded = np.zeros((CHUNK_EXAMPLES, *x.shape[1:]), x.dtype)
        padded[: len(chunk)] = chunk
        outputs.append(f(padded)[: len(chunk)])
    return np.concatenate(outputs)


def check_latents(where: str, z: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """z if it is (n, *shape) of the model's dtype and finite, else raise."""
    n = np.shape(z)[0] if np.ndim(z) else 0
    return check_array(where, "z", z, shape=(n, *shape), dtype=dtype, finite=True)


def mlp_networks(
    where: str,
    image_shape: tuple[int, ...],
    encoded: tuple[int, ...],
    latent: tuple[int, ...],
    hidden: tuple[int, ...],
    activation: str,
    rng: np.random.Generator,
    dtype: Any,
) -> tuple[Sequential, Sequential]:
    """encoder: (B, *image_shape) -> (B, *encoded);  decoder: (B, *latent) -> (B, *image_shape).

    The decoder has the hidden layers in reverse order.
    """
    hidden = check_lengths(where, "hidden", hidden)
    check_choice(where, "activation", activation, tuple(ACTIVATIONS))
    dtype = check_dtype(where, dtype)
    P = int(np.prod(image_shape))
    encoder = mlp((P, *hidden, int(np.prod(encoded))), activation, rng, dtype)
    decoder = mlp((int(np.prod(latent)), *hidden[::-1], P), activation, rng, dtype)
    return (
        Sequential(Flatten(), *encoder.layers, Reshape(*encoded)),
        Sequential(Flatten(), *decoder.layers, Reshape(*image_shape)),
    )


def check_dtype(where: str, dtype: Any) -> np.dtype[Any]:
    """float32 or float64, from its name or type; else raise."""
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = np.dtype(object)
    if found not in FLOATS:
        fail(where, "dtype", "must be 'float32' or 'float64'", repr(dtype))
    return found
