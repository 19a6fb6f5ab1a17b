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
        self.kind, self.options = kind, options
        self.dtype = self.inside = np.dtype(dtype)  # of the arrays, and of the layer
        self.name = f"vqnp.{kind.__name__}"
        if not issubclass(kind, EMAVectorQuantizer):
            self.reset = self.step = None  # type: ignore[method-assign, assignment]

    def make(self, E: Array) -> Any:
        layer = self.kind(*E.shape, **self.options | {"codebook_init": "uniform"}, dtype=self.inside)
        layer._set_codebook(E.astype(self.inside))
        return layer

    def figure(self, counts: Array) -> float:
        return perplexity(counts)

    def forward(self, z: Array, E: Array, training: bool = True) -> tuple[Any, ...]:
        layer = self.make(E)
        layer.training = training  # for the variants whose codebook moves in forward
        z_q, codebook, commitment, k, _ = layer.forward(z.astype(self.inside))
        L, counts = np.asarray(codebook + commitment, self.dtype), np.bincount(k, minlength=len(E))
        return k, z_q.astype(self.dtype), L, self.figure(counts)

    def evaluate(self, z: Array, E: Array) -> tuple[Any, ...]:
        return self.forward(z, E, training=False)

    def backward(self, z: Array, E: Array, G: Array) -> tuple[Array, Array | None]:
        layer = self.make(E)
        *_, cache = layer.forward(z.astype(self.inside))
        dz = layer.backward(G.astype(self.inside), cache).astype(self.dtype)
        return dz, layer.E.grad.astype(self.dtype) if hasattr(layer, "E") else None

    def fresh(self, K: int, D: int) -> Array | None:
        self.layer: Any = self.kind(K, D, **self.options, dtype=self.inside)
        self.waits = self.layer.codebook_init in ("data", "kmeans")
        return None if self.waits else self.layer.embeddings

    def reset(self, E: Array) -> None:
        self.layer, self.waits = self.make(E), False

    def step(self, z: Array) -> tuple[Array, ...]:
        z = z.astype(self.inside)
        if self.waits:
            self.layer.initialize(z, 0)
            self.waits = False
        self.layer.update(z, self.layer.encode(z), 0)
        return tuple(a.astype(self.dtype) for a in self.layer.ema[:3])  # E, N, m
