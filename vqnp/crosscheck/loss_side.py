"""Everything that a forward and a backward pass tell: the loss, straight-through, and the codes they use."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.finding import Finding
from vqnp.crosscheck.losses import LossModel, explain, find_loss, prefer, usual_beta
from vqnp.crosscheck.weights import (
    SIZES,
    Passing,
    Weights,
    after_step,
    codes_used,
    has_none,
    measure,
    passing,
    tolerance,
)


class Side(NamedTuple):
    """The weights if the loss uses the codes from before the EMA update, or from after it."""

    name: str
    sizes: list[Weights]
    models: list[LossModel]


def find_gradients(record: Any, beta: float | None) -> tuple[list[Finding], float | None, float | None]:
    """Findings for codes, β on, reduction, loss, straight-through and leak; β if told; β to compare with."""
    quantized = _side_of_z_q(record)
    e = record.output("base", "z_q") if quantized == "after" else _vectors(record, "", "before")
    through = passing(record, None if e is None else e.astype(np.float64))
    none = has_none(record, record.get("gradient"))
    sides = [side for side in (_side(record, name, through) for name in ("before", "after")) if side]
    explained = [side for side in sides if side.models and all(w.clean for w in side.sizes)]
    side = next(iter(explained or sides), None)
    measured = [] if side is None else [w for w in side.sizes if (w.W, w.A, w.B) != (None, None, None)]
    models = [] if side is None else prefer(side.models, side.sizes, record.can("step"), beta)
    found, estimate = find_loss(models, measured)
    loss_side = side.name if side is not None and len(explained) == 1 and measured else None
    return (
        [_codes(record, quantized, loss_side, measured), *found, *_through(through, none)],
        estimate,
        usual_beta(models),
    )


def _vectors(record: Any, prefix: str, name: str) -> Array | None:
    """The code vectors (N, D) that each row of a batch would get, before or after the update."""
    used = codes_used(record, prefix)
    if used is None:
        return None
    _, E, k = used
    if name == "after":
        E1 = after_step(record, prefix)
        return None if E1 is None else E1[k]
    return E[k]


def _side(record: Any, name: str, through: Passing) -> Side | None:
    sizes = []
    for prefix in SIZES:
        e = _vectors(record, prefix, name)
        if e is not None:
            sizes.append(measure(record, prefix, e, through.kind))
    known = [w for w in sizes if (w.W, w.A, w.B) != (None, None, None)]
    return Side(name, known, explain(known, through, record.precision)) if sizes else None


def _side_of_z_q(record: Any) -> str | None:
    """Which codebook the rows of z_q come from: "before", "after", or None if from neither."""
    z_q = record.output("base", "z_q")
    if z_q is None:
        return None
    for name in ("before", "after"):
        e = _vectors(record, "", name)
        if e is not None and np.abs(z_q - e).max() <= tolerance(record.precision) * np.abs(e).max():
            return name
    # No step to compare with: one vector for each code, but not of E, is a codebook that moved first.
    used = codes_used(record, "")
    if used is None or record.can("step"):
        return None
    _, _, k = used
    mean = np.stack([z_q[k == j].mean(axis=0) for j in k])
    return "after" if np.abs(z_q - mean).max() <= tolerance(record.precision) * np.abs(z_q).max() else None


def _codes(record: Any, quantized: str | None, loss: str | None, measured: list[Weights]) -> Finding:
    if quantized is None and record.output("base", "z_q") is None:
        return Finding("codes", None, "needs z_q")
    if quantized is None:
        return Finding("codes", "other", "z_q has no row of E, nor of E after one step")
    said = f"z_q is made of the codebook {quantized} the update"
    if measured and loss not in (None, quantized):
        return Finding("codes", "mixed", f"{said}, the loss of the one {loss} it")
    return Finding("codes", quantized, said)


def _through(through: Passing, none: bool) -> list[Finding]:
    said = f"dz = {through.share:.4g} of the decoder's gradient"
    kinds: dict[str, tuple[str, str]] = {
        "none": ("none", "the decoder's gradient does not reach z"),
        "other": ("other", f"the decoder's gradient reaches z changed; {said} and a remainder"),
        "rotation": ("rotation", "each row of dz is the decoder's gradient turned and scaled as e is to z"),
        "copy": ("copy" if abs(through.share - 1) < 1e-3 else "other", said),
    }
    if through.kind is None:
        straight = Finding("straight_through", None, "needs backward's dz, with and without a cotangent")
    else:
        straight = Finding("straight_through", *kinds[through.kind])
    if through.leak is None:
        why = "E has no gradient at all" if none else "needs backward's dE, with and without a cotangent"
        return [straight, Finding("leak", "no" if none else None, why)]
    share = f"{through.leak:.3g} of the decoder's gradient reaches E"
    return [straight, Finding("leak", "yes" if abs(through.leak) > 1e-3 else "no", share)]
