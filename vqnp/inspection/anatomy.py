"""Each code in images: the mean image that uses it, and how it changes if the code is removed.

context_j = ⟨x̂(k)⟩,  effect_j = ⟨x̂(k) − x̂(k, but latent m_j at its mean)⟩, over images with k_{m_j} = j
"""

from typing import NamedTuple

import numpy as np

from vqnp._check import Array, fail
from vqnp.models import VQVAE

EXAMPLES = 32  # images averaged for each code: enough that the other codes of single images do not show


class CodeAnatomy(NamedTuple):
    """The use of each code j, and its images.

    counts: (K,) over all images and latents; latent: (K,) m_j, the latent at which j is used most;
    context, effect: (K, *data.shape), in pixel values; 0 for a code that is never used

    Of n codebooks, one after the other: (n K, ...).

    Examples
    --------
    >>> import vqnp
    >>> images = vqnp.load_dataset("digits", "test").images[:10]
    >>> found = code_anatomy(vqnp.VQVAE.mlp(num_latents=4, num_embeddings=8), images)
    >>> int(found.counts.sum()), found.latent.shape, found.effect.shape
    (40, (8,), (8, 28, 28))
    """

    counts: Array
    latent: Array
    context: Array
    effect: Array
    codebooks: int = 1

    def label(self, j: int) -> str:
        """The number of code j; of several codebooks "c.j", code j of the c-th, which counts from 1."""
        if self.codebooks == 1:
            return str(j)
        K = len(self.counts) // self.codebooks
        return f"{j // K + 1}.{j % K}"


def code_anatomy(model: VQVAE, images: Array) -> CodeAnatomy:
    """context_j = ⟨x̂⟩ and effect_j = ⟨x̂ − x̂ without j⟩ over images that use j at its latent m_j.

    images: (n, *data.shape) -> CodeAnatomy

    A code has no image of its own: the decoder combines M codes, and the same code has another effect at
    another latent. So it is shown in context: at the latent m_j at which it is used most, in up to EXAMPLES
    images that use it there. "Without j" replaces it by the mean vector of that latent over all images; of
    several codebooks, what its codebook adds to the vector, by the mean of that.

    Parameters
    ----------
    model : VQVAE
    images : ndarray, shape (n, *data.shape)
        uint8, or float in the data's range; at least one.

    Raises
    ------
    InputError
        If there are no images, or they have another shape than the model's.
    """
    if not isinstance(model, VQVAE):
        fail("code_anatomy", "model", "must be a VQVAE", type(model).__name__)
    k = model.encode(images)
    n, M = model.quantizer.num_codebooks, model.num_latents
    K = n * model.num_embeddings
    if len(k) == 0:
        fail("code_anatomy", "images", "must hold at least one image", f"shape {np.shape(images)}")
    parts = model.quantizer.decode_parts(k).reshape(len(k), M, n, -1)
    k = k.reshape(len(k), M, n) + model.num_embeddings * np.arange(n)
    at = np.stack([np.bincount(k[:, m].reshape(-1), minlength=K) for m in range(M)])
    mean = parts.mean(axis=0)
    latent = at.argmax(axis=0)
    used = np.flatnonzero(at.sum(axis=0))
    book = np.arange(K) // model.num_embeddings
    rows = [np.flatnonzero(k[:, latent[j], book[j]] == j)[:EXAMPLES] for j in used]
    flat = np.concatenate(rows)
    owner = np.repeat(used, [len(r) for r in rows])
    without = parts[flat]
    without[np.arange(len(flat)), latent[owner], book[owner]] = mean[latent[owner], book[owner]]
    shape = (-1, *model.latent_shape, model.embedding_dim)
    decoded = model.decode_latents(parts[flat].sum(axis=2).reshape(shape))
    change = decoded - model.decode_latents(without.sum(axis=2).reshape(shape))
    context = np.zeros((K, *model.data.shape), model.dtype)
    effect = np.zeros_like(context)
    ends = np.cumsum([len(r) for r in rows])[:-1]
    for j, images_j, changes_j in zip(used, np.split(decoded, ends), np.split(change, ends), strict=True):
        context[j], effect[j] = images_j.mean(axis=0), changes_j.mean(axis=0)
    return CodeAnatomy(at.sum(axis=0), latent, context, effect, n)
