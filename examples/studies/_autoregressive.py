"""p(x|z) = Π_i p(x_i | z, the pixels before i in a window): an autoregressive decoder of a chosen strength.

x: (B, H, W) -> z: (B, N) -> s: (B, H, W, F) -> logits of the grey levels of each pixel: (B, H, W, L)

The window of pixel i holds the pixels before it in raster order that are at most w rows above it and at most
w columns beside it; w = 0 is the usual decoder, whose pixels are independent given z. A pixel's network has
one hidden layer: s_i, the decoder's output for it, and its window go in, and L logits come out. In training
the window holds the true pixels (teacher forcing), so that they need not be computed one after another.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from vqnp.models.base import in_chunks
from vqnp.nn import Activation, EMAVectorQuantizer, Linear, Module, mlp
from vqnp.nn.trainable import Trainable
from vqnp.ops.gaussian import (
    gaussian_kl_backward, gaussian_kl_forward, reparameterise_backward, reparameterise_forward,
)
from vqnp.ops.loss import softmax_cross_entropy_backward, softmax_cross_entropy_forward

LEVELS = 4
"""L: pixels are rounded to 0, 1/3, 2/3 or 1, and p is a categorical distribution over these."""

FEATURES = 4
"""F: the numbers that the decoder gives the network of a pixel."""

EDGES = (0, 1, 2, 3, 4, 7, 14, 28)
"""Bins of distances: 1, 2, 3, 4, 5 to 7, 8 to 14, 15 to 28 pixels."""

LATTICE = (2, 2)
"""In training each step computes every second row and column, from a random place on."""

ALL = (slice(None), slice(None))


def rounded(images: np.ndarray) -> np.ndarray:
    """Pixels from 0 to 255 as the nearest of L grey levels: (n, H, W) uint8 -> float32 in [0, 1]."""
    return np.rint(images * np.float32((LEVELS - 1) / 255)) / np.float32(LEVELS - 1)


def levels_of(x: np.ndarray) -> np.ndarray:
    """x (L − 1), as integers."""
    return np.rint(x * (LEVELS - 1)).astype(np.int64)


def bins_of(window: int) -> list[tuple[int, int]]:
    """The distances from 1 to window, in bins (first, last)."""
    return [(a + 1, b) for a, b in zip(EDGES, EDGES[1:], strict=False) if b <= window]


def window_size(window: int) -> int:
    """T = 2b (b + 1), for b bins: b to the left, and 2b + 1 in each of b bins of rows."""
    b = len(bins_of(window))
    return 2 * b * (b + 1)


def window_means(x: np.ndarray, window: int) -> np.ndarray:
    """What the network of a pixel sees of its window: means over a bin of rows and a bin of columns.

    x: (n, H, W) in [0, 1] -> (n, H, W, T) uint8, in units of 1/255

    Up to w = 4 these are the pixels themselves; farther ones are seen as the means of blocks. In the pixel's
    own row there are only bins to its left. Beyond the border pixels are 0.
    """
    out = np.empty((*x.shape, window_size(window)), np.uint8)
    for start in range(0, len(x), 50):
        some = x[start : start + 50]
        for t, mean in enumerate(_means(levels_of(some), window)):
            out[start : start + 50, ..., t] = np.rint(mean * (255 / (LEVELS - 1)))
    return out


def _means(levels: np.ndarray, window: int) -> Iterator[np.ndarray]:
    H, W = levels.shape[1:]
    bins = bins_of(window)
    along = _cumulated(np.pad(levels, ((0, 0), (window, 0), (window, window))), 2)
    for a, b in [(-b, -a) for a, b in bins] + [(0, 0)] + bins:
        row = along[:, :, window + b + 1 :][:, :, :W] - along[:, :, window + a :][:, :, :W]
        down, width = _cumulated(row, 1), b - a + 1
        if b < 0:
            yield row[:, window:] / width
        for near, far in bins:
            block = down[:, window - near + 1 :][:, :H] - down[:, window - far :][:, :H]
            yield block / (width * (far - near + 1))


def _cumulated(x: np.ndarray, axis: int) -> np.ndarray:
    """Sums of the entries before each place, and of all: one longer than x along the axis."""
    before = [(int(i == axis), 0) for i in range(x.ndim)]
    return np.pad(x, before).cumsum(axis=axis)


class PixelNetwork(Module):
    """logits_i = V ReLU(s_i A + c_i C + b) + d, c_i = window_means of pixel i: the same for all pixels.

    s: (..., F), c: (..., T) uint8 -> logits: (..., L)
    """

    def __init__(self, window: int, hidden: int, rng: np.random.Generator, dtype: Any = np.float32) -> None:
        self.window, self.dtype = window, dtype
        self.own = Linear(FEATURES, hidden, rng, dtype)
        if window:
            self.seen = Linear(window_size(window), hidden, rng, dtype)
        self.relu = Activation("relu")
        self.out = Linear(hidden, LEVELS, rng, dtype)

    def forward(self, s: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, Any]:
        """The logits, and what backward needs."""
        h, own_cache = self.own.forward(s)
        seen_cache = None
        if self.window:
            seen, seen_cache = self.seen.forward(np.multiply(c, 1 / 255, dtype=self.dtype))
            h = h + seen
        r, relu_cache = self.relu.forward(h)
        logits, out_cache = self.out.forward(r)
        return logits, (own_cache, seen_cache, relu_cache, out_cache)

    def backward(self, dlogits: np.ndarray, cache: Any, need_dx: bool = True) -> np.ndarray:
        """ds; the window is data and has no gradient."""
        own_cache, seen_cache, relu_cache, out_cache = cache
        dh = self.relu.backward(self.out.backward(dlogits, out_cache), relu_cache)
        if self.window:
            self.seen.backward(dh, seen_cache, need_dx=False)
        return self.own.backward(dh, own_cache, need_dx)


class Gaussian(Module):
    """z = μ + exp(ℓ/2) ε, with the penalty w KL in nats: the latent of a VAE. h: (B, 2N) -> z: (B, N)."""

    def __init__(self, warmup: int = 0) -> None:
        self.warmup = warmup

    def forward(self, h, rng=None, step=0):
        """z, penalty, cache; without rng, ε = 0."""
        mu, logvar = np.split(h, 2, axis=1)
        eps = np.zeros_like(mu) if rng is None else rng.standard_normal(mu.shape, mu.dtype)
        z, draw_cache = reparameterise_forward(mu, logvar, eps)
        kl, kl_cache = gaussian_kl_forward(mu, logvar)
        w = min(1.0, step / self.warmup) if self.warmup else 1.0
        return z, w * kl, (draw_cache, kl_cache, w)

    def backward(self, dz, cache, dL=1.0):
        """dh = (dμ, dℓ)."""
        draw_cache, kl_cache, w = cache
        dmu, dlogvar, _ = reparameterise_backward(dz, draw_cache)
        own = gaussian_kl_backward(float(dL) * w, kl_cache)
        return np.concatenate([dmu + own[0], dlogvar + own[1]], axis=1)


class Codes(Module):
    """z = the codes nearest to h, with the penalty P β⟨(h − sg z)²⟩: the latent of a VQ-VAE.

    h: (B, M D) -> z: (B, M D);  P: pixels, so that loss/P is a mean over pixels + β times a mean over entries
    """

    def __init__(self, quantizer: EMAVectorQuantizer, pixels: int) -> None:
        self.quantizer, self.pixels = quantizer, pixels

    def forward(self, h, rng=None, step=0):
        """z, penalty, cache."""
        vectors = h.reshape(len(h), -1, self.quantizer.embedding_dim)
        z_q, *terms, k, cache = self.quantizer.forward(vectors)
        return z_q.reshape(h.shape), self.pixels * sum(terms), (cache, vectors, k)

    def backward(self, dz, cache, dL=1.0):
        """dh, straight through."""
        own, vectors, _ = cache
        dh = self.quantizer.backward(dz.reshape(vectors.shape), own, float(dL) * self.pixels)
        return dh.reshape(dz.shape)


class WindowModel(Trainable, Module):
    """L = −log p(x|z) + the latent's penalty, in nats an image; without a latent z is 1 for all images.

    encoder: (B, P) -> h, latent: Gaussian, Codes or None, decoder: (B, N) -> (B, P F), pixels: PixelNetwork
    """

    def __init__(self, encoder: Module, latent: Module | None, decoder: Module, pixels: PixelNetwork,
                 frozen: bool = False) -> None:  # fmt: skip
        self.encoder, self.decoder, self.pixels, self.frozen = encoder, decoder, pixels, frozen
        if latent is not None:
            self.latent = latent
        self.blind = latent is None

    def prepare(self, data):
        """x, and the means of its windows."""
        return data

    def loss(self, batch, rng=None, step=0):
        """loss, reconstruction_loss, penalty; with rng an estimate of them from some pixels."""
        x, c = batch
        part = ALL if rng is None else tuple(slice(rng.integers(n), None, n) for n in LATTICE)
        z, penalty, caches = self._latents(x, rng, step)
        y, decoder_cache = self.decoder.forward(z)
        s = y.reshape(len(z), *x.shape[1:], FEATURES)[:, *part]
        s = np.repeat(s, len(x), axis=0) if self.blind else s
        logits, pixels_cache = self.pixels.forward(s, c[:, *part])
        total, loss_cache = softmax_cross_entropy_forward(logits, levels_of(x[:, *part]), "sum")
        scale = x[0].size / logits[..., 0].size  # pixels of an image / pixels computed
        nll = x.dtype.type(scale) * total
        losses = {"loss": nll + penalty, "reconstruction_loss": nll, "penalty": penalty}
        return losses, (caches, decoder_cache, y.shape, part, pixels_cache, loss_cache, scale, x.shape)

    def _latents(self, x, rng, step):
        if self.blind:
            return np.ones((1, self.decoder.layers[0].W.value.shape[0]), x.dtype), x.dtype.type(0), None
        h, encoder_cache = self.encoder.forward(x.reshape(len(x), -1))
        z, penalty, latent_cache = self.latent.forward(h, rng, step)
        return z, penalty, (encoder_cache, latent_cache)

    def backward(self, cache, dL=1.0, need_dx=False):
        """Through the pixels' network, the decoder, the latent, the encoder, unless it is frozen."""
        caches, decoder_cache, shape, part, pixels_cache, loss_cache, scale, image = cache
        dlogits = softmax_cross_entropy_backward(float(dL) * scale, loss_cache)
        ds = self.pixels.backward(dlogits, pixels_cache)
        ds = ds.sum(axis=0, keepdims=True) if self.blind else ds
        dy = np.zeros((len(ds), *image[1:], FEATURES), ds.dtype)
        dy[:, *part] = ds
        trained = not (self.blind or self.frozen)
        dz = self.decoder.backward(dy.reshape(shape), decoder_cache, need_dx=trained)
        if trained:
            encoder_cache, latent_cache = caches
            self.encoder.backward(self.latent.backward(dz, latent_cache, dL), encoder_cache, need_dx=False)

    def initialize(self, batch, rng):
        """A codebook starts at latents."""
        if not self.blind and isinstance(self.latent, Codes):
            h = self.encoder.forward(batch[0].reshape(len(batch[0]), -1))[0]
            quantizer = self.latent.quantizer
            quantizer.initialize(h.reshape(len(h), -1, quantizer.embedding_dim), rng)

    def after_step(self, cache, rng):
        """A codebook's averages."""
        if not self.blind and isinstance(self.latent, Codes):
            _, vectors, k = cache[0][1]
            self.latent.quantizer.after_step(vectors, k, rng)
        return {}

    def latents(self, x, rng):
        """z of images, drawn if it is a VAE's, and the penalty at weight w = 1."""
        z, penalty, _ = self._latents(x, rng, 10**9)
        return (np.repeat(z, len(x), axis=0) if self.blind else z), float(penalty)

    def nats(self, x, c, z):
        """−log p(x|z) of each image: (n, H, W), (n, H, W, T), (n, N) -> (n,) float64."""

        def some(at):
            s = self.decoder.forward(z[at])[0].reshape(len(at), *x.shape[1:], FEATURES)
            logits = self.pixels.forward(s, c[at])[0].astype(np.float64)
            log_p = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
            return -np.take_along_axis(log_p, levels_of(x[at])[..., None], axis=-1).sum(axis=(1, 2, 3))

        return in_chunks(some, np.arange(len(x)))


def build(kind: str, window: int, M: int, D: int, K: int, hidden: int, pixel_hidden: int, warmup: int,
          side: int, seed: int, dtype: Any = np.float32) -> WindowModel:  # fmt: skip
    """kind: "none", "VAE", "VQ-VAE" or "VQ-VAE-frozen"; M D numbers, of a VQ-VAE M codes out of K."""
    rng = np.random.default_rng(seed)
    P, N = side * side, M * D
    encoder = mlp((P, hidden, 2 * N if kind == "VAE" else N), "relu", rng, dtype)
    decoder = mlp((N, hidden, P * FEATURES), "relu", rng, dtype)
    latent: Module | None = None
    if kind == "VAE":
        latent = Gaussian(warmup)
    elif kind != "none":
        latent = Codes(EMAVectorQuantizer(K, D, 0.25, codebook_init="data", restart_dead_codes=0.05, rng=rng,
                                          dtype=dtype), P)  # fmt: skip
    return WindowModel(encoder, latent, decoder, PixelNetwork(window, pixel_hidden, rng, dtype),
                       frozen=kind == "VQ-VAE-frozen")  # fmt: skip
