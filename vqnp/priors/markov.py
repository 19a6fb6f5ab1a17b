"""p(k) = p_1(k_1) Π_m p_m(k_m | k_{m−1}): codes as a Markov chain over positions, from counts.

k: (n, M) the codes of n images, each in [0, K)
"""

from typing import Any

import numpy as np

from vqnp._check import Array, check_code_rows, check_float, check_int, check_rng, fail


class Markov:
    """p_m(j) = (n_mj + ½)/(n + K/2),  p_m(j | i) = (n_mij + w p_m(j))/(n_mi + w); order 0: w = ∞.

    k: (n, M), from which n_mj and n_mij are counted

    Parameters
    ----------
    codes : array_like of integers, shape (n, M) or (n, *latent_shape)
        n and M at least 1.
    num_embeddings : int
        K.
    order : 0 or 1, default 1
        0: positions are independent, each with its own frequencies. 1: each depends on the one before.
    weight : float, optional
        w, the number of counts that the prior is worth; default K/2, as many as the halves that are added
        to K counts in p_m(j). If code i is rare, p_m(j | i) is near p_m(j), not near 1/K.

    Raises
    ------
    InputError
        If codes are not integers in [0, K) of this shape, or order or weight is out of range.

    Notes
    -----
    This is only a baseline: it knows how often one code follows another, and nothing else of the image.
    The positions of an MLP's latents have no order; the chain takes that of their numbers.

    References
    ----------
    The halves: Krichevsky & Trofimov 1981, IEEE Trans. Inf. Theory 27(2). The prior w p_m(j): MacKay &
    Peto 1995, A hierarchical Dirichlet language model, Natural Language Engineering 1(3).

    Examples
    --------
    >>> chain = Markov([[0, 1], [0, 1], [1, 0], [1, 0]], num_embeddings=2)
    >>> round(chain.code_length([[0, 1], [1, 0]]), 2)  # bits; 2 if positions were independent
    1.26
    >>> chain.sample(5, rng=0).shape
    (5, 2)
    """

    def __init__(self, codes: Any, num_embeddings: int, order: int = 1, weight: float | None = None) -> None:
        self.codes = check_code_rows("Markov", codes, num_embeddings)
        self.num_embeddings = K = int(num_embeddings)
        self.order = check_int("Markov", "order", order, 0, 1)
        self.weight = K / 2 if weight is None else check_float("Markov", "weight", weight, "(0, inf)")

    def code_length(self, codes: Any) -> float:
        """−⟨log₂ p(k)⟩: the bits per image that an ideal coder with these frequencies needs for k.

        k: (n', M), other codes than those that were counted, for which it would be too small -> bits
        """
        k, K = check_code_rows("Markov.code_length", codes, self.num_embeddings), self.num_embeddings
        n, M = self.codes.shape
        if k.shape[1] != M:
            fail("Markov.code_length", "codes", f"must have {M} position{'s' * (M > 1)}", k.shape[1])
        bits = 0.0
        for m, (counted, now) in enumerate(zip(self.codes.T, k.T, strict=True)):
            p = ((np.bincount(counted, minlength=K) + 0.5) / (n + K / 2))[now]
            if m and self.order:
                before, w = self.codes[:, m - 1], self.weight
                n_i = np.bincount(before, minlength=K)[k[:, m - 1]]
                p = (_count(before * K + counted, k[:, m - 1] * K + now) + w * p) / (n_i + w)
            bits -= float(np.log2(p).mean())
        return bits

    def sample(self, n: int, rng: np.random.Generator | int) -> Array:
        """k ~ p(k), position by position -> (n, M) int64.

        A mixture is drawn in two steps: with probability n_mi/(n_mi + w) k_m is the code of a counted image
        whose previous code is i too; otherwise it is from p_m, which is a mixture itself: with probability
        n/(n + K/2) the code of any counted image, otherwise a uniform one.
        """
        n, rng = check_int("Markov.sample", "n", n, 0), check_rng("Markov.sample", rng)
        k = np.empty((n, self.codes.shape[1]), np.int64)
        for m, counted in enumerate(self.codes.T):
            half = self.num_embeddings / 2
            k[:, m] = counted[rng.integers(len(counted), size=n)]
            uniform = rng.random(n) * (len(counted) + half) < half
            k[uniform, m] = rng.integers(self.num_embeddings, size=np.count_nonzero(uniform))
            if m and self.order:
                by_code = np.argsort(self.codes[:, m - 1], kind="stable")
                n_i = np.bincount(self.codes[:, m - 1], minlength=self.num_embeddings)
                first, own = (np.cumsum(n_i) - n_i)[k[:, m - 1]], n_i[k[:, m - 1]]
                conditional = rng.random(n) * (own + self.weight) < own
                place = first + (rng.random(n) * own).astype(np.int64)
                k[conditional, m] = counted[by_code[place[conditional]]]
        return k


def code_length(codes: Any, fitted_to: Any, num_embeddings: int) -> float:
    """−⟨Σ_m log₂ p_m(k_m)⟩ bits per image, with p_m(j) = (n_mj + ½)/(n + K/2) counted in other images.

    k: (n, M), fitted_to: (n', M) -> bits that a real coder needs for k

    Parameters
    ----------
    codes, fitted_to : array_like of integers, shapes (n, M) and (n', M)
        The codes to be coded, and those to be counted. The ½ gives every code a finite length, even if
        no image of fitted_to has it.
    num_embeddings : int
        K.

    Raises
    ------
    InputError
        If codes or fitted_to are not integers in [0, K) of these shapes.

    References
    ----------
    Krichevsky & Trofimov 1981, IEEE Trans. Inf. Theory 27(2).
    """
    k = check_code_rows("code_length", codes, num_embeddings)
    other = check_code_rows("code_length", fitted_to, num_embeddings, "fitted_to")
    if k.shape[1] != other.shape[1]:
        fail("code_length", "fitted_to", f"must have {k.shape[1]} positions, as codes", other.shape[1])
    return Markov(other, num_embeddings, order=0).code_length(k)


def _count(keys: Array, wanted: Array) -> Array:
    """How often each of wanted is in keys, without a table of all K² pairs, most of them absent."""
    values, counts = np.unique(keys, return_counts=True)
    at = np.minimum(np.searchsorted(values, wanted), len(values) - 1)
    return np.where(values[at] == wanted, counts[at], 0)
