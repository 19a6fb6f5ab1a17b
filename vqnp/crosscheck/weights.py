"""L = W Σr²,  ∂L/∂z = 2A r + 2A' Jᵀr,  ∂L/∂e_j = −2B Σ_{k_n = j} r_n,  r = z − e: the weights A, A', B, W.

Measured, not assumed: each is a coefficient of a least-squares fit whose residual must be rounding.
J is how z_q hangs on z: the identity for straight-through, a scaled rotation for the rotation trick.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.distance import codes_of
from vqnp.crosscheck.plain import nearest, sums_of

SIZES = ("", "tiled ", "wide ")
"""The prefixes of the cases at N × D, 4N × D and N × 2D."""


def tolerance(dtype: Any) -> float:
    """Relative: how far a measured coefficient may be off and still count as equal. √ε: 1.5e-8, 3.5e-4.

    Far above rounding, far below any difference between variants at a β that is not within √ε of a
    special value (0, ½, 1).
    """
    return float(np.sqrt(np.finfo(dtype).eps))


class Weights(NamedTuple):
    """What the loss and its gradients are made of, for one size of batch; None: not given."""

    shape: tuple[int, int]
    W: float | None  # the loss per unit of Σr²
    A: float | None  # along r in dz
    A_turned: float  # along Jᵀr in dz, where J is not the identity
    B: float | None  # in dE; 0 where E has no gradient
    clean: bool  # whether the fits leave rounding only


class Passing(NamedTuple):
    """How ⟨G, z_q⟩ reaches z and E."""

    kind: str | None  # "copy", "rotation", "none", "other"
    share: float  # the coefficient along it
    leak: float | None  # the share of ΣG that reaches E


def fit(target: Array, *basis: Array) -> tuple[list[float], float]:
    """Least squares: coefficients of the basis, and the residual as a share of the target."""
    M = np.stack([b.reshape(-1).astype(np.float64) for b in basis], axis=1)
    y = target.reshape(-1).astype(np.float64)
    size = np.linalg.norm(M, axis=0)
    size[size == 0] = 1
    coefficients = np.linalg.lstsq(M / size, y, rcond=None)[0]
    residual = np.linalg.norm(y - M / size @ coefficients)
    return [float(c) for c in coefficients / size], float(residual) / max(float(np.linalg.norm(y)), 1e-300)


def rotated(G: Array, z: Array, e: Array) -> Array:
    """JᵀG for z_q = J z, J = ‖e‖/‖z‖ (I − 2wwᵀ + 2êẑᵀ), w = (ẑ + ê)/‖ẑ + ê‖: the rotation trick.

    References
    ----------
    Fifty et al. 2024, arXiv 2410.06424, section 4.2.
    """
    u, q = z / _length(z), e / _length(e)
    w = (u + q) / _length(u + q)
    turned = G - 2 * (G * w).sum(-1, keepdims=True) * w + 2 * (G * q).sum(-1, keepdims=True) * u
    return _length(e) / _length(z) * turned


def _length(a: Array) -> Array:
    return np.maximum(np.linalg.norm(a, axis=-1, keepdims=True), 1e-300)


def after_step(record: Any, prefix: str) -> Array | None:
    """The codebook after one step on the same batch, if the layer has steps."""
    E = record.output(f"{prefix}one step", "E")
    return None if E is None or not np.isfinite(E[0]).all() else E[0].astype(np.float64)


def codes_used(record: Any, prefix: str) -> tuple[Array, Array, Array] | None:
    """z, E and the layer's codes k for a size of batch, in float64; None without a forward pass."""
    name = f"{prefix}base" if not prefix else prefix.strip()
    if name not in record.cases:
        return None
    z, E = record.cases[name].arguments.values()
    k = codes_of(record.get(name), E)
    if k is None:
        k = nearest(z, E)  # the vectors are clear: any Euclidean layer has these
    return z.astype(np.float64), E.astype(np.float64), k


def passing(record: Any, e: Array | None) -> Passing:
    """From dz and dE with a cotangent G, less those without it."""
    with_G, without = record.get("gradient"), record.get("loss gradient")
    z, E, G = record.cases["gradient"].arguments.values()
    used = codes_used(record, "")
    if with_G.get("dz") is None or without.get("dz") is None or used is None:
        return Passing(None, 0.0, _leak(with_G, without, G, used))
    dz = with_G["dz"].astype(np.float64) - without["dz"]
    # dz is a difference: what is left of a large loss gradient is rounding, not a finding.
    noise = 64 * np.finfo(with_G["dz"].dtype).eps * np.linalg.norm(without["dz"])
    tol = max(tolerance(record.dtype), noise / np.linalg.norm(G))
    leak = _leak(with_G, without, G, used)
    if np.linalg.norm(dz) <= tol * np.linalg.norm(G):
        return Passing("none", 0.0, leak)
    tries = {"copy": G} if e is None else {"copy": G, "rotation": rotated(G, z.astype(np.float64), e)}
    for kind, basis in tries.items():
        (share,), residual = fit(dz, basis)
        if residual <= tol:
            return Passing(kind, share, leak)
    return Passing("other", fit(dz, G)[0][0], leak)


def _leak(with_G: Any, without: Any, G: Array, used: Any) -> float | None:
    if with_G.get("dE") is None or without.get("dE") is None or used is None:
        return None
    sums = sums_of(G, used[2], len(used[1]))
    return fit(with_G["dE"].astype(np.float64) - without["dE"], sums)[0][0]


def has_none(record: Any, gradient: Any) -> bool:
    """Whether E has no gradient: a layer says so by a None for dE, one that has steps need not."""
    if gradient.get("dE") is not None or gradient.get("dz") is None:
        return False
    return "dE" in gradient or record.can("step")


def measure(record: Any, prefix: str, e: Array, kind: str | None) -> Weights:
    """The weights of one size, if r is z − e: e (N, D), the vectors that forward is thought to use."""
    used = codes_used(record, prefix)
    assert used is not None  # the caller has asked
    z, E, k = used
    r, tol = z - e, tolerance(record.dtype)
    L = record.output(f"{prefix}base" if not prefix else prefix.strip(), "L")
    W = None if L is None else float(L) / float((r * r).sum())
    gradient, clean = record.get(f"{prefix}loss gradient"), True
    A, turned, B = None, 0.0, None
    dz, dE = gradient.get("dz"), gradient.get("dE")
    if dz is not None:
        if not dz.any():
            A = 0.0
        elif kind == "rotation":
            (A, turned), residual = fit(dz, 2 * r, 2 * rotated(r, z, e))
            clean = clean and residual <= tol
        else:
            (A,), residual = fit(dz, 2 * r)
            clean = clean and residual <= tol
    if dE is not None:
        pull = sums_of(z - E[k], k, len(E))
        (B,), residual = fit(dE, -2 * pull)
        clean = clean and (residual <= tol or not dE.any())
    elif has_none(record, gradient):
        B = 0.0
    return Weights(z.shape, W, A, turned, B, clean)
