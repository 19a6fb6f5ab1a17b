"""What a code stands for: the images that use it, and what changes in them when it is taken out.

context_j = ⟨x̂(k)⟩,  effect_j = ⟨x̂(k) − x̂(k, but latent m_j at its mean)⟩, over images with k_{m_j} = j
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vqnp._check import Array
from vqnp.models import VQVAE

EXAMPLES = 32
"""Images averaged for each code: enough that one image's other codes do not show."""


class CodeAnatomy(NamedTuple):
    """Of each code j: how often it is used, where most, and how it looks there.

    counts: (K,) over all images and latents; latent: (K,) m_j, where j is used most;
    context, effect: (K, *data.shape), in pixel values; 0 for a code that is never used
    """

    counts: Array
    latent: Array
    context: Array
    effect: Array


def code_anatomy(model: VQVAE, images: Array) -> CodeAnatomy:
    """context_j = ⟨x̂⟩ and effect_j = ⟨x̂ − x̂ without j⟩ over images that use j at its latent m_j.

    images: (n, *data.shape) -> CodeAnatomy

    A code has no image of its own: the decoder sees M of them at once, and the same code means
    another thing at another latent. So it is shown in context: at the latent m_j where it is used
    most, in up to EXAMPLES images that use it there. "Without j" puts in its place the mean
    vector of that latent over all images.
    """
    k = model.encode(images)
    k = k.reshape(len(k), -1)
    K, M = model.num_embeddings, model.num_latents
    at = np.stack([np.bincount(k[:, m], minlength=K) for m in range(M)])
    z_q = model.quantizer.decode(k)
    mean = z_q.mean(axis=0)
    latent = at.argmax(axis=0)
    used = np.flatnonzero(at.sum(axis=0))
    rows = [np.flatnonzero(k[:, latent[j]] == j)[:EXAMPLES] for j in used]
    flat = np.concatenate(rows)
    owner = np.repeat(used, [len(r) for r in rows])
    without = z_q[flat]
    without[np.arange(len(flat)), latent[owner]] = mean[latent[owner]]
    plane = (-1, *model.latent_shape, model.embedding_dim)
    decoded = model.decode_latents(z_q[flat].reshape(plane))
    change = decoded - model.decode_latents(without.reshape(plane))
    context = np.zeros((K, *model.data.shape), model.dtype)
    effect = np.zeros_like(context)
    ends = np.cumsum([len(r) for r in rows])
    for j, end, r in zip(used, ends, rows, strict=True):
        context[j] = decoded[end - len(r) : end].mean(axis=0)
        effect[j] = change[end - len(r) : end].mean(axis=0)
    return CodeAnatomy(at.sum(axis=0), latent, context, effect)
