"""x̂ = decoder(encoder(x)): what all models with an encoder and a decoder share.

x: (B, *data.shape) -> z: (B, *latent_shape, D) -> x_hat: (B, *data.shape)
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from vqnp._check import (
    Array, InputError, check_array, check_choice, check_dtype, check_lengths, fail, kind_of,
)
from vqnp.data.batches import batches
from vqnp.data.datasets import images_of
from vqnp.data.spec import DataSpec
from vqnp.data.stream import ArrayStream
from vqnp.kernels import memory
from vqnp.nn import ACTIVATIONS, Flatten, Module, Reshape, Sequential, describe, mlp
from vqnp.nn.trainable import Batch, Trainable

NETWORK_ARGUMENTS = (
    "image_shape", "latent_dim", "hidden", "activation", "channels", "residual_channels", "residual_blocks",
    "downsampling", "ndim", "rng", "dtype",
)  # fmt: skip
"""Arguments of the constructors mlp and conv, which a class's own constructor does not have."""


def needs_parts(model: str) -> str:
    """What is needed of a part that is missing."""
    return f"must be given ({model}.mlp() and {model}.conv() make a model from defaults)"


CHUNK_EXAMPLES = 128
"""Examples in each pass of encode and decode, so that hidden layers need little memory. An example's bits do
not depend on the others (see vqnp.kernels.product), so this number does not show."""

PART_EXAMPLES = 16 * CHUNK_EXAMPLES
"""Examples that encode holds in memory as numbers at a time."""


