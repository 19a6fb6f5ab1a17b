"""E_t as every known moving average would make it from the same batches: what a layer's steps are held to.

n_t: (T, K), s_t: (T, K, D) statistics of each batch; H hypotheses at once -> E, m: (H, T, K, D), N: (H, T, K)
"""

from itertools import product
from typing import NamedTuple

import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.findings.restarts import moved
from vqnp.crosscheck.questions.plain import distances, sums_of
from vqnp.crosscheck.questions.record import Record
from vqnp.crosscheck.variants.formulas import STARTS
from vqnp.ops.ema import SMOOTHINGS, laplace_smoothing


class Seen(NamedTuple):
    """A trajectory of the layer, up to the last step whose codes are certain."""

    E0: Array  # (K, D)
    n: Array  # (T, K)
    s: Array  # (T, K, D)
    E: Array  # (T, K, D)
    N: Array | None
    m: Array | None
    restarts: list[tuple[int, int]]  # (step, code) where unused codes restart
    why: str  # where it ends before the batches do


class EMAModel(NamedTuple):
    """A hypothesis about a layer's moving averages."""

    start: str
    smoothing: str
    zero_debias: str
    write_back: str


def models(drawn: bool) -> list[EMAModel]:
    """Every hypothesis; drawn: those whose start has an m of its own, found from the first step."""
    starts = [start for start, (_, sums) in STARTS.items() if (sums == "noise") == drawn]
    every = product(starts, SMOOTHINGS, ("no", "yes"), ("no", "yes"))
    return [EMAModel(*one) for one in every if one[1:] != ("none", "no", "yes")]  # nothing to write back


def observe(record: Record, name: str) -> Seen | None:
    """The layer's steps with the codes of each batch, which are the nearest of its own codebook before."""
    outputs, (batches, E0) = record.get(name), record.cases[name].arguments.values()
    if outputs.get("E") is None:
        return None
    E0, E = E0.astype(np.float64), np.asarray(outputs["E"], np.float64)
    eps, K = record.precision.eps, len(E0)
    n, s, restarts, why, before = [], [], [], "", E0
    for t, z in enumerate(batches.astype(np.float64)):
        d = distances(z, before)
        k = d.argmin(axis=1)
        if K > 1:
            nearest, second = np.partition(d, 1, axis=1)[:, :2].T
            size = (z**2).sum(-1) + (before[k] ** 2).sum(-1)
            if (second - nearest < 64 * eps * size).any():
                why = f"step {t + 1} has a vector midway between two codes"
                break
        if not np.isfinite(E[t][np.unique(k)]).all():
            why = f"at step {t + 1} a code in use is not finite"
            break
        counts = np.bincount(k, minlength=K).astype(np.float64)
        restarts = [(t, j) for j, _ in moved(before, E[t], z, counts, t == 0, eps)]
        if restarts:
            why = f"at step {t + 1} unused codes restart"
            break
        n.append(counts)
        s.append(sums_of(z, k, K))
        before = E[t]
    T, stored = len(n), (outputs.get("N"), outputs.get("m"))
    N, m = (None if a is None or not np.isfinite(a[:T]).all() else a[:T].astype(float) for a in stored)
    return Seen(E0, np.array(n).reshape(T, K), np.array(s).reshape(T, *E0.shape), E[:T], N, m, restarts, why)


def simulate(seen: Seen, hypotheses: list[EMAModel], decay: Array, epsilon: Array) -> tuple[Array, ...]:
    """E, N, m of each hypothesis with its own decay and epsilon: (H,) each."""
    T, K, D = seen.E.shape
    H, decay, epsilon = len(hypotheses), decay[:, None], epsilon[:, None]
    _, smoothing, debiased, written = np.array(hypotheses).reshape(H, 4, 1).swapaxes(0, 1)
    laplace, additive = smoothing == "laplace", smoothing == "additive"
    debias, back = debiased == "yes", written == "yes"
    N0, m0 = (np.array([STARTS[h.start][i] for h in hypotheses]).reshape(H, 1) for i in (0, 1))
    free = (m0 == "noise")[..., None]
    N: Array = np.ones((H, K)) * N0
    m: Array = seen.E0 * (m0 != "0")[..., None]
    told, E = np.nan_to_num(seen.E), np.broadcast_to(seen.E0, (H, K, D))
    outputs = np.empty((H, T, K, D)), np.empty((H, T, K)), np.empty((H, T, K, D))
    for t in range(T):
        N = decay * N + (1 - decay) * seen.n[t]
        m = decay[..., None] * m + (1 - decay[..., None]) * seen.s[t]
        scale = np.where(debias, 1 - decay ** (t + 1), 1.0)
        used = N / scale
        # Ñ is homogeneous in (N, ε), so that one call does for every ε.
        smooth = epsilon * laplace_smoothing(used / epsilon, 1.0)
        used = np.where(laplace, smooth, used + additive * epsilon)
        shows = free & (used > 0)[..., None]  # an m of its own: whatever gives the first e = m / N
        m = np.where(shows, told[t] * (used * scale)[..., None], m)
        free = free & ~shows
        E = np.where(used[..., None] > 0, m / scale[..., None] / used[..., None], E)
        N = np.where(back, used, N)
        for array, value in zip(outputs, (E, N, m), strict=True):
            array[:, t] = value
    return outputs
