"""γ, ε, and which start, smoothing, debiasing and storage: every moving average that explains the steps.

Each hypothesis has two unknowns, γ and ε. Both are fitted (damped Gauss-Newton, all hypotheses at
once) to E_1, …, E_T; the hypotheses whose largest residual is rounding are kept. Where they differ in
a dimension, the steps do not tell it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.finding import Finding
from vqnp.crosscheck.trajectory import FREE_STARTS, STARTS, EMAModel, Seen, models, observe, simulate

EPSILONS = tuple(10.0 ** (-power / 2) for power in range(2, 21))
DECAYS = tuple(1 - 0.7 * 10.0 ** (-power / 6) for power in range(20))
"""Where fits begin: from within a factor of two of ε, Gauss-Newton in log ε does not lose its way."""


class Fits:
    """Hypotheses, each with the γ and ε that suit it best, its largest residual and its typical one."""

    def __init__(self, hypotheses: list[EMAModel], theta: Array, worst: Array, rms: Array) -> None:
        self.hypotheses, self.theta, self.worst, self.rms = hypotheses, theta, worst, rms

    def keep(self, mask: Any) -> Fits:
        """Those of a mask."""
        at = np.flatnonzero(mask)
        return Fits([self.hypotheses[i] for i in at], self.theta[at], self.worst[at], self.rms[at])

    def plausible(self, T: int, eps: float) -> Any:
        """A mask: residuals as rounding leaves them over T steps, and not three times those of the best.

        Many residuals that are all rounding have the same size under the right hypothesis; 16 ε is what
        a chain of operations may leave, below which sizes do not compare. A debiased average is divided
        by 1 − γᵗ, where the rounding of γᵗ is felt 1/(1 − γ) times; but at most √ε is put down to that,
        or a fit that has gone astray to γ = 1 would excuse itself.
        """
        if not self.hypotheses:
            return np.zeros(0, bool)
        debias = np.array([h.zero_debias == "yes" for h in self.hypotheses])
        cancelled = debias * np.minimum(eps / (1 - self.theta[:, 0]), np.sqrt(eps))
        small = self.worst <= 16 * eps * np.sqrt(T) + cancelled
        best = self.rms[small].min() if small.any() else np.inf
        return small & (self.rms <= 3 * best + 16 * eps)


def residuals(seen: Seen, hypotheses: list[EMAModel], theta: Array) -> Array:
    """(E of the hypothesis − E of the layer), relative to the length of each code: (H, T·K·D)."""
    E = simulate(seen, hypotheses, theta[:, 0], np.exp(theta[:, 1]))[0]
    floor = np.abs(seen.E0).max()
    with np.errstate(invalid="ignore"):
        size = np.maximum(np.abs(seen.E).max(axis=-1, keepdims=True), floor)
        r = (E - seen.E) / size
    r = np.where(np.isfinite(seen.E), r, 0.0)  # the layer divided 0 by 0; nothing to compare
    r = np.where(np.isfinite(r), r, 1e300)
    return np.clip(r, -1e6, 1e6).reshape(len(hypotheses), -1)


GAIN, PATIENCE = 1e-3, 8
"""A fit has ended when for so many steps, each damped 8 times more, none gained so much of its cost."""


def gauss_newton(seen: Seen, hypotheses: list[EMAModel], theta: Array, steps: int = 30) -> Fits:
    """θ = (γ, log ε) of each hypothesis, by damped Gauss-Newton with one-sided differences."""
    H = len(hypotheses)
    damping = np.full(H, 1e-3)
    r = residuals(seen, hypotheses, theta)
    cost, idle = (r * r).sum(axis=1), 0
    for _ in range(steps):
        h = np.array([1e-7, 1e-5])
        moved = residuals(seen, hypotheses * 2, np.concatenate([theta + h * axis for axis in np.eye(2)]))
        J = (moved.reshape(2, *r.shape) - r) / h[:, None, None]
        size = np.sqrt((J * J).sum(axis=2)) + 1e-300  # γ is felt some 1e8 times as much as log ε
        J = J / size[..., None]
        A = np.einsum("ahi,bhi->hab", J, J)
        A[:, range(2), range(2)] += damping[:, None]
        step = np.linalg.pinv(A) @ np.einsum("ahi,hi->ha", J, r)[..., None]
        new = theta - np.clip(step[..., 0] / size.T, -1, 1)
        new[:, 0] = np.clip(new[:, 0], 1e-9, 1 - 1e-9)
        new[:, 1] = np.clip(new[:, 1], np.log(1e-14), 3)
        r_new = residuals(seen, hypotheses, new)
        cost_new = (r_new * r_new).sum(axis=1)
        better = cost_new < cost
        idle = 0 if (cost - cost_new > GAIN * cost).any() else idle + 1
        theta = np.where(better[:, None], new, theta)
        r, cost = np.where(better[:, None], r_new, r), np.where(better, cost_new, cost)
        damping = np.clip(np.where(better, damping / 30, damping * 8), 1e-12, 1e6)
        if idle == PATIENCE:
            break
    return Fits(hypotheses, theta, np.abs(r).max(axis=1, initial=0.0), np.sqrt((r * r).mean(axis=1)))


def decay_from_pairs(seen: Seen) -> float | None:
    """γ, whatever the variant: with E_t = αE_{t−1} + σs_t for a used code, γ = (α_{t+1}/σ_{t+1}) σ_t.

    For σ_t = (1 − γ)/Ñ_t and α_{t+1}/σ_{t+1} = γÑ_t/(1 − γ), Ñ being whatever E_t was divided by.
    """
    T, K, D = seen.E.shape
    alpha, sigma = np.full((T, K), np.nan), np.full((T, K), np.nan)
    for t in range(1, T):
        for j in np.flatnonzero(seen.n[t]):
            M = np.stack([seen.E[t - 1, j], seen.s[t, j]], axis=1)
            if D > 1 and np.isfinite(M).all() and np.linalg.cond(M) < 1e4:
                alpha[t, j], sigma[t, j] = np.linalg.lstsq(M, seen.E[t, j], rcond=None)[0]
    with np.errstate(all="ignore"):
        found = alpha[2:] / sigma[2:] * sigma[1:-1]
    found = found[np.isfinite(found)]
    return float(np.median(found)) if found.size and 0 < np.median(found) < 1 else None


def decay_from_counts(seen: Seen) -> float | None:
    """γ from a raw N, more precisely than from E: N_t − n_t = γ(N_{t−1} − n_t); None if N is not such."""
    if seen.N is None or len(seen.N) < 2:
        return None
    y, x = (seen.N[1:] - seen.n[1:]).reshape(-1), (seen.N[:-1] - seen.n[1:]).reshape(-1)
    decay = float(x @ y / (x @ x))
    fits = np.abs(y - decay * x).max() <= 1e-5 * np.abs(x).max()  # a rounded N; smoothing goes into γ's ε
    return decay if fits and 0 <= decay < 1 else None


def fit_all(seen: Seen, hypotheses: list[EMAModel], known: float | None, steps: int = 30) -> Fits:
    """Fits of all hypotheses, each begun from the best of a grid; known: γ, to begin with."""
    grid = np.array([(g, np.log(e)) for g in ((known,) if known else DECAYS) for e in EPSILONS])
    every = [h for h in hypotheses for _ in grid]
    r = residuals(seen, every, np.tile(grid, (len(hypotheses), 1)))
    cost = np.log1p(np.abs(r)).sum(axis=1).reshape(len(hypotheses), len(grid))
    return gauss_newton(seen, hypotheses, grid[cost.argmin(axis=1)], steps)


def explain_steps(record: Any) -> tuple[Fits | None, Seen | None]:
    """The hypotheses that explain the steps; the long trajectory decides where the short one leaves some."""
    seen = observe(record.cases["steps"], record.get("steps"), record.precision)
    if seen is None or len(seen.n) < 3:
        return None, seen
    eps = float(np.finfo(record.precision).eps)
    known = decay_from_pairs(seen) or decay_from_counts(seen)
    for starts in (STARTS, FREE_STARTS):
        fits = fit_all(seen, models(starts), known)
        fits = fits.keep(fits.plausible(len(seen.n), eps))
        if fits.hypotheses:
            break
    else:
        return fits, seen
    fits = _by_implied_start(fits, seen, 1e4 * eps)
    fits = _by_stored(fits, seen, 64 * eps * np.sqrt(len(seen.n)))
    if len(fits.hypotheses) > 1:
        long = observe(record.cases["long"], record.get("long"), record.precision)
        if long is not None and len(long.n) > 30:
            # Not from the short trajectory's ε, of which that may have said nothing.
            more = fit_all(long, fits.hypotheses, float(fits.theta[:, 0].mean()), steps=12)
            keep = more.plausible(len(long.n), eps)
            if keep.any():
                fits = Fits(fits.hypotheses, more.theta, fits.worst, fits.rms).keep(keep)
    return fits, seen


def _by_implied_start(fits: Fits, seen: Seen, tol: float) -> Fits:
    """A start whose m was free, and came out as e or 0, is one of the others."""
    m1 = simulate(seen, fits.hypotheses, fits.theta[:, 0], np.exp(fits.theta[:, 1]))[2][:, 0]
    named = []
    for h, (decay, _), m in zip(fits.hypotheses, fits.theta, m1, strict=True):
        m0 = (m - (1 - decay) * seen.s[0]) / decay
        if h.start in FREE_STARTS and np.isfinite(m0).all():
            one = h.start == "one_count_independent"
            if np.abs(m0 - seen.E0).max() <= tol * np.abs(seen.E0).max():
                h = h._replace(start="consistent" if one else "zero_counts")
            elif np.abs(m0).max() <= tol * np.abs(seen.E0).max() and not one:
                h = h._replace(start="zero")
        named.append(h)
    return Fits(named, fits.theta, fits.worst, fits.rms)


def _by_stored(fits: Fits, seen: Seen, tol: float) -> Fits:
    """N and m, where they can be reached, decide between what E leaves open."""
    for output, theirs in ((1, seen.N), (2, seen.m)):
        if theirs is not None and len(fits.hypotheses) > 1:
            ours = simulate(seen, fits.hypotheses, fits.theta[:, 0], np.exp(fits.theta[:, 1]))[output]
            off = np.abs(ours - theirs).reshape(len(ours), -1).max(axis=1)
            agree = off <= 8 * tol * np.abs(theirs).max(initial=1.0)
            fits = fits.keep(agree) if agree.any() else fits
    return fits


def _stands(E: Array, start: Array) -> bool:
    """Whether all E: (T, K, D) are the same, and the start too, but for a conversion to float32."""
    return bool((E == E[0]).all() and np.abs(E[0] - start).max() <= np.finfo("f4").eps * np.abs(start).max())


def find_averages(record: Any) -> tuple[list[Finding], dict[str, float | None]]:
    """Findings for start, debias, stored N and smoothing; γ and ε."""
    dimensions = EMAModel._fields
    constants: dict[str, float | None] = {"decay": None, "epsilon": None}
    if not record.can("step"):
        return [Finding(d, None, "needs reset and step") for d in dimensions], constants
    short = record.get("steps").get("E")
    if short is not None and len(short) and _stands(short, record.cases["steps"].arguments["E"]):
        came = f"the same E after {len(short)} steps: is it frozen, or its update never called?"
        record.note([f"step: must move the codebook; got {came}"])
        return [Finding(d, None, "no step moves the codebook") for d in dimensions], constants
    fits, seen = explain_steps(record)
    if fits is None or seen is None:
        why = "needs a codebook after each of three steps" if seen is None or not seen.why else seen.why
        return [Finding(d, None, why) for d in dimensions], constants
    constants["decay"] = decay_from_pairs(seen)
    if not fits.hypotheses:
        why = "the codebook moves as no known average" + (f"; {seen.why}" if seen.why else "")
        other = "other" if record.D > 1 else None  # on a line γ is a guess, and a fit may have gone astray
        return [Finding(d, other if d == "start" else None, why) for d in dimensions], constants
    raw = all(h.write_back == "no" for h in fits.hypotheses)  # a smoothed N would bias it
    counted = decay_from_counts(seen) if raw else None
    constants["decay"] = float(fits.theta[:, 0].mean()) if counted is None else counted
    epsilons = np.exp(fits.theta[:, 1])
    smooth = [h.smoothing != "none" for h in fits.hypotheses]
    if all(smooth) and np.ptp(epsilons) <= 0.05 * epsilons.max():
        constants["epsilon"] = float(epsilons.mean())
    why = f"explains {len(seen.n)} steps to {fits.worst.min():.1g} of a code's length"
    found = []
    for i, dimension in enumerate(dimensions):
        different = tuple(dict.fromkeys(h[i] for h in fits.hypotheses))
        found.append(Finding(dimension, different[0] if len(different) == 1 else None, why, different))
    return found, constants
