"""N ← γN + (1−γ)n,  m ← γm + (1−γ)s,  E = m / Ñ,  Ñ = (N + ε) / (ΣN + Kε) · ΣN.

E, m: (K, D), N: (K,); n_j vectors of the batch have code j, and s_j is their sum.
"""

from typing import NamedTuple

import numpy as np

from vqnp._check import Array, check_array, check_choice, check_finite, check_float
from vqnp._shapes import checked, unchecked
from vqnp.kernels.statistics import code_statistics
from vqnp.kernels.subnormal import flush

SMOOTHINGS = ("laplace", "additive", "none")


class EMAState(NamedTuple):
    """The codebook and the averages behind it: e_j = m_j / Ñ_j after t updates.

    E: (K, D) codes, N: (K,) cluster sizes, m: (K, D) embedding sums, t: number of updates
    """

    E: Array
    N: Array
    m: Array
    t: int = 0


@checked(E="(K, D)")
def ema_initialize(E: Array, zero: bool = False) -> EMAState:
    """N₀ = 1, m₀ = e, so that m₀ / N₀ is E; with zero=True, N₀ = m₀ = 0, for use with zero_debias.

    E: (K, D) -> EMAState

    When started from zero, as in Sonnet, a code that no vector has chosen becomes 0 at the first update.

    References
    ----------
    Irie et al. 2023, arXiv 2302.07950, whose code starts at N₀ = 1. docs/math/ema.md compares the starts.
    """
    K = len(E)
    if zero:
        return EMAState(E.copy(), np.zeros(K, E.dtype), np.zeros_like(E))
    return EMAState(E.copy(), np.ones(K, E.dtype), E.copy())


def laplace_smoothing(N: Array, epsilon: float) -> Array:
    """Ñ = (N + ε) / (ΣN + Kε) · ΣN, with sums over the last axis.

    N: (..., K) -> (..., K)

    Adding ε to every count prevents a division by zero for an unused code; the normalization keeps
    ΣÑ = ΣN, so that the codes do not shrink. It is the posterior mean of the code's probability
    under a symmetric Dirichlet(ε) prior, times the total; at ε = 1, Laplace's rule of succession.
    """
    epsilon = check_float("laplace_smoothing", "epsilon", epsilon, "[0, inf)")
    total = N.sum(axis=-1, keepdims=True)
    denominator = total + N.shape[-1] * epsilon
    denominator[total == 0] = 1  # if all counts are 0, so is Ñ, even at ε = 0
    return (N + epsilon) / denominator * total


def ema_update(
    state: EMAState, z: Array, k: Array, decay: float = 0.99, epsilon: float = 1e-5, *,
    smoothing: str = "laplace", zero_debias: bool = False,
) -> EMAState:  # fmt: skip
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
        γ, the weight of the old average; at 0 the update is one step of Lloyd's k-means.
    epsilon : float, at least 0
        ε, the constant of the smoothing.
    smoothing : {"laplace", "additive", "none"}
        "additive": Ñ = N + ε, not normalized. "none": Ñ = N.
    zero_debias : bool
        Divide N and m by 1 − γᵗ before use (Kingma & Ba 2015, section 3); meant for averages that
        start at zero. The factor cancels in m/N, except through ε.

    Raises
    ------
    InputError
        A wrong shape or dtype, NaN or infinity in z, or a k, decay or epsilon out of range.

    References
    ----------
    van den Oord et al. 2017, arXiv 1711.00937, appendix A, equations 6 to 8. The smoothing is
    that of the code published with the paper (Sonnet).
    """
    decay = check_float("ema_update", "decay", decay, "[0, 1)")  # a Python float leaves float32 as it is
    n, s = _batch_statistics(z, state.E, k)
    return ema_step(state, n, s, decay, epsilon, smoothing, zero_debias)


def ema_step(
    state: EMAState, n: Array, s: Array, decay: float, epsilon: float, smoothing: str, zero_debias: bool
) -> EMAState:
    """ema_update, given what it needs of the batch: n: (K,), s: (K, D), of E's dtype."""
    N = decay * state.N + (1 - decay) * n
    m = decay * state.m + (1 - decay) * s
    N, m = flush_faded(N, m)
    t = state.t + 1
    debias = 1 - decay**t if zero_debias else 1.0
    E = ema_codes(state.E, N / debias, m / debias, epsilon, smoothing)
    return EMAState(E, N, m, t)


