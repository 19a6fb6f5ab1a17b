"""Which β on which term, over what average, before or after straight-through; and what passes to z and E.

With p the weight of the commitment term, q that of the codebook term and c the average's constant:
W = c(p + q) whatever is wrong; A = cp, B = cq; and where the loss is taken from z_q after straight-through,
both terms reach z, with opposite signs: A = c(p − q), and B = cq only if z_q still depends on E.
Each hypothesis makes all of them linear in β; β is fitted, and the hypothesis kept if the rest agrees.
"""

from itertools import product
from typing import Any, NamedTuple

import numpy as np

from vqnp.crosscheck.findings import Finding, among, weights
from vqnp.crosscheck.findings.weights import Passing, Weights, batch, tolerance
from vqnp.crosscheck.questions.record import Record
from vqnp.crosscheck.variants.formulas import PLACES, SCALES


class LossModel(NamedTuple):
    """A hypothesis that explains the weights, with the β that it does so with."""

    beta_on: str
    reduction: str
    late: bool  # the loss is taken after straight-through
    beta: float  # NaN where what was measured does not depend on it


def explain(sizes: list[Weights], through: Passing, dtype: Any) -> list[LossModel]:
    """All hypotheses that agree with every weight, with β by least squares over the weights in units of c."""
    found, turned = [], through.kind == "rotation"
    tol = 8 * tolerance(dtype)  # of the largest: small weights beside large ones are rounded as those
    for reduction, place, late in product(SCALES, PLACES, (False, True) if sizes else ()):
        # Without straight-through, z_q is e itself: there is no "after".
        if late and (place in ("none", "undetached") or through.kind == "none"):
            continue
        p, q = (np.array(part, float) for part in PLACES[place])
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
        M, y = np.array([row for row, _ in rows]), np.array([value for _, value in rows])
        slope, rest = M[:, 1], y - M[:, 0]
        beta = float(slope @ rest / (slope @ slope)) if slope.any() else float("nan")  # any β will do
        off, size = np.abs(rest - np.nan_to_num(slope * beta)), max(np.abs(y).max(), np.abs(M[:, 0]).max())
        impossible = beta < -tol or (place == "complement" and beta > 1 + tol)
        if off.max() <= tol * max(size, 1e-300) and not impossible:
            found.append(LossModel(place, reduction, late, beta))
    return found


def prefer(
    models: list[LossModel], sizes: list[Weights], has_steps: bool, beta: float | None
) -> list[LossModel]:
    """Drop hypotheses that a simpler or a declared one makes idle."""
    if all(w.B is None for w in sizes):  # nothing speaks for a term that is not detached
        models = [m for m in models if m.beta_on != "undetached"] or models
    if has_steps:  # where A = W and B = 0, there is no codebook term
        models = [m for m in models if m.beta_on == "none"] or models
    if beta is not None:  # decides between averages that only a change of D could tell apart
        models = [m for m in models if np.isclose(m.beta, beta, rtol=1e-3, atol=1e-6)] or models
    return models


def usual_beta(models: list[LossModel]) -> float | None:
    """β under the most usual of the hypotheses that are left: what a comparison may go by."""
    places = ("commitment", "none")
    usual = [m for m in models if m.beta_on in places and m.reduction == "mean" and not m.late]
    return next((m.beta for m in usual or models if np.isfinite(m.beta)), None)


def find_loss(models: list[LossModel], sizes: list[Weights]) -> tuple[list[Finding], float | None]:
    """Findings for β on, reduction and where the loss is taken; and β."""
    seen, why = describe(sizes), "needs the loss, or its gradients"
    if not seen:
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
    told = [f"{name} {value * entries:.5g}" for name, value in named if value is not None]
    return f"weights of a mean: {', '.join(told)}"


