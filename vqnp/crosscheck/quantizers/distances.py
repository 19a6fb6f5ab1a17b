"""L = Σ_i (c_i + b_i)/2 Σ ‖r_i‖²,  dz = Σ_i c_i r_i,  dE_j = −Σ_i b_i Σ_{k_i = j} r_i: losses of n depths.

c_i: the weight of the commitment at depth i, b_i that of the codebook loss; r_i: (N, D)
"""

from typing import Any

import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.findings import Finding
from vqnp.crosscheck.quantizers.asking import Question, combination, independent, relative
from vqnp.crosscheck.quantizers.estimators import one_vector, rotated, several
from vqnp.crosscheck.quantizers.residual import Depths


def find_estimator(ask: Question, d: Depths, J: Array, G: Array) -> Finding:
    """J: Jᵀ G as the layer has it."""
    n = len(d.codes)
    known = one_vector(d.z, d.codes[0], G) if n == 1 else several(d.residuals[:-1], d.codes, G)
    found = ask.equal(J, known)
    text = f"relative difference {ask.difference:.1g}"
    if len(found) > 1:
        same = tuple(name for name in found if name != "first_rotated") or tuple(found)
        return Finding("estimator", same[0] if len(same) == 1 else None, text, same)
    if found:
        return Finding("estimator", found[0], text)
    (c,), rest = combination(J, [G])
    if rest <= ask.tolerance:
        return Finding("estimator", "multiple", f"{c:.6g} times the identity")
    return Finding("estimator", None, f"no known estimator: relative difference {ask.difference:.1g}")


def find_commitment(
    ask: Question, d: Depths, dz: Array, estimator: str | None
) -> tuple[Finding, Array | None]:  # fmt: skip
    """dz: the gradient of L alone; with the weights c_i, None if they are not explained."""
    n = len(d.codes)
    if not dz.any():
        return Finding("commitment", "none", "L has no gradient with respect to z"), np.zeros(n)
    left = [i for i in range(n) if d.residuals[i + 1].any()]
    if not left:
        return Finding("commitment", None, "the codes leave no residual"), None
    if not independent([d.residuals[i + 1] for i in left]):
        return Finding("commitment", None, "some depths leave the same residuals"), None
    bases = {"": [d.residuals[i + 1] for i in left]}
    if estimator == "rotation_through":
        bases["through"] = [_through(d, i) for i in left]
    for kind, basis in bases.items():
        w, rest = combination(dz, basis)
        if ask.small(rest):
            c = np.zeros(n)
            c[left] = w
            evidence = _weights(c * d.z.size / 2)
            if kind == "through":
                return Finding("commitment", "through_rotation", evidence), None
            return Finding("commitment", _pattern(c), evidence), c
    text = f"L has other terms than distances to codes: relative difference {rest:.1g}"
    return Finding("commitment", None, text), None


def _weights(w: Array) -> str:
    """The weights in words; those of rounding are 0."""
    size = float(np.abs(w).max())
    told = ", ".join(f"{x:.4g}" if abs(x) > 1e-5 * size else "0" for x in w)
    return f"weight{'s' * (len(w) > 1)} of the mean squared error: {told}"


def _through(d: Depths, i: int) -> Array:
    """The gradient of ‖r_i‖²/2 if each rotation is differentiated as part of the residuals before."""
    g = d.residuals[i + 1]
    for j in range(i - 1, -1, -1):
        g = g - rotated(d.residuals[j], d.codes[j], g)
    return g


def _pattern(c: Array) -> str:
    """What the weights of the depths are like."""
    n, size = len(c), float(np.abs(c).max())
    zero = np.abs(c) <= 1e-3 * size
    if (c < 0).any() and not zero[c < 0].all():
        return "negative"
    if n == 1 or (np.abs(c - c[0]) <= 1e-3 * size).all():
        return "each"
    if zero[1:].all():
        return "first_only"
    if zero[:-1].all():
        return "last_only"
    return "weighted"


def find_codebook(
    ask: Question, d: Depths, dE: Array | None, JE: Array | None
) -> tuple[Finding, Array | None]:  # fmt: skip
    """dE: the gradient of L alone with respect to E, JE: that of ⟨G, z_q⟩ alone; None: not given."""
    if dE is None or JE is None:
        return Finding("codebook_loss", None, "no gradient of the codebooks was given"), None
    if float(np.abs(JE).max(initial=0)) > ask.tolerance * max(1.0, float(np.abs(dE).max(initial=0))):
        text = "⟨G, z_q⟩ alone has a gradient with respect to E"
        return Finding("codebook_loss", "from_decoder", text), None
    n = len(d.codes)
    if not dE.any():
        return Finding("codebook_loss", "none", "L has no gradient with respect to E"), np.zeros(n)
    basis = [_scatter(d, i) for i in range(n)]
    left = [i for i in range(n) if basis[i].any()]
    if not left:
        return Finding("codebook_loss", None, "the codes leave no residual"), None
    if not independent([basis[i] for i in left]):
        return Finding("codebook_loss", None, "some depths leave the same residuals"), None
    w, rest = combination(dE, [basis[i] for i in left])
    if not ask.small(rest):
        return Finding("codebook_loss", None, f"not a known gradient: relative difference {rest:.1g}"), None
    b = np.zeros(n)
    b[left] = w
    pattern = _pattern(b)
    told = _weights(b * d.z.size / 2)
    return Finding("codebook_loss", pattern if pattern != "last_only" else "weighted", told), b


def _scatter(d: Depths, i: int) -> Array:
    """−Σ r_i over the vectors with each code of depth i, at its place in E: (C, K, D)."""
    assert d.answer.k is not None
    k, out = d.answer.k[:, i], np.zeros_like(d.E)
    has = k >= 0
    np.subtract.at(out[i % len(d.E)], k[has], d.residuals[i + 1][has])
    return out


def find_loss(ask: Question, d: Depths, c: Array | None, b: Array | None) -> Finding:
    """Is L the sum whose gradients were found?"""
    L = d.answer.L
    if L is None:
        return Finding("loss", None, "no loss was returned")
    if c is None:
        return Finding("loss", None, "its gradient is not explained")
    square = np.array([np.square(r).sum() for r in d.residuals[1:]])
    b_known: Any = np.zeros_like(c) if b is None else b
    candidates = {"terms": ((c + b_known) / 2 * square).sum()}
    if b is not None and b.any() and relative(c, b) < 1e-3:
        candidates["undetached"] = (c / 2 * square).sum()
    found = ask.equal(np.array([L]), {name: np.array([v]) for name, v in candidates.items()})
    if found:
        return Finding("loss", found[0], f"{L:.6g}, relative difference {ask.difference:.1g}")
    why = "" if b is not None else "; without the codebooks' gradient the codebook loss is not known"
    return Finding("loss", None, f"{L:.6g} is not the sum of the distances whose gradients were found{why}")
