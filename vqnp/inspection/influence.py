"""a_m = ⟨(x̂(k) − x̂(k, but k_m from another image))²⟩: what a position does to the image.

k: (n, M) codes, x_hat: (n, *image_shape)
"""

from __future__ import annotations

import numpy as np

from vqnp._check import Array, check_int, check_rng, fail
from vqnp.models import VQVAE


def position_influence(model: VQVAE, images: Array, rng: np.random.Generator | int) -> Array:
    """a_m = ⟨(x̂(k) − x̂(k, but k_m from another image))²⟩: where in the image position m is seen.

    images: (n, *image_shape), at least 2 -> a: (M, *image_shape), float64

    Parameters
    ----------
    model : VQVAE
    images : ndarray
        Each lends its code to another one of them, so that the codes put in are as frequent as those
        that the position has.
    rng : numpy.random.Generator or int
        Who lends to whom: a random cycle, in which nobody lends to himself.

    Returns
    -------
    ndarray
        The mean squared change of each pixel. Where a pixel is above 0, position m reaches it;
        vqnp.perplexity(a[m].ravel()) is over how many pixels its influence is spread.

    Raises
    ------
    InputError
        Fewer than two images, or of another shape than the model's.
    """
    k = _codes_of_two("position_influence", model, images)
    lender = _cycle(len(k), check_rng("position_influence", rng))
    whole = model.decode(k).astype(np.float64)
    a = np.empty((model.num_latents, *model.image_shape))
    for m in range(model.num_latents):
        swapped = k.copy()
        swapped[:, m] = k[lender, m]
        a[m] = ((model.decode(swapped) - whole) ** 2).mean(axis=0)
    return a


def swap_interaction(model: VQVAE, images: Array, size: int, rng: np.random.Generator | int) -> float:
    """I = ⟨‖Δ_S − Σ_{m∈S} Δ_m‖²⟩/⟨‖Δ_S‖²⟩: do the effects of several swaps add up? 0: exactly.

    images: (n, *image_shape), at least 2 -> a number; Δ_S = x̂(k, but k_m, m ∈ S, from another image) − x̂(k)

    Parameters
    ----------
    model : VQVAE
    images : ndarray
        Each lends its codes to another one, as in position_influence.
    size : int, in [2, M]
        Positions in S, drawn anew for each image; M swaps all, which makes one reconstruction into another.
    rng : numpy.random.Generator or int
        Who lends to whom, and at which positions.

    Returns
    -------
    float
        0 for a decoder that draws each code's part and adds the parts; the error of adding, relative to
        what the swaps do together. Images are clipped to [0, 1], as one sees them. NaN if nothing changes.

    Raises
    ------
    InputError
        Fewer than two images, a size out of range, or images of another shape than the model's.
    """
    where = "swap_interaction"
    k, r = _codes_of_two(where, model, images), check_rng(where, rng)
    if model.num_latents < 2:
        fail(where, "model", "must have at least 2 latents", model.num_latents)
    S = r.permuted(np.tile(np.arange(model.num_latents), (len(k), 1)), axis=1)
    S = S[:, : check_int(where, "size", size, 2, model.num_latents)]
    lender, rows = _cycle(len(k), r), np.arange(len(k))
    whole = model.decode(k).astype(np.float64)
    together, apart = k.copy(), np.zeros_like(whole)
    for m in S.T:
        alone = k.copy()
        alone[rows, m] = together[rows, m] = k[lender, m]
        apart += model.decode(alone) - whole
    change = model.decode(together) - whole
    return _ratio(((change - apart) ** 2).sum(), (change**2).sum())


def swap_agreement(model: VQVAE, images: Array, rng: np.random.Generator | int) -> float:
    """ρ = ⟨Δ·Δ'⟩/√(⟨‖Δ‖²⟩⟨‖Δ'‖²⟩): does the same swap do the same to two images? 1: exactly, 0: no relation.

    images: (n, *image_shape), at least 2 -> a number

    Δ is what j' in place of j at position m does to an image, Δ' what it does to another image that also
    has j there; j' is the code that a third has there. Over all positions, and all images of which another
    has the same code; swaps with a large effect weigh more.

    Returns
    -------
    float
        1 for a decoder that adds each code's part. NaN if no two images share a code, or nothing changes.

    Raises
    ------
    InputError
        Fewer than two images, or of another shape than the model's.
    """
    k, r = _codes_of_two("swap_agreement", model, images), check_rng("swap_agreement", rng)
    whole = model.decode(k).astype(np.float64)
    products = np.zeros(3)
    for m in range(model.num_latents):
        lender, order = _cycle(len(k), r), r.permutation(len(k))
        twin = np.arange(len(k))
        for j in np.unique(k[:, m]):
            alike = order[k[order, m] == j]
            twin[alike] = np.roll(alike, 1)
        rows = np.flatnonzero((twin != np.arange(len(k))) & (k[lender, m] != k[:, m]))
        changes = []
        for which in (rows, twin[rows]):
            swapped = k[which]
            swapped[:, m] = k[lender[rows], m]
            changes.append((model.decode(swapped) - whole[which]).ravel())
        one, other = changes
        products += one @ other, one @ one, other @ other
    return _ratio(products[0], float(np.sqrt(products[1] * products[2])))


def _codes_of_two(where: str, model: VQVAE, images: Array) -> Array:
    """The codes of at least two images."""
    if not isinstance(model, VQVAE):
        fail(where, "model", "must be a VQVAE, whose codes can be swapped", type(model).__name__)
    k = model.encode(images)
    if len(k) < 2:
        fail(where, "images", "must hold at least 2 images", len(k))
    return k


def _cycle(n: int, rng: np.random.Generator) -> Array:
    """lender: (n,), a random permutation of one cycle: for n of at least 2, nobody is his own."""
    order = rng.permutation(n)
    lender = np.empty_like(order)
    lender[order] = np.roll(order, 1)
    return lender


def _ratio(a: float, b: float) -> float:
    """a/b, and NaN for 0/0."""
    return float(a / b) if b else float("nan")
