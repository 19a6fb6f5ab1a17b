"""k ~ softmax(a/T), optionally of the likeliest codes only: one draw per row, each from its own number u.

a: (n, K) logits, u: (n,) in [0, 1) -> k: (n,)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vqnp._check import Array, check_float, check_int, fail

MOST_GUIDANCE = 1e6
"""Beyond it the smallest difference of two float32 logits decides, and s times a large one overflows."""


class Choice(NamedTuple):
    """How a code is drawn: at temperature T, from the top_k likeliest, from the likeliest of mass top_p."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def checked(self, where: str) -> Choice:
        """The same as plain Python numbers; InputError if one is out of range."""
        return Choice(
            check_float(where, "temperature", self.temperature, "(0, inf)"),
            None if self.top_k is None else check_int(where, "top_k", self.top_k),
            None if self.top_p is None else check_float(where, "top_p", self.top_p, "(0, 1]"),
        )


def probabilities(a: Array, choice: Choice = Choice()) -> Array:
    """softmax(a/T), 0 for codes that are left out; a: (..., K) -> (..., K) float64, whose rows sum to 1.

    The temperature is applied first, then top_k, then top_p to what is left. top_k keeps all codes that are
    as likely as the k-th, so it may keep more than k. top_p keeps the fewest codes with a total of at least
    p, the likeliest first and among equals the lowest. The code that reaches p is kept, so one remains.

    References
    ----------
    top_k: Fan et al. 2018, arXiv 1805.04833, section 5.4. top_p: Holtzman et al. 2020, arXiv 1904.09751,
    equation 2.

    Raises
    ------
    InputError
        A row with NaN or +∞, or with −∞ alone: it has no distribution.
    """
    a = a.astype(np.float64)
    top = a.max(axis=-1, keepdims=True)
    if not np.isfinite(top).all():
        fail("probabilities", "a", "must have a finite maximum in each row", top[~np.isfinite(top)][0])
    with np.errstate(over="ignore"):  # far below the largest logit, −∞ is right
        a = (a - top) / choice.temperature
    K = a.shape[-1]
    if choice.top_k is not None and choice.top_k < K:
        least = np.partition(a, K - choice.top_k, axis=-1)[..., K - choice.top_k, None]
        a = np.where(a >= least, a, -np.inf)
    p = np.exp(a)
    p /= p.sum(axis=-1, keepdims=True)
    if choice.top_p is not None and choice.top_p < 1:
        order = np.argsort(-p, axis=-1, kind="stable")
        ordered = np.take_along_axis(p, order, axis=-1)
        before = np.cumsum(ordered, axis=-1) - ordered
        ordered[before >= choice.top_p] = 0
        np.put_along_axis(p, order, ordered, axis=-1)
        p /= p.sum(axis=-1, keepdims=True)
    return p


def draw(p: Array, u: Array) -> Array:
    """min {k : p_0 + … + p_k > u}; p: (n, K), u: (n,) in [0, 1) -> (n,) int64.

    A row's draw depends only on its own u, and a code of probability 0 is never drawn.
    """
    cumulative = np.cumsum(p, axis=-1)
    total = cumulative[:, -1]
    below = np.minimum(u * total, np.nextafter(total, 0))  # the product may round up to the total
    return np.argmax(cumulative > below[:, None], axis=-1)


def streams(rng: np.random.Generator, n: int, draws: int) -> Array:
    """u: (n, draws); row i comes from the i-th generator that rng spawns, so it does not depend on n."""
    rows = [one.random(draws) for one in rng.spawn(n)]
    return np.array(rows).reshape(n, draws)


def guide(conditional: Array, unconditional: Array, guidance: float) -> Array:
    """null + s (cond − null), in logits: s = 1 is the conditional distribution, s = 0 the unconditional one.

    Ho & Salimans 2022, arXiv 2207.12598, where w is s − 1.
    """
    return unconditional + guidance * (conditional - unconditional)
