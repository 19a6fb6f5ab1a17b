"""perplexity = exp(−Σ_j p_j log p_j),  p_j = n_j / Σn, and other figures of the counts.

n: (K,) how often each code is used
"""

import math
from typing import Any

import numpy as np

from vqnp._check import Array, as_array, check_float, check_int, fail


def perplexity(counts: Any) -> float:
    """perplexity = exp(−Σ p log p),  p = n / Σn,  0 log 0 = 0: the effective number of codes in use.

    n: (K,) counts or probabilities -> a number from 1 (one code) to K (all codes equally often)

    Parameters
    ----------
    counts : array_like of integers or floats, shape (K,)
        None negative, not all zero; they are divided by their sum.

    Returns
    -------
    float
        Exactly 1 if one code is used, exactly U if U codes are used equally, and within [1, U] for U
        codes in use in spite of rounding. Its bits do not depend on the codes' order.

    Raises
    ------
    InputError
        If counts are not one axis of finite numbers of at least 0, or are all 0.

    Notes
    -----
    Over a batch it is at most the number of vectors in the batch, so perplexities of batches of
    different sizes cannot be compared, and their mean is not that of the data set: add the counts first.

    References
    ----------
    The exponential of Shannon's entropy. van den Oord et al. 2017, arXiv 1711.00937, publish it with
    their code (Sonnet), as exp(−Σ p log(p + 1e-10)): smaller by a factor of about 1 − U·1e-10, and so
    below 1 for one code.

    Examples
    --------
    >>> perplexity([5, 5, 5, 0])
    3.0
    >>> round(perplexity([8, 1, 1]), 2)
    1.89
    """
    n = _counts("perplexity", counts)
    if not n.any():
        fail("perplexity", "counts", "must have at least one above 0", "all zero: no code was used")
    used = np.sort(n[n > 0])
    if used[0] == used[-1]:
        return float(used.size)
    p = used / used[-1]  # by the largest first, so that the sum can neither overflow nor vanish
    p /= p.sum()
    p = p[p > 0]
    return float(np.clip(np.exp(-(p * np.log(p)).sum()), 1, used.size))


def mean_perplexity(counts: Array) -> float:
    """exp of the mean entropy of several codebooks, the geometric mean of their perplexities.

    n: (K,) of one codebook or (n, K) of n, as in `perplexity` -> a number from 1 to K
    """
    if counts.ndim == 1:
        return perplexity(counts)
    each = [math.log(perplexity(row)) for row in counts]
    return min(max(math.exp(math.fsum(each) / len(each)), 1.0), float(counts.shape[-1]))


def utilization(counts_or_perplexity: Any, num_embeddings: int | None = None) -> float:
    """utilization = perplexity / K.

    n: (K,) counts, or a perplexity and K -> a number from 1/K to 1

    Parameters
    ----------
    counts_or_perplexity : array_like of shape (K,), or float
        Counts as in `perplexity`, or a perplexity in [1, K].
    num_embeddings : int
        K; optional with counts.

    Raises
    ------
    InputError
        If a perplexity is given without K or is outside [1, K]; for counts as in `perplexity`, and if
        there are not K of them.

    Examples
    --------
    >>> utilization([5, 5, 0, 0])
    0.5
    >>> utilization(96.0, num_embeddings=128)
    0.75
    """
    where = "utilization"
    if as_array(where, "counts", counts_or_perplexity).ndim == 0:
        if num_embeddings is None:
            fail(where, "num_embeddings", "must be given with a perplexity", None)
        K = check_int(where, "num_embeddings", num_embeddings)
        return in_range(where, counts_or_perplexity, K) / K
    K = len(_counts(where, counts_or_perplexity))
    if num_embeddings is not None and num_embeddings != K:
        fail(where, "num_embeddings", f"must be {K}, the number of counts", num_embeddings)
    return perplexity(counts_or_perplexity) / K


def dead_codes(counts: Any) -> Array:
    """dead = {j : n_j = 0}, the codes that are never used, in ascending order.

    n: (K,) as in `perplexity`, but perhaps all zero -> indices: int64, at most K
    """
    return np.flatnonzero(_counts("dead_codes", counts) == 0)


def bits_per_image(num_latents: int, num_embeddings: int) -> float:
    """bits = M log₂ K: the size of M codes out of K without an entropy coder.

    M, K: integers of at least 1 -> a number of bits
    """
    M = check_int("bits_per_image", "num_latents", num_latents)
    return M * math.log2(check_int("bits_per_image", "num_embeddings", num_embeddings))


def _counts(where: str, counts: Any) -> Array:
    """Counts as float64, (K,), else InputError."""
    n = as_array(where, "counts", counts)
    if n.dtype.kind not in "iuf":
        fail(where, "counts", "must be integers or floats", n.dtype)
    if n.ndim != 1 or n.size == 0:
        fail(where, "counts", "must have shape (K,) with K of at least 1", f"shape {n.shape}")
    bad = np.flatnonzero(~(np.isfinite(n) & (n >= 0)))
    if bad.size:
        fail(where, "counts", "must be finite and not negative", f"{n[bad[0]]} at index {bad[0]}")
    return n.astype(np.float64)


def in_range(where: str, perplexity: Any, K: int, name: str = "perplexity") -> float:
    """A perplexity in [1, K], with a tolerance of 1e-9 for rounding, clipped to the range."""
    value = check_float(where, name, perplexity, "(-inf, inf)")
    if not 1 - 1e-9 <= value <= K * (1 + 1e-9):
        fail(where, name, f"must be in [1, {K}]", value)
    return min(max(value, 1.0), float(K))