def flush_faded(N: Array, m: Array) -> tuple[Array, Array]:
    """N_j = 0 and m_j = 0 together where 0 < N_j < √τ; then m = 0 where |m| < τ, the smallest normal number.

    N: (K,), m: (K, D) -> N, m

    No average is stored that is subnormal, or will be (docs/math/subnormal.md). √τ is 1.1e-19 in float32.

    - A code in use is never faded: one vector adds 1 − γ ≥ 1.1e-16 to N_j.
    - The mass: N_j < √τ is below the rounding error of ΣN, which is at least 1 − γ after any vector.
    - A faded code moves by at most |m_j/N_j| √τ/(√τ + ε), 1e-14 of its length at ε = 1e-5 in float32:
      smoothing has long brought it to 0. At ε = 0 its Ñ is 0, and it stays where it is.
    - N and m together, and N first: were m_j alone set to 0, a code without smoothing would move to 0.
      While N_j ≥ √τ, an entry of m below τ means one of e below τ/√τ = √τ.
    - A code with N_j = 0 and m_j ≠ 0, which some public code starts from, keeps its m_j.
    """
    faded = (N > 0) & (N < np.sqrt(np.finfo(N.dtype).tiny))
    return np.where(faded, N.dtype.type(0), N), flush(np.where(faded[:, None], m.dtype.type(0), m))


def ema_codes(E: Array, N: Array, m: Array, epsilon: float = 1e-5, smoothing: str = "laplace") -> Array:
    """e_j = m_j / Ñ_j; where Ñ_j is 0, or too small for full precision, code j is unchanged.

    E: (..., K, D) the previous codes, N: (..., K), m: (..., K, D) -> (..., K, D)

    Examples
    --------
    >>> E, N = np.array([[9.0, 9.0], [7.0, 7.0]]), np.array([2.0, 0.0])
    >>> m = np.array([[4.0, 6.0], [0.0, 0.0]])
    >>> ema_codes(E, N, m, smoothing="none").tolist()  # the second code is not in use
    [[2.0, 3.0], [7.0, 7.0]]
    """
    check_choice("ema_update", "smoothing", smoothing, SMOOTHINGS)
    epsilon = check_float("ema_update", "epsilon", epsilon, "[0, inf)")
    if smoothing == "laplace":
        N = laplace_smoothing(N, epsilon)
    elif smoothing == "additive":
        N = N + epsilon
    codes = np.array(np.broadcast_to(E, m.shape))
    np.divide(m, N[..., None], out=codes, where=N[..., None] >= np.finfo(E.dtype).tiny)
    return codes


@checked(where="ema_update", E="(K, D)", z="(..., D)")
def _batch_statistics(z: Array, E: Array, k: Array) -> tuple[Array, Array]:
    """n_j, the number of vectors that have code j, and s_j, their sum: (K,), (K, D) of z's dtype."""
    statistics = unchecked(code_statistics)(z, k, len(E))
    n, s = statistics.counts.astype(z.dtype), statistics.sums.astype(z.dtype)
    if not np.isfinite(s).all():
        check_finite("ema_update", "z", z)
    return n, s


def rarely_used(N: Array, threshold: float) -> Array:
    """{j : N_j < τ · ΣN/K}: codes used less than τ times as often as under uniform use.

    N: (K,) -> indices: (any,)
    """
    return np.flatnonzero(N < threshold * N.mean())


def random_rows(z: Array, count: int, rng: np.random.Generator) -> Array:
    """`count` random vectors of z, without replacement if there are enough of them.

    z: (..., D) -> (count, D)
    """
    rows = z.reshape(-1, z.shape[-1])
    return rows[rng.choice(len(rows), size=count, replace=count > len(rows))]


def ema_restart(
    state: EMAState, z: Array, threshold: float, rng: np.random.Generator
) -> tuple[EMAState, Array]:
    """e_j = z, N_j = N̄, m_j = N̄ z for each rarely used j; N̄ = ΣN/K, and z is a random vector of the batch.

    z: (..., D) -> EMAState, indices of the restarted codes: (any,)

    e, N and m are reset together: with the old m and N, the next update would undo the restart.
    An empty batch causes no restarts.

    Raises
    ------
    InputError
        A wrong shape or dtype, NaN or infinity in z, or a threshold out of range.

    References
    ----------
    Dhariwal et al. 2020 (Jukebox), arXiv 2005.00341, on random restarts of embeddings at a vector of the
    batch. The threshold relative to uniform use is ours; it does not depend on the batch size.
    """
    check_array("ema_restart", "z", z, last=state.E.shape[-1], dtype=state.E.dtype, finite=True)
    check_float("ema_restart", "threshold", threshold, "[0, 1)")
    j = rarely_used(state.N, threshold) if z.size else np.empty(0, np.int64)
    if j.size == 0:
        return state, j
    return restarted_at(state, j, random_rows(z, j.size, rng)), j


def restarted_at(state: EMAState, j: Array, z: Array) -> EMAState:
    """e_j = z, N_j = N̄, m_j = N̄ z; j: (n,), z: (n, D)."""
    E, N, m = state.E.copy(), state.N.copy(), state.m.copy()
    E[j] = z
    N[j] = state.N.mean()
    m[j] = N[j, None] * E[j]
    return EMAState(E, N, m, state.t)
