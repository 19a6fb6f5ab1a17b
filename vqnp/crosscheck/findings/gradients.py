"""Which β on which term, over what average, before or after straight-through; and what passes to z and E.

With p the weight of the commitment term, q that of the codebook term and c the average's constant:
W = c(p + q) whatever is wrong; A = cp, B = cq; and where the loss is taken from z_q after straight-through,
both terms reach z, with opposite signs: A = c(p − q), and B = cq only if z_q still depends on E.
Each hypothesis makes all of them linear in β; β is fitted, and the hypothesis kept if the rest agrees.
Where none does, p and q themselves are fitted: β = p/q, and q is the scale of the whole loss.
"""

from itertools import product
from typing import Any, NamedTuple

import numpy as np

from vqnp.crosscheck.findings import Finding, among, weights
from vqnp.crosscheck.findings.weights import Passing, Weights, batch
from vqnp.crosscheck.questions.precision import Precision
from vqnp.crosscheck.questions.record import Record
from vqnp.crosscheck.variants.formulas import PLACES, SCALES


class LossModel(NamedTuple):
    """A hypothesis that explains the weights, with the β that it does so with."""

    beta_on: str
    reduction: str
    late: bool  # the loss is taken after straight-through
    beta: float  # NaN where what was measured does not depend on it
    scale: float = 1.0  # of the whole loss


# β on the codebook term, or on both, up to which it is taken for a β; beyond, for a scale of the whole loss.
LARGEST_BETA = 3.5


def explain(
    sizes: list[Weights], through: Passing, precision: Precision, beta: float | None = None
) -> list[LossModel]:
    """All hypotheses that agree with every weight, with β by least squares over the weights in units of c.

    beta: what the layer is meant to have; then a scale of the loss is a hypothesis like the others.
    """
    found, scaled = [], []
    # Of the largest: small weights beside large ones are rounded as those. Means of halves have their ε.
    tol = 1.5 * precision.eps if precision.half else 8 * precision.tolerance
    for reduction, late in product(SCALES, (False, True) if sizes else ()):
        if late and through.kind == "none":  # without straight-through, z_q is e itself: there is no "after"
            continue
        for place in PLACES:
            if late and place in ("none", "undetached"):
                continue
            p, q = (np.array(part, float) for part in PLACES[place])
            rows = _rows(sizes, reduction, through, late, place == "undetached", p, q)
            M, y = np.array([row for row, _ in rows]), np.array([value for _, value in rows])
            slope, rest = M[:, 1], y - M[:, 0]
            b = float(slope @ rest / (slope @ slope)) if slope.any() else float("nan")  # any β will do
            off, size = np.abs(rest - np.nan_to_num(slope * b)), max(np.abs(y).max(), np.abs(M[:, 0]).max())
            impossible = b < -tol or (place == "complement" and b > 1 + tol)
            absurd = place in ("codebook", "both") and b > LARGEST_BETA
            if off.max() <= tol * max(size, 1e-300) and not impossible and not absurd:
                found.append(LossModel(place, reduction, late, b))
        rows = _rows(sizes, reduction, through, late, False, np.array([1.0, 0]), np.array([0, 1.0]))
        M, y = np.array([row for row, _ in rows]), np.array([value for _, value in rows])
        if np.linalg.matrix_rank(M) == 2:
            p, q = np.linalg.lstsq(M, y, rcond=None)[0]
            size = max(np.abs(y).max(), 1e-300)
            if np.abs(M @ [p, q] - y).max() <= tol * size and p > tol * size and q > tol * size:
                scaled += _scaled(reduction, late, float(p), float(q), tol)
    if beta is not None:
        return found + [m for m in scaled if np.isclose(m.beta, beta, rtol=max(1e-3, tol))]
    return found or scaled


def _rows(
    sizes: list[Weights], reduction: str, through: Passing, late: bool, once: bool, p: Any, q: Any
) -> list[tuple[Any, float]]:
    """(what each weight is of (1, β) or of (p, q), its value in units of c); once: one term, counted once."""
    turned, rows = through.kind == "rotation", []
    reaches_E = not late or (through.leak is not None and abs(through.leak) > 0.5)
    for w in sizes:
        expected = [
            (p if once else p + q, w.W),
            (p - q if late and not turned else p, w.A),
            (-q if late else 0 * q, w.A_turned if turned and w.A is not None else None),
            (q * reaches_E, w.B),
        ]
        c = SCALES[reduction](*w.shape)
        rows += [(row, value / c) for row, value in expected if value is not None]
    return rows


