"""log p(c | k) − log p(c) = log p(k | c) − log p(k): how well codes fit their text or class.

k: (n, *latent_shape) codes, c: a condition of each -> (n,) in nats
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vqnp._check import Array, check_int, check_rng, fail


def evidence(prior: Any, codes: Any, condition: Any) -> Array:
    """log p(c | k) − log p(c) of each grid of codes, by Bayes' rule from two likelihoods of the prior.

    The prior must have learned the distribution without a condition too: condition_dropout above 0. Of
    several samples for one condition, log p(c) is the same, so this is their order by p(c | k).

    Parameters
    ----------
    prior : TextTransformer, or any prior with classes
    codes : (n, *latent_shape), or a tuple of such arrays for a HierarchicalPrior
    condition
        As for the prior's nll.

    Returns
    -------
    nats : (n,) float64

    Examples
    --------
    >>> from vqnp.priors import Transformer
    >>> prior = Transformer(8, (2, 2), channels=8, layers=1, heads=2, num_classes=3)
    >>> evidence(prior, prior.sample(5, rng=0, condition=2), condition=2).shape
    (5,)
    """
    without, given = _nats(prior.nll(codes)), _nats(prior.nll(codes, condition))
    return np.asarray(without - given)


def best_of(
    prior: Any, n: int, rng: np.random.Generator | int, condition: Any, candidates: int, **options: Any
) -> Any:
    """n samples, each the one of `candidates` samples with the most evidence for its condition.

    Sample i is the same whatever n is. options: temperature, top_k, top_p, guidance, progress, as of the
    prior's sample.

    Raises
    ------
    InputError
        There is no condition, or an argument is out of range.
    """
    n, rng = check_int("best_of", "n", n, 0), check_rng("best_of", rng)
    N = check_int("best_of", "candidates", candidates)
    if condition is None:
        fail("best_of", "candidates", "must be 1 without a condition", N)
    one = isinstance(condition, str) or np.ndim(condition) == 0
    repeated = condition if one else [each for each in condition for _ in range(N)]
    drawn = prior.sample(n * N, rng, repeated, **options)
    if n == 0:
        return drawn
    best = np.arange(n) * N + evidence(prior, drawn, repeated).reshape(n, N).argmax(axis=1)
    return tuple(k[best] for k in drawn) if isinstance(drawn, tuple) else drawn[best]


def _nats(nll: Any) -> Array:
    """The sum over the codes of an image, of all levels: (n,)."""
    levels = nll if isinstance(nll, tuple) else (nll,)
    return np.asarray(sum(each.reshape(len(each), -1).sum(axis=1) for each in levels))
