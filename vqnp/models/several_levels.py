"""What every model with codes of several levels has: their names, shapes, bits and use.

x: (n, *data.shape) -> (k_1, …, k_L), k_l: (n, *latent_shape[l − 1]), the top level first
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vqnp._check import Array
from vqnp.metrics.codebook import bits_per_image, perplexity
from vqnp.models.base import Encoding, Model
from vqnp.nn.module import Cache


class SeveralLevels(Model):
    """A model whose codes are in levels, each with a quantizer of its own.

    A subclass sets levels, data, dtype, latent_shape and num_embeddings (of each level), and provides
    chosen.
    """

    levels: Sequence[Any]
    latent_shape: Any
    num_embeddings: Any

    def chosen(self, cache: Cache) -> Sequence[Array]:
        """k_1, …, k_L of a batch, from the cache of its loss."""
        raise NotImplementedError(f"{type(self).__name__} has no chosen")

    def statistics(self, cache: Cache) -> dict[str, Array]:
        """n_j of each level, the number of times the batch used each code: (K_l,)."""
        pairs = enumerate(zip(self.levels, self.chosen(cache), strict=True), 1)
        return {f"level_{l}": level.quantizer.counts(k) for l, (level, k) in pairs}

    def row(self, statistics: Mapping[str, Array], step: int) -> dict[str, float]:
        """The perplexity of each level over the epoch, and the number of its codes that were used."""
        row: dict[str, float] = {}
        for l in range(1, len(self.levels) + 1):
            counts = statistics[f"level_{l}"]
            row |= {f"perplexity_{l}": perplexity(counts), f"codes_used_{l}": int(np.count_nonzero(counts))}
        return row

    @property
    def num_latents(self) -> int:
        """M, the number of codes of all levels."""
        return int(sum(np.prod(shape) for shape in self.latent_shape))

    @property
    def num_codes(self) -> int:
        """M, as of a VQVAE."""
        return self.num_latents

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

    def quantize(self, z: Any) -> Any:
        """(k_1, …, k_L) of latents (z_1, …, z_L)."""
        return tuple(level.quantizer.encode(each) for level, each in zip(self.levels, z, strict=True))
