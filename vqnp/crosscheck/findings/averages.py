"""γ, ε, and which start, smoothing, debiasing and storage: every moving average that explains the steps.

θ = (γ, log ε) of each hypothesis is fitted to E_1, …, E_T by Levenberg-Marquardt, all at once; those whose
largest residual is rounding are kept. Where they differ in a dimension, the steps do not tell it.
"""

from typing import NamedTuple

import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.findings import Finding, among
from vqnp.crosscheck.findings.trajectory import EMAModel, Seen, models, observe, simulate
from vqnp.crosscheck.questions.record import Record
from vqnp.crosscheck.variants.formulas import STARTS

# Where fits begin: from within a factor of two of ε, steps in log ε do not lose their way.
EPSILONS, DECAYS = 10.0 ** -np.arange(1, 10.5, 0.5), 1 - 0.7 * 10.0 ** (-np.arange(20) / 6)


class Fits(NamedTuple):
    """Hypotheses, each with the γ and ε that suit it best, its largest residual and its typical one."""

    hypotheses: list[EMAModel]
    theta: Array
    worst: Array
    rms: Array

    @property
    def decay(self) -> Array:
        return self.theta[:, 0]

    @property
    def epsilon(self) -> Array:
        return np.exp(self.theta[:, 1])

    def keep(self, mask: Array) -> "Fits":
        return Fits([self.hypotheses[i] for i in np.flatnonzero(mask)], *(a[mask] for a in self[1:]))

    def plausible(self, T: int, eps: float) -> Array:
        """A mask: residuals as rounding leaves them over T steps, and not three times those of the best.

        Many residuals that are all rounding have the same size under the right hypothesis; 16 ε is what
        a chain of operations may leave, below which sizes do not compare. A debiased average is divided
        by 1 − γᵗ, where the rounding of γᵗ is felt 1/(1 − γ) times; but at most √ε is put down to that,
        or a fit that has gone astray to γ = 1 would excuse itself.
        """
        debias = np.array([h.zero_debias == "yes" for h in self.hypotheses], bool)
        cancelled = debias * np.minimum(eps / (1 - self.decay), np.sqrt(eps))
        small = self.worst <= 16 * eps * np.sqrt(T) + cancelled
        return small & (self.rms <= 3 * self.rms[small].min(initial=np.inf) + 16 * eps)


def residuals(seen: Seen, hypotheses: list[EMAModel], theta: Array) -> Array:
    """(E of the hypothesis − E of the layer), relative to the length of each code: (H, T·K·D)."""
    E = simulate(seen, hypotheses, theta[:, 0], np.exp(theta[:, 1]))[0]
    size = np.maximum(np.abs(seen.E).max(axis=-1, keepdims=True), np.abs(seen.E0).max())
    r = np.where(np.isfinite(seen.E), (E - seen.E) / size, 0.0)  # nothing to compare with a layer's 0/0
    return np.clip(np.where(np.isfinite(r), r, 1e300), -1e6, 1e6).reshape(len(hypotheses), -1)


def levenberg_marquardt(seen: Seen, hypotheses: list[EMAModel], theta: Array, steps: int = 30) -> Fits:
    """θ ← θ − (JᵀJ + λI)⁻¹ Jᵀr, J = ∂r/∂θ: Levenberg-Marquardt (Marquardt 1963) for each hypothesis.

    θ: (H, 2), r: (H, n), J: (H, n, 2), λ: (H,)

    A step is taken only if it helps; λ then falls, and else rises. J is from one-sided differences, its
    columns scaled to length 1, since γ is felt some 1e8 times as much as log ε. The fit ends when in eight
    steps in a row no hypothesis gained a thousandth of its cost.
    """
    r = residuals(seen, hypotheses, theta)
    cost, damping, idle = (r * r).sum(axis=1), np.full(len(hypotheses), 1e-3), 0
    h, low, high = np.array([1e-7, 1e-5]), [1e-9, np.log(1e-14)], [1 - 1e-9, 3]
    for _ in range(steps):
        moved = residuals(seen, hypotheses * 2, np.concatenate([theta + h * axis for axis in np.eye(2)]))
        J = np.moveaxis((moved.reshape(2, *r.shape) - r) / h[:, None, None], 0, -1)
        size = np.sqrt((J * J).sum(axis=1, keepdims=True)) + 1e-300
        J = J / size
        JT = np.swapaxes(J, 1, 2)
        step = np.linalg.solve(JT @ J + damping[:, None, None] * np.eye(2), JT @ r[..., None])[..., 0]
        new = np.clip(theta - np.clip(step / size[:, 0], -1, 1), low, high)
        r_new = residuals(seen, hypotheses, new)
        cost_new = (r_new * r_new).sum(axis=1)
        better = cost_new < cost
        idle = 0 if (cost - cost_new > 1e-3 * cost).any() else idle + 1
        theta, r = np.where(better[:, None], new, theta), np.where(better[:, None], r_new, r)
        cost = np.where(better, cost_new, cost)
        damping = np.clip(np.where(better, damping / 30, damping * 8), 1e-12, 1e6)
        if idle == 8:
            break
    return Fits(hypotheses, theta, np.abs(r).max(axis=1, initial=0.0), np.sqrt((r * r).mean(axis=1)))