class Encoding(NamedTuple):
    """What encode returns: "codes", "levels" (of codes) or "latents", (n, *shape) of dtype.

    size says how much that is; num_embeddings: K of codes, 0 for latents

    Examples
    --------
    >>> import vqnp
    >>> vqnp.VQVAE.mlp().encoding
    Encoding(name='codes', shape=(16,), dtype=dtype('int64'), size='112 bits', num_embeddings=128)
    >>> vqnp.VAE.mlp(latent_dim=8).encoding[:2]
    ('latents', (8,))
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    size: str
    num_embeddings: int = 0

    @property
    def stored_dtype(self) -> np.dtype[Any]:
        """In files: the narrowest unsigned dtype that holds codes up to K − 1; of latents their own."""
        return np.min_scalar_type(self.num_embeddings - 1) if self.num_embeddings else self.dtype


class Model(Trainable, Module):  # type: ignore[misc]
    """An encoder, a decoder, the form of the data, and latents: continuous unless a subclass quantizes them.

    A subclass provides `kind` (its name on the command line), loss, backward and evaluate.
    """

    kind: str
    encoder: Module
    decoder: Module
    data: DataSpec
    dtype: np.dtype[Any]
    latent_shape: tuple[int, ...]
    latent_dim: int
    num_embeddings = 0

    def _connect(self, encoder: Module, decoder: Module, data: DataSpec | Mapping[str, Any]) -> Array:
        """Store the parts; return the encoder's output (1, ...) for one example of zeros."""
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

    @property
    def decoded_shape(self) -> tuple[int, ...]:
        """The shape of the decoder's output for one example: the data's."""
        return self.data.shape

    def _check_decoder(self, z: Array) -> None:
        """Raise unless the decoder turns latents z: (1, *latent_shape, D) into an example."""
        shape = self._tried("decoder", self.decoder, np.zeros_like(z)).shape[1:]
        if shape != self.decoded_shape:
            what = "the data's shape," if self.decoded_shape == self.data.shape else "shape"
            needed = f"must give arrays of {what} {self.decoded_shape}"
            fail(type(self).__name__, "decoder", needed, f"shape {shape}")

    def config(self) -> dict[str, Any]:
        return {"encoder": self.encoder, "decoder": self.decoder, "data": self.data.as_dict()}

    def prepare(self, data: Any) -> Batch:
        """The x that minibatches are taken from: (n, *data.shape) in the model's dtype, as a tuple of one."""
        x = self.data.to_array(images_of(data), self.dtype, "fit", name="data")
        if len(x) == 0:
            fail("fit", "data", "must hold at least one image", f"shape {x.shape}")
        return (x,)

    def check(self, data: Any, where: str = "fit", name: str = "test_data") -> None:
        """Raise unless `evaluate` can take these data; every number is looked at, a part at a time."""
        images = images_of(data)
        if not isinstance(images, (np.ndarray, ArrayStream)):
            needed = "must be a NumPy array, a Dataset or an ArrayStream of images"
            fail(where, name, needed, kind_of(images))
        self.data.check_shape(images.shape, where, name)
        if len(images) == 0:
            fail(where, name, "must hold at least one image", f"shape {images.shape}")
        first = 0
        for part in batches(images):
            self.data.to_array(part, self.dtype, where, first, name)
            first += len(part)

    @property
    def num_latents(self) -> int:
        """M, the product of latent_shape."""
        return int(np.prod(self.latent_shape))

    @property
    def encoding(self) -> Encoding:
        """What encode returns for one example: latents, (*latent_shape, D) numbers of the model's dtype."""
        shape = (*self.latent_shape, self.latent_dim)
        return Encoding("latents", shape, self.dtype, f"{int(np.prod(shape))} numbers")

    @property
    def decoded_bytes(self) -> int:
        """Bytes that decoding a latent takes for each example: its data in a chunk and in the result."""
        return 2 * self.data.size * self.dtype.itemsize

    @property
    def latent_bytes(self) -> int:
        """Bytes of the latents of an example, before any quantizer."""
        return self.num_latents * self.latent_dim * self.dtype.itemsize

    @property
    def encodings(self) -> tuple[Encoding, ...]:
        """The arrays that encode returns: one, except for codes of several levels."""
        return (self.encoding,)

    def latents(self, images: Any, first: int = 0) -> Array:
        """z, before any quantizer: (n, *data.shape) -> (n, *latent_shape, D); first is images[0]'s number."""
        return self.encode_raw(images, first)

    def quantize(self, z: Array) -> Array | None:
        """The codes of latents z, or None if latents are not quantized."""
        return None

    def encode(self, images: Any, progress: bool = False) -> Array:
        """The codes or latents of examples: (n, *data.shape) -> (n, *encoding.shape).

        Memory-mapped arrays are read in parts, so that, apart from the result, ten million examples need no
        more memory than a few thousand. With progress, a bar is drawn on standard error.
        """
        return self._encode(images, progress)[0]

    def _encode(self, images: Any, progress: bool = False) -> list[Array]:
        """An array for each of `encodings`."""
        images = images_of(images)
        n = len(images) if isinstance(images, np.ndarray) and images.ndim else 0
        each = sum(math.prod(one.shape) * one.dtype.itemsize for one in self.encodings)
        self._check_room("encode", "images", images, each)
        arrays = [np.empty((n, *one.shape), one.dtype) for one in self.encodings]
        with tqdm(total=n, unit="image", unit_scale=True, disable=not progress) as bar:
            for start in range(0, max(n, 1), PART_EXAMPLES):  # an empty array is checked too
                part = images[start : start + PART_EXAMPLES] if n else images
                for array, encoded in zip(arrays, self._encode_part(part, start), strict=True):
                    array[start : start + PART_EXAMPLES] = encoded
                bar.update(len(part))
        return arrays

    def _encode_part(self, images: Any, first: int) -> tuple[Array, ...]:
        """The same for a few thousand examples; first is images[0]'s number."""
        z = self.latents(images, first)
        codes = self.quantize(z)
        return (z if codes is None else codes,)

    def decode(self, codes: Any) -> Array:
        """x̂, in the data's range, for what encode returned: (n, *encoding.shape) -> (n, *data.shape)."""
        return self._decode_latents(codes, "decode")

    def reconstruct(self, images: Any) -> Array:
        """decode(encode(x)): (n, *data.shape) -> (n, *data.shape) in the data's range."""
        return self.decode(self.encode(images))

    def decode_latents(self, z: Array) -> Array:
        """x̂ = decoder(z) in the data's range, z unquantized: (n, *latent_shape, D) -> (n, *data.shape)."""
        return self._decode_latents(z, "decode_latents")

    def _decode_latents(self, z: Array, method: str) -> Array:
        self._check_room(method, "z", z, self.decoded_bytes)
        shape = (len(z) if np.ndim(z) else 0, *self.latent_shape, self.latent_dim)
        check_array(f"{type(self).__name__}.{method}", "z", z, shape=shape, dtype=self.dtype, finite=True)
        return self.to_data(self.decode_raw(z))

    def _check_room(self, method: str, name: str, x: Any, each: int) -> None:
        """Raise unless there are so many bytes for each example of x: a view may have any number of them."""
        n = len(x) if isinstance(x, np.ndarray) and x.ndim else 0
        memory.check_memory(f"{type(self).__name__}.{method}", name, n, each, "must hold at most {}")

    def to_data(self, x_hat: Array) -> Array:
        """The decoder's output clipped to the data's range."""
        return self.data.clip(x_hat)

    def encode_raw(self, images: Any, first: int = 0) -> Array:
        """The encoder's raw output, in chunks: (n, *data.shape) -> (n, ...)."""
        x = self.data.to_array(images_of(images), self.dtype, f"{type(self).__name__}.encode", first)
        return in_chunks(lambda rows: self.encoder.forward(rows)[0], x)

    def decode_raw(self, z: Array) -> Array:
        """The decoder's raw output, in chunks, not clipped: (n, *latent_shape, D) -> (n, *data.shape)."""
        return in_chunks(lambda rows: self.decoder.forward(rows)[0], z)

    def fingerprint(self) -> str:
        """SHA-256 of everything that gives a code or latent its meaning: 64 hexadecimal digits."""
        digest = hashlib.sha256()
        for array in self.defining_arrays():
            digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(json.dumps(self.defining_values(), sort_keys=True).encode())
        for name, param in self.decoder.named_parameters():
            digest.update(name.encode() + param.value.tobytes())
        return digest.hexdigest()

    def defining_values(self) -> list[Any]:
        """Plain values on which the meaning of a code or latent depends."""
        return [describe(self.decoder), self.data.as_dict()]

    def defining_arrays(self) -> list[Array]:
        """Arrays, other than the decoder's, on which the meaning of a code depends."""
        return []


