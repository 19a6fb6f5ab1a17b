"""Is p the intended distribution: softmax(a/T), perhaps of the top_k likeliest codes, or of mass top_p?

a: (n, K) logits that the test chooses -> p: (n, K)
"""

from typing import Any

import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.autoregressive.asking import Question, Unanswered
from vqnp.crosscheck.findings import Finding
from vqnp.crosscheck.questions.calls import to_array

TOLERANCE = 1e-4
"""The tolerance of probabilities: above float32's rounding over thousands of codes, below any mistake."""

TEMPERATURES = 1e-3, 1e3
"""Beyond them the logits that are asked have the size for these."""


def meant(a: Array, temperature: float, top_k: int | None, top_p: float | None) -> Array:
    """softmax(a/T) of the top_k likeliest, then of the fewest likeliest of mass top_p: (n, K) -> (n, K)."""
    a = a / temperature
    if top_k is not None:
        a = np.where(a >= np.sort(a, axis=-1)[:, -min(top_k, a.shape[-1]), None], a, -np.inf)
    p = _softmax(a)
    if top_p is not None:
        before = _mass_before(p)
        p = np.where(before < top_p, p, 0)
    return p / p.sum(axis=-1, keepdims=True)


def find_sampling(
    ask: Question, rng: np.random.Generator, probabilities: Any, temperature: float, top_k: int | None,
    top_p: float | None,
) -> Finding:  # fmt: skip
    """Test with rows of random logits, some nearly uniform and some with one likely code."""
    if probabilities is None:
        return Finding("sampling", None, "no function from logits to probabilities was given")
    a = rng.standard_normal((12, ask.K)) * np.repeat([0.5, 1, 2], 4)[:, None]
    a[::4, 0] = np.log(np.exp(a[::4, 1:]).sum(axis=-1)) + 6  # p = 0.998, more than any usual top_p
    a = (a * np.clip(temperature, *TEMPERATURES)).astype(np.float32)  # a/T is neither flat nor sharp
    p = _probabilities(ask, probabilities, a)
    a = a.astype(np.float64)
    want = meant(a, temperature, top_k, top_p)
    options = {"T": temperature, "top_k": top_k, "top_p": top_p}
    intended = ", ".join(f"{name} = {value:g}" for name, value in options.items() if value is not None)
    if np.isfinite(p).all() and np.abs(p - want).max() <= TOLERANCE:
        return Finding("sampling", "softmax", f"{len(a)} rows of logits; {intended}")
    variant, evidence = _mistake(a, p, want, temperature, top_k, top_p)
    return Finding("sampling", variant, f"{evidence}; meant: {intended}")


def _mistake(
    a: Array, p: Array, want: Array, temperature: float, top_k: int | None, top_p: float | None
) -> tuple[str, str]:
    empty = ~np.isfinite(p).all(axis=-1) | ~(p > 0).any(axis=-1)
    if empty.any():
        return "empty", f"{int(empty.sum())} of {len(p)} rows have no code"
    total = p.sum(axis=-1)
    if np.abs(total - 1).max() > TOLERANCE:
        return "not_normalised", f"sums from {total.min():.3g} to {total.max():.3g}"
    kept, off = (p > 0).sum(axis=-1), float(np.abs(p - want).max())
    if top_k is not None:
        for k, variant in ((top_k - 1, "top_k_less"), (top_k + 1, "top_k_more")):
            if k and _close(p, meant(a, temperature, k, top_p)):
                return variant, f"{int(kept.min())} to {int(kept.max())} codes are kept"
    if top_p is not None:
        full = meant(a, temperature, top_k, None)
        crossing = np.where(_mass_before(full) + full <= top_p, full, 0)
        likeliest = full == full.max(axis=-1, keepdims=True)  # which some keep in any case
        crossing = np.where(crossing.any(axis=-1, keepdims=True), crossing, likeliest)
        if _close(p, crossing / crossing.sum(axis=-1, keepdims=True)):
            return "top_p_crossing", f"{int(kept.min())} to {int(kept.max())} codes are kept"
    T = _temperature(a, p)
    if T is not None and abs(T / temperature - 1) > 1e-3 and _close(p, meant(a, T, top_k, top_p)):
        return "temperature", f"T = {T:.4g}"
    return "other", f"probabilities differ by up to {off:.2g}"


def _temperature(a: Array, p: Array) -> float | None:
    """T, from the ratio of differences of logits to differences of log p, over codes with p > 0."""
    ratios = []
    for row, q in zip(a, p, strict=True):
        at = np.flatnonzero(q > 1e-6)
        at = at[np.argsort(row[at])]
        if len(at) > 1 and row[at[-1]] > row[at[0]]:
            logs = np.log(q[at[-1]] / q[at[0]])
            if logs > 0:
                ratios.append((row[at[-1]] - row[at[0]]) / logs)
    return float(np.median(ratios)) if ratios else None


def _probabilities(ask: Question, function: Any, a: Array) -> Array:
    p, wrong = to_array(ask.run("probabilities", function, a))
    if p is None or p.shape != a.shape or p.dtype.kind != "f":
        came = wrong or f"{p.dtype} of shape {p.shape}"  # type: ignore[union-attr]
        raise Unanswered(f"probabilities: must return floats of shape {a.shape}; got {came}")
    return p.astype(np.float64)


def _softmax(a: Array) -> Array:
    p = np.exp(a - a.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


def _mass_before(p: Array) -> Array:
    """The total probability of all likelier codes: (n, K) -> (n, K)."""
    order = np.argsort(-p, axis=-1, kind="stable")
    ordered = np.take_along_axis(p, order, axis=-1)
    before = np.empty_like(p)
    np.put_along_axis(before, order, np.cumsum(ordered, axis=-1) - ordered, axis=-1)
    return before


def _close(p: Array, q: Array) -> bool:
    return bool(np.abs(p - q).max() <= TOLERANCE)
