"""N ← γN + (1−γ)n,  m ← γm + (1−γ)s,  E = m / Ñ,  Ñ = (N + ε) / (ΣN + Kε) · ΣN.

E, m: (K, D), N: (K,); n_j vectors of the batch have code j, and s_j is their sum
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vqnp._check import Array, check_array, check_choice, check_float, check_rng, fail
from vqnp.kernels.statistics import code_statistics

STARTS = ("consistent", "zero_counts", "independent", "zero")
SMOOTHINGS = ("laplace", "additive", "none")


class EMAState(NamedTuple):
    """The codebook and the averages it is made of: e_j = m_j / Ñ_j after t updates.

    E: (K, D) codes, N: (K,) cluster sizes, m: (K, D) embedding sums, t: how many updates
    """

    E: Array
    N: Array
    m: Array
    t: int = 0


def ema_start(E: Array, start: str = "consistent", rng: np.random.Generator | int | None = None) -> EMAState:
    """N₀ and m₀ for a codebook E: N₀ = 1, m₀ = e ("consistent"), so that m₀ / N₀ is E.

    E: (K, D) -> EMAState

    Parameters
    ----------
    E : ndarray, shape (K, D)
    start : {"consistent", "zero_counts", "independent", "zero"}
        "zero_counts": N₀ = 0, m₀ = e: a code that the first batch does not use becomes about
        γm/(εn/(n+Kε)), some 1e5 times too long. "independent": N₀ = 0 and m₀ ~ N(0, 1), drawn from
        rng. "zero": N₀ = m₀ = 0, to go with zero_debias=True; unused codes become 0.
    rng : numpy.random.Generator or int, for "independent" alone

    References
    ----------
    Irie et al. 2023, arXiv 2302.07950, whose code starts so. docs/math/ema.md shows what the others do.
    """
    E = check_array("ema_start", "E", E, ndim=2)
    check_choice("ema_start", "start", start, STARTS)
    K = len(E)
    if start == "consistent":
        return EMAState(E.copy(), np.ones(K, E.dtype), E.copy())
    if start == "zero_counts":
        return EMAState(E.copy(), np.zeros(K, E.dtype), E.copy())
    if start == "zero":
        return EMAState(E.copy(), np.zeros(K, E.dtype), np.zeros_like(E))
    if rng is None:
        fail("ema_start", 'rng', 'must be given for start="independent"', None)
    noise = np.asarray(check_rng("ema_start", rng).standard_normal(E.shape), E.dtype)
    return EMAState(E.copy(), np.zeros(K, E.dtype), noise)


def laplace_smoothing(N: Array, epsilon: float) -> Array:
    """Ñ = (N + ε) / (ΣN + Kε) · ΣN.

    N: (K,) -> (K,)

    Adding ε to every count keeps an unused code from a division by zero; the normalisation keeps
    ΣÑ = ΣN, so that the codes are not shrunk. It is the posterior mean of the code's probability
    under a symmetric Dirichlet(ε) prior, times the total; at ε = 1, Laplace's rule of succession.
    """
    epsilon = check_float("laplace_smoothing", "epsilon", epsilon, "[0, inf)")
    total = N.sum()
    if total == 0:
        return np.zeros_like(N)  # the limit, at ε = 0 too
    smoothed: Array = (N + epsilon) / (total + len(N) * epsilon) * total
    return smoothed


def ema_update(
    state: EMAState,
    z: Array,
    k: Array,
    decay: float = 0.99,
    epsilon: float = 1e-5,
    *,
    smoothing: str = "laplace",
    zero_debias: bool = False,
    write_back: bool = False,
) -> EMAState:
    """N' = γN + (1−γ)n,  m' = γm + (1−γ)s,  E' = m' / Ñ'.

    z: (..., D), k: (...,) -> EMAState; a pure function, nothing is changed in place

    Parameters
    ----------
    state : EMAState
    z : ndarray of E's dtype, shape (..., D)
        The vectors of this batch; an empty batch has n = s = 0, and N and m only decay.
    k : ndarray of integers, shape (...,)
        Their codes under state.E.
    decay : float in [0, 1)
        γ, the share of the old average that stays; at 0 the update is one step of Lloyd's k-means.
    epsilon : float, at least 0
        ε of the smoothing.
    smoothing : {"laplace", "additive", "none"}
        "additive": Ñ = N + ε, not normalised. "none": Ñ = N.
        Where Ñ is 0, or so small that it has no full precision (below the dtype's `tiny`), a code
        keeps its old vector: 0/0 says nothing.
    zero_debias : bool
        Divide N and m by 1 − γᵗ before they are used (Kingma & Ba 2015, section 3), for averages
        that start at zero. It cancels in m/N except through ε.
    write_back : bool
        Store Ñ in place of N, so that smoothing compounds; a variant met in public code.

    References
    ----------
    van den Oord et al. 2017, arXiv 1711.00937, appendix A, equations 6 to 8; the smoothing is
    that of the code published with the paper (Sonnet).
    """
    where = "ema_update"
    z = check_array(where, "z", z, last=state.E.shape[1], dtype=state.E.dtype, finite=True)
    decay = check_float(where, "decay", decay, "[0, 1)")  # Python floats leave float32 what it is
    epsilon = check_float(where, "epsilon", epsilon, "[0, inf)")
    check_choice(where, "smoothing", smoothing, SMOOTHINGS)
    statistics = code_statistics(z, k, len(state.E))
    n, s = statistics.counts.astype(z.dtype), statistics.sums.astype(z.dtype)
    t = state.t + 1
    N = decay * state.N + (1 - decay) * n
    m = decay * state.m + (1 - decay) * s
    N_used, m_used = (N / (1 - decay**t), m / (1 - decay**t)) if zero_debias else (N, m)
    if smoothing == "laplace":
        N_used = laplace_smoothing(N_used, epsilon)
    elif smoothing == "additive":
        N_used = N_used + epsilon
    E = state.E.copy()
    np.divide(m_used, N_used[:, None], out=E, where=N_used[:, None] >= np.finfo(E.dtype).tiny)
    return EMAState(E, N_used if write_back else N, m, t)


def dead(N: Array, threshold: float) -> Array:
    """{j : N_j < τ · ΣN/K}: codes used less than a share τ of what uniform use would give them.

    N: (K,) -> indices: (any,)
    """
    indices: Array = np.flatnonzero(N < threshold * N.mean())
    return indices


def draw(z: Array, count: int, rng: np.random.Generator) -> Array:
    """`count` of the vectors of z at random, none twice while there are enough of them.

    z: (..., D) -> (count, D)
    """
    rows = z.reshape(-1, z.shape[-1])
    return rows[rng.choice(len(rows), size=count, replace=count > len(rows))]


def ema_restart(
    state: EMAState, z: Array, threshold: float, rng: np.random.Generator
) -> tuple[EMAState, Array]:
    """For each dead j, with N̄ = ΣN/K and z a random vector of the batch: e_j = z, N_j = N̄, m_j = N̄ z.

    z: (..., D) -> EMAState, indices of the restarted codes: (any,)

    e, N and m are reset together: with the old m and N, the next update would undo the restart.
    An empty batch restarts nothing.

    References
    ----------
    Dhariwal et al. 2020 (Jukebox), arXiv 2005.00341, on random restarts for embeddings: to a vector of
    the batch. The threshold relative to uniform use is ours: it does not depend on the batch size.
    """
    z = check_array("ema_restart", "z", z, last=state.E.shape[1], dtype=state.E.dtype, finite=True)
    check_float("ema_restart", "threshold", threshold, "[0, 1)")
    j = dead(state.N, threshold) if z.size else np.empty(0, np.int64)
    if j.size == 0:
        return state, j
    E, N, m = state.E.copy(), state.N.copy(), state.m.copy()
    E[j] = draw(z, j.size, rng)
    N[j] = state.N.mean()
    m[j] = N[j, None] * E[j]
    return EMAState(E, N, m, state.t), j
