"""E_t as every known moving average would make it from the same batches: what a layer's steps are held to.

n_t: (T, K), s_t: (T, K, D) statistics of each batch; H hypotheses at once -> E, m: (H, T, K, D), N: (H, T, K)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.plain import counts_of, distances, sums_of


class Seen(NamedTuple):
    """A trajectory of the layer, up to the last step whose codes are certain."""

    E0: Array  # (K, D)
    n: Array  # (T, K)
    s: Array  # (T, K, D)
    E: Array  # (T, K, D)
    N: Array | None
    m: Array | None
    restarts: list[tuple[int, int]]  # (step, code) where an unused code took a vector of the batch
    why: str  # where it ends before the batches do


class EMAModel(NamedTuple):
    """A hypothesis about a layer's moving averages."""

    start: str
    smoothing: str
    zero_debias: str
    write_back: str


STARTS = ("consistent", "zero_counts", "zero")
FREE_STARTS = ("independent", "one_count_independent")
"""Starts with an m of their own, which is found from the first step; tried where no other fits."""


def models(starts: tuple[str, ...]) -> list[EMAModel]:
    return [
        EMAModel(start, smoothing, debias, back)
        for start in starts
        for smoothing in ("laplace", "additive", "none")
        for debias in ("no", "yes")
        for back in (("no", "yes") if smoothing != "none" or debias == "yes" else ("no",))
    ]


def observe(case: Any, outputs: Any, precision: Any) -> Seen | None:
    """The layer's steps with the codes of each batch, which are the nearest of its own codebook before."""
    E = outputs.get("E")
    if E is None:
        return None
    E0, E = case.arguments["E"].astype(np.float64), E.astype(np.float64)
    z = case.arguments["z"].astype(np.float64)
    eps = float(np.finfo(precision).eps)
    n, s, restarts, why = [], [], [], ""
    before = E0
    for t, batch in enumerate(z):
        d = distances(batch, before)
        k = d.argmin(axis=1)
        if len(E0) > 1:
            two = np.partition(d, 1, axis=1)
            size = (batch**2).sum(-1) + (before[k] ** 2).sum(-1)
            if (two[:, 1] - two[:, 0] < 64 * eps * size).any():
                why = f"step {t + 1} has a vector midway between two codes"
                break
        if not np.isfinite(E[t][np.unique(k)]).all():
            why = f"at step {t + 1} a code in use is not finite"
            break
        counts = counts_of(k, len(E0))
        moved = [(t, int(j)) for j in np.flatnonzero(counts == 0) if _is_a_row(E[t, j], batch, eps)]
        if moved:
            restarts, why = moved, f"at step {t + 1} unused codes restart"
            break
        n.append(counts)
        s.append(sums_of(batch, k, len(E0)))
        before = E[t]
    T = len(n)

    def whole(a: Array | None) -> Array | None:
        return None if a is None or not np.isfinite(a[:T]).all() else a[:T].astype(np.float64)

    return Seen(
        E0,
        np.array(n).reshape(T, len(E0)),
        np.array(s).reshape(T, *E0.shape),
        E[:T],
        whole(outputs.get("N")),
        whole(outputs.get("m")),
        restarts,
        why,
    )


def _is_a_row(e: Array, batch: Array, eps: float) -> bool:
    return bool((np.abs(batch - e).max(axis=1) <= 64 * eps * np.abs(batch).max()).any())


class Rules(NamedTuple):
    """How averages move, for H hypotheses at once: numbers and flags of shape (H, 1)."""

    decay: Array
    epsilon: Array
    laplace: Array
    additive: Array
    debias: Array
    back: Array

    @classmethod
    def of(cls, hypotheses: list[EMAModel], decay: Array, epsilon: Array) -> Rules:
        flags = [
            (
                h.smoothing == "laplace",
                h.smoothing == "additive",
                h.zero_debias == "yes",
                h.write_back == "yes",
            )
            for h in hypotheses
        ]
        laplace, additive, debias, back = np.array(flags).reshape(-1, 4).T[..., None]
        return cls(decay[:, None], epsilon[:, None], laplace, additive, debias, back)

    def averaged(self, N: Array, m: Array, n: Array, s: Array) -> tuple[Array, Array]:
        """γN + (1−γ)n,  γm + (1−γ)s."""
        g = self.decay
        return g * N + (1 - g) * n, g[..., None] * m + (1 - g[..., None]) * s

    def divisor(self, N: Array, t: int) -> tuple[Array, Array]:
        """Ñ and 1 − γᵗ (1 without debiasing): E is m / (1 − γᵗ) / Ñ."""
        scale = np.where(self.debias, 1 - self.decay**t, 1.0)
        used = N / scale
        total = used.sum(axis=1, keepdims=True)
        smooth = (used + self.epsilon) / (total + N.shape[1] * self.epsilon) * total
        return np.where(self.laplace, smooth, used + self.additive * self.epsilon), scale


def codebook(m: Array, used: Array, scale: Array, before: Array) -> Array:
    """E = m / scale / Ñ; where Ñ is 0, the code stays."""
    return np.where(used[..., None] > 0, m / scale[..., None] / used[..., None], before)


def first_averages(start: str, E: Array) -> tuple[Array, Array]:
    """N₀: (K,) and m₀: (K, D); a start with an m of its own has e here, until its first e shows it."""
    one = start in ("consistent", "one_count_independent")
    m: Array = E * float(start != "zero")
    return np.full(len(E), float(one)), m


def simulate(seen: Seen, hypotheses: list[EMAModel], decay: Array, epsilon: Array) -> tuple[Array, ...]:
    """E, N, m of each hypothesis with its own decay and epsilon: (H,) each."""
    H, (T, K, D) = len(hypotheses), seen.E.shape
    rules = Rules.of(hypotheses, decay, epsilon)
    starts = {h.start: first_averages(h.start, seen.E0) for h in hypotheses}
    N, m = (np.array([starts[h.start][i] for h in hypotheses]) for i in (0, 1))
    N, m = N.reshape(H, K), m.reshape(H, K, D)
    told = np.nan_to_num(seen.E)
    free: Array = np.array([h.start in FREE_STARTS for h in hypotheses])[:, None, None]
    outputs = [np.empty((H, T, K, D)), np.empty((H, T, K)), np.empty((H, T, K, D))]
    before: Array = np.broadcast_to(seen.E0, (H, K, D))
    with np.errstate(all="ignore"):
        for t in range(T):
            N, m = rules.averaged(N, m, seen.n[t], seen.s[t])
            used, scale = rules.divisor(N, t + 1)
            shows = free & (used > 0)[..., None]  # an m of its own: whatever gives the first e = m / N
            m = np.where(shows, told[t] * (used * scale)[..., None], m)
            free = free & ~shows
            before = codebook(m, used, scale, before)
            N = np.where(rules.back, used, N)
            for array, value in zip(outputs, (before, N, m), strict=True):
                array[:, t] = value
    return tuple(outputs)
