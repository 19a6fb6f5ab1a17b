"""p(k_m | k_1, …, k_{m−1}), position by position, with the same bits in an encoder and a decoder.

k: (n, M) codes of n grids, each in [0, K); of several levels those of the top first, each in its [0, K_l)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator
from typing import Any

import numpy as np

from vqnp._check import Array, check_int
from vqnp.kernels import memory
from vqnp.nn import describe
from vqnp.priors.markov import Markov
from vqnp.priors.sampling import probabilities


def conditionals(prior: Any, n: int) -> Generator[Array, Array, None]:
    """A generator that yields p(k_m | …), (n, K) float64, and is sent k_m, (n,); m = 1, …, M.

    A HierarchicalPrior's positions are those of its top level, then those of the next level, and so on; K is
    that of the position's level.

    An encoder sends the codes that it has; a decoder sends those that it has just read by means of the
    yielded probabilities. Both make the same calls in the same order, so they get the same bits. A row's
    bits depend only on its own codes, not on n or the number of threads. Classes are not used.

    Parameters
    ----------
    prior : Transformer, PixelCNN, Markov or HierarchicalPrior
    n : int
        The number of grids that are coded in parallel.

    Examples
    --------
    >>> steps = conditionals(Markov([[0, 1], [0, 1], [1, 0]], num_embeddings=2), n=1)
    >>> next(steps)
    array([[0.625, 0.375]])
    >>> steps.send(np.array([0])).shape
    (1, 2)
    """
    n = check_int("conditionals", "n", n)
    K = max(codebook_sizes(prior))
    memory.check_memory("conditionals", "n", n, 8 * K)
    if isinstance(prior, Markov):
        before = None
        for m in range(prior.codes.shape[1]):
            k = yield np.broadcast_to(prior.conditional(m, before), (n, K))
            before = k if prior.order else None
        return
    above: tuple[Array, ...] = ()
    for level in getattr(prior, "levels", (prior,)):
        codes = np.zeros((n, level.num_latents), np.int64)
        state, a = level.begin(level.null(n), above)
        for m in range(level.num_latents):
            codes[:, m] = yield probabilities(a)
            if m + 1 < level.num_latents:
                a = level.extend(state, codes[:, m, None])[:, 0]
        above = (*above, codes.reshape(n, *level.latent_shape))


def codebook_sizes(prior: Any) -> Array:
    """K of each position, in the order of conditionals: (M,)."""
    if isinstance(prior, Markov):
        return np.full(prior.codes.shape[1], prior.num_embeddings)
    levels = getattr(prior, "levels", (prior,))
    return np.repeat([level.num_embeddings for level in levels], [level.num_latents for level in levels])


def fingerprint(prior: Any) -> str:
    """SHA-256 of everything that the probabilities depend on: 64 hexadecimal digits."""
    digest = hashlib.sha256()
    if isinstance(prior, Markov):
        values = ["Markov", prior.num_embeddings, prior.order, prior.weight, list(prior.codes.shape)]
        digest.update(json.dumps(values).encode() + prior.codes.tobytes())
        return digest.hexdigest()
    digest.update(json.dumps(describe(prior), sort_keys=True).encode())
    for name, array in prior.state_dict().items():
        digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
