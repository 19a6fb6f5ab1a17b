"""L = w_s ⟨H(p)⟩ + w_b H(⟨p⟩) + β⟨(u − z_q)²⟩ with unknown weights and temperature: fitted to dz.

z: (N, D), dz: (N, D), the gradient of L alone -> w_s, w_b, β, τ
"""

from typing import NamedTuple

import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.findings import Finding
from vqnp.crosscheck.quantizers.asking import Question, combination
from vqnp.ops.bit_entropy import MOST_EXACT_BITS, bit_entropy_backward, bit_entropy_forward
from vqnp.ops.sphere import normalize_backward, normalize_forward

ROUGH = 2e-3
"""A relative difference below which the terms of L are taken as found: public code clamps log p at 1e-5."""

ROUNDING = 16
"""ε times this is a relative difference below which no further term is looked for."""

NEGLIGIBLE = 1e-8
"""A gradient this small beside that of L, which rounding and the search for τ leave."""

CANCELLING = 100
"""Terms this many times larger than their sum fit anything."""

TEMPERATURES = np.logspace(-4, 2, 49)


class Fit(NamedTuple):
    """Weights of the mean squared error, of ⟨H(p)⟩ and of H(⟨p⟩); τ; exact or bound; what remains; shares.

    shares: the size of each term's gradient, relative to dz.
    """

    weights: Array
    tau: float
    form: str
    rest: float
    shares: Array


class Terms:
    """The terms of L and their gradients, for signs s·sign(u)."""

    def __init__(self, z: Array, s: float, normalised: bool) -> None:
        self.u, self.cache = normalize_forward(z)
        self.normalised, self.s = normalised, s
        if not normalised:
            self.u = z
        self.r = self.u - np.where(self.u > 0, s, -s)

    def values(self, tau: float, form: str) -> Array:
        """(⟨(u − z_q)²⟩, ⟨H(p)⟩, H(⟨p⟩))."""
        sample, whole, _ = bit_entropy_forward(4 * self.s / tau * self.u, form)
        return np.array([np.square(self.r).mean(), sample, whole])

    def gradients(self, tau: float, form: str) -> list[Array]:
        """The gradient of each with respect to z."""
        slope = 4 * self.s / tau
        _, _, cache = bit_entropy_forward(slope * self.u, form)
        parts = [2 * self.r / self.r.size]
        parts += [slope * bit_entropy_backward(*one, cache) for one in ((1.0, 0.0), (0.0, 1.0))]
        return [normalize_backward(p, self.cache) for p in parts] if self.normalised else parts


def fit(terms: Terms, dz: Array) -> Fit | None:
    """The best weights and τ; None if two forms explain dz about equally well, or τ is not determined."""
    D = dz.shape[1]  # of one bit both forms are the same
    forms = ("exact",) if D == 1 else ("exact", "bound") if D <= MOST_EXACT_BITS else ("bound",)
    fits = [_fit(terms, dz, form) for form in forms]
    fits.sort(key=lambda one: one.rest)
    if fits[0].rest > ROUGH or fits[0].shares.max() > CANCELLING:
        return None
    unused = all(one.shares[2] <= 20 * max(one.rest, NEGLIGIBLE) for one in fits)
    if len(fits) > 1 and fits[1].rest < 5 * fits[0].rest and not unused:
        return None
    return fits[0]


def _fit(terms: Terms, dz: Array, form: str) -> Fit:
    """Least squares for the weights, at the best τ: a grid, then a golden section."""

    def rest(log_tau: float) -> float:
        return combination(dz, terms.gradients(float(np.exp(log_tau)), form))[1]

    logs = np.log(TEMPERATURES)
    best = int(np.argmin([rest(t) for t in logs]))
    low, high = logs[max(best - 1, 0)], logs[min(best + 1, len(logs) - 1)]
    ratio = (np.sqrt(5) - 1) / 2
    for _ in range(60):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, b) if rest(a) < rest(b) else (a, high)
    tau = float(np.exp((low + high) / 2))
    basis = terms.gradients(tau, form)
    w, left = combination(dz, basis)
    shares = np.array([abs(x) * np.abs(b).max() for x, b in zip(w, basis, strict=True)]) / np.abs(dz).max()
    return Fit(w, tau, form, left, shares)


def spread(D: int, N: int, rng: np.random.Generator) -> Array:
    """z: (N, D) whose rows have lengths from 1/500 to 2, so that some p are certain at any τ and some not."""
    return rng.standard_normal((N, D)) * np.exp(rng.uniform(np.log(2e-3), np.log(2), (N, 1)))


def find_losses(ask: Question, terms: Terms, dz: Array, L: float | None) -> list[Finding]:
    """commitment, sample entropy, batch entropy, and whether L is their sum."""
    names = ("commitment", "sample_entropy", "batch_entropy", "loss")
    if not dz.any():
        kinds = ("none", "absent", "absent")
        told = [Finding(n, v, "L has no gradient") for n, v in zip(names, kinds, strict=False)]
        return [*told, Finding("loss", None, "L has no gradient with respect to z")]
    (w,), rest = combination(dz, [terms.gradients(1.0, "bound")[0]])
    alone = Fit(np.array([w, 0, 0]), 1.0, "bound", rest, np.array([1.0, 0, 0]))
    simple = rest <= ROUNDING * ask.epsilon
    found = alone if simple else fit(terms, dz)
    if not simple and rest <= ask.tolerance and (found is None or found.rest > rest / 10):
        text = f"the commitment explains the gradient of L to {rest:.1g}; smaller terms are not seen"
        one = Finding("commitment", "each" if w > 0 else "negative", f"weight {w:.4g}")
        return [one, *(Finding(name, None, text) for name in names[1:])]
    if found is None:
        text = "the gradient of L is not one of entropies and distances at any temperature"
        return [Finding(name, None, text) for name in names]
    there = found.shares > 20 * max(found.rest, NEGLIGIBLE)
    unclear = ~there & (found.shares > max(found.rest, NEGLIGIBLE))  # neither there nor absent
    at = f"τ = {found.tau:.4g}, " if there[1:].any() else ""
    texts = [
        f"{at}weight {x:.4g}, gradient explained to {found.rest:.1g}" if t else
        f"{at}at most {max(share, found.rest):.1g} of the gradient"
        for x, t, share in zip(found.weights, there, found.shares, strict=True)
    ]  # fmt: skip
    sample = "absent" if not there[1] else "minimised" if found.weights[1] > 0 else "maximised"
    batch = "absent" if not there[2] else "minimised" if found.weights[2] > 0 else found.form
    commitment = "none" if not there[0] else "each" if found.weights[0] > 0 else "negative"
    results = [Finding(n, v, t) for n, v, t in zip(names, (commitment, sample, batch), texts, strict=False)]
    results = [f._replace(variant=None) if c else f for f, c in zip(results, unclear, strict=False)]
    return [*results, _value(found, there, terms, L)]


def _value(found: Fit, there: Array, terms: Terms, L: float | None) -> Finding:
    """Whether L is the weighted sum."""
    if L is None:
        return Finding("loss", None, "no loss was returned")
    total = float((found.weights * there) @ terms.values(found.tau, found.form))
    if abs(L - total) <= max(ROUGH, 4 * found.rest) * max(abs(L), abs(total)):
        return Finding("loss", "terms", f"{L:.5g}, the terms are {total:.5g}")
    return Finding("loss", None, f"{L:.5g}, and the terms whose gradients were found are {total:.5g}")
