"""x̂ = decoder(e_k), k ~ p(k | c): new images, from a model and a prior over its codes.

x̂: (n, *data.shape)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tqdm import tqdm

from vqnp._check import Array, check_int, check_rng, fail
from vqnp.priors.markov import Markov
from vqnp.priors.sampling import Choice, draw, probabilities, streams

CHUNK_GRIDS = 128
"""Grids that are drawn from a chain at a time. Each has a stream of its own, so this number does not show."""


def generate(
    model: Any, prior: Any, n: int, rng: np.random.Generator | int, condition: Any = None,
    temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None, guidance: float = 1.0,
    progress: bool = False,
) -> Array:  # fmt: skip
    """x̂ = decoder(e_k), k ~ p(k | c) -> (n, *data.shape) in the data's range.

    Parameters
    ----------
    model : VQVAE
        It decodes the codes.
    prior : Transformer or Markov
        Fitted to codes of this model. With those of another model the images mean nothing, and nothing tells.
    n : int
        The number of images. Image i is the same whatever n is.
    rng : numpy.random.Generator or int
        The source of the streams, one for each image: SeedSequence.spawn.
    condition : int or array_like of integers, shape (n,), optional
        The class of all images, or of each, for a prior with classes. None: without a class.
    temperature, top_k, top_p
        See vqnp.priors.sampling.probabilities.
    guidance : float, default 1
        s in logits null + s (cond − null), for a prior with classes.
    progress : bool
        Whether to draw a bar on standard error.

    Raises
    ------
    InputError
        A prior over other grids of codes than the model's, or an argument that is out of range.

    Examples
    --------
    >>> from vqnp import VQVAE
    >>> model = VQVAE.mlp((4, 4), num_latents=3, embedding_dim=2, num_embeddings=8, hidden=(5,))
    >>> prior = Markov([[0, 1, 2], [0, 1, 3]], num_embeddings=8)
    >>> generate(model, prior, 5, rng=0).shape
    (5, 4, 4)
    """
    n, rng = check_int("generate", "n", n, 0), check_rng("generate", rng)
    _check_fits(model, prior)
    if isinstance(prior, Markov):
        for name, given in (("condition", condition is not None), ("guidance", guidance != 1)):
            if given:
                fail("generate", name, "must not be given for a Markov chain, which has no classes", name)
        choice = Choice(temperature, top_k, top_p).checked("generate")
        codes = _from_chain(prior, n, rng, choice, progress)
    else:
        codes = prior.sample(n, rng, condition, temperature, top_k, top_p, guidance, progress)
    images: Array = model.decode(codes.reshape(n, *model.latent_shape))
    return images


def _check_fits(model: Any, prior: Any) -> None:
    """Raise unless the prior's grids of codes are the model's."""
    if not model.num_embeddings:
        fail("generate", "model", "must be a VQ-VAE, whose latents are codes", type(model).__name__)
    wanted = f"{model.num_latents} codes of {model.num_embeddings}"
    M = prior.codes.shape[1] if isinstance(prior, Markov) else prior.num_latents
    if (found := f"{M} codes of {prior.num_embeddings}") != wanted:
        fail("generate", "prior", f"must be over grids of {wanted}, as the model's", found)


def _from_chain(chain: Markov, n: int, rng: np.random.Generator, choice: Choice, progress: bool) -> Array:
    """k ~ p(k) by inversion, one number for each code, so that sample i does not depend on n -> (n, M)."""
    k = np.empty((n, chain.codes.shape[1]), np.int64)
    with tqdm(total=k.size, unit="code", unit_scale=True, disable=not progress) as bar:
        for start in range(0, n, CHUNK_GRIDS):
            rows = k[start : start + CHUNK_GRIDS]
            u = streams(rng, len(rows), k.shape[1])
            for m in range(k.shape[1]):
                p = _next(chain, m, rows[:, m - 1] if m and chain.order else None)
                with np.errstate(divide="ignore"):
                    rows[:, m] = draw(probabilities(np.log(p), choice), u[:, m])
                bar.update(len(rows))
    return k


def _next(chain: Markov, m: int, before: Array | None) -> Array:
    """p_m(j | i) for each i of before, as in Markov; p_m(j) without: (n,) -> (n, K) or (1, K)."""
    counted, K, w = chain.codes[:, m], chain.num_embeddings, chain.weight
    p = (np.bincount(counted, minlength=K) + 0.5) / (len(counted) + K / 2)
    if before is None:
        return p[None]
    codes, of = np.unique(before, return_inverse=True)
    n_ij = np.stack([np.bincount(counted[chain.codes[:, m - 1] == i], minlength=K) for i in codes])
    conditional = (n_ij + w * p) / (n_ij.sum(axis=1, keepdims=True) + w)
    return np.asarray(conditional[of])
