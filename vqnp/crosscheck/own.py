"""vqnp's own quantizers as adapters: the shortest example of one, and a test of the checker itself."""

from __future__ import annotations

from collections.abc import Callable
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
    restart : float
        As in `update`.
    **options
        What the quantizer is made with: commitment_cost, beta_on, start, ….
    """

    def __init__(
        self,
        kind: type[VectorQuantizer] = VectorQuantizer,
        *,
        dtype: Any = np.float64,
        restart: float = 0.0,
        **options: Any,
    ) -> None:
        self.kind, self.dtype, self.restart, self.options = kind, np.dtype(dtype), restart, options
        self.name = f"vqnp.{kind.__name__}"
        self.layer: VectorQuantizer | None = None
        self.waits = False
        if issubclass(kind, EMAVectorQuantizer):
            self.reset: Callable[[Array], None] = self._reset
            self.step: Callable[[Array], tuple[Array, ...]] = self._step

    def make(self, E: Array) -> VectorQuantizer:
        """A new layer with the codebook E."""
        layer = self.kind(*E.shape, **{**self.options, "codebook_init": "uniform"}, dtype=self.dtype)
        layer._start(E.copy(), None, np.random.default_rng(0))
        return layer

    def forward(self, z: Array, E: Array) -> tuple[Array, Array, Array, float]:
        layer = self.make(E)
        z_q, L, k, _ = layer.forward(z, lookahead=getattr(layer, "codes", "before") == "after")
        return k, z_q, L, perplexity(np.bincount(k, minlength=len(E)))

    def evaluate(self, z: Array, E: Array) -> tuple[Array, Array, Array, float]:
        z_q, L, k, _ = self.make(E).forward(z)
        return k, z_q, L, perplexity(np.bincount(k, minlength=len(E)))

    def backward(self, z: Array, E: Array, G: Array) -> tuple[Array, Array | None]:
        layer = self.make(E)
        *_, cache = layer.forward(z, lookahead=getattr(layer, "codes", "before") == "after")
        dz = layer.backward(G, cache)
        return dz, layer.E.grad if "E" in layer.params() else None

    def fresh(self, K: int, D: int) -> Array | None:
        self.layer = self.kind(K, D, **self.options, dtype=self.dtype)
        self.waits = self.layer.codebook_init in ("data", "kmeans")
        return None if self.waits else self.layer.embeddings

    def _reset(self, E: Array) -> None:
        self.layer, self.waits = self.make(E), False

    def _step(self, z: Array) -> tuple[Array, ...]:
        layer = self.layer
        assert isinstance(layer, EMAVectorQuantizer)  # reset or fresh comes first
        if self.waits:
            layer.start_from(z, 0)
            self.waits = False
        layer.update(z, layer.encode(z), 0, self.restart)
        return layer.ema.E, layer.ema.N, layer.ema.m
