"""x̂ = decoder(e_k), k ~ p(k | c): new images, from a model and a prior over its codes.

x̂: (n, *data.shape)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from vqnp._check import Array, check_int, check_rng, fail
from vqnp.kernels import memory
from vqnp.priors.reranking import best_of

CODE_BYTES = 8


def generate(
    model: Any, prior: Any, n: int, rng: np.random.Generator | int, condition: Any = None,
    temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None, guidance: float = 1.0,
    progress: bool = False, rerank: int = 1,
) -> Array:  # fmt: skip
    """x̂ = decoder(e_k), k ~ p(k | c) -> (n, *data.shape) in the data's range.

    Parameters
    ----------
    model : VQVAE or HierarchicalVQVAE
        The model that decodes the codes.
    prior : Transformer, TextTransformer, PixelCNN or Markov; of a HierarchicalVQVAE a HierarchicalPrior
        A prior over the codes of this model. With a prior over another model's codes of the same shape, the
        images are meaningless, and no error is raised.
    n : int
        The number of images. Image i is the same whatever n is.
    rng : numpy.random.Generator or int
        The source of the streams, one for each image: SeedSequence.spawn.
    condition : int or array_like of integers, shape (n,), or str or sequence of n str, optional
        The class of all images, or one for each, for a prior with classes; the text for a TextTransformer.
        None: without a class or a text.
    temperature, top_k, top_p
        See vqnp.priors.sampling.probabilities.
    guidance : float, default 1
        s in logits null + s (cond − null), for a prior with classes or texts.
    progress : bool
        Whether to show a progress bar on standard error.
    rerank : int, default 1
        How many samples are drawn for each image, of which the one that fits its condition best is kept:
        see vqnp.priors.reranking.

    Raises
    ------
    InputError
        A prior over grids of another shape or codebook size, an argument out of range, or more images than
        fit into memory.

    Examples
    --------
    >>> from vqnp import VQVAE
    >>> from vqnp.priors import Markov
    >>> model = VQVAE.mlp((4, 4), num_latents=3, embedding_dim=2, num_embeddings=8, hidden=(5,))
    >>> prior = Markov([[0, 1, 2], [0, 1, 3]], num_embeddings=8)
    >>> generate(model, prior, 5, rng=0).shape
    (5, 4, 4)
    """
    n, rng = check_int("generate", "n", n, 0), check_rng("generate", rng)
    check_fits("generate", model, prior)
    each = CODE_BYTES * model.num_codes + model.latent_bytes + model.decoded_bytes
    memory.check_memory("generate", "n", n, each)
    options = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "progress": progress}
    if rerank == 1:
        codes = prior.sample(n, rng, condition, guidance=guidance, **options)
    else:
        codes = best_of(prior, n, rng, condition, rerank, guidance=guidance, **options)
    several = isinstance(codes, tuple)  # an array for each level of a hierarchy
    images: Array = model.decode(codes if several else codes.reshape(n, *model.code_shape))
    return images


def as_grids(model: Any, codes: Any) -> Any:
    """Codes, as the model's encode returns them, in the form in which priors take them.

    Of n codebooks in one grid, (n, *grid_shape); of several levels as they are, an array for each.
    """
    return codes if isinstance(codes, tuple) else codes.reshape(len(codes), *model.grid_shape)


def check_fits(where: str, model: Any, prior: Any) -> None:
    """Raise unless the prior's grids of codes are the model's."""
    if not getattr(model, "num_embeddings", 0) or not callable(getattr(model, "decode", None)):
        fail(where, "model", "must be a VQ-VAE, whose latents are codes", type(model).__name__)
    wanted = _grids(model, model.num_codes)
    if not callable(getattr(prior, "sample", None)):
        fail(where, "prior", "must be a prior over codes", type(prior).__name__)
    found = _grids(prior, prior.num_latents)
    if found != wanted and not _begins(model, prior):
        fail(where, "prior", f"must be over grids of {wanted}, as the model's", found)


def _begins(model: Any, prior: Any) -> bool:
    """Whether the prior is over the first levels of a model that decodes these without the others."""
    n = len(prior.latent_shape)
    levels = isinstance(prior.num_embeddings, tuple) and n >= getattr(model, "fewest_levels", math.inf)
    forms = (prior.num_embeddings, prior.latent_shape), (model.num_embeddings, model.latent_shape)
    return levels and all(ours == theirs[:n] for ours, theirs in zip(*forms, strict=True))


def _grids(of: Any, codes: int) -> str:
    """In words, the codes of a model or a prior: how many, out of how many; of a hierarchy each level's."""
    if not isinstance(of.num_embeddings, tuple):
        return f"{codes} codes of {of.num_embeddings}"
    levels = zip(of.latent_shape, of.num_embeddings, strict=True)
    return " above ".join(f"{' × '.join(map(str, shape))} codes of {K}" for shape, K in levels)