def _reduction_of_value(sizes: list[Weights]) -> str | None:
    """The reduction from the loss value alone, where the gradients fit nothing."""
    values = [(w.W, w.shape) for w in sizes if w.W is not None]
    if len(values) < 3 or not values[0][0]:
        return None
    in_units = {name: np.array([W / c(*shape) for W, shape in values]) for name, c in SCALES.items()}
    fits = [name for name, W in in_units.items() if (np.abs(W / W[0] - 1) < 1e-3).all()]
    return fits[0] if len(fits) == 1 else None


def find_gradients(record: Record, beta: float | None) -> tuple[list[Finding], float | None, float | None]:
    """Findings for β on, reduction, loss, straight-through, leak, codes; β if told; β to compare with."""
    quantized = _side_of_z_q(record)
    e = record.output("base", "z_q") if quantized == "after" else batch(record, "").e["before"]
    through = weights.passing(record, None if e is None else e.astype(np.float64))
    prefixes, sides = [p for p in weights.SIZES if f"{p}loss gradient" in record.cases], {}
    for name in ("before", "after"):  # the loss is of codes from this side of the EMA update
        measured = [weights.measure(record, prefix, name, through.kind) for prefix in prefixes]
        sizes = [w for w in measured if w is not None]
        sides[name] = sizes, explain(sizes, through, record.precision)
    explained = [name for name, (sizes, models) in sides.items() if models and all(w.clean for w in sizes)]
    side = (explained or ["before"])[0]
    sizes, models = sides[side]
    models = prefer(models, sizes, record.can("step"), beta)
    found, estimate = find_loss(models, sizes)
    codes = _codes(record, quantized, side if len(explained) == 1 and sizes else None)
    return [*found, *_through(record, through), codes], estimate, usual_beta(models)


def _side_of_z_q(record: Record) -> str | None:
    """Which codebook the rows of z_q come from: "before", "after", or None if from neither."""
    z_q, used = record.output("base", "z_q"), batch(record, "")
    if z_q is None:
        return None
    tol = tolerance(record.precision)
    for name, e in used.e.items():
        if np.abs(z_q - e).max() <= tol * np.abs(e).max():
            return name
    if record.can("step"):
        return None
    # No step to compare with: one vector for each code, but not of E, is a codebook that moved first.
    mean = np.stack([z_q[used.k == j].mean(axis=0) for j in used.k])
    return "after" if np.abs(z_q - mean).max() <= tol * np.abs(z_q).max() else None


def _codes(record: Record, quantized: str | None, loss: str | None) -> Finding:
    if record.output("base", "z_q") is None:
        return Finding("codes", None, "needs z_q")
    if quantized is None:
        return Finding("codes", "other", "z_q has no row of E, nor of E after one step")
    evidence = f"z_q is made of the codebook {quantized} the update"
    if loss not in (None, quantized):
        return Finding("codes", "mixed", f"{evidence}, the loss of the one {loss} it")
    return Finding("codes", quantized, evidence)


def _through(record: Record, through: Passing) -> list[Finding]:
    leak, share = through.leak, f"dz = {through.share:.4g} of the decoder's gradient"
    kinds: dict[str | None, tuple[str | None, str]] = {
        None: (None, "needs backward's dz, with and without a cotangent"),
        "none": ("none", "the decoder's gradient does not reach z"),
        "other": ("other", f"the decoder's gradient reaches z changed; {share} and a remainder"),
        "rotation": ("rotation", "each row of dz is the decoder's gradient turned and scaled as e is to z"),
        "copy": ("copy" if abs(through.share - 1) < 1e-3 else "other", share),
    }
    straight = Finding("straight_through", *kinds[through.kind])
    if leak is not None:
        reaches = f"{leak:.3g} of the decoder's gradient reaches E"
        return [straight, Finding("leak", "yes" if abs(leak) > 1e-3 else "no", reaches)]
    if weights.has_no_gradient(record, record.get("gradient")):
        return [straight, Finding("leak", "no", "E has no gradient at all")]
    return [straight, Finding("leak", None, "needs backward's dE, with and without a cotangent")]