def decay_from_pairs(seen: Seen) -> float | None:
    """γ, whatever the variant: with E_t = αE_{t−1} + σs_t for a used code, γ = (α_{t+1}/σ_{t+1}) σ_t.

    For σ_t = (1 − γ)/Ñ_t and α_{t+1}/σ_{t+1} = γÑ_t/(1 − γ), Ñ being whatever E_t was divided by.
    """
    T, K, D = seen.E.shape
    alpha, sigma = np.full((2, T, K), np.nan)
    for t, j in np.argwhere(seen.n[1:] * (D > 1)) + [1, 0]:
        M = np.stack([seen.E[t - 1, j], seen.s[t, j]], axis=1)
        if np.isfinite(M).all() and np.linalg.cond(M) < 1e4:
            alpha[t, j], sigma[t, j] = np.linalg.lstsq(M, seen.E[t, j], rcond=None)[0]
    found = alpha[2:] / sigma[2:] * sigma[1:-1]
    decay = float(np.median(found[np.isfinite(found)])) if np.isfinite(found).any() else 0.0
    return decay if 0 < decay < 1 else None


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
    grid = np.array([(g, np.log(e)) for g in ([known] if known else DECAYS) for e in EPSILONS])
    every = [h for h in hypotheses for _ in grid]
    r = residuals(seen, every, np.tile(grid, (len(hypotheses), 1)))
    cost = np.log1p(np.abs(r)).sum(axis=1).reshape(len(hypotheses), len(grid))
    return levenberg_marquardt(seen, hypotheses, grid[cost.argmin(axis=1)], steps)


def explain_steps(record: Record, seen: Seen) -> Fits:
    """The hypotheses that explain the steps; the long trajectory decides where the short one leaves some."""
    eps = record.precision.eps
    known = decay_from_pairs(seen) or decay_from_counts(seen)
    for drawn in (False, True):  # starts with an m of their own, where no other fits
        fits = fit_all(seen, models(drawn), known)
        fits = fits.keep(fits.plausible(len(seen.n), eps))
        if fits.hypotheses:
            break
    else:
        return fits
    fits = _by_implied_start(fits, seen, 1e4 * eps)
    fits = _by_stored(fits, seen, 64 * eps * np.sqrt(len(seen.n)))
    long = observe(record, "long") if len(fits.hypotheses) > 1 else None
    if long is not None and len(long.n) > 30:
        # Not from the short trajectory's ε, of which that may have said nothing.
        more = fit_all(long, fits.hypotheses, float(fits.decay.mean()), steps=12)
        keep = more.plausible(len(long.n), eps)
        if keep.any():
            fits = fits._replace(theta=more.theta).keep(keep)
    return fits


def _by_implied_start(fits: Fits, seen: Seen, tol: float) -> Fits:
    """A start whose m was free, and came out as e or 0, is one of the others."""
    m1 = simulate(seen, fits.hypotheses, fits.decay, fits.epsilon)[2][:, 0]
    named = []
    for h, decay, m in zip(fits.hypotheses, fits.decay, m1, strict=True):
        m0 = (m - (1 - decay) * seen.s[0]) / decay
        for start, (count, sums) in STARTS.items():
            off = np.abs(m0 - seen.E0 * (sums == "e")).max()
            if STARTS[h.start] == (count, "noise") and sums != "noise":
                h = h._replace(start=start) if off <= tol * np.abs(seen.E0).max() else h
        named.append(h)
    return fits._replace(hypotheses=named)


