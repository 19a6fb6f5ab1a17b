"""a_m = ⟨(x̂(k) − x̂(k, but k_m from another image))²⟩: the influence of each position on the image.

k: (n, M) codes, x_hat: (n, *data.shape)
"""

from collections.abc import Callable

import numpy as np

from vqnp._check import Array, check_int, check_rng, fail
from vqnp.models import VQVAE


def position_influence(model: VQVAE, images: Array, rng: np.random.Generator | int) -> Array:
    """a_m = ⟨(x̂(k) − x̂(k, but k_m from another image))²⟩: which pixels depend on position m.

    images: (n, *data.shape), n at least 2 -> a: (*code_shape, *data.shape), float64

    Parameters
    ----------
    model : VQVAE
    images : ndarray, shape (n, *data.shape)
        Each receives the code of another image (its donor), so that the new codes have the frequencies of
        the position.
    rng : numpy.random.Generator or int
        For the donors: a random cyclic permutation, so that no image is its own donor.

    Returns
    -------
    ndarray of float64, shape (*code_shape, *data.shape)
        The mean squared change of each pixel, above 0 if it depends on position m. The perplexity of a[m],
        vqnp.perplexity(a[m].ravel()), is the effective number of pixels that do.

    Raises
    ------
    InputError
        If there are fewer than two images, or they have another shape than the model's.

    Examples
    --------
    >>> import vqnp
    >>> images = vqnp.load_dataset("digits", "test").images[:10]
    >>> position_influence(vqnp.VQVAE.mlp(num_latents=4), images, rng=0).shape
    (4, 28, 28)
    """
    k, rng, decode = _start("position_influence", model, images, rng)
    donor = _cycle(len(k), rng)
    whole = decode(k)
    a = np.empty((model.num_codes, *model.data.shape))
    for m in range(model.num_codes):
        swapped = k.copy()
        swapped[:, m] = k[donor, m]
        a[m] = ((decode(swapped) - whole) ** 2).mean(axis=0)
    return a.reshape(*model.code_shape, *model.data.shape)


def swap_interaction(model: VQVAE, images: Array, size: int, rng: np.random.Generator | int) -> float:
    """I = ⟨‖Δ_S − Σ_{m∈S} Δ_m‖²⟩/⟨‖Δ_S‖²⟩: do the effects of several swaps add up? 0: exactly.

    Δ_S = x̂(k, but k_m, m ∈ S, from another image) − x̂(k)

    images: (n, *data.shape), n at least 2 -> a number

    Parameters
    ----------
    model, images, rng
        As in position_influence; rng is for the positions too.
    size : int, in [2, M]
        The number of positions in S, drawn for each image; M turns one reconstruction into another.

    Returns
    -------
    float
        0 for a decoder in which the effects of codes add up; the squared error of their sum, relative to the
        effect of all swaps together. Images are clipped to the data's range. NaN if nothing changes.

    Raises
    ------
    InputError
        If there are fewer than two images, they have another shape than the model's, or size is out of range.
    """
    k, rng, decode = _start("swap_interaction", model, images, rng)
    M = model.num_codes
    if M < 2:
        fail("swap_interaction", "model", "must have at least 2 latents", M)
    S = rng.permuted(np.tile(np.arange(M), (len(k), 1)), axis=1)
    S = S[:, : check_int("swap_interaction", "size", size, 2, M)]
    donor, rows = _cycle(len(k), rng), np.arange(len(k))
    whole = decode(k)
    together, apart = k.copy(), np.zeros_like(whole)
    for m in S.T:
        alone = k.copy()
        alone[rows, m] = together[rows, m] = k[donor, m]
        apart += decode(alone) - whole
    change = decode(together) - whole
    return _ratio(((change - apart) ** 2).sum(), (change**2).sum())


def swap_agreement(model: VQVAE, images: Array, rng: np.random.Generator | int) -> float:
    """ρ = ⟨Δ·Δ'⟩/√(⟨‖Δ‖²⟩⟨‖Δ'‖²⟩): has a swap the same effect on two images? 1: exactly, 0: no relation.

    images: (n, *data.shape), n at least 2 -> a number

    Δ is the effect on an image of replacing its code j at position m by j', the code of a third image
    there; Δ' is the effect on another image that also has j at m. The average is over all positions and all
    images with such a partner; swaps with a large effect have more weight.

    Parameters
    ----------
    model, images, rng
        As in position_influence; rng is for the partners and the donors of j'.

    Returns
    -------
    float
        1 for a decoder in which the effects of codes add up. NaN if no two images share a code, or nothing
        changes.

    Raises
    ------
    InputError
        If there are fewer than two images, or they have another shape than the model's.
    """
    k, rng, decode = _start("swap_agreement", model, images, rng)
    whole, own = decode(k), np.arange(len(k))
    products = np.zeros(3)
    for m in range(model.num_codes):
        donor, order = _cycle(len(k), rng), rng.permutation(len(k))
        partner = own.copy()
        for j in np.unique(k[:, m]):
            same = order[k[order, m] == j]
            partner[same] = np.roll(same, 1)
        rows = np.flatnonzero((partner != own) & (k[donor, m] != k[:, m]))
        changes = []
        for which in (rows, partner[rows]):
            swapped = k[which]
            swapped[:, m] = k[donor[rows], m]
            changes.append((decode(swapped) - whole[which]).ravel())
        one, other = changes
        products += one @ other, one @ one, other @ other
    return _ratio(products[0], float(np.sqrt(products[1] * products[2])))


def _start(
    where: str, model: VQVAE, images: Array, rng: np.random.Generator | int
) -> tuple[Array, np.random.Generator, Callable[[Array], Array]]:
    """The codes of at least two images, (n, M); a generator; decode for (n, M), in float64."""
    if model.encoding.name != "codes":
        fail(where, "model", "must be a VQVAE, whose codes can be swapped", type(model).__name__)
    k = model.encode(images)
    if len(k) < 2:
        fail(where, "images", "must hold at least 2 images", len(k))

    def decode(k: Array) -> Array:
        return model.decode(k.reshape(len(k), *model.code_shape)).astype(np.float64)

    return k.reshape(len(k), -1), check_rng(where, rng), decode


def _cycle(n: int, rng: np.random.Generator) -> Array:
    """donor: (n,), a random cyclic permutation: for n of at least 2, no image is its own donor."""
    order = rng.permutation(n)
    donor = np.empty_like(order)
    donor[order] = np.roll(order, 1)
    return donor


def _ratio(a: float, b: float) -> float:
    """a/b, and NaN for 0/0."""
    return float(a / b) if b else float("nan")