def in_chunks(f: Callable[[Array], Array], x: Array) -> Array:
    """f applied to CHUNK_EXAMPLES at a time: (n, ...) -> (n, ...)."""
    starts = range(0, max(len(x), 1), CHUNK_EXAMPLES)
    return np.concatenate([f(x[start : start + CHUNK_EXAMPLES]) for start in starts])


def mlp_networks(
    where: str, image_shape: tuple[int, ...], encoded: tuple[int, ...], latent: tuple[int, ...],
    hidden: tuple[int, ...], activation: str, rng: np.random.Generator, dtype: Any,
) -> tuple[Sequential, Sequential]:  # fmt: skip
    """encoder: (B, *image_shape) -> (B, *encoded);  decoder: (B, *latent) -> (B, *image_shape).

    The decoder has the hidden layers in reverse order.
    """
    image_shape = check_lengths(where, "image_shape", image_shape)
    hidden = check_lengths(where, "hidden", hidden)
    check_choice(where, "activation", activation, tuple(ACTIVATIONS))
    dtype = check_dtype(where, dtype)
    P = math.prod(image_shape)
    encoder = mlp((P, *hidden, math.prod(encoded)), activation, rng, dtype)
    decoder = mlp((math.prod(latent), *hidden[::-1], P), activation, rng, dtype)
    return (
        Sequential(Flatten(), *encoder.layers, Reshape(*encoded)),
        Sequential(Flatten(), *decoder.layers, Reshape(*image_shape)),
    )
