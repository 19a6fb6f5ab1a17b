"""L = W Σr²,  ∂L/∂z = 2A r + 2A' Jᵀr,  ∂L/∂e_j = −2B Σ_{k_n = j} r_n,  r = z − e: the weights A, A', B, W.

Each is measured, as a coefficient of a least-squares fit whose residual must be rounding. J is ∂z_q/∂z: the
identity for straight-through, a scaled rotation for the rotation trick.
"""

from typing import NamedTuple

import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.findings.codes import codes_of
from vqnp.crosscheck.questions.calls import Outputs
from vqnp.crosscheck.questions.plain import nearest, sums_of
from vqnp.crosscheck.questions.record import Record
from vqnp.crosscheck.variants.formulas import rotated

SIZES = ("", "tiled ", "wide ")  # the prefixes of the cases at N × D, 4N × D and N × 2D


class Batch(NamedTuple):
    """A size of batch in float64, its codes, and the vectors e: (N, D) that forward may use."""

    z: Array
    E: Array
    k: Array
    e: dict[str, Array]  # "before" the EMA update, and "after" it if the layer has steps


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


def batch(record: Record, prefix: str) -> Batch:
    """The batch of a size."""
    name = prefix.strip() or "base"
    z, E = (a.astype(np.float64) for a in record.cases[name].arguments.values())
    k = codes_of(record, name)
    if k is None:
        k = nearest(z, E)  # the vectors are clear: any Euclidean layer has these
    e, later = {"before": E[k]}, record.output(f"{prefix}one step", "E")
    if later is not None and np.isfinite(later[0]).all():
        e["after"] = later[0].astype(np.float64)[k]
    return Batch(z, E, k, e)


def fit(target: Array, *basis: Array) -> tuple[list[float], float]:
    """Least squares: coefficients of the basis, and the residual as a share of the target."""
    M = np.stack([b.reshape(-1).astype(np.float64) for b in basis], axis=1)
    y = target.reshape(-1).astype(np.float64)
    size = np.linalg.norm(M, axis=0)
    size[size == 0] = 1
    coefficients = np.linalg.lstsq(M / size, y, rcond=None)[0]
    residual, whole = (float(np.linalg.norm(a)) for a in (y - M / size @ coefficients, y))
    return [float(c) for c in coefficients / size], residual / max(whole, 1e-300)


def passing(record: Record, e: Array | None) -> Passing:
    """From dz and dE with a cotangent G, less those without it; e: (N, D), what z_q consists of."""
    with_G, without, used = record.get("gradient"), record.get("loss gradient"), batch(record, "")
    G, loss_gradient = record.cases["gradient"].arguments["G"], without.get("dz")
    dz, dE = (_difference(with_G, without, name) for name in ("dz", "dE"))
    leak = None if dE is None else fit(dE, sums_of(G, used.k, len(used.E)))[0][0]
    # Both are differences: what is left of a large loss gradient is rounding, not a finding.
    sizes = {name: 0.0 if a is None else float(np.linalg.norm(a)) for name, a in without.items()}
    unit = 64 * record.precision.eps / float(np.linalg.norm(G))
    noise, noise_E = (unit * sizes.get(name, 0.0) for name in ("dz", "dE"))
    leak = leak if leak is None or abs(leak) > noise_E else 0.0
    if dz is None or loss_gradient is None or noise > 0.1:
        return Passing(None, 0.0, leak)
    tol = max(record.precision.tolerance, noise)
    if np.linalg.norm(dz) <= tol * np.linalg.norm(G):
        return Passing("none", 0.0, leak)
    for kind, basis in {"copy": G, "rotation": G if e is None else rotated(G, used.z, e)}.items():
        (share,), residual = fit(dz, basis)
        if residual <= tol:
            return Passing(kind, share, leak)
    return Passing("other", fit(dz, G)[0][0], leak)


def _difference(a: Outputs, b: Outputs, name: str) -> Array | None:
    x, y = a.get(name), b.get(name)
    return None if x is None or y is None else x.astype(np.float64) - y


def has_no_gradient(record: Record, gradient: Outputs) -> bool:
    """Whether E has no gradient: a layer returns None for dE, one that has steps need not."""
    if gradient.get("dE") is not None or gradient.get("dz") is None:
        return False
    return "dE" in gradient or record.can("step")


def measure(record: Record, prefix: str, side: str, kind: str | None) -> Weights | None:
    """The weights of one size, if the loss uses the codes from before the EMA update, or from after it."""
    z, E, k, e = batch(record, prefix)
    if side not in e:
        return None
    r, tol, clean = z - e[side], record.precision.tolerance, True
    L, gradient = record.output(prefix.strip() or "base", "L"), record.get(f"{prefix}loss gradient")
    dz, dE = gradient.get("dz"), gradient.get("dE")
    W = None if L is None else float(L) / float((r * r).sum())
    A, turned, B = None if dz is None else 0.0, 0.0, 0.0 if has_no_gradient(record, gradient) else None
    if dz is not None and dz.any():
        basis = [2 * r, 2 * rotated(r, z, e[side])] if kind == "rotation" else [2 * r]
        (A, *more), residual = fit(dz, *basis)
        turned, clean = sum(more), residual <= tol
    if dE is not None:
        (B,), residual = fit(dE, -2 * sums_of(z - E[k], k, len(E)))
        clean = clean and (residual <= tol or not dE.any())
    return None if W is A is B is None else Weights(z.shape, W, A, turned, B, clean)