def _scaled(reduction: str, late: bool, p: float, q: float, tol: float) -> list[LossModel]:
    """Every reading of p and q: β is hardly above 1 on the commitment term, unless p is on the wrong one."""
    models = [LossModel("commitment", reduction, late, p / q, q)]
    if p > q * (1 + tol):
        models.append(LossModel("codebook", reduction, late, q / p, p))
        models.append(LossModel("complement", reduction, late, q / (p + q), p + q))
    return models


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
    return [m for m in models if m.scale == 1] or models


def usual(models: list[LossModel]) -> LossModel | None:
    """The most usual of the hypotheses that are left: what a comparison may go by."""
    places = ("commitment", "none")
    right = [m for m in models if m.beta_on in places and m.reduction == "mean" and not m.late]
    return next((m for m in right or models if np.isfinite(m.beta)), None)


class Loss(NamedTuple):
    """What was found of the loss: β and the scale if told, and those to compare with; None: unknown."""

    findings: list[Finding]
    beta: float | None = None
    scale: float | None = None
    likely: tuple[float | None, float] = (None, 1.0)
    judged: bool = True  # False: nothing of the loss was seen, or it has readings that contradict each other
    note: str = ""


def find_loss(models: list[LossModel], sizes: list[Weights]) -> tuple[list[Finding], float | None]:
    """Findings for β on, reduction and where the loss is taken; and β."""
    seen, why = describe(sizes), "needs the loss, or its gradients"
    if not seen or all(w.W is None and not w.A and not w.B for w in sizes):
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


def find_gradients(record: Record, beta: float | None) -> Loss:
    """Findings for β on, reduction, loss, straight-through, leak, codes; the constants of the loss."""
    quantized = _side_of_z_q(record)
    e = record.output("base", "z_q") if quantized == "after" else batch(record, "").e["before"]
    through = weights.passing(record, None if e is None else e.astype(np.float64))
    prefixes, sides = [p for p in weights.SIZES if f"{p}loss gradient" in record.cases], {}
    for name in ("before", "after"):  # the loss is of codes from this side of the EMA update
        measured = [weights.measure(record, prefix, name, through.kind) for prefix in prefixes]
        sizes = [w for w in measured if w is not None]
        sides[name] = sizes, explain(sizes, through, record.precision, beta)
    explained = [name for name, (sizes, models) in sides.items() if models and all(w.clean for w in sizes)]
    side = (explained or ["before"])[0]
    sizes, models = sides[side]
    models = prefer(models, sizes, record.can("step"), beta)
    found, estimate = find_loss(models, sizes)
    codes = _codes(record, quantized, side if len(explained) == 1 and sizes else None)
    findings, likely = [*found, *_through(record, through), codes], usual(models)
    nothing = all(w.W is None and not w.A and not w.B for w in sizes)
    if likely is None or nothing:
        return Loss(findings, None if nothing else estimate, judged=not nothing)
    places = {m.beta_on for m in models}
    settled = likely.scale == 1 or len(places) == 1
    seen_both = estimate is not None and any(w.B for w in sizes)
    scale = likely.scale if seen_both and settled else None
    note = ""
    if likely.scale != 1:
        p, q = likely.beta * likely.scale, likely.scale
        note = f"the loss: commitment {p:.6g}, codebook {q:.6g}: β = {likely.beta:.6g} times {q:.6g}"
        if not settled:
            note += ", or another placing of β that is scaled otherwise: give beta"
    return Loss(findings, estimate, scale, (likely.beta, likely.scale), settled, note)


def _side_of_z_q(record: Record) -> str | None:
    """Which codebook the rows of z_q come from: "before", "after", or None if from neither."""
    z_q, used = record.output("base", "z_q"), batch(record, "")
    if z_q is None:
        return None
    tol = record.precision.tolerance
    for name, e in used.e.items():
        if np.abs(z_q - e).max() <= tol * np.abs(e).max():
            return name
    return None


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
        None: (None, "needs backward's dz, with and without a cotangent that the loss does not drown"),
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
