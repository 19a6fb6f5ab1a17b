"""vqnp's own quantizers as adapters: the shortest example of one, and a test of the checker itself."""

from typing import Any

import numpy as np

from vqnp._check import Array
from vqnp.metrics.codebook import perplexity
from vqnp.nn import EMAVectorQuantizer, VectorQuantizer


class QuantizerAdapter:
    """VectorQuantizer or EMAVectorQuantizer, made anew for each question.

    Parameters
    ----------
    kind : class
        VectorQuantizer, EMAVectorQuantizer, or a class with their methods.
    dtype : float32 or float64
    **options
        What the quantizer is made with: commitment_cost, reduction, restart_dead_codes, ….
    """

    def __init__(
        self, kind: type[VectorQuantizer] = VectorQuantizer, *, dtype: Any = np.float64, **options: Any
    ) -> None:
        self.kind, self.dtype, self.options = kind, np.dtype(dtype), options
        self.name = f"vqnp.{kind.__name__}"
        self.layer: VectorQuantizer | None = None
        self.waits = False
        if not issubclass(kind, EMAVectorQuantizer):
            self.reset = self.step = None  # type: ignore[method-assign, assignment]

    def make(self, E: Array) -> VectorQuantizer:
        """A new layer with the codebook E."""
        layer = self.kind(*E.shape, **self.options | {"codebook_init": "uniform"}, dtype=E.dtype)
        layer._set_codebook(E.copy())
        return layer

    def forward(self, z: Array, E: Array) -> tuple[Array, ...]:
        return self._answer(self.make(E), z)

    def evaluate(self, z: Array, E: Array) -> tuple[Array, ...]:
        layer: Any = self.make(E)
        layer.training = False  # for the variants whose codebook moves in forward
        return self._answer(layer, z)

    def _answer(self, layer: VectorQuantizer, z: Array) -> tuple[Array, ...]:
        z_q, codebook, commitment, k, _ = layer.forward(z)
        return k, z_q, codebook + commitment, self.figure(np.bincount(k, minlength=layer.num_embeddings))

    def figure(self, counts: Array) -> Array:
        """The perplexity."""
        return np.asarray(perplexity(counts))

    def backward(self, z: Array, E: Array, G: Array) -> tuple[Array, Array | None]:
        layer = self.make(E)
        *_, cache = layer.forward(z)
        dz = layer.backward(G, cache)
        return dz, layer.E.grad if hasattr(layer, "E") else None

    def fresh(self, K: int, D: int) -> Array | None:
        self.layer = self.kind(K, D, **self.options, dtype=self.dtype)
        self.waits = self.layer.codebook_init in ("data", "kmeans")
        return None if self.waits else self.layer.embeddings

    def reset(self, E: Array) -> None:
        self.layer, self.waits = self.make(E), False

    def step(self, z: Array) -> tuple[Array, ...]:
        layer = self.layer
        assert isinstance(layer, EMAVectorQuantizer)  # reset or fresh comes first
        if self.waits:
            layer.initialize(z, 0)
            self.waits = False
        layer.update(z, layer.encode(z), 0)
        return layer.ema.E, layer.ema.N, layer.ema.m
