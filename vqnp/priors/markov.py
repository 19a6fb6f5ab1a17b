"""p(k) = p_1(k_1) Π_m p_m(k_m | k_{m−1}): codes as a Markov chain over positions, from counts.

k: (n, M) the codes of n images, each in [0, K)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vqnp._check import Array, check_code_rows, check_float, check_int, check_rng, fail


class CodeChain:
    """p_m(j) = (n_mj + ½)/(n + K/2),  p_m(j | i) = (n_mij + w p_m(j))/(n_mi + w); order 0: w = ∞.

    k: (n, M), to count in

    Parameters
    ----------
    codes : array_like of integers, shape (n, M)
        Both at least 1.
    num_embeddings : int
        K.
    order : 0 or 1
        0: positions are independent, each with its own frequencies. 1: each depends on the one before.
    weight : float, optional
        w, how many counts the prior is worth; default K/2, as many as the halves that are added to K
        counts in p_m(j). Where code i was seldom seen, p_m(j | i) is near p_m(j), not near 1/K.

    Raises
    ------
    InputError

    Notes
    -----
    A baseline, and no more: it knows how often a code stands beside another, and nothing of the image.
    The positions of an MLP have no order; the chain takes that of their numbers.

    References
    ----------
    The halves: Krichevsky & Trofimov 1981, IEEE Trans. Inf. Theory 27(2). The prior w p_m(j): MacKay &
    Peto 1995, A hierarchical Dirichlet language model, Natural Language Engineering 1(3).
    """

    def __init__(
        self, codes: Any, num_embeddings: int, order: int = 1, weight: float | None = None
    ) -> None:
        where = "CodeChain"
        self.codes = check_code_rows(where, codes, num_embeddings)
        self.num_embeddings = K = int(num_embeddings)
        self.order = check_int(where, "order", order, 0, 1)
        self.weight = K / 2 if weight is None else check_float(where, "weight", weight, "(0, inf)")

    def code_length(self, codes: Any) -> float:
        """−⟨log₂ p(k)⟩: bits an image that an ideal coder with these frequencies spends on k.

        k: (n', M), not the codes that were counted, else it is too small -> bits
        """
        k, K = check_code_rows("CodeChain.code_length", codes, self.num_embeddings), self.num_embeddings
        n, M = self.codes.shape
        if k.shape[1] != M:
            fail("CodeChain.code_length", "codes", f"must have {M} position{'s' * (M > 1)}", k.shape[1])
        bits = 0.0
        for m, (seen, now) in enumerate(zip(self.codes.T, k.T, strict=True)):
            p = ((np.bincount(seen, minlength=K) + 0.5) / (n + K / 2))[now]
            if m and self.order:
                before, w = self.codes[:, m - 1], self.weight
                n_i = np.bincount(before, minlength=K)[k[:, m - 1]]
                p = (_count(before * K + seen, k[:, m - 1] * K + now) + w * p) / (n_i + w)
            bits -= float(np.log2(p).mean())
        return bits

    def sample(self, n: int, rng: np.random.Generator | int) -> Array:
        """k ~ p(k), position by position -> (n, M) int64.

        A mixture is drawn in two steps: with probability n_mi/(n_mi + w) k_m is that of one of the images
        whose code before is the same, i; else it is from p_m, which is a mixture too: with probability
        n/(n + K/2) the code of any image, else any code.
        """
        n, rng = check_int("CodeChain.sample", "n", n, 0), check_rng("CodeChain.sample", rng)
        k = np.empty((n, self.codes.shape[1]), np.int64)
        for m, seen in enumerate(self.codes.T):
            half = self.num_embeddings / 2
            k[:, m] = seen[rng.integers(len(seen), size=n)]
            anything = rng.random(n) * (len(seen) + half) < half
            k[anything, m] = rng.integers(self.num_embeddings, size=np.count_nonzero(anything))
            if m and self.order:
                by_code = np.argsort(self.codes[:, m - 1], kind="stable")
                n_i = np.bincount(self.codes[:, m - 1], minlength=self.num_embeddings)
                first, own = (np.cumsum(n_i) - n_i)[k[:, m - 1]], n_i[k[:, m - 1]]
                alike = rng.random(n) * (own + self.weight) < own
                place = first + (rng.random(n) * own).astype(np.int64)
                k[alike, m] = seen[by_code[place[alike]]]
        return k


def code_length(codes: Any, fitted_to: Any, num_embeddings: int) -> float:
    """−⟨Σ_m log₂ p_m(k_m)⟩ bits an image, with p_m(j) = (n_mj + ½)/(n + K/2) counted in other images.

    k: (n, M), fitted_to: (n', M) -> bits that a coder spends in earnest on k

    The ½ leaves every code a length, though no image of fitted_to has it; it is the estimator of
    Krichevsky and Trofimov 1981, IEEE Trans. Inf. Theory 27(2).
    """
    where = "code_length"
    k = check_code_rows(where, codes, num_embeddings)
    other = check_code_rows(where, fitted_to, num_embeddings, "fitted_to")
    if k.shape[1] != other.shape[1]:
        fail(where, "fitted_to", f"must have {k.shape[1]} positions, as codes", other.shape[1])
    return CodeChain(other, num_embeddings, order=0).code_length(k)


def _count(keys: Array, wanted: Array) -> Array:
    """How often each of wanted is in keys; no table of all K² pairs, most of them absent."""
    values, counts = np.unique(keys, return_counts=True)
    at = np.minimum(np.searchsorted(values, wanted), len(values) - 1)
    return np.where(values[at] == wanted, counts[at], 0)
