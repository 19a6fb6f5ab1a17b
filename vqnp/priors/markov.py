"""p(k) = p_1(k_1) Π_m p_m(k_m | k_{m−1}): codes as a Markov chain over positions, from counts.

k: (n, M) the codes of n images, each in [0, K)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from tqdm import tqdm

from vqnp._check import Array, check_code_rows, check_codes, check_float, check_int, check_rng, fail
from vqnp.kernels import memory
from vqnp.priors.sampling import Choice, draw, probabilities, streams

CHUNK_GRIDS = 128
"""Grids drawn at a time. Each has a stream of its own, so no result depends on this number."""


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
        w, the number of counts for which p_m(j) stands; default K/2, the sum of the halves added to the K
        counts in p_m(j). If code i is rare, p_m(j | i) is near p_m(j), not near 1/K.

    Raises
    ------
    InputError
        If codes are not integers in [0, K) of this shape, or order or weight is out of range.

    Notes
    -----
    This is only a baseline: it knows how often one code follows another, and nothing else about the image.
    The positions of an MLP's latents have no natural order; the chain uses the order of their numbers.

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
        self.latent_shape: tuple[int, ...] = np.shape(codes)[1:]
        self.num_latents = self.codes.shape[1]
        self.num_embeddings = K = int(num_embeddings)
        self.order = check_int("Markov", "order", order, 0, 1)
        self.weight = K / 2 if weight is None else check_float("Markov", "weight", weight, "(0, inf)")

    def code_length(self, codes: Any) -> float:
        """−⟨log₂ p(k)⟩: the bits per image that an ideal coder with these frequencies needs for k.

        k: (n', M) -> bits; for the codes that were counted it would be too small
        """
        where = "Markov.code_length"
        nats = self._nll(self._rows(where, check_code_rows(where, codes, self.num_embeddings)))
        return float(nats.sum(axis=1).mean()) / math.log(2)

    def nll(self, codes: Any, condition: None = None) -> Array:
        """−log p_m(k_m | k_{m−1}) in nats: (n', *latent_shape) codes -> (n', *latent_shape) float64.

        condition must be None, since a chain has no classes.
        """
        where = "Markov.nll"
        _no_classes(where, condition, 1.0)
        n = len(codes) if isinstance(codes, np.ndarray) and codes.ndim else 0
        memory.check_memory(where, "codes", n, 16 * self.num_latents, "must hold at most {}")
        k = check_codes(where, codes, self.num_embeddings)
        if k.ndim < 2:
            fail(where, "codes", "must have shape (n', *latent_shape)", f"shape {k.shape}")
        rows = self._rows(where, k.reshape(len(k), math.prod(k.shape[1:])).astype(np.int64))
        return self._nll(rows).reshape(k.shape)

    def sample(
        self, n: int, rng: np.random.Generator | int, condition: None = None, temperature: float = 1.0,
        top_k: int | None = None, top_p: float | None = None, guidance: float = 1.0, progress: bool = False,
    ) -> Array:  # fmt: skip
        """k ~ p(k), position by position -> (n, *latent_shape) int64.

        The arguments are those of AutoregressivePrior.sample, and sample i is the same whatever n is;
        condition must be None and guidance 1, since a chain has no classes.
        """
        where = "Markov.sample"
        n, rng = check_int(where, "n", n, 0), check_rng(where, rng)
        memory.check_memory(where, "n", n, 8 * self.num_latents)
        choice = Choice(temperature, top_k, top_p).checked(where)
        _no_classes(where, condition, guidance)
        k = np.empty((n, self.num_latents), np.int64)
        with tqdm(total=k.size, unit="code", unit_scale=True, disable=not progress) as bar:
            for start in range(0, n, CHUNK_GRIDS):
                rows = k[start : start + CHUNK_GRIDS]
                u = streams(rng, len(rows), self.num_latents)
                for m in range(self.num_latents):
                    p = self.conditional(m, rows[:, m - 1] if m and self.order else None)
                    with np.errstate(divide="ignore"):
                        rows[:, m] = draw(probabilities(np.log(p), choice), u[:, m])
                    bar.update(len(rows))
        return k.reshape(n, *self.latent_shape)

    def conditional(self, m: int, before: Array | None) -> Array:
        """p_m(j | i) for each i of before; p_m(j) without: (n,) -> (n, K) or (1, K)."""
        counted, K, w = self.codes[:, m], self.num_embeddings, self.weight
        p = (np.bincount(counted, minlength=K) + 0.5) / (len(counted) + K / 2)
        if before is None:
            return p[None]
        codes, of = np.unique(before, return_inverse=True)
        n_ij = np.stack([np.bincount(counted[self.codes[:, m - 1] == i], minlength=K) for i in codes])
        conditional = (n_ij + w * p) / (n_ij.sum(axis=1, keepdims=True) + w)
        return np.asarray(conditional[of])

    def _nll(self, k: Array) -> Array:
        """(n', M) -> (n', M) float64, in nats."""
        (n, _), K = self.codes.shape, self.num_embeddings
        nats = np.empty(k.shape)
        for m, (counted, now) in enumerate(zip(self.codes.T, k.T, strict=True)):
            p = ((np.bincount(counted, minlength=K) + 0.5) / (n + K / 2))[now]
            if m and self.order:
                before, w = self.codes[:, m - 1], self.weight
                n_i = np.bincount(before, minlength=K)[k[:, m - 1]]
                p = (_count(before * K + counted, k[:, m - 1] * K + now) + w * p) / (n_i + w)
            nats[:, m] = -np.log(p)
        return nats

    def _rows(self, where: str, k: Array) -> Array:
        """k, if it has as many positions as the counted codes."""
        M = self.num_latents
        if k.shape[1] != M:
            fail(where, "codes", f"must have {M} position{'s' * (M > 1)}", k.shape[1])
        return k


def _no_classes(where: str, condition: Any, guidance: float) -> None:
    if condition is not None:
        fail(where, "condition", "must be None: a Markov chain has no classes", condition)
    if check_float(where, "guidance", guidance, "[0, inf)") != 1:
        fail(where, "guidance", "must be 1: a Markov chain has no classes", guidance)


def code_length(codes: Any, fitted_to: Any, num_embeddings: int) -> float:
    """−⟨Σ_m log₂ p_m(k_m)⟩ bits per image, with p_m(j) = (n_mj + ½)/(n + K/2) counted in other images.

    k: (n, M), fitted_to: (n', M) -> bits that a real coder needs for k

    Parameters
    ----------
    codes, fitted_to : array_like of integers, shapes (n, M) and (n', M)
        The codes to be coded, and those to be counted. The ½ gives every code a finite length, even one that
        does not occur in fitted_to.
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
