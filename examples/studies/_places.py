"""The effect of codes at their places: how local it is, and whether it is the same at another place.

Latents are on a grid of G × G positions; position (r, s) belongs to the patch (r, s) of the image.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import vqnp

Decode = Callable[[np.ndarray], np.ndarray]
"""(n, G, G) codes -> (n, H, W) images."""

REACH = 1
"""Patches on each side of a patch that count as its neighbours."""


def locality(a: np.ndarray, rng: np.random.Generator) -> dict:
    """% of the influence of a position on pixels that lies in its own patch, and in that or its neighbours.

    a: (G, G, H, W), of position_influence. Also for the patch with the most influence of the position
    instead of its own, and for its own after a random permutation of the positions.
    """
    G, p = a.shape[0], a.shape[2] // a.shape[0]
    patches = a.reshape(G * G, G, p, G, p).sum(axis=(2, 4)).reshape(G * G, G * G)
    patches = 100 * patches / max(patches.sum(), 1e-12)
    near = neighbours(G)
    own, best = np.arange(G * G), patches.argmax(axis=1)
    shares = {}
    for name, at in (("own", own), ("best", best), ("shuffled", rng.permutation(G * G))):
        shares[name] = float(patches[own, at].sum())
        shares[f"{name}_near"] = float(patches[near[at]].sum())
    return shares


def neighbours(G: int) -> np.ndarray:
    """near[m, n]: is patch n patch m or one of the eight around it? (G², G²)"""
    r, s = np.divmod(np.arange(G * G), G)
    return np.maximum(abs(r[:, None] - r), abs(s[:, None] - s)) <= REACH


def shifted(x: np.ndarray, step: tuple[int, int], size: int = 1) -> np.ndarray:
    """x moved by step · size along axes 1 and 2; the border that it leaves keeps its values.

    x: (n, G, G) codes, or (n, H, W) images with size the pixels of a patch
    """
    for axis, move in zip((1, 2), step, strict=True):
        n = x.shape[axis]
        at = np.arange(n) - move * size
        x = np.take(x, np.where((at < 0) | (at >= n), np.arange(n), at), axis=axis)
    return x


def shift_error(decode: Decode, k: np.ndarray, size: int) -> float:
    """100 ⟨(x̂(Sk) − S x̂(k))²⟩/⟨(x̂(k) − S x̂(k))²⟩, over four shifts S by one position and by one patch.

    k: (n, G, G) -> 0 if shifting the codes shifts the image, 100 if the image is no closer than unshifted
    """
    x_hat, missed, moved = decode(k), 0.0, 0.0
    for step in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        wanted = shifted(x_hat, step, size)
        missed += float(((decode(shifted(k, step)) - wanted) ** 2).sum())
        moved += float(((x_hat - wanted) ** 2).sum())
    return 100 * missed / moved


def shuffle_error(decode: Decode, k: np.ndarray, size: int, rng: np.random.Generator) -> float:
    """100 ⟨(x̂(Pk) − P x̂(k))²⟩/⟨(x̂(k) − P x̂(k))²⟩, P a random permutation of positions and of patches."""
    n, G, _ = k.shape
    order = rng.permutation(G * G)
    x_hat = decode(k)
    patches = x_hat.reshape(n, G, size, G, size).swapaxes(2, 3).reshape(n, G * G, size, size)[:, order]
    wanted = patches.reshape(n, G, G, size, size).swapaxes(2, 3).reshape(x_hat.shape)
    got = decode(k.reshape(n, -1)[:, order].reshape(k.shape))
    return float(100 * ((got - wanted) ** 2).sum() / ((x_hat - wanted) ** 2).sum())


def same_effect(decode: Decode, k: np.ndarray, size: int, rng: np.random.Generator, pairs: int) -> dict:
    """ρ = ⟨Δ·Δ'⟩/√(⟨‖Δ‖²⟩⟨‖Δ'‖²⟩), where Δ, Δ' are the effects of replacing code i by j, in two images.

    here: at one position; there: at two positions, in windows of 3 × 3 patches around each; whole: at two
    positions, over whole images as they lie; other: in windows, at two positions, with other codes i', j'.

    i and j are codes of two images at one inner position; the other position is any other inner position.
    """
    n, G, _ = k.shape
    m, m_ = (rng.integers(1, G - 1, (pairs, 2)) for _ in range(2))
    m_ = np.where((m == m_).all(axis=1, keepdims=True), m % (G - 2) + 1, m_)
    a, b, c, d = (rng.integers(0, n, pairs) for _ in range(4))
    i, j = k[a, m[:, 0], m[:, 1]], k[b, m[:, 0], m[:, 1]]
    use = np.flatnonzero(i != j)
    other = rng.permutation(len(use))
    m, m_, c, d, i, j = (v[use] for v in (m, m_, c, d, i, j))

    def effect(images: np.ndarray, at: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        rows, before = np.arange(len(at)), k[images]
        after = before.copy()
        before[rows, at[:, 0], at[:, 1]], after[rows, at[:, 0], at[:, 1]] = i, j
        return decode(after) - decode(before)

    def window(x: np.ndarray, at: np.ndarray) -> np.ndarray:
        return np.stack([y[(r - 1) * size : (r + 2) * size, (s - 1) * size : (s + 2) * size]
                         for y, (r, s) in zip(x, at, strict=True)])  # fmt: skip

    one, here, there = effect(c, m, i, j), effect(d, m, i, j), effect(d, m_, i, j)
    else_ = effect(d, m_, i[other], j[other])
    return {
        "here": agreement(window(one, m), window(here, m)),
        "there": agreement(window(one, m), window(there, m_)),
        "whole": agreement(one, there),
        "other": agreement(window(one, m), window(else_, m_)),
    }


def agreement(one: np.ndarray, two: np.ndarray) -> float:
    """⟨Δ·Δ'⟩/√(⟨‖Δ‖²⟩⟨‖Δ'‖²⟩)."""
    return float((one * two).sum() / max(np.sqrt((one**2).sum() * (two**2).sum()), 1e-12))


def decoder(model: vqnp.VQVAE) -> Decode:
    """k: (n, G, G) -> images (n, H, W) in float64, for a model whose latents may be a list of G²."""

    def decode(k: np.ndarray) -> np.ndarray:
        return model.decode(k.reshape(len(k), *model.latent_shape)).astype(np.float64)

    return decode
