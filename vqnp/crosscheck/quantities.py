"""|theirs − ours| ≤ 32 ε √n · size: each quantity beside the reference's; the dtype gives the tolerance.

ε is the dtype's machine epsilon, n the number of terms that an entry is a sum of, size the largest
magnitude among the entries and what they are sums of. Rounding errors of n terms add up like a random
walk, to about ε√n; 32 leaves room for another order and for a few operations on each term. A wrong
formula is off by far more: by some 1e-3 in any of the variants.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.finding import Finding
from vqnp.crosscheck.record import Record

MARGIN = 32

BEHAVIOURS = (
    ("restarts stay", "dead_codes", "restart", "undone"),
    ("k-means start stays", "kmeans_start", "stays", "collapses"),
)
"""Rows without numbers: the dimension, and the variants that pass and fail."""


class Row(NamedTuple):
    """One quantity: how far theirs is from ours, what is allowed, and the verdict."""

    quantity: str
    absolute: float | None
    relative: float | None
    ulps: float | None
    tolerance: float | None
    result: str  # "pass", "fail", "not checked"
    note: str = ""


def tolerance_of(dtype: Any, n: int, size: float) -> float:
    """32 ε √n · size."""
    return MARGIN * float(np.finfo(dtype).eps) * float(np.sqrt(n)) * size


def compare(quantity: str, theirs: Array | None, ours: Array | None, dtype: Any, n: int, size: float) -> Row:
    """A row from two arrays; None on their side is not checked."""
    if theirs is None or ours is None:
        return Row(quantity, None, None, None, None, "not checked")
    a, b = theirs.astype(np.float64), ours.astype(np.float64)
    allowed = tolerance_of(dtype, n, max(size, float(np.abs(b).max(initial=0))))
    if not np.isfinite(a).all():
        bad = f"{int((~np.isfinite(a)).sum())} of {a.size} are not finite"
        return Row(quantity, float("inf"), float("inf"), float("inf"), allowed, "fail", bad)
    off = np.abs(a - b)
    both = np.maximum(np.abs(a), np.abs(b))
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.where(off > 0, off / both, 0.0)
        ulps = np.where(off > 0, off / np.spacing(both.astype(dtype)).astype(np.float64), 0.0)
    worst = float(off.max(initial=0))
    return Row(
        quantity,
        worst,
        float(relative.max(initial=0)),
        float(ulps.max(initial=0)),
        allowed,
        "pass" if worst <= allowed else "fail",
    )


def compare_codes(quantity: str, theirs: Array | None, ours: Array | None) -> Row:
    """Codes are equal or not: the vectors asked about have a clear nearest code."""
    if theirs is None or ours is None:
        return Row(quantity, None, None, None, None, "not checked")
    wrong = int((theirs != ours).sum())
    off = float(np.abs(theirs - ours).max(initial=0))
    note = f"{wrong} of {ours.size} differ"
    return Row(quantity, off, None, None, 0.0, "fail" if wrong else "pass", note)


def quantities(theirs: Record, ours: Record) -> list[Row]:
    """Every quantity of the table, in its order."""
    dtype = theirs.precision
    z, E = theirs.cases["base"].arguments.values()
    size = float(max(np.abs(z).max(), np.abs(E).max()))
    N, D = z.shape
    per_code = int(np.ceil(4 * N / len(E)))  # of the batch's vectors, in the fullest codes
    rows = []
    for case, prefix in (("base", ""), ("evaluation", "evaluation: ")):
        a, b = partial(theirs.output, case), partial(ours.output, case)
        rows += [
            compare_codes(f"{prefix}codes", a("k"), b("k")),
            compare(f"{prefix}z_q", a("z_q"), b("z_q"), dtype, 1, size),
            compare(f"{prefix}loss", a("L"), b("L"), dtype, N * D, 0.0),
        ]
        if not prefix:
            figure = a("perplexity")
            rows.append(compare("perplexity", figure, b("perplexity"), _figure(figure, dtype), len(E), 0.0))
    a, b = partial(theirs.output, "gradient"), partial(ours.output, "gradient")
    tiled = theirs.output("tiled", "L"), ours.output("tiled", "L")
    rows[4:4] = [
        compare("loss, 4 × batch", *tiled, dtype, 4 * N * D, 0),
        compare("dz", a("dz"), b("dz"), dtype, 1, size),
        compare("dE", a("dE"), b("dE"), dtype, per_code, size),
    ]
    for t in (1, 5):
        for name in ("E", "N", "m"):
            rows.append(_after(theirs, ours, name, t, dtype))
    return rows


def behaviours(findings: list[Finding], allowed: Mapping[str, tuple[str, ...]]) -> list[Row]:
    """What no number shows: a restart, and a start from data, must outlast the next step."""
    told = {f.dimension: f for f in findings}
    rows = []
    for quantity, dimension, right, wrong in BEHAVIOURS:
        f = told[dimension]
        failed = f.variant == wrong and wrong not in allowed.get(dimension, ())
        result = "fail" if failed else "pass" if f.variant in (right, wrong) else "not checked"
        rows.append(Row(quantity, None, None, None, None, result, f.evidence))
    return rows


def _after(theirs: Record, ours: Record, name: str, t: int, dtype: Any) -> Row:
    """E, N or m after t steps."""
    quantity = f"{name} after {t} step{'s' if t > 1 else ''}"
    a, b = theirs.output("steps", name), ours.output("steps", name)
    if a is None or b is None:
        return Row(quantity, None, None, None, None, "not checked")
    vectors = theirs.cases["steps"].arguments["z"].shape[1]
    return compare(quantity, a[t - 1], b[t - 1], dtype, t * vectors, float(np.abs(b[t - 1]).max()))


def _figure(value: Array | None, dtype: Any) -> Any:
    """The dtype that a perplexity came in; a Python float has no more than the layer's own."""
    return dtype if value is None or value.dtype == np.float64 else value.dtype
