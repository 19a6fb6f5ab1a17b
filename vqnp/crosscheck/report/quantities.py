"""|theirs − ours| ≤ 32 ε √n · size: each quantity beside the reference's; the precision gives the tolerance.

ε is the dtype's machine epsilon, n the number of terms that an entry is a sum of, size the largest
magnitude among the entries and what they are sums of. Rounding errors of n terms add up like a random
walk, to about ε√n; 32 leaves room for another order and for a few operations on each term. A wrong
formula is off by far more: by some 1e-3 in any of the variants. In half precision it is 8 ε · size, for sums
are taken in float32 there, and only what goes in and comes out is rounded.
"""

from collections.abc import Mapping, Set
from typing import Any, NamedTuple

import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.findings import Finding
from vqnp.crosscheck.findings.trajectory import observe
from vqnp.crosscheck.questions.plan import FULL_STEPS
from vqnp.crosscheck.questions.precision import FLOAT32, Precision
from vqnp.crosscheck.questions.record import Record

MARGIN = 32

# Rows without numbers: what must outlast the next step; the dimension, the variants that pass and fail.
BEHAVIOURS = (
    ("restarts stay", "dead_codes", "restart", "undone"),
    ("k-means start stays", "kmeans_start", "stays", "collapses"),
)
# The rows of a report, in its order.
QUANTITIES = (
    *("codes", "z_q", "loss", "perplexity", "loss, 4 × batch", "dz", "dE"),
    *("evaluation: codes", "evaluation: z_q", "evaluation: loss"),
    *(f"{name} after {steps}" for steps in ("1 step", "5 steps") for name in "ENm"),
    *(quantity for quantity, *_ in BEHAVIOURS),
)


class Row(NamedTuple):
    """One quantity: how far theirs is from ours, what is allowed, and the verdict."""

    quantity: str
    absolute: float | None = None
    relative: float | None = None
    ulps: float | None = None
    tolerance: float | None = None
    result: str = "not checked"  # or "pass", "fail"
    note: str = ""


def compare(quantity: str, theirs: Array, ours: Array, precision: Precision, n: int, size: float) -> Row:
    """A row from two arrays."""
    a, b = theirs.astype(np.float64), ours.astype(np.float64)
    terms = 8.0 if precision.half else MARGIN * float(np.sqrt(n))
    allowed = terms * precision.eps * max(size, np.abs(b).max(initial=0.0))
    bad = int((~np.isfinite(a)).sum())
    if bad:
        return Row(quantity, np.inf, np.inf, np.inf, allowed, "fail", f"{bad} of {a.size} are not finite")
    off, both = np.abs(a - b), np.maximum(np.abs(a), np.abs(b))
    relative = np.where(off > 0, off / both, 0.0)
    step = precision.eps * 2.0 ** np.floor(np.log2(np.where(off > 0, both, 1.0)))
    ulps = np.where(off > 0, off / step, 0.0)
    worst, most, far = (float(x.max(initial=0)) for x in (off, relative, ulps))
    return Row(quantity, worst, most, far, allowed, "pass" if worst <= allowed else "fail")


def compare_codes(quantity: str, theirs: Array, ours: Array) -> Row:
    """Codes are equal or not: the vectors asked about have a clear nearest code."""
    wrong, off = int((theirs != ours).sum()), float(np.abs(theirs - ours).max(initial=0))
    result, note = "fail" if wrong else "pass", f"{wrong} of {ours.size} differ"
    return Row(quantity, off, tolerance=0.0, result=result, note=note)


def usable_steps(record: Record) -> str:
    """The trajectory to compare: "full" where codes restart in the first five steps of the other."""
    seen = observe(record, "steps") if record.can("step") else None
    return "full" if seen is not None and seen.restarts and len(seen.n) < FULL_STEPS else "steps"


def quantities(
    theirs: Record, ours: Record, findings: list[Finding], allowed: Mapping[str, tuple[str, ...]],
    unknown: Set[str] = frozenset(),
) -> list[Row]:  # fmt: skip
    """Every row of the table, in its order; unknown: outputs that are not compared."""
    z, E = theirs.cases["base"].arguments.values()
    size, (N, D) = float(max(np.abs(z).max(), np.abs(E).max())), z.shape
    per_code = int(np.ceil(4 * N / len(E)))  # of the batch's vectors, in the fullest codes
    steps = usable_steps(theirs)
    vectors = theirs.cases[steps].arguments["z"].shape[1]
    forward: list[tuple[str, int, float]] = [("k", 1, 0), ("z_q", 1, size), ("L", N * D, 0)]
    asked: list[tuple[str, Any, str, int, float]] = [
        *(("base", ..., *rest) for rest in (*forward, ("perplexity", len(E), 0))),
        *(("tiled", ..., "L", 4 * N * D, 0), ("gradient", ..., "dz", 1, size)),
        ("gradient", ..., "dE", per_code, size),
        *(("evaluation", ..., *rest) for rest in forward),
        *((steps, t - 1, name, t * vectors, 0) for t in (1, 5) for name in "ENm"),
    ]
    rows = []
    for quantity, (case, at, output, n, largest) in zip(QUANTITIES, asked, strict=False):
        a, b = theirs.output(case, output), ours.output(case, output)
        if a is None or b is None or output in unknown:
            rows.append(Row(quantity))
        elif output == "k":
            rows.append(compare_codes(quantity, a, b))
        else:  # a perplexity has its own dtype, but a Python float has no more digits than the layer
            own = output == "perplexity" and a.dtype != np.float64
            precision = max(theirs.precision, FLOAT32) if own else theirs.precision
            rows.append(compare(quantity, a[at], b[at], precision, n, largest))
    told = {f.dimension: f for f in findings}
    for quantity, dimension, right, wrong in BEHAVIOURS:
        f = told[dimension]
        failed = f.variant == wrong and wrong not in allowed.get(dimension, ())
        result = "fail" if failed else "pass" if f.variant in (right, wrong) else "not checked"
        rows.append(Row(quantity, result=result, note=f.evidence))
    return rows
