"""Codes of several levels, each level given those above it: encoding and decoding.

x: (n, *data.shape) <-> (k_1, …, k_L), k_l: (n, *latent_shape[l − 1]), the top level first
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from vqnp._check import Array, check_int, fail
from vqnp.data.datasets import images_of
from vqnp.evaluation.levels import HierarchyEvaluation, evaluate_levels
from vqnp.models.base import CHUNK_EXAMPLES, in_chunks
from vqnp.models.hierarchical_checks import checked_codes
from vqnp.models.level import Level, LevelOutput
from vqnp.models.several_levels import SeveralLevels
from vqnp.nn import Module, describe
from vqnp.nn.module import Cache


class LevelCodes(SeveralLevels):
    """A model whose levels need each other: what it encodes, decodes and reports; a subclass has the loss.

    A subclass sets decoder as well, and provides features.
    """

    levels: tuple[Level, ...]

    def features(self, x: Array) -> tuple[list[Array], list[Cache]]:
        """h_1, …, h_L, and the encoders' caches."""
        raise NotImplementedError(f"{type(self).__name__} has no features")

    def chosen(self, cache: Cache) -> list[Array]:
        return [output.k for output in cache[1]]

    def batch_arrays(self, cache: Cache) -> tuple[Array, ...]:
        """z and k of each level."""
        return tuple(array for output in cache[1] for array in (output.z, output.k))

    def cache_of(self, arrays: tuple[Array, ...]) -> Cache:
        pairs = zip(arrays[::2], arrays[1::2], strict=True)
        return None, [LevelOutput(z, None, z, k, {}, None) for z, k in pairs]

    def evaluate(self, data: Any, history: Any = None, progress: bool = False) -> HierarchyEvaluation:
        """MSE, and of each level perplexity, bits, and what it carries; see evaluation.evaluate_levels."""
        return evaluate_levels(self, data, history, progress)

    # Public interface.

    @property
    def encoder(self) -> Module:  # type: ignore[override]
        """The encoder next to the image, that of the bottom level."""
        return self.levels[-1].encoder

    @property
    def latent_bytes(self) -> int:
        """Bytes of the latents of an example, before the quantizers."""
        sizes = zip(self.latent_shape, self.levels, strict=True)
        entries = sum(np.prod(shape) * level.quantizer.embedding_dim for shape, level in sizes)
        return int(entries) * self.dtype.itemsize

    def latents(self, images: Any, first: int = 0) -> Any:
        """(z_1, …, z_L), before the quantizers, each given the codes above it."""
        where = f"{type(self).__name__}.latents"
        x = self.data.to_array(images_of(images), self.dtype, where, first)
        return tuple(in_chunks(partial(self._latents, l), x) for l in range(len(self.levels)))

    def _encode_part(self, images: Any, first: int) -> tuple[Array, ...]:
        x = self.data.to_array(images, self.dtype, f"{type(self).__name__}.encode", first)
        parts = [self._codes(x[i : i + CHUNK_EXAMPLES]) for i in range(0, max(len(x), 1), CHUNK_EXAMPLES)]
        return tuple(np.concatenate(level) for level in zip(*parts, strict=True))

    def decode(self, codes: Any) -> Array:
        """x̂ = decoder(a_L), clipped to the data's range; codes: (k_1, …, k_L), k_l: (n, *S_l)."""
        return self.to_data(self._decoded(checked_codes(self, "decode", codes), None))

    def decode_level(self, codes: Any, level: int) -> Array:
        """x̂_l from the codes of the levels 1 … l, by the decoder of level l; level: l, 1 for the top.

        Raises
        ------
        InputError
            The model has no decoders for its levels: it was made with level_loss 0.
        """
        where = f"{type(self).__name__}.decode_level"
        l = check_int(where, "level", level, 1, len(self.levels))
        k = checked_codes(self, "decode_level", codes)
        if l == len(self.levels):
            return self.to_data(self._decoded(k, None))
        if self.levels[l - 1].decoder is None:
            needed = "must be that of a model made with level_loss above 0, which decodes each level"
            fail(where, "level", needed, f"{level} of a model with level_loss 0")
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
