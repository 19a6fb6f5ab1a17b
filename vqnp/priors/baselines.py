"""Bits of codes from counts, without a network: the baselines that a trained prior must surpass.

k: (n, M) codes, each in [0, K)
"""

from typing import Any

import numpy as np

from vqnp._check import check_code_rows
from vqnp.priors.markov import Markov

BASELINES = ("uniform", "unigram", "unigram by position", "Markov chain")


def baseline_bits(fitted_to: Any, codes: Any, num_embeddings: int) -> dict[str, float]:
    """⟨−log₂ p(k)⟩, bits per image, of each of BASELINES: p from the counts in fitted_to, k from codes.

    k: (n, *latent_shape), fitted_to: (n', *latent_shape)

    uniform: M log₂ K. unigram: the same frequencies at each position. unigram by position: each position has
    its own. Markov chain: they also depend on the code before. On the counted codes the bits are too few.

    Examples
    --------
    >>> codes = [[0, 1], [0, 1], [1, 0], [1, 0]]
    >>> [round(bits, 2) for bits in baseline_bits(codes, codes, num_embeddings=2).values()]
    [2.0, 2.0, 2.0, 1.26]
    """
    where = "baseline_bits"
    k = check_code_rows(where, codes, num_embeddings)
    other = check_code_rows(where, fitted_to, num_embeddings, "fitted_to")
    unigram = Markov(other.reshape(-1, 1), num_embeddings, order=0)
    bits = (
        k.shape[1] * float(np.log2(num_embeddings)),
        k.shape[1] * unigram.code_length(k.reshape(-1, 1)),
        Markov(other, num_embeddings, order=0).code_length(k),
        Markov(other, num_embeddings).code_length(k),
    )
    return dict(zip(BASELINES, bits, strict=True))
