"""a_m = ⟨(x̂(k) − x̂(k, but k_m from another image))²⟩: what a position does to the image.

k: (n, M) codes, x_hat: (n, *data.shape)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vqnp._check import Array, check_int, check_rng, fail
from vqnp.models import VQVAE


def position_influence(model: VQVAE, images: Array, rng: np.random.Generator | int) -> Array:
    """a_m = ⟨(x̂(k) − x̂(k, but k_m from another image))²⟩: where in the image position m is seen.

    images: (n, *data.shape), at least 2 -> a: (*latent_shape, *data.shape), float64

    Parameters
    ----------
    model : VQVAE
    images : ndarray
        Each gets the code of another one of them, so that the codes put in are as frequent as those
        that the position has.
    rng : numpy.random.Generator or int
        Which image is whose donor: a random cyclic permutation, so that no image is its own donor.

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
    donor = _cycle(len(k), check_rng("position_influence", rng))
    decode = _decoder_of_rows(model)
    whole = decode(k)
    a = np.empty((model.num_latents, *model.data.shape))
    for m in range(model.num_latents):
        swapped = k.copy()
        swapped[:, m] = k[donor, m]
        a[m] = ((decode(swapped) - whole) ** 2).mean(axis=0)
    return a.reshape(*model.latent_shape, *model.data.shape)


def swap_interaction(model: VQVAE, images: Array, size: int, rng: np.random.Generator | int) -> float:
    """I = ⟨‖Δ_S − Σ_{m∈S} Δ_m‖²⟩/⟨‖Δ_S‖²⟩: do the effects of several swaps add up? 0: exactly.

    images: (n, *data.shape), at least 2 -> a number

    Δ_S = x̂(k, but k_m, m ∈ S, from another image) − x̂(k)

    Parameters
    ----------
    model : VQVAE
    images : ndarray
        Each gets codes of another one, as in position_influence.
    size : int, in [2, M]
        Positions in S, drawn anew for each image; M swaps all, which makes one reconstruction into another.
    rng : numpy.random.Generator or int
        Which image is whose donor, and at which positions.

    Returns
    -------
    float
        0 for a decoder in which the effects of codes add up; the error of adding them, relative to the
        effect of the swaps together. Images are clipped to [0, 1]. NaN if nothing changes.

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
    donor, rows = _cycle(len(k), r), np.arange(len(k))
    decode = _decoder_of_rows(model)
    whole = decode(k)
    together, apart = k.copy(), np.zeros_like(whole)
    for m in S.T:
        alone = k.copy()
        alone[rows, m] = together[rows, m] = k[donor, m]
        apart += decode(alone) - whole
    change = decode(together) - whole
    return _ratio(((change - apart) ** 2).sum(), (change**2).sum())


def swap_agreement(model: VQVAE, images: Array, rng: np.random.Generator | int) -> float:
    """ρ = ⟨Δ·Δ'⟩/√(⟨‖Δ‖²⟩⟨‖Δ'‖²⟩): does the same swap do the same to two images? 1: exactly, 0: no relation.

    images: (n, *data.shape), at least 2 -> a number

    Δ is what j' in place of j at position m does to an image, Δ' what it does to another image that also
    has j there; j' is the code that a third has there. Over all positions, and all images of which another
    has the same code; swaps with a large effect weigh more.

    Returns
    -------
    float
        1 for a decoder in which the effects of codes add up. NaN if no two images share a code, or nothing
        changes.

    Raises
    ------
    InputError
        Fewer than two images, or of another shape than the model's.
    """
    k, r = _codes_of_two("swap_agreement", model, images), check_rng("swap_agreement", rng)
    decode = _decoder_of_rows(model)
    whole = decode(k)
    products = np.zeros(3)
    for m in range(model.num_latents):
        donor, order = _cycle(len(k), r), r.permutation(len(k))
        twin = np.arange(len(k))
        for j in np.unique(k[:, m]):
            alike = order[k[order, m] == j]
            twin[alike] = np.roll(alike, 1)
        rows = np.flatnonzero((twin != np.arange(len(k))) & (k[donor, m] != k[:, m]))
        changes = []
        for which in (rows, twin[rows]):
            swapped = k[which]
            swapped[:, m] = k[donor[rows], m]
            changes.append((decode(swapped) - whole[which]).ravel())
        one, other = changes
        products += one @ other, one @ one, other @ other
    return _ratio(products[0], float(np.sqrt(products[1] * products[2])))


def _decoder_of_rows(model: VQVAE) -> Callable[[Array], Array]:
    """decode for codes in rows, (n, M), whatever the latent shape; in float64."""
    return lambda k: model.decode(k.reshape(len(k), *model.latent_shape)).astype(np.float64)


def _codes_of_two(where: str, model: VQVAE, images: Array) -> Array:
    """The codes of at least two images, each image's in a row: (n, M)."""
    if not model.num_embeddings:
        fail(where, "model", "must be a VQVAE, whose codes can be swapped", type(model).__name__)
    k = model.encode(images)
    if len(k) < 2:
        fail(where, "images", "must hold at least 2 images", len(k))
    return k.reshape(len(k), -1)


def _cycle(n: int, rng: np.random.Generator) -> Array:
    """donor: (n,), a random cyclic permutation: for n of at least 2, no image is its own donor."""
    order = rng.permutation(n)
    donor = np.empty_like(order)
    donor[order] = np.roll(order, 1)
    return donor


def _ratio(a: float, b: float) -> float:
    """a/b, and NaN for 0/0."""
    return float(a / b) if b else float("nan")
