"""Which β on which term, over what average, before or after straight-through: all that explains W, A and B.

With p the weight of the commitment term, q that of the codebook term and c the average's constant:
W = c(p + q) whatever is wrong; A = cp, B = cq; and where the loss is taken from z_q after straight-through,
both terms reach z, with opposite signs: A = c(p − q), and B = cq only if z_q still depends on E.
Each hypothesis makes all of them linear in β; β is fitted, and the hypothesis kept if the rest agrees.
"""

from typing import Any, NamedTuple

import numpy as np

from vqnp.crosscheck.findings import Finding, among
from vqnp.crosscheck.findings.weights import Passing, Weights, tolerance
from vqnp.crosscheck.variants.formulas import PLACES, SCALES


class LossModel(NamedTuple):
    """A hypothesis that explains the weights, with the β that it does so with."""

    beta_on: str
    reduction: str
    late: bool  # the loss is taken after straight-through
    beta: float  # NaN where what was measured does not depend on it


def explain(sizes: list[Weights], through: Passing, dtype: Any) -> list[LossModel]:
    """All hypotheses that agree with every weight that was measured."""
    found = []
    for reduction in SCALES:
        for place in PLACES:
            # Without straight-through, z_q is e itself: there is no "after".
            one_sided = place in ("none", "undetached") or through.kind == "none"
            for late in (False,) if one_sided else (False, True):
                beta = _fit_beta(place, reduction, late, sizes, through, dtype)
                if beta is not None:
                    found.append(LossModel(place, reduction, late, beta))
    return found


def _fit_beta(
    place: str, reduction: str, late: bool, sizes: list[Weights], through: Passing, dtype: Any
) -> float | None:
    """β by least squares over all weights in units of c; None if they do not agree, NaN if any β will do."""
    p, q = (np.array(part, float) for part in PLACES[place])
    turned = through.kind == "rotation"
    reaches_E = not late or (through.leak is not None and abs(through.leak) > 0.5)
    rows: list[tuple[Any, float]] = []
    for w in sizes:
        expected = [
            (p if place == "undetached" else p + q, w.W),  # one term that is both counts once
            (p - q if late and not turned else p, w.A),
            (-q if late else 0 * q, w.A_turned if turned and w.A is not None else None),
            (q * reaches_E, w.B),
        ]
        c = SCALES[reduction](*w.shape)
        rows += [(row, value / c) for row, value in expected if value is not None]
    if not rows:
        return None
    M, y = np.array([row for row, _ in rows]), np.array([value for _, value in rows])
    slope, rest = M[:, 1], y - M[:, 0]
    beta = float(slope @ rest / (slope @ slope)) if slope.any() else float("nan")
    tol = 8 * tolerance(dtype)  # of the largest: small weights beside large ones are rounded as those
    size = max(np.abs(y).max(), np.abs(M[:, 0]).max(), 1e-300)
    fits = np.abs(rest - np.nan_to_num(slope * beta)).max() <= tol * size
    return None if not fits or beta < -tol or (place == "complement" and beta > 1 + tol) else beta


def prefer(
    models: list[LossModel], sizes: list[Weights], has_steps: bool, beta: float | None
) -> list[LossModel]:
    """Drop hypotheses that a simpler or a declared one makes idle.

    Without a gradient of E nothing speaks for a term that is not detached. Where A = W and B = 0, a layer
    with steps of its own has no codebook term. A β that was declared decides between averages that only a
    change of D could tell apart.
    """
    if all(w.B is None for w in sizes):
        models = [m for m in models if m.beta_on != "undetached"] or models
    if has_steps:
        models = [m for m in models if m.beta_on == "none"] or models
    if beta is not None:
        models = [m for m in models if np.isclose(m.beta, beta, rtol=1e-3, atol=1e-6)] or models
    return models


def usual_beta(models: list[LossModel]) -> float | None:
    """β under the most usual of the hypotheses that are left: what a comparison may go by."""
    places = ("commitment", "none")
    usual = [m for m in models if m.beta_on in places and m.reduction == "mean" and not m.late]
    return next((m.beta for m in usual or models if np.isfinite(m.beta)), None)


def find_loss(models: list[LossModel], sizes: list[Weights]) -> tuple[list[Finding], float | None]:
    """Findings for β on, reduction and where the loss is taken; and β."""
    seen = describe(sizes)
    if not seen:
        why = "needs the loss, or its gradients"
        return [Finding(d, None, why) for d in ("beta_on", "reduction", "loss_from")], None
    if not models or not all(w.clean for w in sizes):
        return [
            Finding("beta_on", None if models else "other", f"no known loss has {seen}"),
            Finding("reduction", _reduction_of_value(sizes), f"from how {seen} change with N and D"),
            Finding("loss_from", None, f"no known loss has {seen}"),
        ], None
    betas = [m.beta for m in models]
    one_D = all(w.shape[1] == sizes[0].shape[1] for w in sizes)
    only_D = "; only a layer that takes any D could tell" if one_D else ""
    detached = all(w.A == 0 and not w.B for w in sizes) and any(w.W for w in sizes)
    also = "; a loss that was detached as a whole looks the same" if detached else ""
    return [
        among("beta_on", (m.beta_on for m in models), seen),
        among("reduction", (m.reduction for m in models), seen + only_D),
        among("loss_from", ("straight_through" if m.late else "codes" for m in models), seen + also),
    ], betas[0] if np.ptp(betas) <= 1e-3 * max(betas) + 1e-9 else None


def describe(sizes: list[Weights]) -> str:
    """The weights of the smallest batch, per mean over all entries."""
    if not sizes:
        return ""
    w, entries = sizes[0], float(np.prod(sizes[0].shape))
    named = (("loss", w.W), ("commitment gradient", w.A), ("codebook gradient", w.B))
    told = ", ".join(f"{name} {value * entries:.5g}" for name, value in named if value is not None)
    return told and f"weights of a mean: {told}"


def _reduction_of_value(sizes: list[Weights]) -> str | None:
    """The reduction from the loss value alone, where the gradients fit nothing."""
    values = [(w.W, w.shape) for w in sizes if w.W is not None]
    if len(values) < 3 or not values[0][0]:
        return None
    fits = []
    for name, c in SCALES.items():
        in_units = np.array([W / c(*shape) for W, shape in values])
        if (np.abs(in_units / in_units[0] - 1) < 1e-3).all():
            fits.append(name)
    return fits[0] if len(fits) == 1 else None
