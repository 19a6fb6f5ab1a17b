"""What a forward and a backward pass tell: the loss, straight-through, and the codes that they use."""

from typing import NamedTuple

import numpy as np

from vqnp.crosscheck.findings import Finding, weights
from vqnp.crosscheck.findings.losses import LossModel, explain, find_loss, prefer, usual_beta
from vqnp.crosscheck.findings.weights import Passing, Weights, batch
from vqnp.crosscheck.questions.record import Record


class Side(NamedTuple):
    """The weights, and what explains them, if the loss uses the codes of this side of the EMA update."""

    name: str
    sizes: list[Weights]
    models: list[LossModel]

    @property
    def explained(self) -> bool:
        return bool(self.models) and all(w.clean for w in self.sizes)


def find_gradients(record: Record, beta: float | None) -> tuple[list[Finding], float | None, float | None]:
    """Findings for β on, reduction, loss, straight-through, leak, codes; β if told; β to compare with."""
    quantized, used = _side_of_z_q(record), batch(record, "")
    assert used is not None
    e = used.e["before"] if quantized != "after" else record.get("base")["z_q"]
    through = weights.passing(record, None if e is None else e.astype(np.float64))
    sides = [_side(record, name, through) for name in ("before", "after")]
    explained = [side for side in sides if side.explained]
    side = (explained or sides)[0]
    models = prefer(side.models, side.sizes, record.can("step"), beta)
    found, estimate = find_loss(models, side.sizes)
    loss_side = side.name if len(explained) == 1 and side.sizes else None
    codes = _codes(record, quantized, loss_side)
    return [*found, *_through(record, through), codes], estimate, usual_beta(models)


def _side(record: Record, name: str, through: Passing) -> Side:
    batches = {prefix: batch(record, prefix) for prefix in weights.SIZES}
    measured = [
        weights.measure(record, prefix, b, name, through.kind)
        for prefix, b in batches.items()
        if b is not None and name in b.e
    ]
    known = [w for w in measured if (w.W, w.A, w.B) != (None, None, None)]
    return Side(name, known, explain(known, through, record.precision))


def _side_of_z_q(record: Record) -> str | None:
    """Which codebook the rows of z_q come from: "before", "after", or None if from neither."""
    z_q, used = record.output("base", "z_q"), batch(record, "")
    if z_q is None or used is None:
        return None
    tol = weights.tolerance(record.precision)
    for name, e in used.e.items():
        if np.abs(z_q - e).max() <= tol * np.abs(e).max():
            return name
    if record.can("step"):
        return None
    # No step to compare with: one vector for each code, but not of E, is a codebook that moved first.
    mean = np.stack([z_q[used.k == j].mean(axis=0) for j in used.k])
    return "after" if np.abs(z_q - mean).max() <= tol * np.abs(z_q).max() else None


def _codes(record: Record, quantized: str | None, loss: str | None) -> Finding:
    if quantized is None:
        if record.output("base", "z_q") is None:
            return Finding("codes", None, "needs z_q")
        return Finding("codes", "other", "z_q has no row of E, nor of E after one step")
    evidence = f"z_q is made of the codebook {quantized} the update"
    if loss not in (None, quantized):
        return Finding("codes", "mixed", f"{evidence}, the loss of the one {loss} it")
    return Finding("codes", quantized, evidence)


def _through(record: Record, through: Passing) -> list[Finding]:
    share = f"dz = {through.share:.4g} of the decoder's gradient"
    kinds: dict[str | None, tuple[str | None, str]] = {
        None: (None, "needs backward's dz, with and without a cotangent"),
        "none": ("none", "the decoder's gradient does not reach z"),
        "other": ("other", f"the decoder's gradient reaches z changed; {share} and a remainder"),
        "rotation": ("rotation", "each row of dz is the decoder's gradient turned and scaled as e is to z"),
        "copy": ("copy" if abs(through.share - 1) < 1e-3 else "other", share),
    }
    straight = Finding("straight_through", *kinds[through.kind])
    if through.leak is not None:
        variant = "yes" if abs(through.leak) > 1e-3 else "no"
        return [straight, Finding("leak", variant, f"{through.leak:.3g} of the decoder's gradient reaches E")]
    if weights.has_no_gradient(record, record.get("gradient")):
        return [straight, Finding("leak", "no", "E has no gradient at all")]
    return [straight, Finding("leak", None, "needs backward's dE, with and without a cotangent")]
