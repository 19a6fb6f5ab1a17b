"""Product quantization with faiss: x is split into M equal runs, each with K centres found by k-means.

x: (n, 784), or rotated y = W (x − μ) with the principal components W -> k: (n, M) -> x_hat: (n, 28, 28)
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

Array = np.ndarray


class ProductQuantizer:
    """encode and decode as in a model; `numbers` is how many numbers decode needs.

    turned=True rotates to principal components, the parametric form of Ge et al. 2013, Optimized Product
    Quantization, and clips the result to [0, 1] (otherwise centres are means of pixels and need no clipping).
    """

    def __init__(self, images: Array, M: int, K: int, seed: int, turned: bool) -> None:
        import faiss

        faiss.omp_set_num_threads(1)  # sums in one order
        self.M, self.bits = M, K.bit_length() - 1
        self.mean, self.W = principal(images.tobytes(), len(images), M) if turned else (None, None)
        y = self._turn(images)
        self.pq = faiss.ProductQuantizer(y.shape[1], M, self.bits)
        self.pq.cp.seed = 1 + seed
        self.pq.cp.min_points_per_centroid = 1  # so that it does not warn
        self.pq.cp.max_points_per_centroid = len(y)  # all images, as for the VQ-VAE
        self.pq.train(y)
        self.centres = faiss.vector_to_array(self.pq.centroids).reshape(M, K, -1)
        self.numbers = self.centres.size + (self.W.size + self.mean.size if turned else 0)

    def _turn(self, images: Array) -> Array:
        x = pixels(images)
        return x if self.W is None else (x - self.mean) @ self.W.T

    def encode(self, images: Array) -> Array:
        """(n, 28, 28) -> k: (n, M)."""
        packed = self.pq.compute_codes(self._turn(images))  # the codes' bits, lowest first, one after another
        bits = np.unpackbits(packed, axis=1, bitorder="little")[:, : self.M * self.bits]
        return bits.reshape(-1, self.M, self.bits) @ (1 << np.arange(self.bits))

    def decode(self, k: Array) -> Array:
        """k: (n, M) -> (n, 28, 28)."""
        y = self.centres[np.arange(self.M), k].reshape(len(k), -1)
        x = y if self.W is None else np.clip(y @ self.W + self.mean, 0, 1)
        return x.reshape(-1, 28, 28)


@lru_cache
def principal(raw: bytes, n: int, M: int) -> tuple[Array, Array]:
    """μ, W: components assigned to M runs, each to the run with the smallest product of variances."""
    x = pixels(np.frombuffer(raw, np.uint8).reshape(n, 28, 28))
    variance, vectors = np.linalg.eigh(np.cov(x.T, dtype=np.float64))
    size = np.log(np.maximum(variance / variance[-1], 1e-9)) + np.log(1e9)  # at least 0, in border pixels 0
    runs: list[list[int]] = [[] for _ in range(M)]
    for i in np.argsort(-variance):
        with_room = [run for run in runs if len(run) < len(variance) // M]
        min(with_room, key=lambda run: size[run].sum()).append(i)
    return x.mean(axis=0), np.ascontiguousarray(vectors[:, sum(runs, [])].T, np.float32)


def pixels(images: Array) -> Array:
    """(n, 28, 28) uint8 -> (n, 784) float32 in [0, 1]."""
    return images.reshape(len(images), -1).astype(np.float32) / 255