def _by_stored(fits: Fits, seen: Seen, tol: float) -> Fits:
    """N and m, where they can be reached, decide between what E leaves open."""
    for output, theirs in ((1, seen.N), (2, seen.m)):
        if theirs is not None and len(fits.hypotheses) > 1:
            ours = simulate(seen, fits.hypotheses, fits.decay, fits.epsilon)[output]
            off = np.abs(ours - theirs).reshape(len(ours), -1).max(axis=1)
            agree = off <= 8 * tol * np.abs(theirs).max(initial=1.0)
            fits = fits.keep(agree) if agree.any() else fits
    return fits


def find_averages(
    record: Record, by_gradient: bool = False
) -> tuple[list[Finding], dict[str, float | None]]:
    """Findings for start, smoothing, debias and stored N; γ and ε. by_gradient: whether E has a gradient."""
    constants: dict[str, float | None] = {"decay": None, "epsilon": None}

    def untold(why: str, start: str | None = None) -> tuple[list[Finding], dict[str, float | None]]:
        return [Finding(d, start if d == "start" else None, why) for d in EMAModel._fields], constants

    if not record.can("step"):
        return untold("needs reset and step")
    E, E0 = record.output("steps", "E"), record.cases["steps"].arguments["E"]
    near = np.finfo("f4").eps * np.abs(E0).max()  # E0, or E0 in float32
    if E is not None and (E == E[0]).all() and np.abs(E[0] - E0).max() <= near:
        if by_gradient:
            return untold("the codebook follows by gradient")
        came = f"the same E after {len(E)} steps: is it frozen, or its update never called?"
        record.note(f"step: must move the codebook; got {came}")
        return untold("no step moves the codebook")
    if record.precision.half:
        return untold(f"{record.precision.name} rounds too coarsely to tell averages apart")
    seen = observe(record, "steps")
    if seen is not None and seen.restarts and (by_gradient or _only_unused_move(seen, E)):
        return untold("the codebook follows by gradient; unused codes restart")
    why, fits = (seen and seen.why) or "needs a codebook after each of three steps", None
    for name in ("steps", "full") if seen is None or seen.restarts else ("steps",):
        seen = observe(record, name)  # no code restarts in "full", where each has many vectors
        if seen is not None and len(seen.n) >= 3 and not (fits and fits.hypotheses):
            fits, used = explain_steps(record, seen), seen
    if fits is None:
        return untold(why)
    seen = used
    if not fits.hypotheses:
        why = "the codebook moves as no known average" + (f"; {seen.why}" if seen.why else "")
        return untold(why, "other" if record.D > 1 else None)  # on a line a fit may go astray
    raw = all(h.write_back == "no" for h in fits.hypotheses)  # a smoothed N would bias it
    counted = decay_from_counts(seen) if raw else None
    constants["decay"] = float(fits.decay.mean()) if counted is None else counted
    smooth = all(h.smoothing != "none" for h in fits.hypotheses)
    if smooth and np.ptp(fits.epsilon) <= 0.05 * fits.epsilon.max():
        constants["epsilon"] = float(fits.epsilon.mean())
    why = f"explains {len(seen.n)} steps to {fits.worst.min():.1g} of a code's length"
    return [among(d, (getattr(h, d) for h in fits.hypotheses), why) for d in EMAModel._fields], constants


def _only_unused_move(seen: Seen, E: Array | None) -> bool:
    """Whether codes in use stand still, up to the first restart."""
    if E is None:
        return False
    t = len(seen.n)
    before = np.concatenate([seen.E0[None], E[: t + 1]])
    steps = zip(before[:-1], before[1:], seen.n, strict=False)
    still = [np.array_equal(a[n > 0], b[n > 0]) for a, b, n in steps]
    restarted = {j for _, j in seen.restarts}
    others = [j for j in range(len(seen.E0)) if j not in restarted]
    return all(still) and np.array_equal(before[t][others], before[-1][others])
