"""E_t as every known moving average would make it from the same batches: what a layer's steps are held to.

n_t: (T, K), s_t: (T, K, D) statistics of each batch; H hypotheses at once -> E, m: (H, T, K, D), N: (H, T, K)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vqnp._check import Array
from vqnp.kernels.statistics import code_statistics


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
        d = _squared_distances(batch, before)
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
        statistics = code_statistics(batch, k, len(E0))
        moved = [(t, j) for j in np.flatnonzero(statistics.counts == 0) if _is_a_row(E[t, j], batch, eps)]
        if moved:
            restarts, why = moved, f"at step {t + 1} unused codes restart"
            break
        n.append(statistics.counts.astype(np.float64))
        s.append(statistics.sums)
        before = E[t]
    T = len(n)
    whole = lambda a: None if a is None or not np.isfinite(a[:T]).all() else a[:T].astype(np.float64)
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


def _squared_distances(z: Array, E: Array) -> Array:
    """‖z − e‖²; a code that is not finite is infinitely far."""
    with np.errstate(invalid="ignore", over="ignore"):
        d: Array = ((z[:, None] - E) ** 2).sum(-1)
    return np.where(np.isfinite(d), d, np.inf)


def _is_a_row(e: Array, batch: Array, eps: float) -> bool:
    return bool((np.abs(batch - e).max(axis=1) <= 64 * eps * np.abs(batch).max()).any())


def simulate(seen: Seen, hypotheses: list[EMAModel], decay: Array, epsilon: Array) -> tuple[Array, ...]:
    """E, N, m of each hypothesis with its own decay and epsilon: (H,) each."""
    H, (T, K, D) = len(hypotheses), seen.E.shape
    column = lambda flags: np.array(flags)[:, None]
    start = [h.start for h in hypotheses]
    g, eps = decay[:, None], epsilon[:, None]
    one = column([s in ("consistent", "one_count_independent") for s in start])
    free = column([s in FREE_STARTS for s in start])[..., None]
    laplace = column([h.smoothing == "laplace" for h in hypotheses])
    additive = column([h.smoothing == "additive" for h in hypotheses])
    debias = column([h.zero_debias == "yes" for h in hypotheses])
    back = column([h.write_back == "yes" for h in hypotheses])
    N = np.broadcast_to(np.where(one, 1.0, 0.0), (H, K))
    m = np.where(column([s == "zero" for s in start])[..., None], 0.0, seen.E0) * np.ones((H, 1, 1))
    outputs = [np.empty((H, T, K, D)), np.empty((H, T, K)), np.empty((H, T, K, D))]
    before = np.broadcast_to(seen.E0, (H, K, D))
    with np.errstate(all="ignore"):
        for t in range(T):
            N = g * N + (1 - g) * seen.n[t]
            m = g[..., None] * m + (1 - g[..., None]) * seen.s[t]
            scale = np.where(debias, 1 - g ** (t + 1), 1.0)
            used = N / scale
            total = used.sum(axis=1, keepdims=True)
            used = np.where(laplace, (used + eps) / (total + K * eps) * total, used + additive * eps)
            if t == 0:  # an m of the layer's own: whatever gives the codebook of the first step
                m = np.where(free, np.nan_to_num(seen.E[0]) * (used * scale)[..., None], m)
            E = m / scale[..., None] / used[..., None]
            E = np.where(used[..., None] > 0, E, before)
            N = np.where(back, used, N)
            before = E
            for array, value in zip(outputs, (E, N, m), strict=True):
                array[:, t] = value
    return tuple(outputs)
